import type { Readable } from "node:stream";
import type { Bytes } from "@stowage/layout";
import { STOPPED_READING } from "./connection-error.js";

/** A body that can be sent as often as needed: bytes, or a stream of known size. */
export type RequestBody = Uint8Array | { /** Bytes. */ readonly size: number; open(): Bytes };

/** True for the methods that send a body. */
export function isWrite(method: string): boolean {
  return method === "PUT" || method === "POST" || method === "PATCH";
}

/**
 * A body on its way out. It remembers its own failure, which the HTTP library may wrap or replace, and gives up when the other
 * side takes nothing for `stall` ms.
 */
export class Outgoing {
  readonly #body: RequestBody | undefined;
  readonly #stall: number;
  readonly #stalled = new AbortController();
  failure: { readonly error: unknown } | undefined;

  constructor(body: RequestBody | undefined, stall: number) {
    this.#body = body;
    this.#stall = stall;
  }

  /** Aborted when the other side stopped reading, or when `signal` is. */
  signal(signal: AbortSignal | undefined): AbortSignal | null {
    if (this.#body === undefined || this.#body instanceof Uint8Array) return signal ?? null;
    return signal === undefined ? this.#stalled.signal : AbortSignal.any([signal, this.#stalled.signal]);
  }

  /** Without a Content-Length a body would be sent in chunks, which some registries refuse. */
  headers(method: string): Record<string, string> {
    if (this.#body !== undefined) {
      return { "content-length": String(this.#body instanceof Uint8Array ? this.#body.byteLength : this.#body.size) };
    }
    return isWrite(method) ? { "content-length": "0" } : {};
  }

  content(): Uint8Array | Readable | null {
    if (this.#body === undefined || this.#body instanceof Uint8Array) return this.#body ?? null;
    // The library takes any async iterable; its types name only this kind.
    return this.#pump(this.#body) as unknown as Readable;
  }

  async *#pump(body: { open(): Bytes }): AsyncGenerator<Uint8Array> {
    // Armed only while the other side has something to take: a source that is slow is not its fault.
    let timer: NodeJS.Timeout | undefined;
    try {
      for await (const chunk of body.open()) {
        timer = setTimeout(() => this.#giveUp(), this.#stall).unref();
        yield chunk;
        clearTimeout(timer);
      }
    } catch (error) {
      this.failure = { error };
      throw error;
    } finally {
      clearTimeout(timer);
    }
  }

  #giveUp(): void {
    const error = Object.assign(new Error("the other side stopped reading"), { code: STOPPED_READING });
    this.#stalled.abort(error);
  }
}
