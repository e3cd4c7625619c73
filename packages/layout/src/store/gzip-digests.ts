import { once } from "node:events";
import type { Abortable } from "../content.js";

/** What is in a file of gzip members. Digests are SHA-256 in hexadecimal. */
export interface GzipDigests {
  readonly file: string;
  readonly content: string;
  /** Bytes of the content. */
  readonly size: number;
}

/** Text, since a bundle has no file of its own for it. */
const PROGRAM = `
const { parentPort, workerData } = require("node:worker_threads");
const { createHash } = require("node:crypto");
const { readSync } = require("node:fs");
const { createGunzip } = require("node:zlib");
const file = createHash("sha256"), content = createHash("sha256");
const gunzip = createGunzip({ chunkSize: 262144 });
let size = 0;
const end = (answer) => { parentPort.postMessage(answer); process.exit(); };
gunzip.on("data", (chunk) => {
  size += chunk.length;
  if (size > workerData.limit) end(undefined);
  content.update(chunk);
});
gunzip.on("error", () => end(undefined));
gunzip.on("end", () => end({ file: file.digest("hex"), content: content.digest("hex"), size }));
const next = (at) => {
  const buffer = Buffer.allocUnsafeSlow(1048576);
  const count = readSync(workerData.file, buffer, 0, buffer.length, at);
  if (count === 0) return gunzip.end();
  const chunk = buffer.subarray(0, count);
  file.update(chunk);
  gunzip.write(chunk, () => next(at + count));
};
next(0);`;

/**
 * The digests of an open file and of what it decompresses to, taken by another thread. Undefined where it is no gzip or
 * decompresses to more than `limit` bytes. The file must stay open until then.
 */
export async function gzipDigests(
  file: number,
  limit: number,
  { signal }: Abortable = {},
): Promise<GzipDigests | undefined> {
  signal?.throwIfAborted();
  const { Worker } = process.getBuiltinModule("node:worker_threads");
  const worker = new Worker(PROGRAM, { eval: true, execArgv: [], workerData: { file, limit } });
  try {
    const [answer] = (await once(worker, "message", { signal })) as [GzipDigests | undefined];
    return answer;
  } catch (error) {
    signal?.throwIfAborted();
    throw error;
  } finally {
    await worker.terminate();
  }
}
