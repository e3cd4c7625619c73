import {
  type Abortable,
  formatLocation,
  formatReference,
  type Location,
  OciError,
  parseReference,
  type Source,
} from "@stowage/layout";
import type { Places } from "./places.js";
import { exactNames, type Selection, select } from "./selection.js";
import type { RegistryPlace, SyncItem, SyncPlace } from "./sync-file.js";
import { formatImageName, imageName, relativeName, targetOf } from "./target-of.js";

/** One repository of a source: a registry's, or the entries of a layout or archive that have one name. */
export interface SourceRepository {
  /** In full; empty for entries that only have a tag. */
  readonly name: string;
  readonly source: Source;
  /** The tags there are, asked for once. */
  list(): Promise<readonly string[]>;
  /** What `source` resolves for a tag. */
  reference(tag: string): string;
}

/** The repositories an item is about. Fails with `UNSUPPORTED` where a registry does not list them, and as the source does. */
export async function sourceRepositories(
  item: SyncItem,
  places: Places,
  options: Abortable,
): Promise<readonly SourceRepository[]> {
  const { source } = item;
  if (source.kind !== "registry" && source.kind !== "registry-prefix") return inFile(item, source, places, options);
  const { host } = source.kind === "registry" ? source.reference : source;
  if (places.isRefused(host)) return inTargetLayout(item, host, places, options);
  if (source.kind === "registry") return [await inRegistry(source, places, options)];
  const names = await repositoryNames(source, item.repositories ?? [], places);
  return Promise.all(
    names.map((name) => inRegistry({ kind: "registry", reference: parseReference(name) }, places, options)),
  );
}

/** What a place is called in messages. */
export function placeName(place: SyncPlace): string {
  if (place.kind === "registry-prefix") return place.prefix === "" ? place.host : `${place.host}/${place.prefix}`;
  return formatLocation(place);
}

async function repositoryNames(
  source: RegistryPlace,
  selection: Selection,
  places: Places,
): Promise<readonly string[]> {
  const below = `${placeName(source)}/`;
  const exact = exactNames(selection);
  if (exact !== undefined) return exact.map((name) => `${below}${name}`);
  const prefix = source.prefix === "" ? "" : `${source.prefix}/`;
  const listed = (await places.repositories(source.host)).filter((name) => name.startsWith(prefix));
  const relative = listed.map((name) => name.slice(prefix.length));
  return (await select(selection, relative, noDate)).map((name) => `${below}${name}`);
}

async function noDate(): Promise<never> {
  throw new OciError("INVALID", "repositories have no date of creation", { hint: "Leave newest out of repositories." });
}

async function inRegistry(
  { reference }: Extract<Location, { kind: "registry" }>,
  places: Places,
  options: Abortable,
): Promise<SourceRepository> {
  const { host, repository } = reference;
  const source = await places.source({ kind: "registry", reference: { host, repository } });
  const list = once(() => tagsOf(source, options));
  return { name: formatReference({ host, repository }), source, list, reference: (tag) => tag };
}

async function inFile(
  item: SyncItem,
  location: Location,
  places: Places,
  options: Abortable,
): Promise<readonly SourceRepository[]> {
  const source = await places.source(location);
  if (location.kind !== "registry" && (location.tag !== undefined || location.digest !== undefined))
    return [repository(source, imageName(location.tag ?? "").name, [])];
  const found = repositoriesIn(source, await tagsOf(source, options));
  if (item.repositories === undefined) return found;
  const named = found.filter(({ name }) => name !== "");
  const names = await select(
    item.repositories,
    named.map(({ name }) => name),
    noDate,
  );
  return names.map((name) => named.find((one) => one.name === name) ?? repository(source, name, []));
}

/** Offline, what an item names is taken from the layout it goes to, under the names it has there. */
async function inTargetLayout(
  item: SyncItem,
  host: string,
  places: Places,
  options: Abortable,
): Promise<readonly SourceRepository[]> {
  const layout =
    item.target === undefined || item.target.kind === "registry-prefix"
      ? undefined
      : await places.presentLayout(item.target);
  if (layout === undefined)
    throw new OciError(
      "DENIED",
      `${host} is not asked: this run is offline, and the target is no layout that has what is wanted`,
      {
        hint: "Sync into a layout first, while there is a network. --allow-host names a registry that may be asked all the same.",
      },
    );
  const tags = await tagsOf(layout, options);
  const { source } = item;
  if (source.kind === "registry") {
    const name = formatReference({ host, repository: source.reference.repository });
    return [underNewName(item, name, layout, tags)];
  }
  const exact = exactNames(item.repositories ?? []);
  if (exact !== undefined)
    return exact.map((name) => underNewName(item, `${placeName(item.source)}/${name}`, layout, tags));
  if (item.rename.length > 0 || item.names === "tag")
    throw new OciError(
      "DENIED",
      `the repositories of ${host} cannot be listed: this run is offline, and the layout has them under other names`,
      {
        hint: "Run with --frozen and a lock.",
      },
    );
  const below = `${placeName(item.source)}/`;
  const inside = repositoriesIn(layout, tags).filter(({ name }) => name.startsWith(below));
  const names = await select(
    item.repositories ?? [],
    inside.map(({ name }) => relativeName(item, name)),
    noDate,
  );
  return inside.filter(({ name }) => names.includes(relativeName(item, name)));
}

/** The entries of the layout that an image `name` of the source has there. */
function underNewName(item: SyncItem, name: string, layout: Source, entries: readonly string[]): SourceRepository {
  const entryOf = (tag: string | undefined): string => {
    const target = targetOf(item, { name, tag });
    return target.kind === "registry" ? "" : (target.tag ?? "");
  };
  const own = imageName(entryOf("x")).name;
  const tags = entries
    .map(imageName)
    .flatMap((entry) => (entry.name === own && entry.tag !== undefined ? [entry.tag] : []));
  return { name, source: layout, list: async () => tags, reference: entryOf };
}

function repositoriesIn(source: Source, entries: readonly string[]): readonly SourceRepository[] {
  const names = new Map<string, string[]>();
  for (const { name, tag } of entries.map(imageName)) {
    const tags = names.get(name) ?? [];
    names.set(name, tags);
    // An entry with a name and no tag is what Docker calls latest.
    tags.push(tag ?? "latest");
  }
  const known = new Set(entries);
  return [...names].map(([name, tags]) => repository(source, name, tags, known));
}

function repository(
  source: Source,
  name: string,
  tags: readonly string[],
  known: ReadonlySet<string> = new Set(),
): SourceRepository {
  const reference = (tag: string): string => {
    const full = formatImageName({ name, tag });
    return tag === "latest" && !known.has(full) && known.has(name) ? name : full;
  };
  return { name, source, list: async () => tags, reference };
}

async function tagsOf(source: Source, options: Abortable): Promise<readonly string[]> {
  const tags: string[] = [];
  for await (const tag of source.tags(options)) tags.push(tag);
  return tags;
}

function once<T>(ask: () => Promise<T>): () => Promise<T> {
  let asked: Promise<T> | undefined;
  return () => {
    asked ??= ask();
    return asked;
  };
}
