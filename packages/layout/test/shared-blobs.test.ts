import { chmod, mkdir, readdir, readFile, rm, stat, symlink, truncate, utimes, writeFile } from "node:fs/promises";
import { join } from "node:path";
import {
  contentOf,
  copy,
  type Descriptor,
  descriptorOf,
  digestEncoded,
  gc,
  Layout,
  type LayoutOptions,
  mediaTypes,
  verify,
} from "@stowage/layout";
import { describe, expect, it } from "vitest";
import {
  blobName,
  bytesOf,
  filesBelow,
  pushBytes,
  pushImage,
  pushReferrer,
  temporaryDirectory,
  utf8,
} from "./support.js";

const text = "x".repeat(100_000);
const layer = descriptorOf(utf8(text), mediaTypes.layer);

async function newLayout(options: LayoutOptions = {}): Promise<Layout> {
  return Layout.create(join(await temporaryDirectory(), "layout"), options);
}

const fileOf = (layout: Layout, { digest }: Descriptor): string => layout.blobPath(digest);
const inDirectory = (directory: string, { digest }: Descriptor): string =>
  join(directory, "sha256", digestEncoded(digest));

/** True where the two are one file; on a file system with reflinks they share their blocks instead, which nobody can see. */
async function isOneFile(one: string, other: string): Promise<boolean> {
  return (await stat(one)).ino === (await stat(other)).ino;
}

async function contentIs(path: string, content: string): Promise<void> {
  expect((await readFile(path, "utf8")) === content).toBe(true);
}

describe("a directory of blobs that layouts share", () => {
  it("gets what is pushed to one layout, and the next one links it without opening the source", async () => {
    const blobs = join(await temporaryDirectory(), "new", "blobs");
    const [one, two] = [await newLayout({ blobs }), await newLayout({ blobs })];
    expect(await one.push(contentOf(utf8(text), layer))).toBe("written");
    await contentIs(inDirectory(blobs, layer), text);
    let opened = false;
    const open = () => {
      opened = true;
      return [utf8(text)];
    };
    expect(await two.push({ descriptor: layer, open })).toBe("linked");
    expect(opened).toBe(false);
    expect((await bytesOf(two.fetch(layer))).toString() === text).toBe(true);
    expect(await filesBelow(blobs)).toEqual([`sha256/${digestEncoded(layer.digest)}`]);
    expect(await readdir(join(two.path, "ingest"))).toEqual([]);
  });

  it("gets what is written under a digest that was not known", async () => {
    const blobs = await temporaryDirectory();
    const [one, two] = [await newLayout({ blobs }), await newLayout({ blobs })];
    for (const layout of [one, two])
      expect((await layout.write([utf8(text)], mediaTypes.layer)).digest).toBe(layer.digest);
    await contentIs(fileOf(two, layer), text);
    expect(await filesBelow(blobs)).toEqual([`sha256/${digestEncoded(layer.digest)}`]);
    expect(await isOneFile(fileOf(one, layer), fileOf(two, layer))).toBe(
      await isOneFile(fileOf(one, layer), inDirectory(blobs, layer)),
    );
  });

  it.each<[string, (path: string) => Promise<void>]>([
    ["other bytes", (path) => writeFile(path, "y".repeat(text.length))],
    ["fewer bytes", (path) => truncate(path, 5)],
    ["a symbolic link", async (path) => symlink("/etc/hostname", path)],
  ])("is not believed: %s under a digest are replaced by the content itself", async (_what, damage) => {
    const blobs = await temporaryDirectory();
    const first = await newLayout({ blobs });
    await first.push(contentOf(utf8(text), layer));
    await rm(inDirectory(blobs, layer));
    await damage(inDirectory(blobs, layer)).catch(async () => {
      await writeFile(inDirectory(blobs, layer), text);
      await damage(inDirectory(blobs, layer));
    });
    const second = await newLayout({ blobs });
    expect(await second.push(contentOf(utf8(text), layer))).toBe("written");
    await contentIs(fileOf(second, layer), text);
    await contentIs(inDirectory(blobs, layer), text);
    expect((await stat(inDirectory(blobs, layer))).isFile()).toBe(true);
    await contentIs(fileOf(first, layer), text);
    const third = await newLayout({ blobs });
    expect(await third.push(contentOf(utf8(text), layer))).toBe("linked");
  });

  it("may be the blobs of a layout, whose own content then stays as it is", async () => {
    const base = await newLayout();
    const image = await pushImage(base);
    const user = await newLayout({ blobs: join(base.path, "blobs") });
    const before = await filesBelow(join(base.path, "blobs"));
    const report = await copy(base, user, image, { tags: ["v1"] });
    expect(report).toMatchObject({ written: 0, linked: 3, bytes: 0 });
    expect(await filesBelow(join(base.path, "blobs"))).toEqual(before);
  });

  it("is not needed once a layout has its blobs", async () => {
    const blobs = await temporaryDirectory();
    const [one, two] = [await newLayout({ blobs }), await newLayout({ blobs })];
    await one.push(contentOf(utf8(text), layer));
    await two.push(contentOf(utf8(text), layer));
    await rm(blobs, { recursive: true });
    await rm(one.path, { recursive: true });
    expect((await bytesOf(two.fetch(layer))).toString() === text).toBe(true);
  });

  it("that cannot be made fails, with its name in the message", async () => {
    const directory = await temporaryDirectory();
    await writeFile(join(directory, "file"), "");
    const layout = await newLayout({ blobs: join(directory, "file") });
    await expect(layout.push(contentOf(utf8(text), layer))).rejects.toThrow(join(directory, "file"));
  });
});

describe("a copy from one layout to another", () => {
  it("makes hard links where it is asked to and the file system has no reflinks, and ends with the same content", async () => {
    const source = await newLayout();
    const image = await pushImage(source, { layers: [text, "small"] });
    const referrer = await pushReferrer(source, image);
    const target = await newLayout({ hardlink: true });
    const report = await copy(source, target, image, { tags: ["v1"] });
    expect(report).toMatchObject({ written: 0, failures: [] });
    expect(report.linked).toBeGreaterThanOrEqual(6);
    for (const one of [layer, image, referrer])
      expect(await readFile(fileOf(target, one))).toEqual(await readFile(fileOf(source, one)));
    expect(await readdir(join(target.path, "ingest"))).toEqual([]);
  });

  it("makes none where it is not asked to", async () => {
    const source = await newLayout();
    const image = await pushImage(source, { layers: [text] });
    const target = await newLayout();
    await copy(source, target, image);
    expect(await isOneFile(fileOf(source, layer), fileOf(target, layer))).toBe(false);
    await writeFile(fileOf(source, layer), "damaged in place");
    await contentIs(fileOf(target, layer), text);
  });

  it("fails on content that is damaged at the source, linked or not, and stores nothing of it", async () => {
    for (const hardlink of [true, false]) {
      const source = await newLayout();
      const image = await pushImage(source, { layers: [text] });
      await writeFile(fileOf(source, layer), "y".repeat(text.length));
      const target = await newLayout({ hardlink });
      await expect(copy(source, target, image)).rejects.toThrow(layer.digest);
      expect(await target.has(layer)).toBe(false);
      expect(await readdir(join(target.path, "ingest"))).toEqual([]);
    }
  });

  it("replaces a linked blob and never writes into it: the other layout keeps its bytes", async () => {
    const source = await newLayout();
    const image = await pushImage(source, { layers: [text] });
    const target = await newLayout({ hardlink: true });
    await copy(source, target, image);
    await chmod(fileOf(target, layer), 0o644);
    await rm(fileOf(target, layer));
    await writeFile(fileOf(target, layer), "short");
    expect(await pushBytes(target, text, mediaTypes.layer)).toEqual(layer);
    await contentIs(fileOf(source, layer), text);
    await contentIs(join(target.path, blobName(layer)), text);
  });
});

/** The name of a file that a process with this id was making when it was killed; without one, a process of another machine. */
async function unfinished(pid?: number): Promise<string> {
  const { processMark } = await import("../src/store/process.js");
  const [, started, space] = processMark.split("-");
  return pid === undefined ? `.1-2-00000000-${"a".repeat(16)}` : `.${pid}-${started}-${space}-${"b".repeat(16)}`;
}

describe("what a killed process leaves in a directory of blobs that layouts share", () => {
  async function left(directory: string): Promise<{ dead: string; old: string; young: string }> {
    const names = { dead: await unfinished(2 ** 22 + 1), old: await unfinished(), young: `${await unfinished()}c` };
    await mkdir(directory, { recursive: true });
    for (const name of Object.values(names)) await writeFile(join(directory, name), "half a blob");
    const twoDaysAgo = new Date(Date.now() - 2 * 86_400_000);
    await utimes(join(directory, names.old), twoDaysAgo, twoDaysAgo);
    return names;
  }

  it("is removed by the next writer, unless another machine may still be at it", async () => {
    const blobs = await temporaryDirectory();
    const { young } = await left(join(blobs, "sha256"));
    const layout = await newLayout({ blobs });
    await layout.push(contentOf(utf8(text), layer));
    expect(await readdir(join(blobs, "sha256"))).toEqual([young, digestEncoded(layer.digest)]);
  });

  it("is removed by a collection of the layout whose blobs are shared", async () => {
    const layout = await newLayout();
    const { dead, old, young } = await left(join(layout.path, "blobs/sha256"));
    const dry = await gc(layout, { dryRun: true });
    expect(dry.leftovers.removed.map(({ path }) => path)).toEqual([old, dead].map((name) => `blobs/sha256/${name}`));
    expect(await readdir(join(layout.path, "blobs/sha256"))).toHaveLength(3);
    const { leftovers, ignored } = await gc(layout);
    expect(leftovers).toEqual(dry.leftovers);
    expect(leftovers.spared).toEqual([{ path: `blobs/sha256/${young}`, reason: "may still be in use" }]);
    expect(ignored).toEqual([]);
    expect(await readdir(join(layout.path, "blobs/sha256"))).toEqual([young]);
  });
});

describe("a collection in a layout whose blobs are files of other layouts as well", () => {
  it.each([
    ["shared through a directory", true],
    ["linked from another layout", false],
  ])("takes its own names of them and nobody else's: %s", async (_how, shared) => {
    const blobs = join(await temporaryDirectory(), "blobs");
    const options: LayoutOptions = shared ? { blobs } : { hardlink: true };
    const [one, two] = [await newLayout(options), await newLayout(options)];
    const image = await pushImage(one, { layers: [text] });
    await one.tag("v1", image);
    const signature = await pushReferrer(one, image);
    await copy(one, two, image, { tags: ["v1"] });
    await one.untag("v1");
    const report = await gc(one, { grace: 0 });
    expect(report.removed.map(({ digest }) => digest)).toContain(layer.digest);
    expect(await filesBelow(join(one.path, "blobs"))).toEqual([]);
    expect((await bytesOf(two.fetch(layer))).toString() === text).toBe(true);
    const roots = [{ name: "v1", descriptor: await two.resolve("v1") }];
    expect((await verify(two, roots)).findings).toEqual([]);
    expect((await gc(two, { grace: 0 })).removed).toEqual([]);
    expect(await two.size(signature.digest)).toBe(signature.size);
    if (shared) await contentIs(inDirectory(blobs, layer), text);
  });

  it("spares what was linked a moment ago, however old the file is elsewhere", async () => {
    const [one, two] = [await newLayout({ hardlink: true }), await newLayout({ hardlink: true })];
    await one.push(contentOf(utf8(text), layer));
    const old = new Date(Date.now() - 7 * 86_400_000);
    await utimes(fileOf(one, layer), old, old);
    await two.push({ descriptor: layer, origin: one, open: () => [utf8(text)] });
    expect((await gc(two)).spared.map(({ digest }) => digest)).toEqual([layer.digest]);
    expect((await bytesOf(two.fetch(layer))).toString() === text).toBe(true);
  });
});
