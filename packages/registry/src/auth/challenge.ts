/** One thing a server wants to see before it answers. RFC 9110, section 11.6.1. */
export interface Challenge {
  /** In lower case: `basic`, `bearer`. */
  readonly scheme: string;
  /** Names in lower case. */
  readonly parameters: ReadonlyMap<string, string>;
}

const MAXIMUM_LENGTH = 8192;
const TOKEN = /^[!#$%&'*+.^_`|~0-9A-Za-z-]+/;

/**
 * Reads the values of WWW-Authenticate headers, each of which may hold several challenges. What cannot be read ends the
 * value it stands in; the challenges before it count. A value of more than 8192 characters counts as one that cannot be read.
 */
export function parseChallenges(values: readonly string[]): readonly Challenge[] {
  return values.flatMap((value) => (value.length > MAXIMUM_LENGTH ? [] : [...challengesOf(value)]));
}

function* challengesOf(text: string): Generator<Challenge> {
  let rest = text;
  let current: { scheme: string; parameters: Map<string, string> } | undefined;
  for (;;) {
    rest = rest.replace(/^[\s,]+/, "");
    const word = TOKEN.exec(rest)?.[0];
    if (word === undefined) break;
    rest = rest.slice(word.length);
    const value = /^\s*=\s*(?!=|\s*(?:,|$))/.exec(rest);
    if (current !== undefined && value !== null) {
      rest = rest.slice(value[0].length);
      const { content, length } = readValue(rest);
      if (length === 0) break;
      // The first of two equal names counts, whatever stands behind it.
      if (!current.parameters.has(word.toLowerCase())) current.parameters.set(word.toLowerCase(), content);
      rest = rest.slice(length);
    } else {
      if (current !== undefined) yield current;
      current = { scheme: word.toLowerCase(), parameters: new Map() };
      // A scheme may be followed by one token68 instead of parameters (Negotiate); nothing here has a use for it.
      const token68 = /^ +[A-Za-z0-9._~+/-]+=*(?=\s*(?:,|$))/.exec(rest);
      if (token68 !== null) rest = rest.slice(token68[0].length);
    }
  }
  if (current !== undefined) yield current;
}

function readValue(text: string): { content: string; length: number } {
  if (!text.startsWith('"')) {
    const token = /^[^\s,"]+/.exec(text)?.[0] ?? "";
    return { content: token, length: token.length };
  }
  let content = "";
  for (let at = 1; at < text.length; at++) {
    const character = text[at] as string;
    if (character === '"') return { content, length: at + 1 };
    if (character === "\\" && at + 1 < text.length) at++;
    content += text[at];
  }
  return { content: "", length: 0 };
}
