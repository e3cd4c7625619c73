import {
  type Abortable,
  ByteReader,
  type Bytes,
  OciError,
  TAR_BLOCK,
  TarHeaderReader,
  type TarReadHeader,
} from "@stowage/layout";
import { quoted } from "./entry-path.js";
import { checkEntryName } from "./tar-header.js";

/** An entry as it stands in an archive, with its body. */
export interface TarReadEntry {
  readonly header: TarReadHeader;
  /** Must be read, or left alone, before the next entry is asked for. */
  readonly body: AsyncIterable<Uint8Array>;
}

/**
 * The entries of a tar archive in order, with names from PAX and GNU long-name headers, read as {@link TarHeaderReader}
 * does. Reads `bytes` to their end, also what stands behind the archive. Fails with `INVALID` where they are no tar, are
 * cut off, or where an entry that can have no body has one, which readers take differently.
 */
export async function* readTar(
  bytes: Bytes,
  what: string,
  options: Abortable = {},
): AsyncGenerator<TarReadEntry, void, undefined> {
  const input = new ByteReader(bytes, what, options);
  const reader = new TarHeaderReader(what);
  try {
    for (;;) {
      const position = input.position;
      if (!(await input.fill())) return;
      const block = reader.read(await input.take(TAR_BLOCK), position);
      if (block.kind === "end") break;
      if (block.kind === "extension") {
        reader.extend(await input.take(block.size));
        await input.skip(padding(block.size));
        continue;
      }
      const { header } = block;
      if (header.size > 0 && header.type !== "file" && header.type !== "unknown") {
        throw new OciError(
          "INVALID",
          `${what}: ${quoted(header.name)} is a ${header.type} and yet has ${header.size} bytes`,
        );
      }
      const end = input.position + header.size;
      yield { header, body: input.until(end) };
      await input.skip(end - input.position);
      // umoci leaves out what fills the last block of an archive.
      await input.skipAny(padding(header.size));
    }
    while (await input.fill()) input.drop();
  } finally {
    await input.close();
  }
}

/**
 * Reads a whole tar archive and fails with `INVALID` where it is none or where a name in it is absolute or holds `..`.
 * An archive without any byte is none. `onEntry` is told every header, before its name is judged.
 */
export async function checkTar(
  bytes: Bytes,
  what: string,
  options: Abortable & { readonly onEntry?: (header: TarReadHeader) => void } = {},
): Promise<void> {
  let size = 0;
  async function* counted(): AsyncGenerator<Uint8Array, void, undefined> {
    for await (const chunk of bytes) {
      size += chunk.byteLength;
      yield chunk;
    }
  }
  for await (const { header } of readTar(counted(), what, options)) {
    options.onEntry?.(header);
    const names = header.type === "hardlink" ? [header.name, header.linkname] : [header.name];
    for (const name of names) {
      try {
        checkEntryName(name ?? "");
      } catch (cause) {
        throw new OciError("INVALID", `${what}: ${(cause as Error).message}`, {
          cause,
          hint: "Write the archive again without absolute names (no `tar -P`).",
        });
      }
    }
  }
  if (size === 0) throw new OciError("INVALID", `${what} is empty, not a tar archive`);
}

function padding(size: number): number {
  return (TAR_BLOCK - (size % TAR_BLOCK)) % TAR_BLOCK;
}
