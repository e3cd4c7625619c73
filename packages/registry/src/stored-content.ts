import { type Content, type Descriptor, isOciError, Layout, OciError, type OpenBlob } from "@stowage/layout";
import { RewindableContent } from "./rewindable-content.js";

/** Content that is sent in slices, some of them again. */
export interface Sliceable {
  readonly descriptor: Descriptor;
  /**
   * The bytes from `from` up to `end`. Fails with `MISMATCH` before the last byte of the content where the whole is not what its
   * descriptor says. The memory of a chunk may be written to again when the third one after it is asked for.
   */
  slice(from: number, end: number): AsyncGenerator<Uint8Array, void, undefined>;
  /** Gives up what is open. */
  close(): Promise<void>;
}

/** In bytes. Less is read and hashed sooner than another thread is told of it. */
const WORTH_A_THREAD = 4 * 1024 * 1024;
/** The size of a read, in bytes. */
const PIECE = 1024 * 1024;
/** One is sent, one is read, and one is to spare. */
const PIECES = 3;

/** The content to be sent. What lies in a layout here is read from there, if it is large. */
export async function sliceable(content: Content, signal: AbortSignal | undefined): Promise<Sliceable> {
  const { descriptor, origin } = content;
  if (!(origin instanceof Layout) || descriptor.size < WORTH_A_THREAD) return new RewindableContent(content);
  try {
    return new StoredContent(descriptor, await origin.openBlob(descriptor, { signal }));
  } catch (error) {
    if (!isOciError(error)) throw error;
    // It may be had otherwise; if not, that fails in the same way.
    return new RewindableContent(content);
  }
}

/** A blob of a layout. It is read from any offset into memory that is used again; another thread hashes it meanwhile. */
class StoredContent implements Sliceable {
  readonly descriptor: Descriptor;
  readonly #blob: OpenBlob;
  readonly #memory: Buffer[] = [];
  #turn = 0;

  constructor(descriptor: Descriptor, blob: OpenBlob) {
    this.descriptor = descriptor;
    this.#blob = blob;
  }

  async *slice(from: number, end: number): AsyncGenerator<Uint8Array, void, undefined> {
    for (let at = from; at < end; ) {
      this.#turn = (this.#turn + 1) % PIECES;
      this.#memory[this.#turn] ??= Buffer.allocUnsafeSlow(PIECE);
      const piece = (this.#memory[this.#turn] as Buffer).subarray(0, end - at);
      const count = await this.#blob.readInto(piece, at);
      if (count === 0) throw new OciError("MISMATCH", `${this.descriptor.digest} ended after ${at} bytes`);
      at += count;
      if (at === this.descriptor.size) await this.#blob.verified();
      yield piece.subarray(0, count);
    }
  }

  async close(): Promise<void> {
    // Where it is given up, the other thread may take a while to notice.
    void this.#blob.close().catch(() => {});
  }
}
