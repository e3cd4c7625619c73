import { execFileSync } from "node:child_process";
import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { ArchiveSource, exportImages, imagesIn, MemoryStore, verify } from "@stowage/layout";
import { expect, it } from "vitest";
import { openArchiveFiles } from "../src/archive/open-files.js";
import { ZipFile } from "../src/archive/zip-writer.js";
import { failure, pushImage, pushReferrer, streamOf, temporaryDirectory, utf8 } from "./support.js";

/** What Python's reader, which is not made by us, finds: `name size` and whether all checksums are right. */
function listed(path: string): { names: string[]; damaged: string | null } {
  const script =
    "import json,sys,zipfile\nz=zipfile.ZipFile(sys.argv[1])\nprint(json.dumps([[f'{i.filename} {i.file_size} {i.date_time[0]}' for i in z.infolist()], z.testzip()]))";
  const [names, damaged] = JSON.parse(
    execFileSync("python3", ["-c", script, path], { encoding: "utf8", maxBuffer: 64 * 1024 * 1024 }),
  );
  return { names, damaged };
}

it("a zip that is written holds the files as they are, whoever reads it, and has the same bytes each time", async () => {
  const directory = await temporaryDirectory();
  for (const name of ["a.zip", "b.zip"]) {
    const zip = await ZipFile.create(join(directory, name));
    await zip.add("oci-layout", utf8("{}"));
    await zip.addStream("blobs/x", 6, streamOf("abc", "def"));
    await zip.addStream("empty", 0, streamOf());
    await zip.finish();
  }
  expect(await readdir(directory)).toEqual(["a.zip", "b.zip"]);
  expect(listed(join(directory, "a.zip"))).toEqual({
    names: ["oci-layout 2 1980", "blobs/x 6 1980", "empty 0 1980"],
    damaged: null,
  });
  expect((await readFile(join(directory, "a.zip"))).equals(await readFile(join(directory, "b.zip")))).toBe(true);
});

it("a zip of more entries than old readers count is read by others and by us", async () => {
  const path = join(await temporaryDirectory(), "x.zip");
  const zip = await ZipFile.create(path);
  for (let at = 0; at <= 65_536; at++) await zip.add(`${at}`, utf8("x"));
  await zip.finish();
  const { names, damaged } = listed(path);
  expect([names.length, names.at(-1), damaged]).toEqual([65_537, "65536 1 1980", null]);
  const files = await openArchiveFiles(path);
  expect([files.size("0"), files.size("65536"), files.size("65537")]).toEqual([1, 1, undefined]);
  await files.close();
});

it("images go into a zip and come back", async () => {
  const store = new MemoryStore();
  const image = await pushImage(store);
  await pushReferrer(store, image);
  const path = join(await temporaryDirectory(), "x.zip");
  await exportImages([{ source: store, descriptor: image, names: ["a.example/b:1"] }], path, { container: "zip" });
  const source = await ArchiveSource.open(path);
  expect((await imagesIn(source)).map(({ names, descriptor }) => [names, descriptor.digest])).toEqual([
    [["a.example/b:1"], image.digest],
  ]);
  expect((await verify(source, [{ name: "1", descriptor: image }])).referrers).toBe(1);
  await source.close();
});

it("a zip that is given up, or whose content breaks, leaves nothing", async () => {
  const directory = await temporaryDirectory();
  const zip = await ZipFile.create(join(directory, "x.zip"));
  async function* broken(): AsyncGenerator<Uint8Array> {
    yield utf8("abc");
    throw new RangeError("broke");
  }
  await expect(zip.addStream("a", 6, broken())).rejects.toThrow("broke");
  await expect(zip.add("b", utf8(""))).rejects.toThrow("broke");
  await expect(zip.finish()).rejects.toThrow("broke");
  await zip.discard();
  expect(await readdir(directory)).toEqual([]);
  await failure(ZipFile.create(join(directory, "none", "x.zip")), "NOT_FOUND");
});
