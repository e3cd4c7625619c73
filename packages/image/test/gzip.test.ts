import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { gunzipSync } from "node:zlib";
import { digestOf } from "@stowage/layout";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { GZIP_BLOCK_SIZE, gzip } from "../src/gzip.js";
import { all, bundle, run, sampleBytes, temporaryDirectory } from "./support.js";

const GOLDEN = "sha256:a38087522fc726dda99754352c779729280dfbd84298e8afc0002ab9c162d47d";
const input = sampleBytes(5 * GZIP_BLOCK_SIZE + 12_345);

function* cut(bytes: Uint8Array, size: number): Generator<Uint8Array> {
  for (let at = 0; at < bytes.byteLength; at += size) yield bytes.subarray(at, at + size);
}

describe("gzip", () => {
  let workers = 0;
  const count = (): void => {
    workers++;
  };
  beforeAll(() => {
    process.on("worker", count);
  });
  afterAll(() => {
    process.off("worker", count);
  });

  it("gives the bytes that it always gave", async () => {
    const output = await all(gzip([input]));
    expect(digestOf(gunzipSync(output))).toBe(digestOf(input));
    expect(digestOf(output)).toBe(GOLDEN);
    expect(workers).toBeGreaterThan(0);
  });

  it("does not depend on how the input comes", async () => {
    for (const size of [4096, 65_537, GZIP_BLOCK_SIZE, input.byteLength]) {
      expect(digestOf(await all(gzip(cut(input, size)))), String(size)).toBe(GOLDEN);
    }
  });

  it("makes one member per block, each readable by itself", async () => {
    const members: Uint8Array[] = [];
    for await (const member of gzip([input])) members.push(member);
    expect(members).toHaveLength(6);
    const block = input.subarray(3 * GZIP_BLOCK_SIZE, 4 * GZIP_BLOCK_SIZE);
    expect(digestOf(gunzipSync(members[3] as Uint8Array))).toBe(digestOf(block));
  });

  it("makes one empty member of nothing", async () => {
    const output = await all(gzip([]));
    expect(output.byteLength).toBeGreaterThan(0);
    expect(gunzipSync(output).byteLength).toBe(0);
  });

  it("gives the same bytes for a single block as for the same block among others", async () => {
    const one = await all(gzip([input.subarray(0, GZIP_BLOCK_SIZE)]));
    const two = await all(gzip([input.subarray(0, GZIP_BLOCK_SIZE + 1)]));
    expect(digestOf(two.subarray(0, one.byteLength))).toBe(digestOf(one));
  });

  it("leaves the chunks it was given alone", async () => {
    const chunk = Buffer.from(input.subarray(0, 3 * GZIP_BLOCK_SIZE));
    await all(gzip([chunk]));
    expect(digestOf(chunk)).toBe(digestOf(input.subarray(0, 3 * GZIP_BLOCK_SIZE)));
  });

  it("reads only so far ahead as there are threads", async () => {
    let taken = 0;
    function* endless(): Generator<Uint8Array> {
      for (;;) {
        taken++;
        yield input.subarray(0, GZIP_BLOCK_SIZE);
      }
    }
    const output = gzip(endless());
    await output.next();
    await output.return();
    expect(taken).toBeLessThanOrEqual(2 * 8 + 1);
  });

  it("stops where it is aborted, and works again afterwards", async () => {
    const controller = new AbortController();
    function* endless(): Generator<Uint8Array> {
      for (;;) yield input.subarray(0, GZIP_BLOCK_SIZE);
    }
    const reading = (async () => {
      for await (const _ of gzip(endless(), { signal: controller.signal })) controller.abort(new Error("enough"));
    })();
    await expect(reading).rejects.toThrow("enough");
    expect(digestOf(await all(gzip([input])))).toBe(GOLDEN);
  });

  it("passes on what its source fails with", async () => {
    function* broken(): Generator<Uint8Array> {
      yield input.subarray(0, 2 * GZIP_BLOCK_SIZE);
      throw new TypeError("the source broke");
    }
    await expect(all(gzip(broken()))).rejects.toThrow("the source broke");
  });

  it("keeps several streams apart that share the threads", async () => {
    const outputs = await Promise.all([1, 2, 3].map((seed) => all(gzip([sampleBytes(2 * GZIP_BLOCK_SIZE + 5, seed)]))));
    outputs.forEach((output, index) => {
      expect(digestOf(gunzipSync(output))).toBe(digestOf(sampleBytes(2 * GZIP_BLOCK_SIZE + 5, index + 1)));
    });
  });
});

describe("gzip in a bundle", () => {
  const program = `
    import { readFileSync } from "node:fs";
    import { digestOf } from "@stowage/layout";
    import { gzip } from "@stowage/image";
    let workers = 0;
    process.on("worker", () => workers++);
    const chunks = [];
    for await (const chunk of gzip([readFileSync(process.argv[2] as string)])) chunks.push(chunk);
    console.log(JSON.stringify({ digest: digestOf(Buffer.concat(chunks)), workers }));
  `;

  it.each([true, false])("gives the same bytes and ends by itself (worker file there: %s)", async (worker) => {
    const directory = await temporaryDirectory();
    await writeFile(join(directory, "input"), input);
    const file = await bundle(join(directory, "dist"), program, { worker });
    const result = JSON.parse(await run(process.execPath, [file, join(directory, "input")])) as Record<string, unknown>;
    expect(result.digest).toBe(GOLDEN);
    expect(Number(result.workers) > 0).toBe(worker);
  });
});
