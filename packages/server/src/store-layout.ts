import { basename } from "node:path";
import { isNamed, isRepository, type Layout, OciError, type Removable, refName } from "@stowage/layout";
import type { Store } from "./store.js";
import { splitName, TaggedTarget } from "./tagged-target.js";

/** The options of {@link layoutStore}. */
export interface LayoutStoreOptions {
  /**
   * The repository that names without a repository (`v1`) are served in. Default: the name of the layout's directory, in
   * lower case and with a hyphen for whatever a repository name cannot hold.
   */
  readonly repository?: string;
}

/** How many repositories are remembered that were asked for with `create` and hold no tag yet. */
const REMEMBERED_REPOSITORIES = 10_000;

/**
 * One layout that holds any number of repositories, told apart by the full names in `org.opencontainers.image.ref.name`:
 * `team/app:v1` is the tag v1 of the repository team/app. A name that starts with a registry host
 * (`ghcr.io/team/app:v1`) is served with and without that host. Content is shared: what one repository has, all have.
 * Fails with `INVALID` where `repository` is no repository name.
 */
export function layoutStore(layout: Layout, options: LayoutStoreOptions = {}): Store {
  const own = options.repository ?? repositoryNameOf(layout.path);
  if (!isRepository(own)) throw new OciError("INVALID", `${JSON.stringify(own)} is no repository name`);
  const promised = new Set<string>();
  const open = new Map<string, TaggedTarget>();
  return {
    name: layout.name,
    async repository(name, { create = false } = {}) {
      if (create) remember(promised, name);
      if (name !== own && !promised.has(name) && !(await names(layout)).some((one) => belongsTo(one, name, own)))
        return undefined;
      const known = open.get(name);
      if (known !== undefined) return known;
      const made = new TaggedTarget(`${layout.name} ${name}`, layout, {
        tagOf: (one) => (belongsTo(one, name, own) ? splitName(one).tag : undefined),
        nameOf: (tag) => (name === own ? tag : `${name}:${tag}`),
      });
      if (open.size >= REMEMBERED_REPOSITORIES) open.clear();
      open.set(name, made);
      return made;
    },
    uploads: async () => layout.uploads,
    expireUploads: (idle) => layout.uploads.expire(idle),
    async *repositories() {
      const found = new Set<string>();
      for (const one of await names(layout)) {
        const { repository, tag } = splitName(one);
        const name = repository === undefined || isRepository(repository) ? repository : withoutHost(repository);
        if (tag !== undefined && isRepository(name ?? own)) found.add(name ?? own);
      }
      yield* [...found].sort();
    },
  };
}

async function names(layout: Removable): Promise<readonly string[]> {
  return (await layout.index()).manifests.filter(isNamed).map((entry) => refName(entry) as string);
}

function belongsTo(name: string, repository: string, own: string): boolean {
  const split = splitName(name);
  if (split.tag === undefined) return false;
  if (split.repository === undefined) return repository === own;
  return split.repository === repository || withoutHost(split.repository) === repository;
}

/** The name without the registry host it starts with, told from a path as Docker does: by a dot, a colon, or `localhost`. */
function withoutHost(name: string): string {
  const slash = name.indexOf("/");
  const first = name.slice(0, Math.max(slash, 0));
  return /[.:]/.test(first) || first === "localhost" ? name.slice(slash + 1) : name;
}

function repositoryNameOf(path: string): string {
  const name = basename(path)
    .toLowerCase()
    .replace(/[^a-z0-9._-]+/g, "-")
    .replace(/[._-]*([._-])/g, "$1")
    .replace(/^[._-]+|[._-]+$/g, "");
  return isRepository(name) ? name : "layout";
}

function remember(names: Set<string>, name: string): void {
  names.delete(name);
  names.add(name);
  if (names.size > REMEMBERED_REPOSITORIES) names.delete(names.values().next().value as string);
}
