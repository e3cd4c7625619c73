import { collect } from "@stowage/layout";

/** The body of an answer as the HTTP library hands it over. */
interface Incoming extends AsyncIterable<Uint8Array> {
  destroy(error?: Error): unknown;
  dump(options?: { limit: number }): Promise<unknown>;
}

/** The code of the error for a body that comes too slowly. */
export const TRICKLES = "STOWAGE_TRICKLES";

/** A body of at most this many bytes is read to its end to keep the connection; of a larger one the connection is closed. */
const WORTH_READING = 64 * 1024;
/** A connection is made anew in less time than this, in ms. */
const WORTH_WAITING = 1000;

/** An HTTP answer. Its body is read once, as a stream or as a whole, or given up with `discard`. */
export class Answer {
  readonly method: string;
  readonly url: URL;
  readonly status: number;
  /** What the request showed, and what is said of the answer must not. */
  readonly secrets: readonly string[];
  readonly #headers: Readonly<Record<string, string | string[] | undefined>>;
  readonly #body: Incoming;
  readonly #asError: (cause: unknown) => unknown;
  readonly #patience: number;

  /** `patience` is how long a body may take that is read as a whole, in ms. */
  constructor(
    method: string,
    url: URL,
    status: number,
    headers: Readonly<Record<string, string | string[] | undefined>>,
    body: Incoming,
    asError: (cause: unknown) => unknown,
    patience: number,
    secrets: readonly string[] = [],
  ) {
    this.method = method;
    this.url = url;
    this.status = status;
    this.#headers = headers;
    this.#body = body;
    this.#asError = asError;
    this.#patience = patience;
    this.secrets = secrets;
  }

  /** The values of a header, one for each time it was sent. `name` is lower case. */
  headers(name: string): readonly string[] {
    const value = this.#headers[name];
    return value === undefined ? [] : Array.isArray(value) ? value : [value];
  }

  /** The value of a header that is sent once; the first where it was sent more than once. */
  header(name: string): string | undefined {
    return this.headers(name)[0];
  }

  /** The media type without parameters, in lower case. */
  get mediaType(): string | undefined {
    return this.header("content-type")?.split(";")[0]?.trim().toLowerCase();
  }

  /** The declared size of the body in bytes, where it is declared and not compressed on the way. */
  get length(): number | undefined {
    const text = this.header("content-length");
    if (text === undefined || !/^\d{1,15}$/.test(text) || this.header("content-encoding") !== undefined)
      return undefined;
    return Number(text);
  }

  /** The body as it arrives. To stop early closes the connection. */
  async *stream(): AsyncGenerator<Uint8Array, void, undefined> {
    try {
      yield* this.#body;
    } catch (cause) {
      throw this.#asError(cause);
    }
  }

  /** The whole body. Fails with `LIMIT` where it is larger than `limit` bytes, or trickles. */
  async bytes(limit: number, what: string): Promise<Uint8Array> {
    return this.#inTime(() => collect(this.stream(), limit, what));
  }

  /** The first bytes of the body, for an error message; empty where it cannot be read. */
  async excerpt(): Promise<Uint8Array> {
    const chunks: Uint8Array[] = [];
    let size = 0;
    try {
      await this.#inTime(async () => {
        for await (const chunk of this.stream()) {
          chunks.push(chunk);
          size += chunk.byteLength;
          if (size >= WORTH_READING) break;
        }
      });
    } catch {
      // What arrived has to do: the status is the message.
    }
    return Buffer.concat(chunks);
  }

  /** Gives the body up. The connection is kept where little of it is left. */
  async discard(): Promise<void> {
    try {
      await this.#inTime(() => this.#body.dump({ limit: WORTH_READING }), WORTH_WAITING);
    } catch {
      this.#body.destroy();
    }
  }

  /** Breaks the body off where it takes too long: one byte now and then counts as silence. */
  async #inTime<T>(read: () => Promise<T>, patience = this.#patience): Promise<T> {
    const tooSlow = (): unknown => this.#body.destroy(Object.assign(new Error("it trickles"), { code: TRICKLES }));
    const timer = setTimeout(tooSlow, patience).unref();
    try {
      return await read();
    } finally {
      clearTimeout(timer);
    }
  }
}
