import {
  type Abortable,
  type Descriptor,
  type FileLocation,
  formatLocation,
  IndexedSource,
  isNamed,
  type Location,
  OciError,
  parseLegacyTag,
  type Source,
  type Target,
} from "@stowage/layout";
import { type OpenOptions, openSource, openTarget } from "./open.js";

/** Opens a location to read from, hands it to `use`, and closes it whatever happens. Fails as {@link openSource} and `use` do. */
export async function withSource<T>(
  location: Location,
  open: OpenOptions,
  use: (source: Source) => Promise<T>,
): Promise<T> {
  const opened = await openSource(location, open);
  try {
    return await use(opened.source);
  } finally {
    await opened.close();
  }
}

/** Like {@link withSource} for several locations: they are all open until `use` is done. */
export function withSources<T>(
  locations: readonly Location[],
  open: OpenOptions,
  use: (sources: readonly Source[]) => Promise<T>,
): Promise<T> {
  const [first, ...others] = locations;
  if (first === undefined) return use([]);
  return withSource(first, open, (source) => withSources(others, open, (sources) => use([source, ...sources])));
}

/**
 * Opens a location to write to and hands it to `use`. A target that is written in one go, an archive, is complete when this
 * returns, and given up where `use` fails. Fails as {@link openTarget} and `use` do.
 */
export async function withTarget<T>(
  location: Location,
  open: OpenOptions,
  use: (target: Target) => Promise<T>,
): Promise<T> {
  const opened = await openTarget(location, open);
  let result: T;
  try {
    result = await use(opened.target);
  } catch (error) {
    await opened.discard();
    throw error;
  }
  await opened.close();
  return result;
}

/** What a location names in an open source. */
export interface ResolvedLocation {
  readonly descriptor: Descriptor;
  /** The tag the location names, or the only one there is. */
  readonly tag: string | undefined;
}

/**
 * What a location names. Where it names neither tag nor digest and there is exactly one image, that one. Fails with
 * `CONFLICT` where there are several, and with `NOT_FOUND` where there is none.
 */
export async function resolveLocation(
  source: Source,
  location: Location,
  options: Abortable = {},
): Promise<ResolvedLocation> {
  const { tag, digest } = location.kind === "registry" ? location.reference : location;
  const reference = digest ?? tag;
  if (reference !== undefined) return { descriptor: await source.resolve(reference, options), tag };
  const tags: string[] = [];
  for await (const one of source.tags(options)) tags.push(one);
  // cosign's older tags say what goes with an image; none of them is an image that somebody named.
  const images = tags.filter((one) => parseLegacyTag(one) === undefined);
  const candidates = images.length > 0 ? images : tags;
  const [only] = candidates;
  if (only === undefined) return { descriptor: await onlyEntry(source, location, options), tag: undefined };
  if (candidates.length === 1) return { descriptor: await source.resolve(only, options), tag: only };
  throw new OciError("CONFLICT", `${formatLocation(location)} holds ${candidates.length} tags; say which one`, {
    hint: `For example ${formatLocation({ ...(location as FileLocation), tag: only })}.`,
  });
}

async function onlyEntry(source: Source, location: Location, options: Abortable): Promise<Descriptor> {
  const all = source instanceof IndexedSource ? (await source.index(options)).manifests : [];
  const entries = all.filter((entry) => isNamed(entry) || entry.annotations === undefined);
  const [only] = entries;
  if (only !== undefined && entries.length === 1) return only;
  throw new OciError("NOT_FOUND", `${formatLocation(location)} holds no tag`, {
    hint:
      only === undefined ? "It is empty." : `Name one of its ${entries.length} manifests by its digest: @sha256:...`,
  });
}
