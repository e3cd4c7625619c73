import type { Worker } from "node:worker_threads";
import type { DigestAlgorithm } from "../model/digest.js";
import { CHUNK_SIZE } from "./files.js";

/** After this time without a file a thread ends, in ms. */
const IDLE = 1_000;
/** How many steps of one file may be on their way to the thread. */
const UNDER_WAY = 2;

/** Text, since a bundle has no file of its own for it. Memory that was written comes back, to be filled again. */
const PROGRAM = `
const { parentPort } = require("node:worker_threads");
const { createHash } = require("node:crypto");
const { readSync, writeSync } = require("node:fs");
const files = new Map();
const steps = {
  read(open, { memory }) {
    const bytes = new Uint8Array(memory);
    const count = readSync(open.file, bytes, 0, bytes.length, open.at);
    open.hash.update(bytes.subarray(0, count));
    open.at += count;
  },
  write(open, { memory, length }) {
    const bytes = new Uint8Array(memory, 0, length);
    open.hash.update(bytes);
    for (let done = 0; done < length; ) done += writeSync(open.file, bytes, done, length - done, open.at + done);
    open.at += length;
  },
};
parentPort.on("message", (message) => {
  const { id, step, memory } = message;
  const open = files.get(id);
  try {
    if (step === "open") files.set(id, { file: message.file, hash: createHash(message.algorithm), at: 0 });
    else if (step === "end") {
      files.delete(id);
      if (open !== undefined) parentPort.postMessage({ id, size: open.at, hash: open.hash.digest("hex") });
    } else if (open !== undefined) {
      steps[step](open, message);
      parentPort.postMessage({ id, memory, written: step === "write" ? message.length : 0 }, [memory]);
    }
  } catch (error) {
    files.delete(id);
    parentPort.postMessage({ id, error: { code: error.code, message: error.message } });
  }
});`;

interface Answer {
  readonly id: number;
  readonly memory?: ArrayBuffer;
  readonly written?: number;
  readonly size?: number;
  readonly hash?: string;
  readonly error?: { readonly code?: string; readonly message: string };
}

interface Thread {
  readonly worker: Worker;
  readonly files: Map<number, (answer: Answer | Error) => void>;
  timer?: NodeJS.Timeout | undefined;
}

let thread: Thread | undefined;
let identities = 0;

/**
 * An open file that another thread hashes from its beginning while it writes it, so that whoever receives the bytes is spared that
 * work. Where a step fails, the next call does, as the system call did. The file must stay open until {@link end} has settled.
 */
export class ThreadWriter {
  readonly #thread: Thread;
  readonly #id = ++identities;
  readonly #free: ArrayBuffer[] = [];
  #underWay = 0;
  #failed: Error | undefined;
  #whole: { readonly size: number; readonly hash: string } | undefined;
  #wake = (): void => {};
  readonly #onBytes: ((count: number) => void) | undefined;

  /** `onBytes` is told how many bytes more are in the file. */
  constructor(file: number, algorithm: DigestAlgorithm, onBytes: ((count: number) => void) | undefined) {
    this.#onBytes = onBytes;
    this.#thread = withOneMore(this.#id, (answer) => this.#hear(answer));
    this.#thread.worker.postMessage({ id: this.#id, step: "open", file, algorithm });
  }

  /** Memory of {@link CHUNK_SIZE} bytes to fill for the next {@link write}. */
  memory(): Uint8Array<ArrayBuffer> {
    return new Uint8Array(this.#free.pop() ?? new ArrayBuffer(CHUNK_SIZE));
  }

  /** Has the next bytes hashed that are in the file already, {@link CHUNK_SIZE} of them where there are as many. */
  skip(): Promise<void> {
    return this.#step("read", this.memory().buffer, CHUNK_SIZE);
  }

  /** Writes the first `length` bytes of the memory, which is not the caller's any more. Waits while two steps are under way. */
  write({ buffer }: Uint8Array<ArrayBuffer>, length: number): Promise<void> {
    return this.#step("write", buffer, length);
  }

  /** How far the file was hashed, and the hash in hexadecimal, when all of it is written. To be called once, also after a failure. */
  async end(): Promise<{ readonly size: number; readonly hash: string }> {
    if (this.#failed === undefined) this.#thread.worker.postMessage({ id: this.#id, step: "end" });
    await this.#until(() => this.#whole !== undefined);
    withOneLess(this.#thread, this.#id);
    if (this.#whole === undefined) throw this.#failed;
    return this.#whole;
  }

  async #step(step: "read" | "write", memory: ArrayBuffer, length: number): Promise<void> {
    await this.#until(() => this.#underWay < UNDER_WAY);
    if (this.#failed !== undefined) throw this.#failed;
    this.#underWay++;
    this.#thread.worker.postMessage({ id: this.#id, step, memory, length }, [memory]);
  }

  async #until(condition: () => boolean): Promise<void> {
    while (this.#failed === undefined && !condition())
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
  }

  #hear(answer: Answer | Error): void {
    if (answer instanceof Error) this.#failed ??= answer;
    else if (answer.error !== undefined) this.#failed ??= Object.assign(new Error(), answer.error);
    else if (answer.memory !== undefined) {
      this.#underWay--;
      this.#free.push(answer.memory);
      if (answer.written) this.#onBytes?.(answer.written);
    } else this.#whole = answer as Required<Pick<Answer, "size" | "hash">>;
    this.#wake();
  }
}

/** The thread with one file more. It writes as fast as one thread receives, so there is one of them. */
function withOneMore(id: number, tell: (answer: Answer | Error) => void): Thread {
  thread ??= start();
  clearTimeout(thread.timer);
  thread.files.set(id, tell);
  thread.worker.ref();
  return thread;
}

function start(): Thread {
  const { Worker } = process.getBuiltinModule("node:worker_threads");
  const worker = new Worker(PROGRAM, { eval: true, execArgv: [], stdout: false });
  const started: Thread = { worker, files: new Map() };
  worker.on("message", (answer: Answer) => started.files.get(answer.id)?.(answer));
  const lose = (error: Error): void => {
    if (thread === started) thread = undefined;
    for (const tell of started.files.values()) tell(error);
  };
  worker.once("error", lose);
  worker.once("exit", () => lose(new Error("the thread that writes files has ended")));
  return started;
}

/** Takes a file from the thread. Without any it keeps nobody from ending, and ends where that lasts. */
function withOneLess(one: Thread, id: number): void {
  one.files.delete(id);
  if (one.files.size > 0) return;
  one.worker.unref();
  one.timer = setTimeout(() => {
    if (thread === one) thread = undefined;
    void one.worker.terminate();
  }, IDLE).unref();
}
