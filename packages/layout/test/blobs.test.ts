import { execFile } from "node:child_process";
import { mkdir, readdir, readFile, readlink, rm, symlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";
import { contentOf, type Descriptor, descriptorOf, digestOf, Layout, mediaTypes, parseDigest } from "@stowage/layout";
import { describe, expect, it } from "vitest";
import {
  blobName,
  bytesOf,
  failure,
  filesBelow,
  pushImage,
  put,
  streamOf,
  temporaryDirectory,
  utf8,
} from "./support.js";

async function newLayout(): Promise<Layout> {
  return Layout.create(join(await temporaryDirectory(), "layout"));
}

describe("a blob", () => {
  const content = utf8("content of a blob");
  const descriptor = descriptorOf(content, "text/plain");

  it("of a stream gets its digest from write, in the algorithm that is asked for", async () => {
    const layout = await newLayout();
    const counts: number[] = [];
    const onBytes = (count: number): void => void counts.push(count);
    expect(await layout.write(streamOf("content ", "of a blob"), "text/plain", { onBytes })).toEqual(descriptor);
    expect(counts.reduce((sum, count) => sum + count, 0)).toBe(content.length);
    const long = await layout.write([content], "text/plain", { algorithm: "sha512" });
    expect(long.digest).toBe(digestOf(content, "sha512"));
    for (const one of [descriptor, long]) {
      expect(await bytesOf(layout.fetch(one))).toEqual(Buffer.from(content));
      expect(await readFile(join(layout.path, blobName(one)))).toEqual(Buffer.from(content));
    }
    expect(await readdir(join(layout.path, "ingest"))).toEqual([]);
  });

  it("that is empty or of many megabytes comes back as it was", async () => {
    const layout = await newLayout();
    const empty = await layout.write([], "text/plain");
    expect(empty.size).toBe(0);
    expect(await bytesOf(layout.fetch(empty))).toEqual(Buffer.alloc(0));
    const large = Buffer.alloc(5 * 1024 * 1024 + 17, "large ");
    const pieces = Array.from({ length: 1000 }, (_, at) => large.subarray(at * 5243, (at + 1) * 5243));
    const written = await layout.write(pieces, "text/plain");
    expect(written).toEqual(descriptorOf(large, "text/plain"));
    expect((await bytesOf(layout.fetch(written))).equals(large)).toBe(true);
    expect((await bytesOf(layout.fetch(written, { from: 3_000_000 }))).equals(large.subarray(3_000_000))).toBe(true);
  });

  it("that is present is not opened again", async () => {
    const layout = await newLayout();
    const open = (): never => {
      throw new Error("was opened");
    };
    expect(await layout.push(contentOf(content, descriptor))).toBe("written");
    expect(await layout.push({ descriptor, open })).toBe("present");
    const image = await pushImage(layout);
    expect(await layout.push({ descriptor: image, open })).toBe("present");
  });

  it.each([
    ["larger", "content of a blob and more"],
    ["shorter", "content of a"],
    ["other", "CONTENT OF A BLOB"],
  ])("with %s content than declared is MISMATCH and leaves nothing behind", async (_what, text) => {
    const layout = await newLayout();
    const before = await filesBelow(layout.path);
    await failure(layout.push({ descriptor, open: () => streamOf(text) }), "MISMATCH");
    const manifest = { ...descriptor, mediaType: mediaTypes.manifest };
    await failure(layout.push({ descriptor: manifest, open: () => streamOf(text) }), "MISMATCH");
    expect(await filesBelow(layout.path)).toEqual(before);
    expect(await layout.has(descriptor)).toBe(false);
  });

  it("whose source breaks leaves nothing behind, and the error is the source's", async () => {
    const layout = await newLayout();
    const before = await filesBelow(layout.path);
    async function* broken(): AsyncGenerator<Uint8Array> {
      yield content.subarray(0, 4);
      throw new RangeError("the source broke");
    }
    await expect(layout.push({ descriptor, open: broken })).rejects.toThrow(RangeError);
    await expect(layout.write(broken(), "text/plain")).rejects.toThrow(RangeError);
    expect(await filesBelow(layout.path)).toEqual(before);
  });

  it("whose transfer is given up leaves nothing behind, and the error is the signal's reason", async () => {
    const layout = await newLayout();
    const before = await filesBelow(layout.path);
    const controller = new AbortController();
    async function* endless(): AsyncGenerator<Uint8Array> {
      for (let count = 0; ; count++) {
        if (count === 3) controller.abort(new RangeError("given up"));
        yield Buffer.alloc(1024 * 1024);
      }
    }
    const { signal } = controller;
    await expect(layout.write(endless(), "text/plain", { signal })).rejects.toThrow("given up");
    await expect(layout.push(contentOf(content, descriptor), { signal })).rejects.toThrow("given up");
    await expect(bytesOf(layout.fetch(descriptor, { signal }))).rejects.toThrow("given up");
    await expect(layout.tag("v1", descriptor, { signal })).rejects.toThrow("given up");
    await expect(layout.resolve("v1", { signal })).rejects.toThrow("given up");
    expect(await filesBelow(layout.path)).toEqual(before);
  });

  it("that many push at once is read from one source only", async () => {
    const layout = await newLayout();
    let opened = 0;
    const open = (): AsyncIterable<Uint8Array> => {
      opened++;
      return streamOf("content ", "of a blob");
    };
    const presences = await Promise.all(Array.from({ length: 50 }, () => layout.push({ descriptor, open })));
    expect(opened).toBe(1);
    expect(new Set(presences)).toEqual(new Set(["written"]));
    expect(await readdir(join(layout.path, "ingest"))).toEqual([]);
  });

  it("that many push at once arrives though the first source breaks", async () => {
    const layout = await newLayout();
    let opened = 0;
    const open = (): AsyncIterable<Uint8Array> => streamOf(...(opened++ === 0 ? ["con"] : ["content of a blob"]));
    const results = await Promise.allSettled(Array.from({ length: 5 }, () => layout.push({ descriptor, open })));
    expect(results.map(({ status }) => status).sort()).toEqual([...Array(4).fill("fulfilled"), "rejected"]);
    expect(opened).toBe(2);
    expect(await bytesOf(layout.fetch(descriptor))).toEqual(Buffer.from(content));
  });

  it("pushed at once with two sizes arrives under the right one and is MISMATCH under the wrong one", async () => {
    const layout = await newLayout();
    const open = (): AsyncIterable<Uint8Array> => streamOf("content ", "of a blob");
    const right = layout.push({ descriptor, open });
    const wrong = layout.push({ descriptor: { ...descriptor, size: descriptor.size + 1 }, open });
    await failure(wrong, "MISMATCH");
    expect(await right).toBe("written");
    expect(await layout.has(descriptor)).toBe(true);
  });

  it("that is not there is NOT_FOUND", async () => {
    const layout = await newLayout();
    await failure(bytesOf(layout.fetch(descriptor)), "NOT_FOUND");
    expect(await layout.has(descriptor)).toBe(false);
  });

  it("with another size than its descriptor is not there for has, and MISMATCH for fetch, from any offset", async () => {
    const layout = await newLayout();
    await layout.push(contentOf(content, descriptor));
    for (const size of [descriptor.size - 1, descriptor.size + 1, 0, Number.MAX_SAFE_INTEGER]) {
      expect(await layout.has({ ...descriptor, size })).toBe(false);
      await failure(bytesOf(layout.fetch({ ...descriptor, size })), "MISMATCH");
      await failure(bytesOf(layout.fetch({ ...descriptor, size }, { from: 3 })), "MISMATCH");
    }
  });

  it("that was damaged on the disk is MISMATCH, and a manifest that was is stored anew by the next push", async () => {
    const layout = await newLayout();
    const image = await pushImage(layout);
    const intact = await bytesOf(layout.fetch(image));
    await writeFile(layout.blobPath(image.digest), Buffer.alloc(image.size, "x"));
    await failure(bytesOf(layout.fetch(image)), "MISMATCH");
    expect(await layout.push(contentOf(intact, image))).toBe("written");
    expect(await bytesOf(layout.fetch(image))).toEqual(intact);
  });

  it("that was cut short on the disk is stored anew by the next push", async () => {
    const layout = await newLayout();
    await put(layout.path, blobName(descriptor), "content");
    expect(await layout.push(contentOf(content, descriptor))).toBe("written");
    expect(await bytesOf(layout.fetch(descriptor))).toEqual(Buffer.from(content));
  });

  it("that is a symbolic link is refused, also with the right content, and replaced by a push", async () => {
    const layout = await newLayout();
    await put(layout.path, "../secret", content);
    await symlink("../../../secret", layout.blobPath(descriptor.digest));
    expect(await layout.has(descriptor)).toBe(false);
    await failure(bytesOf(layout.fetch(descriptor)), "DENIED");
    expect(await layout.push({ descriptor, open: () => [content] })).toBe("written");
    expect((await readdir(join(layout.path, "..", "layout", "blobs", "sha256"))).length).toBe(1);
    expect(await bytesOf(layout.fetch(descriptor))).toEqual(Buffer.from(content));
    expect(await readFile(join(layout.path, "../secret"))).toEqual(Buffer.from(content));
  });

  it("that is a FIFO is refused at once", async () => {
    const layout = await newLayout();
    await promisify(execFile)("mkfifo", [layout.blobPath(descriptor.digest)]);
    expect(await layout.has(descriptor)).toBe(false);
    await failure(bytesOf(layout.fetch(descriptor)), "DENIED");
    await failure(layout.tag("v1", descriptor), "NOT_FOUND");
  });

  it("that is a directory is refused by fetch and by push, and the push leaves nothing in ingest", async () => {
    const layout = await newLayout();
    await mkdir(join(layout.blobPath(descriptor.digest), "inside"), { recursive: true });
    expect(await layout.has(descriptor)).toBe(false);
    await failure(bytesOf(layout.fetch(descriptor)), "DENIED");
    await failure(layout.push(contentOf(content, descriptor)), "INVALID");
    expect(await readdir(join(layout.path, "ingest"))).toEqual([]);
  });

  it("with an algorithm that is not known here is UNSUPPORTED, and no file stays open", async () => {
    const layout = await newLayout();
    const unknown = { ...descriptor, digest: parseDigest(`blake3:${"0".repeat(64)}`) };
    await put(layout.path, blobName(unknown), content);
    expect(await layout.has(unknown)).toBe(true);
    for (let count = 0; count < 5; count++) await failure(bytesOf(layout.fetch(unknown)), "UNSUPPORTED");
    const open = await readdir("/proc/self/fd").catch(() => []);
    const targets = await Promise.all(open.map((fd) => readlink(`/proc/self/fd/${fd}`).catch(() => "")));
    expect(targets.filter((target) => target.startsWith(layout.path))).toEqual([]);
    await failure(layout.push(contentOf(content, { ...unknown, size: 3 })), "UNSUPPORTED");
    expect(await readdir(join(layout.path, "ingest"))).toEqual([]);
  });
});

describe("checking a large blob, whose hash another thread takes", () => {
  const size = 10_000_000;
  const large = Buffer.alloc(size, "0123456789");

  async function withBlob(algorithm: "sha256" | "sha512"): Promise<{ layout: Layout; blob: Descriptor }> {
    const layout = await Layout.create(join(await temporaryDirectory(), "layout"));
    return { layout, blob: await layout.write([large], mediaTypes.octetStream, { algorithm }) };
  }

  it.each(["sha256", "sha512"] as const)(
    "finds nothing where it is right, and tells of every byte: %s",
    async (algorithm) => {
      const { layout, blob } = await withBlob(algorithm);
      let told = 0;
      await layout.check(blob, {
        onBytes: (count) => {
          told += count;
        },
      });
      expect(told).toBe(size);
      // More at once than there are threads, and again after they have ended.
      await Promise.all(Array.from({ length: 12 }, () => layout.check(blob)));
    },
  );

  it("fails as reading it does where a byte of it is another", async () => {
    const { layout, blob } = await withBlob("sha256");
    const damaged = Buffer.from(large);
    damaged[size - 1] = 0;
    await writeFile(layout.blobPath(blob.digest), damaged);
    const error = await failure(layout.check(blob), "MISMATCH");
    expect(error).toMatchObject({ ...(await failure(bytesOf(layout.fetch(blob)), "MISMATCH")) });
    expect(error.message).toContain(`has the digest ${digestOf(damaged)}`);
    await writeFile(layout.blobPath(blob.digest), damaged.subarray(1));
    expect((await failure(layout.check(blob), "MISMATCH")).message).toContain(`has ${size - 1} bytes`);
    await rm(layout.blobPath(blob.digest));
    await failure(layout.check(blob), "NOT_FOUND");
  });

  it("is given up with the reason of the signal", async () => {
    const { layout, blob } = await withBlob("sha256");
    const controller = new AbortController();
    const checks = Array.from({ length: 6 }, () => layout.check(blob, { signal: controller.signal }));
    controller.abort(new Error("enough"));
    await Promise.all(checks.map((check) => expect(check).rejects.toThrow("enough")));
    await layout.check(blob);
  });
});

describe("a large blob of another layout, which another thread copies", () => {
  const large = Buffer.from(Uint32Array.from({ length: 2_500_001 }, (_, at) => at).buffer);
  const never = (): never => {
    throw new Error("it is read all the same");
  };

  async function between(): Promise<{ source: Layout; target: Layout; blob: Descriptor }> {
    const source = await Layout.create(join(await temporaryDirectory(), "source"));
    const target = await Layout.create(join(await temporaryDirectory(), "target"));
    return { source, target, blob: await source.write([large], mediaTypes.octetStream) };
  }

  it("arrives whole, without the main thread having read it, and tells of every byte", async () => {
    const { source, target, blob } = await between();
    let told = 0;
    const onBytes = (count: number): void => {
      told += count;
    };
    expect(await target.push({ descriptor: blob, open: never, origin: source }, { onBytes })).toBe("written");
    expect(told).toBe(blob.size);
    expect((await bytesOf(target.fetch(blob))).equals(large)).toBe(true);
  });

  it("is MISMATCH where it is damaged there, unless it can be had otherwise, and leaves nothing behind", async () => {
    const { source, target, blob } = await between();
    const damaged = Buffer.from(large);
    damaged[damaged.length - 1] = 1;
    await writeFile(source.blobPath(blob.digest), damaged);
    const open = (): AsyncIterable<Uint8Array> => source.fetch(blob);
    await failure(target.push({ descriptor: blob, open, origin: source }), "MISMATCH");
    expect(await readdir(join(target.path, "ingest"))).toEqual([]);
    expect(await target.push({ descriptor: blob, open: () => [large], origin: source })).toBe("written");
    expect((await bytesOf(target.fetch(blob))).equals(large)).toBe(true);
  });

  it("is given up with the reason of the signal", async () => {
    const { source, target, blob } = await between();
    const controller = new AbortController();
    const pushed = target.push({ descriptor: blob, open: never, origin: source }, { signal: controller.signal });
    controller.abort(new Error("enough"));
    await expect(pushed).rejects.toThrow("enough");
    expect(await target.has(blob)).toBe(false);
    expect(await readdir(join(target.path, "ingest"))).toEqual([]);
  });
});
