import type { IncomingMessage, ServerResponse } from "node:http";
import { type Digest, isDigest, isVerifiable } from "@stowage/layout";
import type { Answer } from "./answer.js";
import { Refusal } from "./errors.js";
import { FileBody } from "./file-body.js";
import { ConnectionCut } from "./layer.js";

/** What is read of a request body that nobody wants, in bytes, so that the client gets to see the answer. */
const DISCARDED = 64 * 1024 * 1024;

/** A body of fewer bytes is small. */
const ONE_PIECE = 8 * 1024;

/** One request and its answer. */
export class Exchange {
  readonly request: IncomingMessage;
  readonly response: ServerResponse;
  readonly method: string;
  /** The path as it was sent, without the query. */
  readonly path: string;
  /** When it came, in ms since 1970, and from which address. */
  readonly began = Date.now();
  readonly client: string;
  readonly #queryText: string;
  #query: URLSearchParams | undefined;
  #abort: AbortController | undefined;
  #left = false;
  #transform: ((body: AsyncIterable<Uint8Array>) => AsyncIterable<Uint8Array>) | undefined;
  /** Bytes of the body that have arrived so far. */
  received = 0;
  /** Bytes of the body of the answer that were handed to the connection so far. */
  sent = 0;
  #reading = false;
  #taken = false;
  #cut = false;

  constructor(request: IncomingMessage, response: ServerResponse) {
    this.request = request;
    this.response = response;
    this.method = request.method ?? "GET";
    this.client = request.socket.remoteAddress ?? "";
    const url = request.url ?? "/";
    const mark = url.indexOf("?");
    this.path = mark < 0 ? url : url.slice(0, mark);
    this.#queryText = mark < 0 ? "" : url.slice(mark + 1);
  }

  /** To be called once when the answer is through, or the connection has broken before it was. */
  end(): void {
    this.#left = !this.response.writableFinished;
    if (this.#left) this.#abort?.abort(new Error("the client has gone"));
  }

  get query(): URLSearchParams {
    this.#query ??= new URLSearchParams(this.#queryText);
    return this.#query;
  }

  /** Aborted when the client goes before it has the answer. */
  get signal(): AbortSignal {
    if (this.#abort === undefined) {
      this.#abort = new AbortController();
      if (this.#left) this.#abort.abort(new Error("the client has gone"));
    }
    return this.#abort.signal;
  }

  /** True once nobody is there any more to take an answer. */
  get gone(): boolean {
    if (this.#cut) return false;
    return this.#left || this.request.errored !== null || this.response.destroyed;
  }

  header(name: string): string | undefined {
    const value = this.request.headers[name];
    return Array.isArray(value) ? value.join(", ") : value;
  }

  /** The length of the body in bytes; undefined where the client does not say, and 0 where there is none. */
  get contentLength(): number | undefined {
    if (this.request.headers["transfer-encoding"] !== undefined) return undefined;
    return Number(this.request.headers["content-length"] ?? 0);
  }

  /** True while nothing can happen before the client sends or reads something. */
  get waitsForClient(): boolean {
    return this.#reading || this.response.writableLength > 0 || this.response.writableEnded;
  }

  /** Scheme and host under which the client knows this server. */
  get origin(): string {
    const { socket } = this.request;
    const scheme = "encrypted" in socket ? "https" : "http";
    return `${scheme}://${this.header("host") ?? `${socket.localAddress}:${socket.localPort}`}`;
  }

  /** The bytes of the request, once. Leaving early does not break the connection. */
  body(): AsyncIterable<Uint8Array> {
    return this.#transform === undefined ? this.#body() : this.#transform(this.#body());
  }

  /** Has {@link body} yield what `transform` makes of the bytes it would have yielded. */
  changeBody(transform: (body: AsyncIterable<Uint8Array>) => AsyncIterable<Uint8Array>): void {
    const before = this.#transform;
    this.#transform = (body) => transform(before === undefined ? body : before(body));
  }

  async *#body(): AsyncGenerator<Uint8Array, void, undefined> {
    if (this.#taken) throw new TypeError("the body of a request can be read once");
    this.#taken = true;
    const chunks = this.request.iterator({ destroyOnReturn: false });
    for (;;) {
      this.#reading = true;
      const { done, value } = await chunks.next();
      this.#reading = false;
      if (done === true) return;
      this.received += (value as Uint8Array).byteLength;
      yield value as Uint8Array;
    }
  }

  /** Reads the rest of the body, if there is any, and forgets it. */
  async finishBody(): Promise<void> {
    if (this.request.complete && this.request.readableLength === 0) return;
    this.#reading = true;
    for await (const _chunk of this.request.iterator({ destroyOnReturn: false }));
    this.#reading = false;
  }

  /** Sends the answer. Resolves when the client has taken it, or has gone. */
  async send({ status, headers, body }: Answer): Promise<void> {
    this.#discardBody();
    if (this.method !== "HEAD" && body !== undefined && !(body instanceof Uint8Array))
      return this.#stream(status, headers, body);
    const bytes = body instanceof Uint8Array ? body : undefined;
    const known = status === 204 || (body !== undefined && bytes === undefined);
    const length = { "Content-Length": bytes?.byteLength ?? 0 };
    this.response.writeHead(status, known || namesLength(headers) ? headers : Object.assign(length, headers));
    if (this.method === "HEAD" || bytes === undefined) return void this.response.end();
    this.sent += bytes.byteLength;
    // As text of one byte for each character a small body goes out in one piece with the headers, which is quicker.
    if (bytes.byteLength < ONE_PIECE)
      this.response.end(Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString("latin1"), "latin1");
    else this.response.end(bytes);
  }

  /** Breaks the connection, after what was written to it. */
  cut(): void {
    this.#cut = true;
    this.request.socket.destroySoon();
  }

  /** As fast as the client takes it. Where the stream fails, the connection is cut: the client must not take a part for the whole. */
  async #stream(status: number, headers: Answer["headers"], bytes: AsyncIterable<Uint8Array>): Promise<void> {
    const { response } = this;
    response.writeHead(status, headers);
    try {
      if (bytes instanceof FileBody) {
        await bytes.sendTo((piece) => this.#write(piece));
        response.end();
        return;
      }
      for await (const chunk of bytes) {
        if (response.destroyed) return;
        this.sent += chunk.byteLength;
        if (!response.write(chunk)) await new Promise<void>((resolve) => this.#onceWritable(resolve));
      }
      response.end();
    } catch (error) {
      if (error instanceof ConnectionCut) return this.cut();
      this.#cut = !this.gone;
      response.destroy();
      throw error;
    }
  }

  /** Resolves when the connection has taken the bytes: true while there is one. */
  #write(piece: Uint8Array): Promise<boolean> {
    const { response } = this;
    if (response.destroyed) return Promise.resolve(false);
    this.sent += piece.byteLength;
    return new Promise((resolve) => {
      const closed = (): void => resolve(false);
      response.once("close", closed);
      response.write(piece, () => {
        response.off("close", closed);
        resolve(!response.destroyed);
      });
    });
  }

  #onceWritable(resume: () => void): void {
    const { response } = this;
    if (response.destroyed) {
      resume();
      return;
    }
    const done = (): void => {
      response.off("drain", done);
      response.off("close", done);
      resume();
    };
    response.on("drain", done);
    response.on("close", done);
  }

  /** A client that still sends when the answer comes would lose it, were the connection closed right away. */
  #discardBody(): void {
    const { request } = this;
    if (request.complete) return;
    let size = 0;
    request.on("data", (chunk: Uint8Array) => {
      size += chunk.byteLength;
      if (size > DISCARDED) request.destroy();
    });
    request.on("error", () => {});
  }
}

function namesLength(headers: Answer["headers"]): boolean {
  for (const name in headers) if (/^(?:content-length|transfer-encoding)$/i.test(name)) return true;
  return false;
}

/** The digest in a path or query, or a refusal with 400. Content under it can be verified here. */
export function digestIn(text: string | null | undefined): Digest {
  if (typeof text === "string" && isDigest(text) && isVerifiable(text)) return text;
  throw new Refusal(400, "DIGEST_INVALID", "not a sha256 or sha512 digest");
}
