import { type Bytes, type Content, type Descriptor, formatDescriptor, Hasher, OciError } from "@stowage/layout";
import type { Sliceable } from "./stored-content.js";

/** How far apart the places are from which reading can be taken up, in bytes. */
const SPACING = 1024 * 1024;

/** The bytes between two places, as far as they have been read. */
interface Reader {
  readonly chunks: AsyncGenerator<Uint8Array, void, undefined>;
  /** Of the next byte, in the whole content. */
  at: number;
  /** What was read beyond the end of the last slice. */
  rest: Uint8Array | undefined;
}

/**
 * Content that is sent in slices, some of them again. It is read once where the slices follow each other, and from near the
 * place where that was read before otherwise. Whoever has received the last byte has received what the digest says.
 */
export class RewindableContent implements Sliceable {
  readonly #content: Content;
  /** The state of the digest at some of the offsets that were reached. */
  readonly #marks: { readonly offset: number; readonly hasher: Hasher }[];
  #paused: Reader | undefined;

  constructor(content: Content) {
    this.#content = content;
    this.#marks = [{ offset: 0, hasher: Hasher.for(content.descriptor.digest) }];
  }

  get descriptor(): Descriptor {
    return this.#content.descriptor;
  }

  /** The bytes from `from` up to `end`. Fails with `MISMATCH` before the last byte of the content where the whole is not what its descriptor says. */
  async *slice(from: number, end: number): AsyncGenerator<Uint8Array, void, undefined> {
    const reader = await this.#readerAt(from);
    let whole = false;
    try {
      while (reader.at < end) {
        const next = reader.rest === undefined ? await reader.chunks.next() : { done: false, value: reader.rest };
        if (next.done === true) return;
        const chunk = next.value as Uint8Array;
        const part = chunk.subarray(0, end - reader.at);
        reader.rest = part.byteLength < chunk.byteLength ? chunk.subarray(part.byteLength) : undefined;
        reader.at += part.byteLength;
        yield part;
      }
      whole = reader.at < this.descriptor.size;
    } finally {
      if (whole) this.#paused = reader;
      else await reader.chunks.return();
    }
  }

  /** Gives up what is open. */
  async close(): Promise<void> {
    const paused = this.#paused;
    this.#paused = undefined;
    await paused?.chunks.return();
  }

  async #readerAt(offset: number): Promise<Reader> {
    const paused = this.#paused;
    this.#paused = undefined;
    if (paused?.at === offset) return paused;
    await paused?.chunks.return();
    return { chunks: this.#read(offset), at: offset, rest: undefined };
  }

  async *#read(offset: number): AsyncGenerator<Uint8Array, void, undefined> {
    const { descriptor } = this.#content;
    const mark = this.#markBefore(offset);
    const hasher = mark.hasher.copy();
    let at = mark.offset;
    let held: Uint8Array | undefined;
    for await (const chunk of this.#open(at)) {
      if (chunk.byteLength === 0) continue;
      hasher.update(chunk);
      const visible = chunk.subarray(Math.min(chunk.byteLength, Math.max(0, offset - at)));
      at += chunk.byteLength;
      if (at > descriptor.size)
        throw this.#mismatch(`is larger than the ${descriptor.size} bytes it was declared with`);
      this.#mark(at, hasher);
      if (visible.byteLength === 0) continue;
      if (held !== undefined) yield held;
      held = visible;
    }
    if (at !== descriptor.size) throw this.#mismatch(`ended after ${at} bytes; ${descriptor.size} were declared`);
    const digest = hasher.digest();
    if (digest !== descriptor.digest) throw this.#mismatch(`has the digest ${digest}`);
    if (held !== undefined) yield held;
  }

  #open(offset: number): Bytes {
    const { openFrom } = this.#content;
    return offset === 0 || openFrom === undefined ? this.#content.open() : openFrom.call(this.#content, offset);
  }

  #markBefore(offset: number): { readonly offset: number; readonly hasher: Hasher } {
    const first = this.#marks[0] as { readonly offset: number; readonly hasher: Hasher };
    if (this.#content.openFrom === undefined) return first;
    return this.#marks.findLast((mark) => mark.offset <= offset) ?? first;
  }

  #mark(offset: number, hasher: Hasher): void {
    const last = this.#marks.at(-1)?.offset ?? 0;
    if (this.#content.openFrom !== undefined && offset - last >= SPACING)
      this.#marks.push({ offset, hasher: hasher.copy() });
  }

  #mismatch(problem: string): OciError {
    return new OciError("MISMATCH", `${formatDescriptor(this.descriptor)} ${problem}`, {
      hint: "The content was damaged or replaced. Fetch it again from where it came.",
    });
  }
}
