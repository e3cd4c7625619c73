import { type Answer, jsonAnswer } from "./answer.js";
import type { Exchange } from "./exchange.js";
import type { Layer } from "./layer.js";

/** A request that has come to its end, for a log. */
export interface RequestRecord {
  /** When it began, as RFC 3339. */
  readonly time: string;
  readonly client: string;
  readonly method: string;
  /** Without the query, which may hold what is nobody's business. */
  readonly path: string;
  readonly status: number;
  /** Bytes of the bodies. */
  readonly received: number;
  readonly sent: number;
  /** From the first line of the request to the last byte of the answer, in ms. */
  readonly duration: number;
  /** False where the connection broke before the answer was through. */
  readonly complete: boolean;
}

/** What a server has done since it started. */
export class Metrics {
  readonly #requests = new Map<string, number>();
  readonly #started = Date.now();
  #received = 0;
  #sent = 0;
  #running = 0;

  /** A request has come. */
  begin(): void {
    this.#running++;
  }

  /** Counts a request that has come to its end, and tells of it. */
  end(exchange: Exchange, onRequest: ((record: RequestRecord) => void) | undefined): void {
    this.#running--;
    const { method, path, client, began, received, sent } = exchange;
    const { statusCode: status, writableFinished: complete } = exchange.response;
    // A method that nobody has heard of must not make a counter of its own.
    const known = /^(GET|HEAD|POST|PUT|PATCH|DELETE)$/.test(method) ? method : "other";
    const key = `method="${known}",status="${status}"`;
    this.#requests.set(key, (this.#requests.get(key) ?? 0) + 1);
    this.#received += received;
    this.#sent += sent;
    if (onRequest === undefined) return;
    const time = new Date(began).toISOString();
    onRequest({ time, client, method, path, status, received, sent, duration: Date.now() - began, complete });
  }

  /** In the text format of Prometheus, version 0.0.4. */
  text(uploads: number): string {
    const families: readonly [string, string, string, readonly (readonly [string, number])[]][] = [
      [
        "requests_total",
        "counter",
        "Requests answered",
        [...this.#requests].map(([key, count]) => [`{${key}}`, count]),
      ],
      ["received_bytes_total", "counter", "Bytes of request bodies", [["", this.#received]]],
      ["sent_bytes_total", "counter", "Bytes of answers", [["", this.#sent]]],
      ["requests_running", "gauge", "Requests that are being answered", [["", this.#running]]],
      ["uploads_open", "gauge", "Uploads that are open", [["", uploads]]],
      ["uptime_seconds", "gauge", "Seconds since the start", [["", Math.round((Date.now() - this.#started) / 1000)]]],
    ];
    return families
      .flatMap(([name, type, help, values]) => [
        `# HELP stowage_${name} ${help}.`,
        `# TYPE stowage_${name} ${type}`,
        ...values.map(([labels, value]) => `stowage_${name}${labels} ${value}`),
      ])
      .join("\n")
      .concat("\n");
  }
}

/** Answers `/healthz` and `/metrics`, which are no part of the specification. */
export function observed(metrics: Metrics, uploads: () => number, closing: AbortSignal): Layer {
  const health = (): Answer => jsonAnswer(closing.aborted ? 503 : 200, { status: closing.aborted ? "closing" : "ok" });
  const numbers = (): Answer => {
    const headers = { "Content-Type": "text/plain; version=0.0.4; charset=utf-8" };
    return { status: 200, headers, body: Buffer.from(metrics.text(uploads())) };
  };
  // Nothing here is waited for: it stands in the way of every request.
  return (exchange, next) => {
    const own = exchange.path === "/healthz" ? health : exchange.path === "/metrics" ? numbers : undefined;
    if (own === undefined || (exchange.method !== "GET" && exchange.method !== "HEAD")) return next();
    return Promise.resolve(own());
  };
}
