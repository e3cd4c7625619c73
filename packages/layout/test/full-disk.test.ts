import { execFileSync } from "node:child_process";
import { mkdir, readdir, readFile, rm, truncate, writeFile } from "node:fs/promises";
import { join } from "node:path";
import {
  ArchiveTarget,
  attach,
  contentOf,
  copy,
  type Descriptor,
  descriptorOf,
  gc,
  Layout,
  MemoryStore,
  type OciError,
  verify,
} from "@stowage/layout";
import { describe, expect, it, onTestFinished } from "vitest";
import { all, failure, filesBelow, pushImage, temporaryDirectory } from "./support.js";

/** Mounts a file system of two megabytes, or returns undefined where that is not possible. */
async function smallDisk(): Promise<string | undefined> {
  const path = join(await temporaryDirectory(), "disk");
  await mkdir(path);
  try {
    execFileSync("mount", ["-t", "tmpfs", "-o", "size=2m", "tmpfs", path], { stdio: "pipe" });
  } catch (error) {
    console.log(`not tried on a full disk: mounting a tmpfs is not possible here (${(error as Error).message.trim()})`);
    return undefined;
  }
  onTestFinished(() => {
    execFileSync("umount", [path]);
  });
  return path;
}

/** Mounts a file system that holds few files, however small they are, or returns undefined where that is not possible. */
async function diskOfFewFiles(): Promise<string | undefined> {
  const directory = await temporaryDirectory();
  const [image, path] = [join(directory, "image"), join(directory, "disk")];
  await mkdir(path);
  await writeFile(image, "");
  await truncate(image, 8 * 1024 * 1024);
  try {
    execFileSync("mkfs.ext4", ["-q", "-F", "-N", "64", image], { stdio: "pipe" });
    execFileSync("mount", ["-o", "loop", image, path], { stdio: "pipe" });
  } catch (error) {
    console.log(
      `not tried without inodes: an ext4 in a file cannot be mounted here (${(error as Error).message.trim()})`,
    );
    return undefined;
  }
  onTestFinished(() => {
    execFileSync("umount", [path]);
  });
  return path;
}

/** Leaves no room at all. */
async function fill(disk: string): Promise<void> {
  const piece = Buffer.alloc(4096, 1);
  for (let count = 0; ; count++) {
    try {
      await writeFile(join(disk, `filler${count}`), count === 0 ? Buffer.alloc(1_700_000, 1) : piece);
    } catch {
      return;
    }
  }
}

async function empty(disk: string): Promise<void> {
  for (const name of await readdir(disk)) if (name.startsWith("filler")) await rm(join(disk, name));
}

async function full(work: Promise<unknown>): Promise<OciError> {
  const error = await failure(work, "LIMIT");
  expect(error.message).toContain("ENOSPC");
  return error;
}

describe("on a full disk", () => {
  it("a layout fails with LIMIT, keeps what it had, leaves no half file, and works again when there is room", async () => {
    const disk = await smallDisk();
    if (disk === undefined) return;
    const layout = await Layout.create(join(disk, "layout"));
    const image = await pushImage(layout);
    await layout.tag("v1", image);
    const file = join(await temporaryDirectory(), "x.txt");
    await writeFile(file, Buffer.alloc(3_000_000, "x"));
    const before = await filesBelow(layout.path);
    const index = await readFile(join(layout.path, "index.json"), "utf8");
    const unchanged = async (): Promise<void> => {
      expect(await filesBelow(layout.path)).toEqual(before);
      expect(await readdir(join(layout.path, "ingest"))).toEqual([]);
      expect(await readFile(join(layout.path, "index.json"), "utf8")).toBe(index);
      const opened = await Layout.open(layout.path);
      const roots = [{ name: "v1", descriptor: await opened.resolve("v1") }];
      expect((await verify(opened, roots)).findings).toEqual([]);
    };

    // Larger than the disk.
    const large = Buffer.alloc(3_000_000, "large");
    await full(layout.write([large], "text/plain"));
    await unchanged();
    await full(layout.push(contentOf(large, descriptorOf(large, "text/plain"))));
    await unchanged();
    // So large that another thread writes it, or copies it.
    const elsewhere = await Layout.create(join(await temporaryDirectory(), "elsewhere"));
    const blob = await elsewhere.write([large, large], "text/plain");
    const open = (): AsyncIterable<Uint8Array> => elsewhere.fetch(blob);
    await full(layout.push({ descriptor: blob, open }));
    await unchanged();
    await full(layout.push({ descriptor: blob, open, origin: elsewhere }));
    await unchanged();

    const attached = attach(layout, image, { artifactType: "a/b", files: [{ path: file }] });
    await full(attached);
    expect(await readFile(join(layout.path, "index.json"), "utf8")).toBe(index);
    expect(await readdir(join(layout.path, "ingest"))).toEqual([]);
    expect(await all(layout.referrers(image))).toEqual([]);
    // What was stored before the disk was full stays, and harms nobody.
    await rm(join(layout.path, "blobs/sha256/44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"));

    // Not a byte left.
    await fill(disk);
    await full(layout.write([Buffer.from("small")], "text/plain"));
    await unchanged();
    await full(layout.tag("v2", image));
    await unchanged();
    await full(layout.update((current) => ({ ...current, annotations: { a: "b" } })));
    await unchanged();
    await full(Layout.create(join(disk, "another")));

    await empty(disk);
    await layout.tag("v2", image);
    expect(await all(layout.tags())).toEqual(["v1", "v2"]);
  });

  it("that has room but no inodes a layout fails with LIMIT, keeps what it had, and works again when there are some", async () => {
    const disk = await diskOfFewFiles();
    if (disk === undefined) return;
    const layout = await Layout.create(join(disk, "layout"));
    const image = await pushImage(layout);
    await layout.tag("v1", image);
    for (let count = 0; ; count++) {
      try {
        await writeFile(join(disk, `filler${count}`), "");
      } catch {
        break;
      }
    }
    const before = await filesBelow(layout.path);
    const index = await readFile(join(layout.path, "index.json"), "utf8");
    const failing: readonly (() => Promise<unknown>)[] = [
      () => layout.write([Buffer.from("small")], "text/plain"),
      () => pushImage(layout, { layers: ["another"] }),
      () => layout.tag("v2", image),
      () => layout.untag("v1"),
      () => attach(layout, image, { artifactType: "a/b" }),
      () => Layout.create(join(disk, "another")),
    ];
    for (const work of failing) {
      const error = await full(work());
      expect(error.hint).toContain("inodes");
      expect(await filesBelow(layout.path)).toEqual(before);
      expect(await readFile(join(layout.path, "index.json"), "utf8")).toBe(index);
      expect((await (await Layout.open(layout.path)).resolve("v1")).digest).toBe(image.digest);
    }
    await empty(disk);
    await layout.tag("v2", image);
    expect(await all(layout.tags())).toEqual(["v1", "v2"]);
    expect(await readdir(join(layout.path, "ingest"))).toEqual([]);
  });

  it("an index.json that no longer fits fails with LIMIT, and the one before stays", async () => {
    const disk = await smallDisk();
    if (disk === undefined) return;
    const layout = await Layout.create(join(disk, "layout"));
    const image = await pushImage(layout);
    await layout.tag("v1", image);
    const index = await readFile(join(layout.path, "index.json"), "utf8");
    const annotations = { large: "x".repeat(2_500_000) };
    await full(layout.update((current) => ({ ...current, annotations })));
    expect(await readFile(join(layout.path, "index.json"), "utf8")).toBe(index);
    expect(await readdir(join(layout.path, "ingest"))).toEqual([]);
    await layout.tag("v2", image);
    expect(await all((await Layout.open(layout.path)).tags())).toEqual(["v1", "v2"]);
  });

  it("a collection makes room, and where it has to change the index first keeps the old state", async () => {
    const disk = await smallDisk();
    if (disk === undefined) return;
    const layout = await Layout.create(join(disk, "layout"));
    for (let at = 0; at < 20; at++) await layout.tag(`v${at}`, await pushImage(layout, { layers: [`layer ${at}`] }));
    await layout.write([Buffer.alloc(100_000)], "text/plain");
    const before = await filesBelow(layout.path);
    const index = await readFile(join(layout.path, "index.json"), "utf8");
    await fill(disk);
    await full(gc(layout, { grace: 0, keepLast: 19 }));
    expect(await filesBelow(layout.path)).toEqual(before);
    expect(await readFile(join(layout.path, "index.json"), "utf8")).toBe(index);
    const report = await gc(layout, { grace: 0 });
    expect([report.removed.length, report.freed]).toEqual([1, 100_000]);
    await gc(layout, { grace: 0, keepLast: 19 });
    expect(await all(layout.tags())).toHaveLength(19);
    expect(await readdir(join(layout.path, "ingest"))).toEqual([]);
  });

  it("an archive fails with LIMIT, and the one that was there before stays", async () => {
    const disk = await smallDisk();
    if (disk === undefined) return;
    const store = new MemoryStore();
    const small = await pushImage(store);
    const large = await pushImage(store, { layers: ["x".repeat(3_000_000)] });
    const path = join(disk, "x.tar");
    const write = async (image: Descriptor): Promise<void> => {
      const target = await ArchiveTarget.create(path);
      try {
        await copy(store, target, image, { tags: ["v1"] });
        await target.close();
      } finally {
        await target.discard();
      }
    };
    await write(small);
    const before = await readFile(path);
    await full(write(large));
    expect(await readdir(disk)).toEqual(["x.tar"]);
    expect((await readFile(path)).equals(before)).toBe(true);
  });
});
