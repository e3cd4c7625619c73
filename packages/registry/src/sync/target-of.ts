import { formatLocation, type Location, OciError, parseReference, splitReference } from "@stowage/layout";
import type { SyncItem } from "./sync-file.js";

/** The name of an image at the source: the full name of its repository, empty where it has only a tag, and the tag. */
export interface ImageName {
  readonly name: string;
  /** Undefined where only a digest names it. */
  readonly tag: string | undefined;
}

/** Splits what an entry of a layout or archive is called: `docker.io/library/alpine:3.20`, or only a tag. */
export function imageName(refName: string): ImageName {
  if (!/[:/]/.test(refName)) return { name: "", tag: refName };
  if (refName.includes("@")) return { name: refName, tag: undefined };
  const { name, tag } = splitReference(refName);
  return { name, tag };
}

/** The entry of a layout or archive that an image has. */
export function formatImageName({ name, tag }: ImageName): string {
  return name === "" ? (tag ?? "") : tag === undefined ? name : `${name}:${tag}`;
}

/** What of an item decides where its images go. */
export type Naming = Pick<SyncItem, "source" | "target" | "rename" | "names">;

/** Where an image goes. Fails with `NOT_FOUND` where no rule renames it, and with `INVALID` where the new name is none. */
export function targetOf(item: Naming, image: ImageName): Location {
  const { target } = item;
  const renamed = item.rename.map((rule) => rule.apply(image.name)).find((name) => name !== undefined);
  if (target === undefined) {
    if (renamed !== undefined) return registry(renamed, image);
    throw new OciError("NOT_FOUND", `no rule of rename is about ${JSON.stringify(image.name)}`, {
      hint: "Write one more rule, or leave it out with except.",
    });
  }
  if (target.kind === "registry-prefix")
    return registry(
      [target.host, target.prefix, relativeName(item, image.name)].filter((part) => part !== "").join("/"),
      image,
    );
  if (target.kind === "registry") {
    if (target.reference.tag !== undefined || image.tag === undefined) return target;
    return { kind: "registry", reference: { ...target.reference, tag: image.tag } };
  }
  if (target.tag !== undefined) return target;
  const name = item.names === "tag" ? "" : (renamed ?? image.name);
  const tag = name === "" || image.tag !== undefined ? formatImageName({ name, tag: image.tag }) : "";
  return tag === "" ? target : { ...target, tag };
}

function registry(name: string, { tag }: ImageName): Location {
  const reference = parseReference(tag === undefined ? name : `${name}:${tag}`);
  if (tag !== undefined) return { kind: "registry", reference };
  const { tag: _latest, ...rest } = reference;
  return { kind: "registry", reference: rest };
}

/** What of a repository's name stands behind the prefix of the source; for a layout or archive, behind the host. */
export function relativeName({ source }: Pick<SyncItem, "source">, name: string): string {
  if (source.kind === "registry") return source.reference.repository;
  if (source.kind === "registry-prefix") {
    const prefix = source.prefix === "" ? `${source.host}/` : `${source.host}/${source.prefix}/`;
    return name.startsWith(prefix) ? name.slice(prefix.length) : name;
  }
  const slash = name.indexOf("/");
  const first = name.slice(0, Math.max(slash, 0));
  return /[.:]/.test(first) || first === "localhost" ? name.slice(slash + 1) : name;
}

/** The repository of a target, with the tags of which a selection is compared: a repository, or one name in a layout. */
export function groupOf(target: Location): string {
  if (target.kind === "registry") {
    const { tag: _tag, digest: _digest, ...reference } = target.reference;
    return formatLocation({ kind: "registry", reference });
  }
  const name = target.tag === undefined ? "" : imageName(target.tag).name;
  return `${formatLocation({ kind: target.kind, path: target.path })} ${name}`;
}
