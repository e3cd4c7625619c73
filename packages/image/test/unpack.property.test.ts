import {
  chmod,
  link,
  lstat,
  symlink as makeLink,
  mkdir,
  readdir,
  readFile,
  readlink,
  writeFile,
} from "node:fs/promises";
import { join } from "node:path";
import { type Descriptor, type MemoryStore, OciError } from "@stowage/layout";
import fc from "fast-check";
import { expect, it } from "vitest";
import type { TarMember } from "../../layout/test/tar.js";
import { fileTree } from "../src/file-tree.js";
import { ImageFiles } from "../src/files/image-files.js";
import { readImage } from "../src/image.js";
import { writeTar } from "../src/tar.js";
import { readTar } from "../src/tar-reader.js";
import { type UnpackOptions, unpack } from "../src/unpack/unpack.js";
import { directory, file, hardlink, imageOf, symlink } from "./image-of.js";
import { all, temporaryDirectory } from "./support.js";

/** What is in a directory: type, mode, time, content, target, and which names are one file. */
async function treeOf(root: string): Promise<Record<string, unknown>> {
  const tree: Record<string, unknown> = {};
  const inodes = new Map<number, string>();
  const visit = async (path: string): Promise<void> => {
    const status = await lstat(join(root, path));
    const common = { mode: status.mode, mtime: Math.trunc(status.mtimeMs) };
    if (status.isSymbolicLink()) tree[path] = { ...common, target: await readlink(join(root, path)) };
    else if (status.isDirectory()) {
      tree[path] = common;
      for (const name of (await readdir(join(root, path))).sort()) await visit(join(path, name));
    } else {
      if (!inodes.has(status.ino)) inodes.set(status.ino, path);
      tree[path] = { ...common, content: await readFile(join(root, path), "hex"), first: inodes.get(status.ino) };
    }
  };
  await visit("");
  return tree;
}

let count = 0;

async function unpacked(store: MemoryStore, image: Descriptor, options: UnpackOptions = {}): Promise<string> {
  const to = join(await directories, String(count++));
  await unpack(store, image, to, options);
  return to;
}

const directories = temporaryDirectory();

const name = fc.oneof(
  { weight: 8, arbitrary: fc.constantFrom("a", "b", "c") },
  fc.string({ unit: "grapheme", minLength: 1, maxLength: 40 }).filter((text) => isName(text)),
  fc.constantFrom("long ".repeat(40).trim(), "größe", "日本語", "..a", "-x", "a\nb", "{x}", "*"),
);

function isName(text: string): boolean {
  return (
    !/[/\0]/.test(text) && ![".", ".."].includes(text) && !text.startsWith(".wh.") && Buffer.byteLength(text) < 200
  );
}

const path = fc.array(name, { minLength: 1, maxLength: 3 }).map((parts) => parts.join("/"));

/** Things to make on a disk, one after the other; what cannot be made there is left out. */
const disk = fc.array(
  fc.record({
    path,
    kind: fc.constantFrom("file", "directory", "symlink", "hardlink"),
    content: fc.uint8Array({ maxLength: 2000 }),
    other: path,
    mode: fc.constantFrom(0o644, 0o755, 0o600, 0o4755, 0o2711, 0o1777, 0o700),
  }),
  { maxLength: 12 },
);

async function make(root: string, things: typeof disk extends fc.Arbitrary<infer T> ? T : never): Promise<void> {
  await mkdir(root);
  await chmod(root, 0o755);
  for (const { path: at, kind, content, other, mode } of things) {
    const target = join(root, at);
    try {
      await mkdir(join(target, ".."), { recursive: true });
      if (kind === "directory") await mkdir(target);
      else if (kind === "symlink") await makeLink(other, target);
      else if (kind === "hardlink") {
        if ((await lstat(join(root, other))).isFile()) await link(join(root, other), target);
      } else await writeFile(target, content, { flag: "wx" });
      if (kind !== "symlink" && kind !== "hardlink") await chmod(target, mode);
    } catch (error) {
      if (!["EEXIST", "ENOENT", "ENOTDIR", "ELOOP", "EINVAL"].includes((error as { code?: string }).code ?? ""))
        throw error;
    }
  }
}

it("a tree that goes into an image comes out of it as it was", async () => {
  await fc.assert(
    fc.asyncProperty(disk, async (things) => {
      const root = join(await directories, `tree-${count++}`);
      await make(root, things);
      const tar = await all(writeTar(await fileTree([{ source: root, destination: "/" }], { modes: "exact" })));
      const { store, descriptor } = await imageOf([{ tar, bytes: tar }]);
      const withoutTimes = async (at: string): Promise<unknown> =>
        Object.entries(await treeOf(at)).map(([key, value]) => [key, { ...(value as object), mtime: 0 }]);
      expect(await withoutTimes(await unpacked(store, descriptor))).toEqual(await withoutTimes(root));
    }),
    { numRuns: 60 },
  );
}, 60_000);

it("what is written to a tar is read from it", async () => {
  const entries = fc.array(
    fc.record({
      name: path,
      mode: fc.integer({ min: 0, max: 0o7777 }),
      uid: fc.integer({ min: 0, max: 2 ** 32 - 2 }),
      gid: fc.integer({ min: 0, max: 2 ** 32 - 2 }),
      mtime: fc.oneof(fc.nat(), fc.integer({ min: 0, max: 2 ** 36 })),
      content: fc.uint8Array({ maxLength: 1500 }),
      linkname: fc.option(path, { nil: undefined }),
    }),
    { maxLength: 8 },
  );
  await fc.assert(
    fc.asyncProperty(entries, fc.nat(3000), async (wanted, piece) => {
      const written = wanted.map(({ content, linkname, ...header }) =>
        linkname === undefined
          ? { ...header, type: "file" as const, size: content.byteLength, open: () => [content] }
          : { ...header, type: "symlink" as const, size: 0, linkname },
      );
      const tar = await all(writeTar(written));
      const pieces = Array.from({ length: Math.ceil(tar.length / (piece + 1)) }, (_, at) =>
        tar.subarray(at * (piece + 1), (at + 1) * (piece + 1)),
      );
      const found: unknown[] = [];
      for await (const { header, body } of readTar(pieces, "the tar")) {
        const { pax: _pax, xattrs: _xattrs, type: _type, size: _size, ...rest } = header;
        found.push({ ...rest, content: new Uint8Array(await all(body)), linkname: header.linkname });
      }
      expect(found).toEqual(
        wanted.map((entry) => (entry.linkname === undefined ? entry : { ...entry, content: new Uint8Array() })),
      );
    }),
    { numRuns: 300 },
  );
}, 60_000);

const short = fc.constantFrom("a", "b", "c", "a/a", "a/b", "b/a", "b/c", "a/b/c", "c/a/b");
const member: fc.Arbitrary<TarMember> = fc.oneof(
  {
    weight: 3,
    arbitrary: fc.tuple(short, fc.constantFrom("x", "yy", "")).map(([at, text]) => file(at, text, { mtime: 7 })),
  },
  {
    weight: 3,
    arbitrary: fc.tuple(short, fc.constantFrom(0o700, 0o755)).map(([at, mode]) => directory(at, { mode, mtime: 9 })),
  },
  fc.tuple(short, fc.constantFrom("a", "/b", "../a", "..", "a/b", "../../..", "c")).map(([at, to]) => symlink(at, to)),
  fc.tuple(short, short).map(([at, to]) => hardlink(at, to)),
  { weight: 2, arbitrary: short.map((at) => file(at.replace(/[^/]+$/, ".wh.$&"))) },
  fc.constantFrom("a/", "b/", "a/b/", "").map((at) => file(`${at}.wh..wh..opq`)),
);
const image = fc.array(fc.array(member, { maxLength: 6 }), { minLength: 1, maxLength: 4 });

it("any layers make the same files on disk and in memory, flattened or not, or are refused for the same reason", async () => {
  let made = 0;
  await fc.assert(
    fc.asyncProperty(image, fc.boolean(), async (layers, allowDuplicates) => {
      const { store, descriptor } = await imageOf(layers);
      const refusal = (error: unknown): string => {
        if (error instanceof OciError) return error.message;
        throw error;
      };
      const options = { allowDuplicates };
      const root = await unpacked(store, descriptor, options).catch((error: unknown) => ({ refused: refusal(error) }));
      const files = await ImageFiles.read(store, await readImage(store, descriptor, undefined), options).catch(
        (error: unknown) => ({ refused: refusal(error) }),
      );
      if (typeof root !== "string" || "refused" in files) {
        expect(files).toEqual(root);
        return;
      }
      made++;
      const tree = await treeOf(root);
      expect([...files].map((found) => found.path).sort()).toEqual(Object.keys(tree).sort());
      if (Object.keys(tree).length > 1)
        expect(await treeOf(await unpacked(store, descriptor, { ...options, files: ["**"] }))).toEqual(tree);
    }),
    { numRuns: 600 },
  );
  expect(made).toBeGreaterThan(100);
}, 120_000);
