import { OciError } from "@stowage/layout";

/** A range of ids in the image and where it starts outside, as in `/etc/subuid`. */
export interface IdRange {
  readonly inside: number;
  readonly outside: number;
  readonly size: number;
}

/**
 * Who owns what is unpacked: `image`, who owns it in the image, which takes root; `mine`, whoever runs this; or the owner in
 * the image through a map.
 */
export type Owners = "image" | "mine" | { readonly uids: readonly IdRange[]; readonly gids: readonly IdRange[] };

/** Reads `INSIDE:OUTSIDE[:SIZE]`, all decimal; without a size it is 1. Fails with `INVALID`. */
export function parseIdRange(text: string): IdRange {
  const match = /^([0-9]{1,10}):([0-9]{1,10})(?::([0-9]{1,10}))?$/.exec(text);
  if (match === null)
    throw new OciError("INVALID", `not a range of ids: ${JSON.stringify(text)}`, {
      hint: "Write INSIDE:OUTSIDE:SIZE, such as 0:100000:65536.",
    });
  return { inside: Number(match[1]), outside: Number(match[2]), size: Number(match[3] ?? 1) };
}

/** The largest id; the one above means "none" to chown(2). */
const MAXIMUM_ID = 2 ** 32 - 2;

/** The owner on disk of what `header` describes, undefined where it stays as it is. Fails with `INVALID` where the map has no place for it. */
export function ownerOf(
  header: { readonly name: string; readonly uid: number; readonly gid: number },
  owners: Owners,
  what: string,
): { readonly uid: number; readonly gid: number } | undefined {
  if (owners === "mine") return undefined;
  const owner =
    owners === "image"
      ? { uid: header.uid, gid: header.gid }
      : { uid: mapped(header.uid, owners.uids), gid: mapped(header.gid, owners.gids) };
  if (owner.uid >= 0 && owner.gid >= 0 && owner.uid <= MAXIMUM_ID && owner.gid <= MAXIMUM_ID) return owner;
  throw new OciError(
    "INVALID",
    `${what}: ${JSON.stringify(header.name)} belongs to ${header.uid}:${header.gid}, which ${owners === "image" ? "no system has" : "is in no range of the map"}`,
  );
}

function mapped(id: number, ranges: readonly IdRange[]): number {
  const range = ranges.find(({ inside, size }) => id >= inside && id < inside + size);
  return range === undefined ? -1 : range.outside + id - range.inside;
}
