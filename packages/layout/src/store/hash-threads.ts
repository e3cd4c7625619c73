import { availableParallelism } from "node:os";
import type { Worker } from "node:worker_threads";
import { CHUNK_SIZE } from "./files.js";

/** The options of {@link hashFile}. */
export interface HashOptions {
  /** Told the number of bytes as they are hashed. */
  readonly onBytes?: ((count: number) => void) | undefined;
  readonly signal?: AbortSignal | undefined;
  /** An open and empty file that what is hashed is written to. */
  readonly into?: number | undefined;
}

interface Task extends HashOptions {
  readonly file: number;
  readonly algorithm: string;
  readonly resolve: (hash: string) => void;
  readonly reject: (reason: unknown) => void;
}

/** More gain nothing: by then the disk or the memory is the limit. */
const THREADS = Math.min(4, availableParallelism());
/** A file of fewer bytes is hashed sooner than another thread is told of it. */
export const WORTH_A_THREAD = 4 * CHUNK_SIZE;
/** After this time without work a thread ends, in ms. */
const IDLE = 1_000;

/** Text, since a bundle has no file of its own for it. The file stays open until it has answered. */
const PROGRAM = `
const { parentPort } = require("node:worker_threads");
const { createHash } = require("node:crypto");
const { readSync, writeSync } = require("node:fs");
const buffer = Buffer.allocUnsafeSlow(${CHUNK_SIZE});
parentPort.on("message", ({ file, algorithm, into, stop }) => {
  try {
    const hash = createHash(algorithm);
    for (let at = 0, told = 0; ; ) {
      const count = Atomics.load(stop, 0) === 1 ? 0 : readSync(file, buffer, 0, buffer.length, at);
      hash.update(buffer.subarray(0, count));
      for (let done = 0; into !== undefined && done < count; )
        done += writeSync(into, buffer, done, count - done, at + done);
      at += count;
      if (at - told >= 16 * buffer.length || count === 0) {
        parentPort.postMessage({ count: at - told });
        told = at;
      }
      if (count === 0) break;
    }
    parentPort.postMessage({ hash: hash.digest("hex") });
  } catch (error) {
    parentPort.postMessage({ error: { code: error.code, message: error.message } });
  }
});`;

const queue: Task[] = [];
const idle = new Set<Worker>();
let threads = 0;

/**
 * The hash of an open file in hexadecimal, taken by another thread, so that several are hashed at once. Fails as a system call does
 * where a file cannot be read or written, and with the signal's reason.
 */
export function hashFile(file: number, algorithm: string, options: HashOptions): Promise<string> {
  return new Promise((resolve, reject) => {
    queue.push({ ...options, file, algorithm, resolve, reject });
    const worker = idle.values().next().value ?? (threads < THREADS ? start() : undefined);
    if (worker !== undefined) void work(worker);
  });
}

function start(): Worker {
  threads++;
  const { Worker } = process.getBuiltinModule("node:worker_threads");
  const worker = new Worker(PROGRAM, { eval: true, execArgv: [], stdout: false });
  // It keeps nobody from ending who does not wait for a hash.
  worker.unref();
  worker.once("exit", () => threads--);
  return worker;
}

async function work(worker: Worker): Promise<void> {
  idle.delete(worker);
  worker.ref();
  try {
    for (let task = queue.shift(); task !== undefined; task = queue.shift()) await run(worker, task);
  } catch {
    // The thread has ended; its last task knows.
    if (queue.length > 0) void work(start());
    return;
  }
  worker.unref();
  idle.add(worker);
  setTimeout(() => {
    if (idle.delete(worker)) void worker.terminate();
  }, IDLE).unref();
}

/** Fails only where the thread is of no use any more. */
function run(worker: Worker, task: Task): Promise<void> {
  const stop = new Int32Array(new SharedArrayBuffer(4));
  const giveUp = (): void => {
    Atomics.store(stop, 0, 1);
  };
  return new Promise<void>((resolve, reject) => {
    const end = (settle: () => void): void => {
      worker.off("message", listen);
      worker.off("error", fail);
      task.signal?.removeEventListener("abort", giveUp);
      settle();
    };
    const listen = (answer: { count?: number; hash?: string; error?: { code?: string; message: string } }): void => {
      if (answer.count !== undefined) {
        task.onBytes?.(answer.count);
        return;
      }
      end(() => {
        if (task.signal?.aborted) task.reject(task.signal.reason);
        else if (answer.hash === undefined)
          task.reject(Object.assign(new Error(answer.error?.message), { code: answer.error?.code }));
        else task.resolve(answer.hash);
        resolve();
      });
    };
    const fail = (error: Error): void =>
      end(() => {
        task.reject(error);
        reject(error);
      });
    worker.on("message", listen);
    worker.on("error", fail);
    task.signal?.addEventListener("abort", giveUp);
    if (task.signal?.aborted) giveUp();
    worker.postMessage({ file: task.file, algorithm: task.algorithm, into: task.into, stop });
  });
}
