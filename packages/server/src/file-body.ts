import { OciError, type OpenBlob } from "@stowage/layout";

/** The size of a piece, in bytes: large enough to be worth a system call, small enough to stay in the cache of a processor. */
const PIECE = 256 * 1024;
/** How many pieces that nobody uses are kept for the next, instead of asking the system for memory. */
const KEPT = 64;

const kept: Buffer[] = [];

/** The bytes of an open file, or some of them, which are sent without being kept. Read as a stream it is one like any other. */
export class FileBody implements AsyncIterable<Uint8Array> {
  readonly #open: () => Promise<OpenBlob>;
  readonly #start: number;
  readonly #end: number;
  readonly #whole: boolean;

  /** From `start` up to `end`, where `whole` says that this is all of it, so that it is verified. */
  constructor(open: () => Promise<OpenBlob>, start: number, end: number, whole: boolean) {
    this.#open = open;
    this.#start = start;
    this.#end = end;
    this.#whole = whole;
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<Uint8Array, void, undefined> {
    const blob = await this.#open();
    try {
      for (let at = this.#start; at < this.#end; at += PIECE) {
        const piece = Buffer.allocUnsafeSlow(Math.min(PIECE, this.#end - at));
        await this.#fill(piece, blob, at);
        yield piece;
      }
    } finally {
      await blob.close();
    }
  }

  /** Passes all of it to `write`, which tells when it needs a piece no more, and whether more is wanted. The next is read meanwhile. */
  async sendTo(write: (piece: Uint8Array) => Promise<boolean>): Promise<void> {
    const blob = await this.#open();
    const buffers = [kept.pop() ?? Buffer.allocUnsafeSlow(PIECE), kept.pop() ?? Buffer.allocUnsafeSlow(PIECE)] as const;
    let [current, other] = buffers;
    let writing = Promise.resolve(true);
    try {
      for (let at = this.#start; at < this.#end; at += PIECE) {
        const piece = current.subarray(0, this.#end - at);
        await this.#fill(piece, blob, at);
        if (!(await writing)) return;
        writing = write(piece);
        [current, other] = [other, current];
      }
      await writing;
    } finally {
      await writing.catch(() => {});
      if (kept.length < KEPT) kept.push(...buffers);
      await blob.close();
    }
  }

  async #fill(piece: Uint8Array, blob: OpenBlob, at: number): Promise<void> {
    for (let filled = 0; filled < piece.byteLength; ) {
      const count = await blob.readInto(piece.subarray(filled), at + filled);
      if (count === 0) throw new OciError("MISMATCH", "a blob became shorter while it was sent");
      filled += count;
    }
    if (this.#whole && at + piece.byteLength === this.#end) await blob.verified();
  }
}
