import { Refusal } from "./errors.js";
import type { Exchange } from "./exchange.js";

/** One page of a sorted list. */
export interface Page {
  readonly items: readonly string[];
  /** The Link to the next page, or nothing. */
  readonly headers: Readonly<Record<string, string>>;
}

/**
 * The page of `sorted` that the query asks for: at most `n` items, after `last`. With `n=0` it is empty and no page follows.
 * distribution-spec v1.1.1, "Listing Tags".
 */
export async function pageOf(exchange: Exchange, sorted: AsyncIterable<string>, limit: number): Promise<Page> {
  const text = exchange.query.get("n");
  if (text !== null && !/^[0-9]+$/.test(text)) throw new Refusal(400, "UNSUPPORTED", "n is not a number");
  const count = text === null ? limit : Math.min(Number(text), limit);
  const last = exchange.query.get("last");
  const items: string[] = [];
  if (count === 0) return { items, headers: {} };
  for await (const item of sorted) {
    if (last !== null && item <= last) continue;
    if (items.length === count) {
      return { items, headers: { Link: nextLink(exchange.path, { n: String(count), last: items.at(-1) as string }) } };
    }
    items.push(item);
  }
  return { items, headers: {} };
}

/** A Link header (RFC 8288) to the next page of the list at `path`. */
export function nextLink(path: string, query: Readonly<Record<string, string>>): string {
  return `<${path}?${new URLSearchParams(query)}>; rel="next"`;
}
