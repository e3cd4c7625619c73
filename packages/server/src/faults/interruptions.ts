import { setTimeout as sleep } from "node:timers/promises";
import type { Answer } from "../answer.js";
import { Refusal, refusalAnswer } from "../errors.js";
import { ConnectionCut } from "../layer.js";
import { changedBody } from "./body.js";
import { type Fault, type Faults, isAbout, reads, refusing } from "./fault.js";

/** How many requests make a round of those faults that hit some of many. */
const ROUND = 20;

/** Connections that break or stand still, and a registry that is too busy or fails. */
export const interruptions: Faults = {
  drop: {
    does: "breaks the connection after NUMBER bytes of a blob; a client that goes on with Range gets through",
    amount: 64 * 1024,
    layer: (count) => () => async (exchange, next) => {
      const answer = await next();
      return reads(exchange, "blob") ? changedBody(answer, (bytes) => cutAfter(bytes, count)) : answer;
    },
  },
  "drop-upload": {
    does: "breaks every other connection that uploads, after NUMBER bytes",
    amount: 64 * 1024,
    layer: (count) => () => {
      let uploads = 0;
      return async (exchange, next) => {
        const brings = exchange.contentLength !== 0 && isAbout(exchange, "upload", "uploads");
        if (!brings || uploads++ % 2 !== 0) return next();
        let cut = false;
        exchange.changeBody((body) => cutAfter(body, count, () => (cut = true)));
        const answer = await next();
        if (cut) throw new ConnectionCut();
        return answer;
      };
    },
  },
  reset: {
    does: "breaks the connection of every NUMBERth request before it answers",
    amount: 3,
    layer: (each) => () => {
      let requests = 0;
      return async (_exchange, next) => {
        if (++requests % each === 0) throw new ConnectionCut();
        return next();
      };
    },
  },
  slow: {
    does: "sends blobs with NUMBER bytes a second",
    amount: 100_000,
    layer:
      (rate) =>
      ({ closing }) =>
      async (exchange, next) => {
        const answer = await next();
        const signal = AbortSignal.any([closing, exchange.signal]);
        return reads(exchange, "blob") ? changedBody(answer, (bytes) => slowly(bytes, rate, signal)) : answer;
      },
  },
  stall: {
    does: "stops sending after NUMBER bytes of a blob, without an end",
    amount: 64 * 1024,
    layer:
      (count) =>
      ({ closing }) =>
      async (exchange, next) => {
        const answer = await next();
        const signal = AbortSignal.any([closing, exchange.signal]);
        return reads(exchange, "blob") ? changedBody(answer, (bytes) => stallAfter(bytes, count, signal)) : answer;
      },
  },
  busy: bursts(`answers NUMBER of each ${ROUND} requests with 429 and Retry-After: 1`, () =>
    tooMany({ "Retry-After": "1" }),
  ),
  "busy-date": bursts(
    `answers NUMBER of each ${ROUND} requests with 429 and a Retry-After that is a date, two seconds on`,
    () => tooMany({ "Retry-After": new Date(Date.now() + 2000).toUTCString() }),
  ),
  "busy-bare": bursts(
    `answers NUMBER of each ${ROUND} requests with 429 that says nothing more, not even JSON`,
    () => ({
      status: 429,
      headers: { "Content-Type": "text/plain" },
      body: Buffer.from("Too Many Requests\n"),
    }),
  ),
  unavailable: bursts(`answers NUMBER of each ${ROUND} requests with 503`, () => ({ status: 503, headers: {} })),
  broken: bursts(`answers NUMBER of each ${ROUND} requests with 500`, () =>
    refusalAnswer(new Refusal(500, "UNKNOWN", "internal error")),
  ),
  "always-busy": refusing(
    "answers everything with 429 and Retry-After: 3600",
    () => true,
    () => tooMany({ "Retry-After": "3600" }),
  ),
  "pull-limit": {
    does: "refuses the pull of a manifest with a malformed 429 after NUMBER of them; HEAD does not count",
    amount: 100,
    layer: (limit) => () => {
      let pulls = 0;
      return async (exchange, next) => {
        const pull = exchange.method === "GET" && isAbout(exchange, "manifest");
        if (!pull || ++pulls <= limit) return next();
        const headers = { "Content-Type": "application/json", "Retry-After": "1" };
        return { status: 429, headers, body: Buffer.from('{"message":"You have reached your pull rate limit.') };
      };
    },
  },
};

/** The first requests of each round fail, one after the other, as in a real burst. */
function bursts(does: string, answer: () => Answer): Fault {
  return {
    does,
    amount: 3,
    layer: (count) => () => {
      let requests = 0;
      return async (_exchange, next) => (requests++ % ROUND < count ? answer() : next());
    },
  };
}

function tooMany(headers: Readonly<Record<string, string>>): Answer {
  return refusalAnswer(new Refusal(429, "TOOMANYREQUESTS", "Rate exceeded", headers));
}

async function* cutAfter(
  bytes: AsyncIterable<Uint8Array>,
  count: number,
  onCut: () => void = () => {},
): AsyncGenerator<Uint8Array, void, undefined> {
  let left = count;
  for await (const chunk of bytes) {
    if (chunk.byteLength > left) {
      yield chunk.subarray(0, left);
      onCut();
      throw new ConnectionCut();
    }
    left -= chunk.byteLength;
    yield chunk;
  }
}

async function* stallAfter(
  bytes: AsyncIterable<Uint8Array>,
  count: number,
  signal: AbortSignal,
): AsyncGenerator<Uint8Array, void, undefined> {
  try {
    yield* cutAfter(bytes, count);
  } catch (error) {
    if (!(error instanceof ConnectionCut)) throw error;
    await sleep(2 ** 31 - 1, undefined, { signal }).catch(() => {});
    throw error;
  }
}

async function* slowly(
  bytes: AsyncIterable<Uint8Array>,
  rate: number,
  signal: AbortSignal,
): AsyncGenerator<Uint8Array, void, undefined> {
  const piece = Math.max(Math.floor(rate / 20), 1);
  for await (const chunk of bytes) {
    for (let at = 0; at < chunk.byteLength; at += piece) {
      yield chunk.subarray(at, at + piece);
      await sleep((piece / rate) * 1000, undefined, { signal }).catch(() => {
        throw new ConnectionCut();
      });
    }
  }
}
