import { readdir, readFile, stat, truncate, utimes, writeFile } from "node:fs/promises";
import { createServer } from "node:http";
import type { AddressInfo, Socket } from "node:net";
import { join } from "node:path";
import { type Bytes, type Content, descriptorOf, digestOf, gc, Layout, mediaTypes, OciError } from "@stowage/layout";
import { describe, expect, it, onTestFinished } from "vitest";
import { Child } from "./child-process.js";
import { bytesOf, failure, temporaryDirectory } from "./support.js";

const MEBIBYTE = 1024 * 1024;
const bytes = Buffer.from(Uint32Array.from({ length: (12 * MEBIBYTE) / 4 }, (_, at) => at).buffer);
const descriptor = descriptorOf(bytes, mediaTypes.layer);

async function newLayout(): Promise<Layout> {
  return Layout.create(join(await temporaryDirectory(), "layout"));
}

async function partsIn(layout: Layout): Promise<string[]> {
  return (await readdir(join(layout.path, "ingest"))).filter((name) => name.startsWith("partial."));
}

/** Content that breaks off after some bytes, as often as there are numbers, and remembers from where it was read. */
function breaking(after: number[], failing: () => unknown = () => new OciError("REGISTRY", "the line is dead")) {
  const from: number[] = [];
  const open = async function* (offset = 0): AsyncGenerator<Uint8Array> {
    from.push(offset);
    const end = after.shift() ?? bytes.byteLength;
    for (let at = offset; at < end; at += 100_000) yield bytes.subarray(at, Math.min(end, at + 100_000));
    if (end < bytes.byteLength) throw failing();
  };
  const content: Content = { descriptor, open: (): Bytes => open(), openFrom: open };
  return { content, from };
}

/** Serves the bytes from any offset on; the first answer stops after `stopAfter` bytes and stays silent. */
async function slowServer(stopAfter: number): Promise<{ url: string; ranges: string[] }> {
  const ranges: string[] = [];
  const sockets = new Set<Socket>();
  const server = createServer((request, response) => {
    const from = Number(/\d+/.exec(request.headers.range ?? "0")?.[0]);
    ranges.push(`${from}`);
    response.writeHead(206, { "content-length": String(bytes.byteLength - from) });
    if (ranges.length === 1) response.write(bytes.subarray(0, stopAfter));
    else response.end(bytes.subarray(from));
  });
  server.on("connection", (socket) => sockets.add(socket));
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  onTestFinished(() => {
    for (const socket of sockets) socket.destroy();
    server.close();
  });
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/`, ranges };
}

describe("a blob that does not arrive whole", () => {
  it("is gone on with where it broke off, less than a chunk before, and leaves nothing behind when it is whole", async () => {
    const layout = await newLayout();
    const { content, from } = breaking([5 * MEBIBYTE + 12_345, 9 * MEBIBYTE]);
    for (let count = 0; count < 2; count++) await failure(layout.push(content), "REGISTRY");
    expect(await layout.has(descriptor)).toBe(false);
    expect(await partsIn(layout)).toHaveLength(1);
    expect(await layout.push(content)).toBe("written");
    expect(from[0]).toBe(0);
    expect(5 * MEBIBYTE + 12_345 - (from[1] as number)).toBeLessThan(MEBIBYTE);
    expect(9 * MEBIBYTE - (from[2] as number)).toBeLessThan(MEBIBYTE);
    expect((await bytesOf(layout.fetch(descriptor))).equals(bytes)).toBe(true);
    expect(await partsIn(layout)).toEqual([]);
  });

  it("stays in part when its caller gives up, and is gone where the content is wrong or the disk refuses", async () => {
    const layout = await newLayout();
    const abort = new AbortController();
    const { content } = breaking([5 * MEBIBYTE], () => {
      abort.abort(new RangeError("enough"));
      return new RangeError("enough");
    });
    await expect(layout.push(content, { signal: abort.signal })).rejects.toThrow("enough");
    expect(await partsIn(layout)).toHaveLength(1);
    await layout.push(content);
    for (const error of [new OciError("MISMATCH", "wrong"), Object.assign(new Error("full"), { code: "ENOSPC" })]) {
      const other = await newLayout();
      await expect(other.push(breaking([5 * MEBIBYTE], () => error).content)).rejects.toThrow();
      expect(await partsIn(other)).toEqual([]);
    }
  });

  it("is fetched anew where what was kept turns out to be damaged, or too long", async () => {
    for (const damage of [
      async (path: string) => {
        const kept = await readFile(path);
        kept[100] = (kept[100] as number) ^ 1;
        await writeFile(path, kept);
      },
      (path: string) => truncate(path, bytes.byteLength + 1),
    ]) {
      const layout = await newLayout();
      const { content, from } = breaking([5 * MEBIBYTE]);
      await failure(layout.push(content), "REGISTRY");
      await damage(join(layout.path, "ingest", (await partsIn(layout))[0] as string));
      expect(await layout.push(content)).toBe("written");
      expect(from.at(-1)).toBe(0);
      expect((await bytesOf(layout.fetch(descriptor))).equals(bytes)).toBe(true);
      expect(await partsIn(layout)).toEqual([]);
    }
  });

  it("needs no byte again where all of it had arrived", async () => {
    const layout = await newLayout();
    const { content, from } = breaking([5 * MEBIBYTE]);
    await failure(layout.push(content), "REGISTRY");
    await writeFile(join(layout.path, "ingest", (await partsIn(layout))[0] as string), bytes);
    expect(await layout.push(content)).toBe("written");
    expect(from).toEqual([0]);
  });

  it("is not kept where it is small, or can be read from the beginning only", async () => {
    const layout = await newLayout();
    const small = { ...descriptor, size: 500_000 };
    const dead = async function* (): AsyncGenerator<Uint8Array> {
      yield bytes.subarray(0, 400_000);
      throw new OciError("REGISTRY", "the line is dead");
    };
    await failure(layout.push({ descriptor: small, open: dead, openFrom: dead }), "REGISTRY");
    await failure(layout.push({ descriptor, open: dead }), "REGISTRY");
    expect(await readdir(join(layout.path, "ingest"))).toEqual([]);
  });

  it("has a sha512 digest as well", async () => {
    const layout = await newLayout();
    const { content, from } = breaking([5 * MEBIBYTE]);
    const long = { ...content, descriptor: { ...descriptor, digest: digestOf(bytes, "sha512") } };
    await failure(layout.push(long), "REGISTRY");
    expect(await layout.push(long)).toBe("written");
    expect(from[1]).toBeGreaterThan(4 * MEBIBYTE);
  });
});

describe("a process that is killed while it fetches a blob", () => {
  it("leaves what it has to the next one, which asks for less than a chunk of it again", async () => {
    const layout = await newLayout();
    const stopAfter = 7 * MEBIBYTE + 123_456;
    const server = await slowServer(stopAfter);
    const args = [layout.path, server.url, descriptor.digest, String(descriptor.size)];
    const first = await Child.start("pull", ...args);
    // It says so when the write begins: what it has still in its hands is lost.
    await first.line(`stored ${7 * MEBIBYTE}`);
    first.signal("SIGKILL");
    await first.end("SIGKILL");
    const second = await Child.start("pull", ...args);
    await second.line("done");
    expect(server.ranges).toHaveLength(2);
    const again = stopAfter - Number(server.ranges[1]);
    expect(again).toBeGreaterThan(0);
    expect(again).toBeLessThan(MEBIBYTE);
    expect((await bytesOf(layout.fetch(descriptor))).equals(bytes)).toBe(true);
    expect(await partsIn(layout)).toEqual([]);
  });

  it("keeps what it has to itself while it lives: two at once both end well", async () => {
    const layout = await newLayout();
    const server = await slowServer(7 * MEBIBYTE);
    const args = [layout.path, server.url, descriptor.digest, String(descriptor.size)];
    const first = await Child.start("pull", ...args);
    await first.line(`stored ${6 * MEBIBYTE}`);
    const second = await Child.start("pull", ...args);
    await second.line("done");
    expect(server.ranges).toEqual(["0", "0"]);
    expect(await partsIn(layout)).toHaveLength(1);
    expect((await bytesOf(layout.fetch(descriptor))).equals(bytes)).toBe(true);
    first.signal("SIGKILL");
    await first.end("SIGKILL");
  });

  it("has its leavings swept by a collection, but not for a day", async () => {
    const layout = await newLayout();
    const server = await slowServer(5 * MEBIBYTE);
    const child = await Child.start("pull", layout.path, server.url, descriptor.digest, String(descriptor.size));
    await child.line(`stored ${4 * MEBIBYTE}`);
    child.signal("SIGKILL");
    await child.end("SIGKILL");
    const [name] = await partsIn(layout);
    const path = join(layout.path, "ingest", name as string);
    expect((await gc(layout)).leftovers.spared.map((file) => file.path)).toEqual([`ingest/${name}`]);
    expect((await stat(path)).size).toBeGreaterThan(0);
    const longAgo = new Date(Date.now() - 25 * 60 * 60_000);
    await utimes(path, longAgo, longAgo);
    expect((await gc(layout)).leftovers.removed).toEqual([{ path: `ingest/${name}`, reason: "older than a day" }]);
    expect(await partsIn(layout)).toEqual([]);
  });
});
