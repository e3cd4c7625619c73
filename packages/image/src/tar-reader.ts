import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { type Abortable, type Bytes, isOciError, OciError, systemErrorCode } from "@stowage/layout";
import { extract, type Header } from "tar-stream";
import { checkEntryName } from "./tar-header.js";

/** The header of an entry that was read, with what its PAX records say. Nothing in it has been judged. */
export interface TarReadHeader {
  readonly name: string;
  /** `unknown` for what POSIX does not define, such as GNU's sparse files. */
  readonly type:
    | "file"
    | "directory"
    | "symlink"
    | "hardlink"
    | "character-device"
    | "block-device"
    | "fifo"
    | "unknown";
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  readonly size: number;
  /** Seconds since 1970; may be negative or have a fraction. */
  readonly mtime: number;
  readonly linkname?: string;
  /** The PAX records, extended attributes among them. */
  readonly pax: Readonly<Record<string, string>>;
}

/** An entry as it stands in an archive, with its body. */
export interface TarReadEntry {
  readonly header: TarReadHeader;
  /** Must be read, or left alone, before the next entry is asked for. */
  readonly body: AsyncIterable<Uint8Array>;
}

/**
 * The entries of a tar archive in order, with names from PAX and GNU long-name headers. Fails with `INVALID` where the
 * bytes are no tar, are cut off, or where an entry that can have no body has one, which readers take differently.
 */
export async function* readTar(
  bytes: Bytes,
  what: string,
  options: Abortable = {},
): AsyncGenerator<TarReadEntry, void, undefined> {
  const archive = extract();
  const input = Readable.from(bytes, { objectMode: true, highWaterMark: 1 });
  const fed = pipeline(input, archive as unknown as NodeJS.WritableStream, { signal: options.signal });
  // What fails there fails the loop below as well; this is only to have the first error, not its echo.
  let failure: unknown;
  const settled = fed.catch((error: unknown) => {
    failure = error;
  });
  try {
    for await (const entry of archive) {
      const header = readHeader(entry.header, what);
      if (header.size > 0 && header.type !== "file" && header.type !== "unknown") {
        throw new OciError(
          "INVALID",
          `${what}: ${JSON.stringify(header.name)} is a ${header.type} and yet has ${header.size} bytes`,
        );
      }
      yield { header, body: entry as unknown as AsyncIterable<Uint8Array> };
      entry.resume();
    }
    await settled;
    if (failure !== undefined) throw failure;
  } catch (error) {
    await settled;
    if (options.signal?.aborted) throw options.signal.reason;
    throw readError(isOciError(error) ? error : (failure ?? error), what);
  } finally {
    archive.destroy();
    input.destroy();
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

function readHeader(header: Header, what: string): TarReadHeader {
  const pax = (header.pax ?? {}) as Record<string, string>;
  const number = (key: "uid" | "gid" | "mtime", own: number): number => {
    const value = pax[key] === undefined ? own : Number(pax[key]);
    if (Number.isFinite(value)) return value;
    throw new OciError("INVALID", `${what}: ${JSON.stringify(header.name)} has the ${key} ${JSON.stringify(pax[key])}`);
  };
  // The types say otherwise, but what tar-stream does not know it leaves null.
  const type = header.type as Header["type"] | null;
  return {
    name: header.name,
    type: type === null ? "unknown" : type === "link" ? "hardlink" : type === "contiguous-file" ? "file" : type,
    mode: header.mode,
    uid: number("uid", header.uid),
    gid: number("gid", header.gid),
    size: header.size,
    mtime: number("mtime", header.mtime.getTime() / 1000),
    ...(header.linkname ? { linkname: header.linkname } : {}),
    pax,
  };
}

function readError(error: unknown, what: string): unknown {
  if (isOciError(error) || !(error instanceof Error) || error.name === "AbortError") return error;
  // A plain Error is tar-stream's: it has no classes or codes of its own.
  if (error.constructor === Error && systemErrorCode(error) === undefined) {
    return new OciError("INVALID", `${what} is not a readable tar archive: ${error.message}`, { cause: error });
  }
  return error;
}
