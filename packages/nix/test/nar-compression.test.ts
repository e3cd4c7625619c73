import { brotliCompressSync, gzipSync } from "node:zlib";
import { describe, expect, it } from "vitest";
import { decompressNar, narCompressions } from "../src/index.js";
import { all, chunked, fixture } from "./fixtures.js";

const nar = fixture("nar/app.nar");
const file = (compression: string): Buffer => fixture(`nar/app.nar${compression === "none" ? "" : `.${compression}`}`);

describe("a NAR that is compressed", () => {
  it.each(narCompressions)("with %s, as Nix does it, is decompressed, however its bytes come", async (compression) => {
    for (const size of [1, 7, 100_000])
      expect(await all(decompressNar(chunked(file(compression), size), compression, "it"))).toEqual(nar);
  });

  it.each(narCompressions.filter((name) => name !== "none"))("with %s is refused where it is cut off", async (name) => {
    const whole = file(name);
    for (const end of [0, 3, 20, Math.floor(whole.byteLength / 2), whole.byteLength - 1]) {
      const read = all(decompressNar([whole.subarray(0, end)], name, "it")).then((bytes) => bytes.byteLength);
      // Nothing at all is no zstd frame and no gzip member, which is not damage; the size of the NAR tells.
      if (end > 0) await expect(read).rejects.toMatchObject({ code: "INVALID" });
      else expect(await read.catch(({ code }) => code)).toSatisfy((is) => is === 0 || is === "INVALID");
    }
  });

  it.each(narCompressions.filter((name) => name !== "none"))(
    "with %s is refused where it is something else",
    async (name) => {
      const noise = Buffer.from("this is not compressed at all, whatever somebody says of it");
      await expect(all(decompressNar([noise], name, "it"))).rejects.toMatchObject({ code: "INVALID" });
    },
  );

  it("can be given up in the middle, and the next one is read", async () => {
    for (const compression of narCompressions)
      for await (const _ of decompressNar([file(compression)], compression, "it")) break;
    expect(await all(decompressNar([file("xz")], "xz", "it"))).toEqual(nar);
  });

  it("with something that is not read is refused by its name", () => {
    expect(() => decompressNar([], "lzip", "it")).toThrow('it is compressed with "lzip"');
    expect(() => decompressNar([], "__proto__", "it")).toThrow("is compressed with");
  });

  it("with several bzip2 streams and blocks behind each other is read to the end", async () => {
    const line = Buffer.from(`${"0123456789abcdef".repeat(16)}zzzzzzzzzzz`);
    const expected = Buffer.concat([...Array<Buffer>(4000).fill(line), Buffer.from("second stream")]);
    expect((await all(decompressNar(chunked(fixture("nar/blocks.bz2"), 100), "bzip2", "it"))).equals(expected)).toBe(
      true,
    );
  });

  it("gives a chunk at a time, not all that a few bytes ask for", async () => {
    const zeros = Buffer.alloc(8_000_000);
    for (const [name, bytes] of [
      ["gzip", gzipSync(zeros)],
      ["br", brotliCompressSync(zeros)],
    ] as const) {
      let largest = 0;
      for await (const chunk of decompressNar([bytes], name, "it")) largest = Math.max(largest, chunk.byteLength);
      expect(largest).toBeLessThanOrEqual(1024 * 1024);
    }
  });
});
