import { encodeTarName, OciError, type TarReadHeader } from "@stowage/layout";
import type { EncodedTarEntry } from "./tar.js";
import { fits, paxHeader, paxRecord, shorten, splitName, ustar } from "./tar-header.js";
import type { TarReadEntry } from "./tar-reader.js";

const TYPE_FLAGS: Readonly<Record<TarReadHeader["type"], string | undefined>> = {
  file: "0",
  hardlink: "1",
  symlink: "2",
  "character-device": "3",
  "block-device": "4",
  directory: "5",
  fifo: "6",
  unknown: undefined,
};
/** Records whose values stand in {@link TarReadHeader} itself. */
const OWN_RECORDS = new Set(["path", "linkpath", "size", "uid", "gid", "mtime"]);

/**
 * An entry that was read, to be written again: type, name, mode, owner, time, device, extended attributes and other PAX
 * records stay; names of users and groups do not. Fails with `UNSUPPORTED` where its type is not known.
 */
export function copyTarEntry({ header, body }: TarReadEntry, what: string): EncodedTarEntry {
  return { name: header.name, size: header.size, header: encodeReadHeader(header, what), open: () => body };
}

function encodeReadHeader(header: TarReadHeader, what: string): Uint8Array {
  const flag = TYPE_FLAGS[header.type];
  if (flag === undefined)
    throw new OciError("UNSUPPORTED", `${what}: ${JSON.stringify(header.name)} is of a kind that is not known`);
  const records: Uint8Array[] = [];
  for (const [key, value] of Object.entries(header.pax)) if (!OWN_RECORDS.has(key)) records.push(paxRecord(key, value));
  for (const [key, value] of header.xattrs) records.push(paxRecord(`SCHILY.xattr.${key}`, value));
  const name = splitName(header.name);
  if (name === undefined) records.push(paxRecord("path", encodeTarName(header.name)));
  const linkname = header.linkname ?? "";
  if (!fits(linkname, 100)) records.push(paxRecord("linkpath", encodeTarName(linkname)));
  for (const [key, digits] of [
    ["uid", 7],
    ["gid", 7],
    ["size", 11],
  ] as const)
    if (header[key] >= 8 ** digits) records.push(paxRecord(key, String(header[key])));
  const seconds = Math.floor(header.mtime);
  const isPlain = seconds === header.mtime && seconds >= 0 && seconds < 8 ** 11;
  if (!isPlain) records.push(paxRecord("mtime", String(header.mtime)));
  const fields = { ...header, mtime: Math.max(0, seconds) };
  const own = ustar(fields, name ?? { prefix: "", name: shorten(header.name) }, shorten(linkname), flag);
  return records.length === 0 ? own : Buffer.concat([paxHeader(header.name, records), own]);
}
