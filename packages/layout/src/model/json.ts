import { OciError } from "./errors.js";

/** A JSON object of which nothing is known yet. */
export type JsonObject = { readonly [key: string]: unknown };

/** How deep arrays and objects may nest. The deepest structure of the OCI specs has six levels. */
const MAXIMUM_DEPTH = 100;

const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/**
 * Parses one JSON text as I-JSON (RFC 7493): valid UTF-8, no byte order mark, no duplicate names, nothing after the
 * value, at most 100 levels deep. Fails with `INVALID`; `what` names the text in the message.
 * image-spec v1.1.1, considerations.md "JSON".
 */
export function parseJson(bytes: Uint8Array, what: string): unknown {
  let text: string;
  try {
    text = decoder.decode(bytes);
  } catch (cause) {
    throw new OciError("INVALID", `${what} is not valid UTF-8`, { cause });
  }
  const problem = findProblem(text);
  if (problem !== undefined) throw new OciError("INVALID", `${what} is not acceptable JSON: ${problem}`);
  try {
    return JSON.parse(text);
  } catch (cause) {
    throw new OciError("INVALID", `${what} is not valid JSON: ${(cause as Error).message}`, { cause });
  }
}

/** Like {@link parseJson}, and the value must be an object. */
export function parseJsonObject(bytes: Uint8Array, what: string): JsonObject {
  const value = parseJson(bytes, what);
  if (!isJsonObject(value)) throw new OciError("INVALID", `${what} is not a JSON object`);
  return value;
}

/** True for an object that is neither null nor an array. */
export function isJsonObject(value: unknown): value is JsonObject {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/**
 * What `JSON.parse` does not refuse by itself: depth (it recurses), duplicate names (the last wins silently).
 * One pass over the text, no recursion; a malformed text is left for `JSON.parse` to report.
 */
function findProblem(text: string): string | undefined {
  const open: (Names | undefined)[] = [];
  let expectName = false;
  for (let at = 0; at < text.length; at++) {
    switch (text.charCodeAt(at)) {
      case 0x22: {
        const end = endOfString(text, at);
        if (end < 0) return undefined;
        if (expectName) {
          const raw = text.slice(at + 1, end);
          const name = raw.includes("\\") ? unescapeName(raw) : raw;
          if (open[open.length - 1]?.isKnown(name))
            return `the name ${JSON.stringify(name.slice(0, 100))} stands twice in one object`;
          expectName = false;
        }
        at = end;
        break;
      }
      case 0x7b:
        open.push(new Names());
        expectName = true;
        break;
      case 0x5b:
        open.push(undefined);
        expectName = false;
        break;
      case 0x7d:
      case 0x5d:
        open.pop();
        expectName = false;
        break;
      case 0x2c:
        expectName = open[open.length - 1] !== undefined;
        break;
    }
    if (open.length > MAXIMUM_DEPTH) return `it nests deeper than ${MAXIMUM_DEPTH} levels`;
  }
  return undefined;
}

/** The names of one object. Most have a handful, for which a set costs more than looking at each. */
class Names {
  readonly #few: string[] = [];
  #many: Set<string> | undefined;

  /** True if the name was asked for before. */
  isKnown(name: string): boolean {
    if (this.#many !== undefined) {
      if (this.#many.has(name)) return true;
      this.#many.add(name);
      return false;
    }
    if (this.#few.includes(name)) return true;
    if (this.#few.push(name) > 12) this.#many = new Set(this.#few);
    return false;
  }
}

function endOfString(text: string, start: number): number {
  // Nearly every string ends at the first quote. One after a backslash may be part of it.
  const quote = text.indexOf('"', start + 1);
  if (quote < 0 || text.charCodeAt(quote - 1) !== 0x5c) return quote;
  for (let at = start + 1; at < text.length; at++) {
    const code = text.charCodeAt(at);
    if (code === 0x22) return at;
    if (code === 0x5c) at++;
  }
  return -1;
}

function unescapeName(raw: string): string {
  try {
    return JSON.parse(`"${raw}"`) as string;
  } catch {
    return raw;
  }
}
