import { createGzip, gunzipSync } from "node:zlib";
import { describe, expect, it } from "vitest";
import { through } from "../src/compression/through.js";

async function all(bytes: AsyncIterable<Uint8Array>): Promise<Buffer> {
  const chunks: Uint8Array[] = [];
  for await (const chunk of bytes) chunks.push(chunk);
  return Buffer.concat(chunks);
}

/** Bytes that never come. */
async function* silent(): AsyncGenerator<Uint8Array> {
  await new Promise(() => {});
}

describe("through", () => {
  it("has taken a chunk in before it asks for the next one, so the same memory may be used again", async () => {
    const memory = Buffer.alloc(300_000);
    async function* reused(): AsyncGenerator<Uint8Array> {
      for (let at = 0; at < 20; at++) {
        memory.fill(at);
        yield memory;
      }
    }
    const content = gunzipSync(await all(through(reused(), createGzip())));
    const expected = Buffer.concat(Array.from({ length: 20 }, (_, at) => Buffer.alloc(memory.length, at)));
    expect(content.equals(expected)).toBe(true);
  });

  it("fails as the bytes do", async () => {
    async function* broken(): AsyncGenerator<Uint8Array> {
      yield Buffer.from("some");
      throw new Error("gone");
    }
    await expect(all(through(broken(), createGzip()))).rejects.toThrow("gone");
  });

  it("lets go of the bytes where its reader has enough, and where the signal says so", async () => {
    let open = 0;
    async function* endless(): AsyncGenerator<Uint8Array> {
      open++;
      try {
        for (;;) yield Buffer.alloc(100_000, 1);
      } finally {
        open--;
      }
    }
    for await (const _chunk of through(endless(), createGzip())) break;
    await expect.poll(() => open).toBe(0);
    const late = through(silent(), createGzip(), { signal: AbortSignal.abort(new Error("too late")) });
    await expect(all(late)).rejects.toThrow("too late");
    const abort = new AbortController();
    const read = all(through(endless(), createGzip(), { signal: abort.signal }));
    abort.abort(new Error("enough"));
    await expect(read).rejects.toThrow("enough");
    await expect.poll(() => open).toBe(0);
  });
});
