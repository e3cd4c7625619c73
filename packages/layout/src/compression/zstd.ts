import type { Transform } from "node:stream";
import type { Decompress } from "fzstd";
import type { Abortable, Bytes } from "../content.js";
import { isOciError, OciError } from "../model/errors.js";
import { ByteReader } from "./byte-reader.js";
import { through } from "./through.js";

const MAGIC = 0xfd2fb528;
/** The first of sixteen. */
const SKIPPABLE = 0x184d2a50;
/** What zstd itself takes without being told to take more: 128 MiB. It is memory that a few bytes ask for. */
const MAXIMUM_WINDOW = 2 ** 27;
/** As large as a block may be: 128 KiB. RFC 8878, section 3.1.1.2.4. */
const MAXIMUM_BLOCK = 2 ** 17;
const CHUNK = 256 * 1024;

/**
 * The content of a zstd stream, of however many frames, with Node's own decompressor where it has one (22.15 and later)
 * and with fzstd elsewhere. Fails with `INVALID` where it is damaged or cut off, with `LIMIT` where it asks for more than
 * 128 MiB of memory, with `UNSUPPORTED` where it needs a dictionary; `what` names it in the message. The checksums inside
 * of it are not relied on: whoever reads a layer has its digest. RFC 8878.
 */
export async function* unzstd(
  bytes: Bytes,
  what: string,
  options: Abortable = {},
): AsyncGenerator<Uint8Array, void, undefined> {
  // Not in the types of Node 20.
  const create = (
    process.getBuiltinModule("node:zlib") as { createZstdDecompress?: (options: { chunkSize: number }) => Transform }
  ).createZstdDecompress;
  try {
    if (create === undefined) yield* withFzstd(frames(bytes, what, options));
    else {
      const parts = contents(frames(bytes, what, options));
      // Without a frame there is no content, and for Node's decompressor an end that came too early.
      const first = await parts.next();
      if (first.done !== true) yield* through(withFirst(first.value, parts), create({ chunkSize: CHUNK }), options);
    }
  } catch (error) {
    options.signal?.throwIfAborted();
    if (isOciError(error) || !isZstdError(error)) throw error;
    throw new OciError("INVALID", `${what} is not readable zstd: ${error.message}`, { cause: error });
  }
}

/** Part of a frame, its end, or both. */
interface FramePart {
  readonly bytes: Buffer;
  readonly ends: boolean;
}

/** The frames with content, block by block. Neither decompressor bounds its memory or finds every cut by itself. */
async function* frames(bytes: Bytes, what: string, options: Abortable): AsyncGenerator<FramePart, void, undefined> {
  const input = new ByteReader(bytes, what, options);
  const invalid = (problem: string): OciError => new OciError("INVALID", `${what} is not readable zstd: ${problem}`);
  try {
    while (await input.fill()) {
      const start = Buffer.from(await input.take(4));
      const magic = start.readUInt32LE();
      if (magic >= SKIPPABLE && magic < SKIPPABLE + 16) {
        await input.skip((await input.take(4)).readUInt32LE());
        continue;
      }
      if (magic !== MAGIC) throw invalid("something else stands where a frame should start");
      const head = Buffer.from(await input.take(1));
      const flags = head[0] as number;
      if ((flags & 0b1000) !== 0) throw invalid("a frame has a reserved bit set");
      if ((flags & 0b11) !== 0) throw new OciError("UNSUPPORTED", `${what} is zstd that needs a dictionary`);
      const single = (flags & 0b10_0000) !== 0;
      const sizeBytes = [single ? 1 : 0, 2, 4, 8][flags >> 6] as number;
      const rest = Buffer.from(await input.take((single ? 0 : 1) + sizeBytes));
      if (windowSize(rest, single, sizeBytes) > MAXIMUM_WINDOW)
        throw new OciError("LIMIT", `${what} is zstd that asks for more than ${MAXIMUM_WINDOW} bytes of memory`);
      yield { bytes: Buffer.concat([start, head, rest]), ends: false };
      for (let last = false; !last; ) {
        const block = Buffer.from(await input.take(3));
        const header = block.readUIntLE(0, 3);
        last = (header & 1) === 1;
        const type = (header >> 1) & 3;
        const size = type === 1 ? 1 : header >> 3;
        if (type === 3 || size > MAXIMUM_BLOCK) throw invalid("a block has no valid header");
        const checksum = last && (flags & 0b100) !== 0 ? 4 : 0;
        yield { bytes: Buffer.concat([block, await input.take(size + checksum)]), ends: last };
      }
    }
  } finally {
    await input.close();
  }
}

/** RFC 8878, section 3.1.1.1.2. */
function windowSize(rest: Buffer, single: boolean, sizeBytes: number): number {
  if (single) {
    if (sizeBytes === 8) return Number(rest.readBigUInt64LE());
    return rest.readUIntLE(0, sizeBytes) + (sizeBytes === 2 ? 256 : 0);
  }
  const descriptor = rest[0] as number;
  const base = 2 ** (10 + (descriptor >> 3));
  return base + (base / 8) * (descriptor & 7);
}

async function* contents(parts: AsyncIterable<FramePart>): AsyncGenerator<Uint8Array, void, undefined> {
  for await (const { bytes } of parts) yield bytes;
}

async function* withFirst(
  first: Uint8Array,
  rest: AsyncIterable<Uint8Array>,
): AsyncGenerator<Uint8Array, void, undefined> {
  yield first;
  yield* rest;
}

async function* withFzstd(parts: AsyncIterable<FramePart>): AsyncGenerator<Uint8Array, void, undefined> {
  let output: Uint8Array[] = [];
  const { Decompress } = await import("fzstd");
  const begin = (): Decompress =>
    new Decompress((chunk) => {
      if (chunk.byteLength > 0) output.push(chunk);
    });
  let frame = begin();
  for await (const { bytes, ends } of parts) {
    frame.push(bytes);
    if (ends) {
      frame.push(new Uint8Array(), true);
      frame = begin();
    }
    yield* output;
    output = [];
  }
}

function isZstdError(error: unknown): error is Error {
  if (!(error instanceof Error)) return false;
  const { code } = error as { code?: unknown };
  // fzstd numbers its errors; Node's have names. A TypeError or RangeError is fzstd's as well, over bytes that make no sense.
  return (
    typeof code === "number" ||
    String(code).startsWith("ZSTD_") ||
    error instanceof RangeError ||
    error instanceof TypeError
  );
}
