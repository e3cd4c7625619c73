import { digestOf, mediaTypes } from "@stowage/layout";
import { type Answer, withHeaders } from "../answer.js";
import type { Exchange } from "../exchange.js";
import { changedBody, lengthOf } from "./body.js";
import { changing, type Faults, reads, refusing, simple } from "./fault.js";

const isContent = (exchange: Exchange, answer: Answer): boolean =>
  reads(exchange, "blob", "manifest") && (answer.status === 200 || answer.status === 206);
const isManifest = (exchange: Exchange, answer: Answer): boolean =>
  reads(exchange, "manifest") && answer.status === 200;

/** Answers that do not hold what they say. */
export const lyingAnswers: Faults = {
  "no-digest-header": changing(
    "sends no Docker-Content-Digest",
    () => true,
    (answer) => withHeaders(answer, { "Docker-Content-Digest": undefined }),
  ),
  "wrong-digest-header": changing("sends the Docker-Content-Digest of something else", isContent, (answer) =>
    withHeaders(answer, { "Docker-Content-Digest": digestOf("something else") }),
  ),
  corrupt: changing("changes one byte of every blob and manifest", isContent, (answer) =>
    changedBody(answer, flipFirst),
  ),
  "short-body": changing(
    "leaves out the last byte of every blob and manifest, and counts without it",
    isContent,
    (answer) => resized(answer, -1),
  ),
  "long-body": changing("adds a byte to every blob and manifest, and counts it", isContent, (answer) =>
    resized(answer, 1),
  ),
  "wrong-length": changing("tells HEAD a length that is one byte too much", isContent, (answer, exchange) =>
    exchange.method === "HEAD" ? withHeaders(answer, { "Content-Length": (lengthOf(answer) ?? 0) + 1 }) : answer,
  ),
  "no-length": changing("sends blobs and manifests without Content-Length", isContent, (answer) => {
    const streamed = changedBody(answer, (bytes) => bytes);
    return { ...withHeaders(streamed, { "Content-Length": undefined, "Transfer-Encoding": "chunked" }) };
  }),
  "no-type": changing("sends manifests without Content-Type", isManifest, (answer) =>
    withHeaders(answer, { "Content-Type": undefined }),
  ),
  "wrong-type": changing("sends every manifest as text/plain", isManifest, (answer) =>
    withHeaders(answer, { "Content-Type": "text/plain; charset=utf-8" }),
  ),
  "endless-manifest": changing("sends manifests of a gibibyte, without saying so before", isManifest, (answer) => ({
    ...withHeaders(answer, {
      "Content-Type": mediaTypes.manifest,
      "Content-Length": undefined,
      "Docker-Content-Digest": undefined,
      "Transfer-Encoding": "chunked",
    }),
    body: blanks(),
  })),
  html: refusing(
    "answers everything with a web page and 200, as the gate of a hotel's network does",
    () => true,
    () => ({
      status: 200,
      headers: { "Content-Type": "text/html; charset=utf-8" },
      body: Buffer.from("<!doctype html><title>Welcome</title><h1>Accept the terms to go on</h1>"),
    }),
  ),
  "no-range": simple("ignores Range and sends blobs whole", async (exchange, next) => {
    delete exchange.request.headers.range;
    return next();
  }),
  "refused-range": refusing(
    "refuses every Range with 416",
    (exchange) => reads(exchange, "blob") && exchange.header("range") !== undefined,
    () => ({ status: 416, headers: {} }),
  ),
};

async function* flipFirst(bytes: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array, void, undefined> {
  let first = true;
  for await (const chunk of bytes) {
    const copy = first && chunk.byteLength > 0 ? Uint8Array.from(chunk) : chunk;
    if (copy !== chunk) {
      copy[0] = (copy[0] as number) ^ 1;
      first = false;
    }
    yield copy;
  }
}

/** The content with one byte more or less at its end, and the length to match. */
function resized(answer: Answer, by: 1 | -1): Answer {
  const length = Math.max((lengthOf(answer) ?? 0) + by, 0);
  return withHeaders(
    changedBody(answer, (bytes) => (by > 0 ? longer(bytes) : shorter(bytes, length))),
    { "Content-Length": length },
  );
}

async function* longer(bytes: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array, void, undefined> {
  yield* bytes;
  yield Uint8Array.of(0x20);
}

async function* shorter(bytes: AsyncIterable<Uint8Array>, length: number): AsyncGenerator<Uint8Array, void, undefined> {
  let left = length;
  for await (const chunk of bytes) {
    yield chunk.subarray(0, Math.min(left, chunk.byteLength));
    left -= Math.min(left, chunk.byteLength);
  }
}

async function* blanks(): AsyncGenerator<Uint8Array, void, undefined> {
  const chunk = Buffer.alloc(1024 * 1024, " ");
  for (let count = 0; count < 1024; count++) yield chunk;
}
