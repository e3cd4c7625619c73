import type { FileHandle } from "node:fs/promises";
import { OciError } from "../model/errors.js";
import { TAR_BLOCK, TarHeaderReader } from "./tar-header.js";

/** A regular file, or a link to one, inside a tar. */
export interface TarEntry {
  readonly name: string;
  /** Where its bytes start in the tar, and how many there are. */
  readonly offset: number;
  readonly size: number;
  /** For a link: the name it points at, as it stands there. */
  readonly link?: { readonly target: string; readonly symbolic: boolean };
}

/** Hard and symbolic links, devices, directories and FIFOs have no content; some writers repeat a size in their headers. */
const CONTENT = new Set(["file", "unknown"]);
/** How many entries an archive may have. */
const MAXIMUM_ENTRIES = 1_000_000;

/**
 * The entries of a tar in a file, read header by header: contents are skipped, so a large archive costs no more than its
 * headers. Fails as {@link TarHeaderReader} does; directories and special files are passed over.
 */
export async function* readTarEntries(handle: FileHandle, where: string): AsyncGenerator<TarEntry, void, undefined> {
  const { size: end } = await handle.stat();
  const reader = new TarHeaderReader(where);
  let count = 0;
  for (let position = 0; position < end; ) {
    const block = reader.read(await readAt(handle, position, TAR_BLOCK, where), position);
    if (block.kind === "end") return;
    if (++count > MAXIMUM_ENTRIES) throw new OciError("LIMIT", `${where} has more than ${MAXIMUM_ENTRIES} entries`);
    const stated = block.kind === "entry" ? block.header.size : block.size;
    const size = block.kind === "extension" || CONTENT.has(block.header.type) ? stated : 0;
    const offset = position + TAR_BLOCK;
    if (offset + size > end) throw new OciError("INVALID", `${where} ends in the middle of an entry`);
    position = offset + Math.ceil(size / TAR_BLOCK) * TAR_BLOCK;
    if (block.kind === "extension") {
      reader.extend(await readAt(handle, offset, size, where));
      continue;
    }
    const { name, type, linkname: target = "" } = block.header;
    if (type === "file") yield { name, offset, size };
    else if (type === "hardlink" || type === "symlink")
      yield { name, offset, size: 0, link: { target, symbolic: type === "symlink" } };
  }
}

async function readAt(handle: FileHandle, position: number, length: number, where: string): Promise<Buffer> {
  const buffer = Buffer.alloc(length);
  for (let filled = 0; filled < length; ) {
    const { bytesRead } = await handle.read(buffer, filled, length - filled, position + filled);
    if (bytesRead === 0) throw new OciError("INVALID", `${where} ends in the middle of a header`);
    filled += bytesRead;
  }
  return buffer;
}
