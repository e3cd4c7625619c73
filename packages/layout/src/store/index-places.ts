/** The number of words for an entry in {@link entryPlaces}. */
export const PLACE = 2;

const QUOTE = 0x22;
const BACKSLASH = 0x5c;
const NAME = Buffer.from('"manifests"');
const [OPEN_OBJECT, CLOSE_OBJECT, OPEN_ARRAY, CLOSE_ARRAY, COMMA] = [0x7b, 0x7d, 0x5b, 0x5d, 0x2c];

/**
 * Where the entries stand in the bytes of an `index.json` that has been parsed: the offset and the length of each in bytes,
 * one behind the other. Undefined where they cannot be told.
 */
export function entryPlaces(bytes: Buffer, count: number): Uint32Array | undefined {
  const start = startOfEntries(bytes);
  if (start === undefined) return undefined;
  const places = new Uint32Array(count * PLACE);
  let found = 0;
  let depth = 0;
  let from = 0;
  for (let at = start; at < bytes.length; at++) {
    switch (bytes[at]) {
      case QUOTE:
        at = endOfString(bytes, at);
        if (at < 0) return undefined;
        break;
      case OPEN_OBJECT:
      case OPEN_ARRAY:
        if (depth++ === 0) from = at;
        break;
      case CLOSE_ARRAY:
      case CLOSE_OBJECT:
        if (depth-- === 0) return found === count ? places : undefined;
        if (depth > 0) break;
        if (found === count) return undefined;
        places[found * PLACE] = from;
        places[found * PLACE + 1] = at + 1 - from;
        found++;
        break;
    }
  }
  return undefined;
}

/** The offset behind the bracket that opens the array `manifests` of the outermost object. */
function startOfEntries(bytes: Buffer): number | undefined {
  let depth = 0;
  let isName = false;
  for (let at = 0; at < bytes.length; at++) {
    switch (bytes[at]) {
      case QUOTE: {
        const end = endOfString(bytes, at);
        if (end < 0) return undefined;
        if (depth === 1 && isName && bytes.compare(NAME, 0, NAME.length, at, end + 1) === 0) {
          const open = bytes.indexOf(OPEN_ARRAY, end);
          return open < 0 ? undefined : open + 1;
        }
        isName = false;
        at = end;
        break;
      }
      case OPEN_OBJECT:
      case OPEN_ARRAY:
        depth++;
        isName = depth === 1;
        break;
      case CLOSE_OBJECT:
      case CLOSE_ARRAY:
        depth--;
        break;
      case COMMA:
        isName = depth === 1;
        break;
    }
  }
  return undefined;
}

function endOfString(bytes: Buffer, start: number): number {
  for (let at = start + 1; ; at++) {
    at = bytes.indexOf(QUOTE, at);
    if (at < 0) return -1;
    let backslashes = 0;
    while (bytes[at - 1 - backslashes] === BACKSLASH) backslashes++;
    if (backslashes % 2 === 0) return at;
  }
}
