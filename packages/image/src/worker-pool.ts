import { Worker } from "node:worker_threads";
import { OciError } from "@stowage/layout";

/** What a worker made of a block, and the block, whose memory can be used again. */
export interface Work {
  readonly output: Uint8Array;
  readonly input: Uint8Array<ArrayBuffer>;
}

interface Job {
  readonly input: Uint8Array<ArrayBuffer>;
  readonly resolve: (work: Work) => void;
  readonly reject: (error: unknown) => void;
}

/** How long a worker thread without work is kept, in ms. */
const IDLE = 5_000;

/**
 * Worker threads that each turn one block of bytes into another. Threads start when there is work for them, go away when
 * there has been none for five seconds, and never keep the process alive while they wait.
 */
export class WorkerPool {
  readonly size: number;
  readonly #url: URL;
  readonly #data: unknown;
  readonly #waiting: Job[] = [];
  readonly #busy = new Map<Worker, Job>();
  readonly #idle: Worker[] = [];
  #timer: NodeJS.Timeout | undefined;

  /** Every thread runs the program at `url` and finds `data` as its `workerData`. */
  constructor(url: URL, size: number, data?: unknown) {
    this.#url = url;
    this.#data = data;
    this.size = size;
  }

  /**
   * What a worker makes of `input`, whose memory is handed over and comes back with the result. Fails with `REGISTRY` where the worker
   * dies; the next block gets a new one. Given up where `signal` is aborted, also while a worker is at it.
   */
  run(input: Uint8Array<ArrayBuffer>, signal?: AbortSignal): Promise<Work> {
    return new Promise((resolve, reject) => {
      if (signal?.aborted) return reject(signal.reason);
      const abort = (): void => {
        const at = this.#waiting.indexOf(job);
        if (at >= 0) this.#waiting.splice(at, 1);
        reject(signal?.reason);
      };
      signal?.addEventListener("abort", abort, { once: true });
      const settle = (): void => signal?.removeEventListener("abort", abort);
      const job: Job = {
        input,
        resolve: (work) => {
          settle();
          resolve(work);
        },
        reject: (error) => {
          settle();
          reject(error);
        },
      };
      this.#waiting.push(job);
      this.#next();
    });
  }

  /** Ends all threads. Work that is under way or waiting fails. */
  async close(): Promise<void> {
    clearTimeout(this.#timer);
    for (const job of this.#waiting.splice(0))
      job.reject(new OciError("REGISTRY", "the pool of worker threads was closed"));
    await Promise.all([...this.#idle.splice(0), ...this.#busy.keys()].map((worker) => worker.terminate()));
  }

  #next(): void {
    while (this.#waiting.length > 0) {
      const worker = this.#idle.pop() ?? (this.#busy.size < this.size ? this.#start() : undefined);
      if (worker === undefined) return;
      const job = this.#waiting.shift() as Job;
      this.#busy.set(worker, job);
      worker.ref();
      worker.postMessage(job.input, [job.input.buffer]);
    }
  }

  #start(): Worker {
    const worker = new Worker(this.#url, {
      // Flags of this process (a loader, a debugger) are not for these threads.
      execArgv: [],
      workerData: this.#data,
      // What a block needs is outside of the heap; without a bound a thread lets garbage grow to several times this.
      resourceLimits: { maxYoungGenerationSizeMb: 1, maxOldGenerationSizeMb: 32 },
    });
    worker.on("message", (work: Work) => {
      const job = this.#busy.get(worker);
      this.#busy.delete(worker);
      worker.unref();
      this.#idle.push(worker);
      this.#endIdleLater();
      job?.resolve(work);
      this.#next();
    });
    worker.on("error", (error) => this.#lose(worker, error));
    worker.on("exit", (code) => this.#lose(worker, new Error(`it ended with code ${code}`)));
    return worker;
  }

  #lose(worker: Worker, error: unknown): void {
    const idle = this.#idle.indexOf(worker);
    if (idle >= 0) this.#idle.splice(idle, 1);
    const job = this.#busy.get(worker);
    if (!this.#busy.delete(worker)) return;
    const text = error instanceof Error ? error.message : String(error);
    job?.reject(new OciError("REGISTRY", `cannot compress: a worker thread failed: ${text}`, { cause: error }));
    this.#next();
  }

  #endIdleLater(): void {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => {
      for (const worker of this.#idle.splice(0)) void worker.terminate();
    }, IDLE);
    this.#timer.unref();
  }
}
