import type { Abortable, Bytes } from "../content.js";
import { gunzip } from "./gzip.js";
import { unzstd } from "./zstd.js";

/**
 * The bytes, decompressed by what the first of them say they are: gzip, zstd or plain. Fails with `INVALID` where they are
 * damaged; `what` names them in the message.
 */
export async function* decompress(
  bytes: Bytes,
  what: string,
  options: Abortable = {},
): AsyncGenerator<Uint8Array, void, undefined> {
  const chunks = Symbol.asyncIterator in bytes ? bytes[Symbol.asyncIterator]() : bytes[Symbol.iterator]();
  try {
    let head = Buffer.alloc(0);
    while (head.byteLength < 4) {
      const next = await chunks.next();
      if (next.done === true) break;
      head = head.byteLength === 0 ? asBuffer(next.value) : Buffer.concat([head, next.value]);
    }
    const all = withHead(head, chunks);
    if (head[0] === 0x1f && head[1] === 0x8b) yield* gunzip(all, what, options);
    else if (isZstd(head)) yield* unzstd(all, what, options);
    else yield* all;
  } finally {
    await chunks.return?.();
  }
}

function asBuffer(bytes: Uint8Array): Buffer<ArrayBuffer> {
  return Buffer.from(bytes.buffer as ArrayBuffer, bytes.byteOffset, bytes.byteLength);
}

/** A stream that starts with a frame to skip is zstd, too. */
function isZstd(head: Buffer): boolean {
  if (head.byteLength < 4) return false;
  const magic = head.readUInt32LE();
  return magic === 0xfd2fb528 || (magic & 0xfffffff0) >>> 0 === 0x184d2a50;
}

async function* withHead(
  head: Uint8Array,
  rest: AsyncIterator<Uint8Array> | Iterator<Uint8Array>,
): AsyncGenerator<Uint8Array, void, undefined> {
  if (head.byteLength > 0) yield head;
  for (let next = await rest.next(); next.done !== true; next = await rest.next()) yield next.value;
}
