/** The order of the UTF-8 bytes, which differs from the order of strings where UTF-16 surrogates are involved. */
export function compareBytewise(one: string, other: string): number {
  const length = Math.min(one.length, other.length);
  for (let at = 0; at < length; at++) {
    const a = one.charCodeAt(at);
    const b = other.charCodeAt(at);
    if (a === b) continue;
    const high = (code: number): boolean => code >= 0xd800 && code < 0xe000;
    return high(a) === high(b) ? a - b : high(a) ? 1 : -1;
  }
  return one.length - other.length;
}
