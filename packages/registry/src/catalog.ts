import { type Abortable, isRepository, OciError, parseJsonObject } from "@stowage/layout";
import { catalogScope } from "./auth/scope.js";
import { pages } from "./pages.js";
import type { Registry } from "./registry.js";

/** One page of names, in bytes. */
const MAXIMUM_PAGE = 32 * 1024 * 1024;
const MAXIMUM_REPOSITORIES = 1_000_000;
const PAGE_LENGTH = 1000;

/**
 * The names of the repositories of a registry, each once, in bytewise order. `/v2/_catalog` is no part of the specification;
 * fails with `UNSUPPORTED` where the registry has no such thing.
 */
export async function listRepositories(registry: Registry, options: Abortable = {}): Promise<readonly string[]> {
  const action = `cannot list the repositories of ${registry.host}`;
  const names = new Set<string>();
  const endpoint: Parameters<typeof pages>[0] = {
    url: (path) => new URL(`/v2/${path}`, registry.url),
    send: ({ at, needs: _needs, from: _from, ...request }) =>
      registry.send({ ...request, url: at as URL, scopes: [catalogScope] }),
  };
  for await (const answer of pages(endpoint, {
    action,
    method: "GET",
    at: `_catalog?n=${PAGE_LENGTH}`,
    needs: "pull",
    accept: [200, 404, 405],
    headers: { accept: "application/json" },
    signal: options.signal,
  })) {
    if (answer.status !== 200) {
      await answer.discard();
      throw new OciError("UNSUPPORTED", `${action}: it does not list them`, {
        hint: "Name the repositories instead of writing a pattern.",
      });
    }
    const where = `the repositories of ${registry.host}`;
    const page = parseJsonObject(await answer.bytes(MAXIMUM_PAGE, `a page of ${where}`), where);
    if (page.repositories !== undefined && page.repositories !== null && !Array.isArray(page.repositories))
      throw new OciError("INVALID", `${action}: ${answer.url.host} sent something that is no list of names`);
    for (const name of page.repositories ?? []) if (typeof name === "string" && isRepository(name)) names.add(name);
    if (names.size > MAXIMUM_REPOSITORIES)
      throw new OciError("LIMIT", `${action}: there are more than ${MAXIMUM_REPOSITORIES}`);
  }
  return [...names].sort();
}
