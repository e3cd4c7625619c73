import { isReferrersTag, isTag, OciError, parseJsonObject, type TagListOptions } from "@stowage/layout";
import type { Endpoint } from "./endpoint.js";
import { pages } from "./pages.js";

/** One page of tags, in bytes. */
const MAXIMUM_PAGE = 32 * 1024 * 1024;
const MAXIMUM_TAGS = 5_000_000;
/** What is asked for per page. Registries send fewer if they like; some refuse to be asked for more. */
const PAGE_LENGTH = 1000;

/**
 * The tags of a repository, each once, in bytewise order, with those that only carry a referrers list only where `all` are
 * asked for. Fails with `NOT_FOUND` where the repository is not there. distribution-spec v1.1.1, "Listing Tags".
 */
export async function listTags(endpoint: Endpoint, options: TagListOptions = {}): Promise<readonly string[]> {
  const action = `cannot list the tags of ${endpoint.name}`;
  const tags = new Set<string>();
  for await (const answer of pages(endpoint, {
    action,
    method: "GET",
    at: `tags/list?n=${PAGE_LENGTH}`,
    needs: "pull",
    accept: [200],
    headers: { accept: "application/json" },
    signal: options.signal,
  })) {
    const page = parseJsonObject(
      await answer.bytes(MAXIMUM_PAGE, `a page of the tags of ${endpoint.name}`),
      `the tags of ${endpoint.name}`,
    );
    if (page.tags !== undefined && page.tags !== null && !Array.isArray(page.tags)) {
      throw new OciError("INVALID", `${action}: ${answer.url.host} sent something that is no list of tags`);
    }
    for (const tag of page.tags ?? [])
      if (typeof tag === "string" && isTag(tag) && (options.all === true || !isReferrersTag(tag))) tags.add(tag);
    const { atMost = MAXIMUM_TAGS } = options;
    if (tags.size > atMost) throw new OciError("LIMIT", `${action}: there are more than ${atMost}`);
  }
  // Tags are ASCII, so the order of UTF-16 units is the order of bytes.
  return [...tags].sort();
}
