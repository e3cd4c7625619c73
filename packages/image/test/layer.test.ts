import { mkdir, readdir, readFile, truncate, writeFile } from "node:fs/promises";
import { join } from "node:path";
import * as zlib from "node:zlib";
import { decompress, digestOf, isOciError, Layout, MemoryStore, mediaTypes } from "@stowage/layout";
import { describe, expect, it } from "vitest";
import { type Compression, compressions as everyCompression, layerMediaType } from "../src/compression.js";
import { type LayerOptions, writeLayer } from "../src/layer.js";
import type { LayerSource } from "../src/layer-source.js";
import { writeTar } from "../src/tar.js";
import { all, bundle, run, sampleBytes, temporaryDirectory, writeFiles } from "./support.js";

/** Those that this Node has. */
const hasZstd = "createZstdCompress" in zlib;
const compressions = everyCompression.filter((one) => one !== "zstd" || hasZstd);

function inflated(bytes: Uint8Array, compression: Compression): Promise<Buffer> {
  return all(compression === "none" ? [bytes] : decompress([bytes], "the layer"));
}

/** A zstd frame of a block as it is. RFC 8878, section 3.1.1. */
function zstdFrame(content: Uint8Array): Buffer {
  const head = Buffer.alloc(12);
  head.writeUInt32LE(0xfd2fb528);
  head.writeUInt8(0b1010_0000, 4);
  head.writeUInt32LE(content.byteLength, 5);
  head.writeUIntLE(content.byteLength * 8 + 1, 9, 3);
  return Buffer.concat([head, content]);
}

async function layerOf(source: LayerSource, options: LayerOptions) {
  const store = new MemoryStore();
  const layer = await writeLayer(store, source, options);
  return { ...layer, bytes: await all(store.fetch(layer.descriptor)) };
}

async function makeArchive(name = "file"): Promise<Buffer> {
  const header = { name, type: "file", mode: 0o640, uid: 7, gid: 8, mtime: 9, size: 4 } as const;
  return all(writeTar([{ ...header, open: () => [Buffer.from("body")] }]));
}

describe("a layer of files", () => {
  it("is stored under the digest of its bytes, and its diffID is that of the tar", async () => {
    const root = await temporaryDirectory();
    await writeFiles(root, { a: sampleBytes(3_000_000), "d/b": "b" });
    const diffIds = new Set<string>();
    for (const compression of compressions) {
      const { descriptor, diffId, bytes } = await layerOf({ files: [".:/"] }, { cwd: root, compression });
      expect(descriptor).toEqual({
        mediaType: layerMediaType(compression),
        digest: digestOf(bytes),
        size: bytes.byteLength,
      });
      expect(digestOf(await inflated(bytes, compression))).toBe(diffId);
      diffIds.add(diffId);
    }
    expect(diffIds.size).toBe(1);
  });

  it("tells how many bytes of tar went in", async () => {
    const root = await temporaryDirectory();
    await writeFiles(root, { a: sampleBytes(3_000_000) });
    let bytes = 0;
    await layerOf({ files: ["a"] }, { cwd: root, onBytes: (count) => (bytes += count) });
    expect(bytes).toBe(512 + 3_000_320 + 1024);
  });

  it.each(compressions)("is smaller at a higher level, and refused at none (%s)", async (compression) => {
    const root = await temporaryDirectory();
    await writeFiles(root, { a: sampleBytes(300_000) });
    const sizeAt = async (level: number): Promise<number> =>
      (await layerOf({ files: ["a"] }, { cwd: root, compression, level })).descriptor.size;
    const highest = compression === "zstd" ? 22 : 9;
    for (const level of [0, -1, 1.5, compression === "none" ? 1 : highest + 1])
      await expect(sizeAt(level), String(level)).rejects.toSatisfy((error) => isOciError(error, "INVALID"));
    if (compression !== "none") expect(await sizeAt(highest)).toBeLessThan(await sizeAt(1));
  });

  it("leaves nothing where it fails or is aborted", async () => {
    const root = await temporaryDirectory();
    await writeFiles(root, { a: sampleBytes(5_000_000) });
    const controller = new AbortController();
    const layout = await Layout.create(join(root, "layout"));
    const writing = writeLayer(
      layout,
      { files: ["a"] },
      { cwd: root, signal: controller.signal, onBytes: () => controller.abort(new Error("enough")) },
    );
    await expect(writing).rejects.toThrow("enough");
    expect(await readdir(join(root, "layout/blobs/sha256"))).toEqual([]);
    expect(await readdir(join(root, "layout/ingest"))).toEqual([]);
  });

  it.each(compressions)("takes no more memory for a larger file (%s)", async (compression) => {
    const root = await temporaryDirectory();
    await mkdir(join(root, "in"));
    await writeFile(join(root, "in/large"), "");
    await truncate(join(root, "in/large"), 400 * 2 ** 20);
    const program = `
      import { writeLayer } from "@stowage/image";
      import { digestOf } from "@stowage/layout";
      const target = {
        async write(bytes: AsyncIterable<Uint8Array>, mediaType: string) {
          let size = 0;
          for await (const chunk of bytes) size += chunk.byteLength;
          return { mediaType, digest: digestOf(""), size };
        },
      };
      await writeLayer(target, { files: [".:/"] }, { cwd: process.argv[2] as string, compression: process.argv[3] as "gzip" });
      console.log(process.resourceUsage().maxRSS / 1024);
    `;
    const file = await bundle(join(root, "dist"), program, { worker: true });
    const mebibytes = Number(await run(process.execPath, [file, join(root, "in"), compression]));
    expect(mebibytes).toBeGreaterThan(20);
    expect(mebibytes).toBeLessThan(300);
  });
});

describe("a tar archive as a layer", () => {
  it("is kept as it is and compressed", async () => {
    const root = await temporaryDirectory();
    const archive = await makeArchive("./file");
    await writeFile(join(root, "x.tar"), archive);
    for (const compression of compressions) {
      const { diffId, bytes, descriptor } = await layerOf({ tar: "x.tar" }, { cwd: root, compression });
      expect(diffId).toBe(digestOf(archive));
      expect(digestOf(await inflated(bytes, compression))).toBe(diffId);
      expect(descriptor.mediaType).toBe(layerMediaType(compression));
    }
  });

  it("is kept byte for byte where it is gzip, of one member or several", async () => {
    const root = await temporaryDirectory();
    const archive = await makeArchive();
    for (const packed of [
      zlib.gzipSync(archive, { level: 1 }),
      Buffer.concat([zlib.gzipSync(archive.subarray(0, 700)), zlib.gzipSync(archive.subarray(700))]),
    ]) {
      await writeFile(join(root, "x.tgz"), packed);
      const { diffId, bytes, descriptor } = await layerOf({ tar: "x.tgz" }, { cwd: root, compression: "none" });
      expect(bytes.equals(packed)).toBe(true);
      expect(diffId).toBe(digestOf(archive));
      expect(descriptor.mediaType).toBe(mediaTypes.layerGzip);
    }
  });

  it("is kept byte for byte where it is zstd, which every Node can read", async () => {
    const root = await temporaryDirectory();
    const archive = await makeArchive();
    const skipped = Buffer.from([0x50, 0x2a, 0x4d, 0x18, 2, 0, 0, 0, 7, 7]);
    for (const packed of [zstdFrame(archive), Buffer.concat([skipped, zstdFrame(archive)])]) {
      await writeFile(join(root, "x.tar.zst"), packed);
      const { diffId, bytes, descriptor } = await layerOf({ tar: "x.tar.zst" }, { cwd: root });
      expect(bytes.equals(packed)).toBe(true);
      expect(diffId).toBe(digestOf(archive));
      expect(descriptor.mediaType).toBe(mediaTypes.layerZstd);
    }
  });

  it("is refused where it is no tar, is cut off, or leads out of the image", async () => {
    const root = await temporaryDirectory();
    const archive = await makeArchive();
    const upwards = await makeArchive("ab/file");
    upwards.write("../file", 0, "latin1");
    upwards.write("        ", 148, "latin1");
    let sum = 0;
    for (const byte of upwards.subarray(0, 512)) sum += byte;
    upwards.write(`${sum.toString(8).padStart(6, "0")}\0 `, 148, "latin1");
    const packed = zlib.gzipSync(archive);
    const wrong: Readonly<Record<string, Uint8Array>> = {
      empty: Buffer.alloc(0),
      text: Buffer.from("text ".repeat(500)),
      cut: archive.subarray(0, 514),
      upwards,
      "packed-upwards": zlib.gzipSync(upwards),
      "packed-text": zlib.gzipSync("text"),
      "packed-cut": packed.subarray(0, -9),
      "packed-damaged": Buffer.concat([packed.subarray(0, -8), Buffer.from([0, 1, 2, 3]), packed.subarray(-4)]),
      "packed-more": Buffer.concat([packed, Buffer.from("more")]),
    };
    await writeFiles(root, wrong);
    const store = new MemoryStore();
    for (const name of Object.keys(wrong)) {
      await expect(writeLayer(store, { tar: name }, { cwd: root }), name).rejects.toSatisfy((error) =>
        isOciError(error, "INVALID"),
      );
    }
  });

  it("is refused where it is compressed in another way, missing, or a directory", async () => {
    const root = await temporaryDirectory();
    await writeFiles(root, {
      zst: Buffer.from([0x28, 0xb5, 0x2f, 0xfd, 0, 0]),
      xz: Buffer.from([0xfd, 0x37, 0x7a, 0x58, 0x5a, 0]),
    });
    const store = new MemoryStore();
    for (const [name, code] of [
      ["zst", "INVALID"],
      ["xz", "UNSUPPORTED"],
      ["missing", "NOT_FOUND"],
      [".", "INVALID"],
    ] as const) {
      await expect(writeLayer(store, { tar: name }, { cwd: root }), name).rejects.toSatisfy((error) =>
        isOciError(error, code),
      );
    }
  });

  it("is refused where it changes while it is read", async () => {
    const root = await temporaryDirectory();
    const path = join(root, "x.tar");
    await writeFile(path, await makeArchive());
    const other = await makeArchive("other");
    const store = new MemoryStore();
    const target = {
      write: async (...args: Parameters<MemoryStore["write"]>) => {
        await writeFile(path, other);
        return store.write(...args);
      },
    };
    await expect(writeLayer(target, { tar: path }, {})).rejects.toSatisfy((error) => isOciError(error, "CONFLICT"));
    expect((await readFile(path)).equals(other)).toBe(true);
  });
});
