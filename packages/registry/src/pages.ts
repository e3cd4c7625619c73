import { OciError } from "@stowage/layout";
import type { Endpoint, RepositoryRequest } from "./endpoint.js";
import type { Answer } from "./http/answer.js";
import { nextPage } from "./http/link.js";

/** A registry that says there is more after so many pages is not believed. */
const MAXIMUM_PAGES = 1000;

/**
 * The answers of a listing, page by page. A page that was there before ends it. Fails with `LIMIT` after 1000 pages, with
 * `DENIED` where a page leads to another host, rather than to end early, and as {@link Endpoint.send} does. Whoever takes an answer reads or discards it.
 */
export async function* pages(
  endpoint: Pick<Endpoint, "url" | "send">,
  first: RepositoryRequest,
): AsyncGenerator<Answer, void, undefined> {
  const seen = new Set<string>();
  let at: URL | undefined = typeof first.at === "string" ? endpoint.url(first.at) : first.at;
  for (let count = 0; at !== undefined; count++) {
    if (count >= MAXIMUM_PAGES)
      throw new OciError("LIMIT", `${first.action}: ${at.host} sends more than ${MAXIMUM_PAGES} pages`);
    seen.add(keyOf(at));
    const answer: Answer = await endpoint.send({ ...first, at });
    yield answer;
    const next = ownPage(nextPage(answer.headers("link"), answer.url), answer.url, first.action);
    at = next === undefined || seen.has(keyOf(next)) ? undefined : next;
  }
}

/** What makes a page the same page: where it starts, or else the whole URL. */
function keyOf(url: URL): string {
  const last = url.searchParams.get("last");
  return last === null ? url.href : `${url.pathname} ${last}`;
}

/** The next page, from where this one came. A proxy may hide from a registry that its clients speak https. */
function ownPage(next: URL | undefined, from: URL, action: string): URL | undefined {
  if (next === undefined) return undefined;
  if (next.host !== from.host)
    throw new OciError("DENIED", `${action}: ${from.host} leads to ${next.host} for the next page; that is refused`);
  const url = new URL(next);
  url.protocol = from.protocol;
  return url;
}
