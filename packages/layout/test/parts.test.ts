import { execFileSync } from "node:child_process";
import { copyFile, mkdir, readdir, readFile, rename, rm, stat, truncate, writeFile } from "node:fs/promises";
import { basename, join } from "node:path";
import {
  ArchiveSource,
  ArchiveTarget,
  type CopyReport,
  copy,
  type DamagedPart,
  DamagedPartsError,
  type Descriptor,
  digestOf,
  Layout,
  MemoryStore,
  mediaTypes,
  OciError,
  PartsFile,
  receiptOf,
  verify,
} from "@stowage/layout";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { failure, filesBelow, pushBytes, pushManifest, pushReferrer, temporaryDirectory } from "./support.js";

/** A text that no other text begins with. */
const text = (name: string, size: number): string =>
  `${name} `.repeat(Math.ceil(size / (name.length + 1))).slice(0, size);

const LAYERS = { a: 5000, b: 5000, c: 5000, d: 5000, large: 40_000 } as const;

/** An image of five layers, one of them larger than the parts of these tests, and a referrer. */
async function image(): Promise<{
  source: MemoryStore;
  root: Descriptor;
  layers: Record<keyof typeof LAYERS, Descriptor>;
}> {
  const source = new MemoryStore("made");
  const layers: Record<string, Descriptor> = {};
  for (const [name, size] of Object.entries(LAYERS))
    layers[name] = await pushBytes(source, text(name, size), mediaTypes.layer);
  const config = await pushBytes(source, '{"a":1}', "application/vnd.test.config");
  const root = await pushManifest(source, { config, layers: Object.values(layers) });
  await source.tag("v1", root);
  await pushReferrer(source, root);
  return { source, root, layers: layers as Record<keyof typeof LAYERS, Descriptor> };
}

const SIZE = 20_480;

async function exportParts(source: MemoryStore, path: string, size = SIZE, tag = "v1"): Promise<string[]> {
  const file = new PartsFile(path, { size });
  const target = await ArchiveTarget.over(path, file);
  try {
    await copy(source, target, tag, { tags: [tag] });
  } catch (error) {
    await target.discard();
    throw error;
  }
  await target.close();
  return file.written.map((part) => part.path);
}

async function importFrom(paths: string | readonly string[], target: Layout): Promise<CopyReport> {
  const source = await ArchiveSource.open(paths);
  try {
    return await copy(source, target, "v1", { tags: ["v1"] });
  } finally {
    await source.close();
  }
}

/** What an import says is to be fetched again. */
async function lost(paths: string | readonly string[], target: Layout): Promise<readonly DamagedPart[]> {
  const error = await importFrom(paths, target).catch((reason: unknown) => reason);
  expect(error).toBeInstanceOf(OciError);
  const { cause } = error as OciError;
  expect(cause, String(error)).toBeInstanceOf(DamagedPartsError);
  return (cause as DamagedPartsError).parts;
}

async function made(): Promise<{
  directory: string;
  parts: string[];
  target: Layout;
  image: Awaited<ReturnType<typeof image>>;
}> {
  const directory = await temporaryDirectory();
  const one = await image();
  const parts = await exportParts(one.source, join(directory, "app.tar"));
  return { directory, parts, target: await Layout.create(join(directory, "target")), image: one };
}

/** Where in the parts a text begins. */
async function find(parts: readonly string[], what: string): Promise<{ path: string; at: number }> {
  for (const path of parts) {
    const at = (await readFile(path)).indexOf(what);
    if (at >= 0) return { path, at };
  }
  throw new Error(`no part has ${what}`);
}

async function flip(path: string, at: number): Promise<void> {
  const bytes = await readFile(path);
  bytes[at] = (bytes[at] as number) ^ 1;
  await writeFile(path, bytes);
}

describe("an archive in parts", () => {
  it("has no part larger than was asked for, and holds everything", async () => {
    const { parts, target, image } = await made();
    expect(parts.length).toBeGreaterThan(3);
    for (const path of parts) expect((await stat(path)).size).toBeLessThanOrEqual(SIZE);
    expect(parts.map((path) => basename(path))[0]).toBe(`app.part-01-of-${parts.length}.tar`);
    const report = await importFrom(parts[0] as string, target);
    expect(report.referrers).toEqual({ found: 1, copied: 1 });
    const checked = await verify(target, [{ name: "v1", descriptor: image.root }]);
    expect(checked.findings).toEqual([]);
    expect((await target.resolve("v1")).digest).toBe(image.root.digest);
  });

  it("is the same bytes each time", async () => {
    const { parts, directory, image } = await made();
    await mkdir(join(directory, "again"));
    const again = await exportParts(image.source, join(directory, "again", "app.tar"));
    for (const [at, path] of parts.entries())
      expect((await readFile(again[at] as string)).equals(await readFile(path))).toBe(true);
  });

  it("is made of tars that tar reads and layouts that have the same index, whose blobs stand in one part each", async () => {
    const { parts, image } = await made();
    const listed = parts.map((path) => execFileSync("tar", ["tf", path], { encoding: "utf8" }).trim().split("\n"));
    for (const names of listed) {
      expect(names).toEqual(
        expect.arrayContaining(["stowage-part.json", "stowage-parts.json", "oci-layout", "index.json"]),
      );
      expect(names).toContain(`blobs/sha256/${image.root.digest.slice(7)}`);
    }
    const blobs = Object.entries(image.layers).filter(([name]) => name !== "large");
    for (const [, { digest }] of blobs)
      expect(listed.flat().filter((name) => name === `blobs/sha256/${digest.slice(7)}`)).toHaveLength(1);
    const pieces = listed
      .flat()
      .filter((name) => name.startsWith(`pieces/sha256/${image.layers.large.digest.slice(7)}/`));
    expect(pieces.filter((name) => !name.endsWith(".digest")).length).toBeGreaterThan(2);
  });

  it("is opened by any of its parts, by their directory and by a list of them", async () => {
    const { parts, directory } = await made();
    for (const [at, named] of [parts.at(-1) as string, directory, [...parts].reverse()].entries()) {
      const target = await Layout.create(join(directory, `target-${at}`));
      expect((await importFrom(named, target)).written).toBe(9);
    }
  });

  it("is found by its parts also where they have other names", async () => {
    const { parts, directory, target } = await made();
    const renamed = parts.map((_path, at) => join(directory, `${parts.length - at}.bin`));
    for (const [at, path] of parts.entries()) await rename(path, renamed[at] as string);
    expect((await importFrom(renamed, target)).written).toBe(9);
  });

  it("cannot be cut where the index and the manifests leave no room, nor into a thousand parts, and then leaves nothing", async () => {
    const directory = await temporaryDirectory();
    const { source } = await image();
    const error = await failure(exportParts(source, join(directory, "app.tar"), 8192), "LIMIT");
    const enough = Number(/--max-part ([0-9]+)/.exec(error.hint ?? "")?.[1]);
    expect(await readdir(directory)).toEqual([]);
    const config = await pushBytes(source, "{}", mediaTypes.config);
    const huge = await pushBytes(source, text("huge", 30_000_000), mediaTypes.layer);
    await source.tag("huge", await pushManifest(source, { config, layers: [huge] }));
    const many = await failure(exportParts(source, join(directory, "app.tar"), enough, "huge"), "LIMIT");
    expect(many.message).toMatch(/there would be [0-9]+ of them/);
    expect(await readdir(directory)).toEqual([]);
    expect((await exportParts(source, join(directory, "app.tar"), enough)).length).toBeGreaterThan(1);
  });

  it("is not written where a blob is damaged", async () => {
    const directory = await temporaryDirectory();
    const { source: memory, layers } = await image();
    const layout = await Layout.create(join(directory, "source"));
    await copy(memory, layout, "v1", { tags: ["v1"] });
    await flip(layout.blobPath(layers.large.digest), 39_000);
    const file = new PartsFile(join(directory, "app.tar"), { size: SIZE });
    const target = await ArchiveTarget.over("app.tar", file);
    await copy(layout, target, "v1", { tags: ["v1"] });
    await failure(target.close(), "MISMATCH");
    expect(await readdir(directory)).toEqual(["source"]);
  });
});

describe("a damaged part costs only its blobs", () => {
  it("where a byte of a blob is flipped: it is named with the part, the tag is not set, and the new part completes it", async () => {
    const { parts, target, image, directory } = await made();
    const { path, at } = await find(parts, "c c c c");
    const spare = join(directory, "spare");
    await copyFile(path, spare);
    await flip(path, at + 10);
    expect(await lost(parts[0] as string, target)).toEqual([
      {
        number: parts.indexOf(path) + 1,
        path,
        state: "damaged",
        content: [{ digest: image.layers.c.digest, size: image.layers.c.size }],
      },
    ]);
    expect((await target.index()).manifests).toEqual([]);
    await copyFile(spare, path);
    // Nothing that has arrived is read again, so its part need not be there any more.
    for (const other of parts) if (other !== path) await rm(other);
    const report = await importFrom(path, target);
    // The blob of the referrer may have come before the layer failed.
    expect([3, 3 + 1]).toContain(report.written);
    expect(report.written + report.present).toBe(9);
    expect((await target.resolve("v1")).digest).toBe(image.root.digest);
  });

  it("where a byte of a piece is flipped: the other parts with pieces of the blob are right", async () => {
    const { parts, target, image } = await made();
    const { path } = await find(parts, text("large", 100).slice(20));
    const inPieces: string[] = [];
    for (const one of parts)
      if (execFileSync("tar", ["tf", one], { encoding: "utf8" }).includes("pieces/")) inPieces.push(one);
    expect(inPieces.length).toBeGreaterThan(2);
    const damaged = inPieces[1] as string;
    expect(damaged).not.toBe(path);
    await flip(damaged, (await readFile(damaged)).indexOf("large large") + 30);
    const [found, ...others] = await lost(damaged, target);
    expect(others).toEqual([]);
    expect(found?.path).toBe(damaged);
    expect(found?.content.map(({ digest }) => digest)).toEqual([image.layers.large.digest]);
  });

  it("where some pieces of a blob are missing and others damaged, the parts of all of them are named, and no others", async () => {
    const { parts, target } = await made();
    const inPieces = parts.filter((path) =>
      execFileSync("tar", ["tf", path], { encoding: "utf8" }).includes("pieces/"),
    );
    expect(inPieces.length).toBeGreaterThan(3);
    const [, flipped, , missing] = inPieces as [string, string, string, string];
    await flip(flipped, (await readFile(flipped)).indexOf("large large") + 30);
    await rm(missing);
    expect((await lost(parts[0] as string, target)).map(({ path, state }) => [path, state])).toEqual([
      [flipped, "damaged"],
      [missing, "missing"],
    ]);
  });

  it("where it is cut off, missing or empty, exactly the blobs in it are named", async () => {
    const { parts, target, image } = await made();
    const { path: cut } = await find(parts, "a a a a");
    await truncate(cut, (await stat(cut)).size - 4000);
    const missing = parts.at(-2) as string;
    expect(missing).not.toBe(cut);
    await rm(missing);
    const empty = parts.at(-1) as string;
    await truncate(empty, 0);
    const found = await lost(parts[1] as string, target);
    expect(found.map(({ path, state }) => [path, state])).toEqual(
      [
        [cut, "damaged"],
        [missing, "missing"],
        [empty, "damaged"],
      ].sort(([a], [b]) => parts.indexOf(a as string) - parts.indexOf(b as string)),
    );
    for (const { path, content } of found) {
      const digests = content.map(({ digest }) => digest);
      if (path !== cut) expect(digests).toContain(image.layers.large.digest);
      else expect(digests).not.toContain(image.layers.large.digest);
    }
    expect((await target.index()).manifests).toEqual([]);
  });

  it("where the header of an entry or what the part says of itself is damaged, the rest is read from the others", async () => {
    const { parts, directory, image } = await made();
    for (const name of [
      "oci-layout",
      "stowage-part.json",
      "stowage-parts.json",
      "index.json",
      '"set":"sha256:',
      '"number":',
    ]) {
      const work = join(directory, name.replaceAll(/[^a-z]/g, ""));
      await mkdir(work);
      for (const path of parts) await copyFile(path, join(work, basename(path)));
      const [first] = parts.map((path) => join(work, basename(path)));
      const at = (await readFile(first as string)).indexOf(name);
      await flip(first as string, at + name.length + 1);
      const target = await Layout.create(join(work, "target"));
      const failed = await importFrom(first as string, target).then(
        () => undefined,
        (error: OciError) => error,
      );
      // Either nothing is lost, or the part that is damaged is the one that is named.
      if (failed === undefined) expect((await target.resolve("v1")).digest, name).toBe(image.root.digest);
      else
        expect(
          (failed.cause as DamagedPartsError).parts.map(({ path }) => path),
          name,
        ).toEqual([first]);
    }
  });

  it("wherever a byte of it is changed or it is cut off: nothing is lost, or this part is named and no other", async () => {
    const { parts, directory, image } = await made();
    const before = await Promise.all(parts.map((path) => readFile(path)));
    const report = await receiptOf(image.source);
    let runs = 0;
    await fc.assert(
      fc.asyncProperty(
        fc.nat(),
        fc.nat(),
        fc.integer({ min: 1, max: 255 }),
        fc.boolean(),
        async (which, where, change, short) => {
          const at = which % parts.length;
          const path = parts[at] as string;
          const bytes = Buffer.from(before[at] as Buffer);
          const place = where % bytes.length;
          bytes[place] = (bytes[place] as number) ^ change;
          await writeFile(path, short ? bytes.subarray(0, place) : bytes);
          const target = await Layout.create(join(directory, `any-${runs++}`));
          const failed = await importFrom(parts[0] as string, target).catch((error: unknown) => error);
          await writeFile(path, before[at] as Buffer);
          if (failed instanceof OciError) {
            expect(failed.cause, failed.message).toBeInstanceOf(DamagedPartsError);
            expect((failed.cause as DamagedPartsError).parts.map((one) => one.path)).toEqual([path]);
            expect((await target.index()).manifests).toEqual([]);
          } else expect((await receiptOf(target)).content).toEqual(report.content);
          await rm(target.path, { recursive: true });
        },
      ),
      { numRuns: 40 },
    );
  });

  it("where it is there twice, the one that is right is read", async () => {
    const { parts, target, directory, image } = await made();
    const { path, at } = await find(parts, "b b b b");
    const spare = join(directory, "spare.tar");
    await copyFile(path, spare);
    await flip(path, at + 10);
    await importFrom([...parts, spare], target);
    expect((await target.resolve("v1")).digest).toBe(image.root.digest);
  });

  it("where it belongs to another archive, it is refused and nothing is changed", async () => {
    const { parts, target, directory } = await made();
    const other = await image();
    const extra = await pushBytes(other.source, text("extra", 3000), mediaTypes.layer);
    const config = await pushBytes(other.source, "{}", mediaTypes.config);
    await other.source.tag(
      "v1",
      await pushManifest(other.source, { config, layers: [extra, ...Object.values(other.layers)] }),
    );
    await mkdir(join(directory, "other"));
    const foreign = (await exportParts(other.source, join(directory, "other", "app.tar"))).at(-1) as string;
    const before = await filesBelow(target.path);
    const error = await failure(importFrom([parts[0] as string, foreign], target), "INVALID");
    expect(error.message).toContain(`${foreign} is a part of another archive`);
    await copyFile(foreign, parts[1] as string);
    expect((await failure(importFrom(parts[0] as string, target), "INVALID")).message).toContain(parts[1]);
    expect(await filesBelow(target.path)).toEqual(before);
  });
});

describe("what parts say of themselves", () => {
  it("is refused where it is a lie: pieces that do not fit, names that lead out, too many parts", async () => {
    const { parsePartList } = await import("@stowage/layout");
    const digest = digestOf("x");
    const list = (content: unknown, files: unknown = []): Uint8Array =>
      Buffer.from(
        JSON.stringify({
          mediaType: "application/vnd.stowage.parts.v1+json",
          schemaVersion: 1,
          files,
          parts: [{ content }],
        }),
      );
    const lies = [
      [{ digest, size: 2, from: 0, length: 1 }],
      [{ digest, size: 2, from: 1, length: 1 }],
      [
        { digest, size: 2 },
        { digest, size: 2 },
      ],
      [{ digest, size: 2, from: 0, length: 3 }],
      [{ digest, size: -1 }],
      [{ digest: "sha256:../../etc/passwd", size: 1 }],
      [
        { digest, size: 2, from: 0, length: 1 },
        { digest, size: 3, from: 1, length: 2 },
      ],
      "none",
    ];
    for (const lie of lies) await failure(() => parsePartList(list(lie), "x"), "INVALID");
    await failure(() => parsePartList(list([], [{ digest, size: 1 }]), "x"), "INVALID");
    expect(parsePartList(list([{ digest, size: 0 }]), "x").parts).toHaveLength(1);
  });
});
