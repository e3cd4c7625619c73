import type { Descriptor } from "../model/descriptor.js";
import { OciError } from "../model/errors.js";
import { annotationKeys } from "../model/media-types.js";
import { formatReference, parseReference, type Reference } from "../model/reference.js";
import { isNamed, type LayoutIndex, refName, unnamed } from "../store/index-json.js";

/**
 * How the entries of an archive are named, which loaders read differently.
 *
 * - `oci`: `ref.name` is the tag, as skopeo, oras and regctl write it.
 * - `docker`, `containerd`: `ref.name` is the tag and `io.containerd.image.name` the full name, as both of them write it.
 * - `podman`: `ref.name` is the full name.
 * - `any`: both are the full name, so that each of them finds it.
 */
export type ArchiveNames = "any" | "oci" | "docker" | "containerd" | "podman";

/** The values of {@link ArchiveNames}, the default first. */
export const archiveNames: readonly ArchiveNames[] = ["any", "oci", "docker", "containerd", "podman"];

/** The name as that of an image in a repository; undefined for one that is only a tag, or none at all. */
export function fullName(name: string): Reference | undefined {
  if (!/[:/]/.test(name)) return undefined;
  try {
    return parseReference(name);
  } catch {
    return undefined;
  }
}

/**
 * The index with its entries named as `names` says. A name that is only a tag stays what it is. Fails with `CONFLICT` where
 * two images would have one name.
 */
export function withNames(index: LayoutIndex, names: ArchiveNames): LayoutIndex {
  const manifests = index.manifests.map((entry) => (isNamed(entry) ? named(entry, names) : entry));
  const seen = new Map<string, Descriptor>();
  for (const entry of manifests) {
    // Where the full name stands beside it, a tag need not be the only one.
    if (!isNamed(entry) || entry.annotations?.[annotationKeys.containerdName] !== undefined) continue;
    const name = refName(entry) as string;
    const other = seen.get(name);
    if (other !== undefined && other.digest !== entry.digest)
      throw new OciError(
        "CONFLICT",
        `two images of the archive would be called ${name}: ${other.digest}, ${entry.digest}`,
        {
          hint: "--names any or podman keeps the full names.",
        },
      );
    seen.set(name, entry);
  }
  return { ...index, manifests };
}

function named(entry: Descriptor, names: ArchiveNames): Descriptor {
  const name = refName(entry) as string;
  const full = fullName(name);
  if (full === undefined) return entry;
  const short = full.tag ?? full.digest;
  const text = formatReference(full);
  return {
    ...entry,
    annotations: {
      ...entry.annotations,
      [annotationKeys.refName]: names === "any" || names === "podman" ? name : (short as string),
      ...(names === "oci" || names === "podman" ? {} : { [annotationKeys.containerdName]: text }),
    },
  };
}

/** The index of an archive with the full name in `ref.name` where an entry has it in `io.containerd.image.name`. */
export function withFullNames(index: LayoutIndex): LayoutIndex {
  if (!index.manifests.some((entry) => entry.annotations?.[annotationKeys.containerdName] !== undefined)) return index;
  return { ...index, manifests: index.manifests.map(withFullName) };
}

function withFullName(entry: Descriptor): Descriptor {
  const text = entry.annotations?.[annotationKeys.containerdName];
  const full = text === undefined ? undefined : fullName(text);
  if (text === undefined || full === undefined) return entry;
  const name = refName(entry);
  // Whoever gave it another name meant that.
  const isOther = name !== undefined && name !== full.tag && name !== full.digest;
  const { annotations, ...rest } = unnamed(entry);
  return { ...rest, annotations: { ...annotations, [annotationKeys.refName]: isOther ? name : text } };
}
