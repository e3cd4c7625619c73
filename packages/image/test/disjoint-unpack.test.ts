import { chmod, symlink as makeLink, mkdir, readdir, readFile, stat, utimes, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { annotationKeys, type Descriptor, type MemoryStore } from "@stowage/layout";
import { describe, expect, it } from "vitest";
import type { TarMember } from "../../layout/test/tar.js";
import { type BindPlan, PLAN_FILE } from "../src/disjoint/bind-plan.js";
import { collectStore } from "../src/disjoint/layer-store.js";
import {
  type DisjointMode,
  type UnpackDisjointOptions,
  type UnpackDisjointResult,
  unpackDisjoint,
} from "../src/disjoint/unpack-disjoint.js";
import { unpack } from "../src/unpack/unpack.js";
import { above, type DeclaringLayer, disjointImage, owns, packageLayer } from "./disjoint-image.js";
import { directory, file, hardlink, symlink } from "./image-of.js";
import { temporaryDirectory } from "./support.js";
import { treeOf } from "./tree-of.js";

interface Image {
  readonly store: MemoryStore;
  readonly descriptor: Descriptor;
}

const a = "nix/store/a";
/** All kinds of entries that a layer may hold, and ordinary layers below, between and above. */
const layers: readonly DeclaringLayer[] = [
  {
    layer: [
      directory("etc", { mtime: 9 }),
      file("etc/a", "1"),
      file("etc/gone", "1"),
      directory("nix"),
      file("nix/other", "x"),
    ],
  },
  packageLayer("a", [
    directory(`${a}/bin`, { mode: 0o555, mtime: 7 }),
    file(`${a}/bin/tool`, "#!/bin/sh\n", { mode: 0o4755, mtime: 3 }),
    hardlink(`${a}/bin/same`, `${a}/bin/tool`),
    symlink(`${a}/link`, "bin/tool"),
    hardlink(`${a}/link2`, `${a}/link`),
    file(`${a}/größe ${"long".repeat(30)}`, "x", { pax: { path: `${a}/größe ${"long".repeat(30)}` } }),
    file(`${a}/old`, "", { mtime: 0 }),
  ]),
  { layer: [file("etc/.wh.gone"), directory("etc", { mtime: 10 }), symlink("run", "nix/store/a/bin")] },
  {
    layer: [...above, file("nix/store/single", "one", { mode: 0o444, mtime: 5 })],
    annotations: owns(["/nix/store/single"]),
  },
  { layer: [...above, symlink("nix/store/to-a", "a")], annotations: owns(["/nix/store/to-a"]) },
  packageLayer("b", [], { [annotationKeys.disjointReadonly]: "true" }),
  { layer: [], annotations: owns([]) },
];

async function unpacked(
  image: Image,
  options: UnpackDisjointOptions,
): Promise<{ to: string; result: UnpackDisjointResult }> {
  const to = join(await temporaryDirectory(), "rootfs");
  const result = await unpackDisjoint(image.store, image.descriptor, to, options);
  return { to, result };
}

async function ordinary({ store, descriptor }: Image): Promise<Record<string, unknown>> {
  const to = join(await temporaryDirectory(), "plain");
  await unpack(store, descriptor, to);
  return treeOf(to);
}

/** Which names are one file does not matter where the files are those of a store. */
async function options(mode: DisjointMode): Promise<UnpackDisjointOptions> {
  return mode === "merge" ? { mode } : { mode, store: await temporaryDirectory() };
}

describe("the files are those of an ordinary unpack", () => {
  it.each<DisjointMode>(["merge", "hardlink", "reflink"])(
    "with %s, of every kind of entry, beside ordinary layers",
    async (mode) => {
      const image = await disjointImage(layers);
      const how = await options(mode);
      const { to, result } = await unpacked(image, how);
      const expected = await ordinary(image);
      expect(await treeOf(to)).toEqual(expected);
      expect(result).toMatchObject({ mode, layers: 7, disjoint: 5, reused: 0, skipped: [] });
      if (how.store === undefined) return;
      const again = await unpacked(image, how);
      expect(await treeOf(again.to)).toEqual(expected);
      expect(again.result.reused).toBe(5);
    },
  );

  it("also in a directory that is there and empty, which stays what it is", async () => {
    const image = await disjointImage(layers);
    const to = await temporaryDirectory();
    const before = await stat(to);
    await unpackDisjoint(image.store, image.descriptor, to, { mode: "merge" });
    expect((await stat(to)).ino).toBe(before.ino);
    expect(await treeOf(to)).toEqual(await ordinary(image));
  });

  it("with the owners that are asked for, which a store keeps apart", async () => {
    const owned = await disjointImage([packageLayer("a", [file(`${a}/x`, "x", { uid: 12, gid: 34 })])]);
    const store = await temporaryDirectory();
    const isRoot = process.getuid?.() === 0;
    const who = async (owners: UnpackDisjointOptions["owners"]): Promise<string> => {
      const { to, result } = await unpacked(owned, { mode: "hardlink", store, owners });
      expect(result.reused).toBe(0);
      const { uid, gid } = await stat(join(to, a, "x"));
      return `${uid}:${gid}`;
    };
    expect(await who("mine")).toBe(`${process.getuid?.()}:${process.getgid?.()}`);
    if (!isRoot) return;
    expect(await who("image")).toBe("12:34");
    const range = [{ inside: 0, outside: 1000, size: 100 }];
    expect(await who({ uids: range, gids: range })).toBe("1012:1034");
  });
});

describe("bind-plan", () => {
  it("writes what to mount where, and a root to mount it on", async () => {
    const image = await disjointImage(layers);
    const store = await temporaryDirectory();
    const { to, result } = await unpacked(image, { mode: "bind-plan", store });
    expect((await readdir(to)).sort()).toEqual([PLAN_FILE, "rootfs"]);
    const plan = JSON.parse(await readFile(join(to, PLAN_FILE), "utf8")) as BindPlan;
    expect(plan).toMatchObject({
      ociVersion: "1.0.2",
      root: { path: "rootfs" },
      linux: { readonlyPaths: ["/nix/store/b"] },
    });
    expect(plan.mounts.map(({ destination }) => destination)).toEqual([
      "/nix/store/a",
      "/nix/store/b",
      "/nix/store/single",
    ]);
    for (const { type, options: how } of plan.mounts)
      expect({ type, how }).toEqual({ type: "bind", how: ["rbind", "ro"] });
    expect(result.mounts).toBe(3);
    // The root with the sources in their places is the image.
    const expected = await ordinary(image);
    for (const { destination, source } of plan.mounts) {
      const mounted = (await stat(source)).isDirectory() ? await treeOf(source) : undefined;
      if (mounted === undefined) expect(await readFile(source, "utf8")).toBe("one");
      for (const [path, found] of Object.entries(mounted ?? {})) {
        const { first: _first, ...there } = expected[join(destination.slice(1), path)] as Record<string, unknown>;
        expect(found).toMatchObject(there);
      }
    }
    const root = await treeOf(join(to, "rootfs"));
    for (const path of ["etc", "etc/a", "nix", "nix/store", "nix/store/to-a", "run"])
      expect(root[path]).toEqual(expected[path]);
    expect(await readdir(join(to, "rootfs", a))).toEqual([]);
  });
});

describe("layers that are not disjoint are refused, and nothing is written:", () => {
  const hostile: readonly [string, readonly DeclaringLayer[], RegExp][] = [
    ["an overlap", [packageLayer("b"), packageLayer("b")], /V1 layer 3 .*declares the same/],
    ["a lie", [packageLayer("b", [file("passwd", "x")])], /V2 layer 2 .*\/passwd/],
    ["a write through a link", [packageLayer("b", [symlink("nix/store/b/l", "/"), file("nix/store/b/l/x")])], /V4/],
    ["a whiteout", [packageLayer("b", [file("nix/store/.wh.a")])], /V3/],
    ["a hard link out", [packageLayer("b", [hardlink("nix/store/b/h", `${a}/file`)])], /V4/],
    [
      "another mode above",
      [
        {
          layer: [directory("nix", { mode: 0o777 }), directory("nix/store"), directory("nix/store/b")],
          annotations: owns(["/nix/store/b"]),
        },
      ],
      /V2 .*mode/,
    ],
    ["a missing path", [{ layer: above, annotations: owns(["/nix/store/b"]) }], /V5/],
    ["an ordinary layer that touches it", [{ layer: [file("nix/store/a/x", "x")] }], /V7/],
    ["a damaged declaration", [{ layer: [], annotations: owns(["x"]) }], /V1/],
  ];
  it.each(hostile)("%s", async (_what, more, message) => {
    const image = await disjointImage([packageLayer("a"), ...more]);
    for (const mode of ["merge", "hardlink", "bind-plan"] as const) {
      const outside = await temporaryDirectory();
      await mkdir(join(outside, "empty"));
      const store = mode === "merge" ? {} : { store: join(outside, "store") };
      for (const name of ["missing", "empty"]) {
        const attempt = unpackDisjoint(image.store, image.descriptor, join(outside, name), { mode, ...store });
        await expect(attempt).rejects.toMatchObject({ code: "INVALID", message: expect.stringMatching(message) });
      }
      expect((await readdir(outside)).filter((name) => name !== "store")).toEqual(["empty"]);
      expect(await readdir(join(outside, "empty"))).toEqual([]);
      // Only whole layers that kept to what they declare are in the store.
      if (mode !== "merge")
        for (const name of await readdir(join(outside, "store")).catch(() => []))
          if (name === "tmp" || name === "leases" || name === "locks")
            expect(await readdir(join(outside, "store", name))).toEqual([]);
    }
  });

  it("an image that declares nothing", async () => {
    const image = await disjointImage([{ layer: [file("x")] }]);
    await expect(unpacked(image, { mode: "merge" })).rejects.toMatchObject({ code: "INVALID" });
  });

  it("a directory with something in it, which stays", async () => {
    const image = await disjointImage([packageLayer("a")]);
    const to = await temporaryDirectory();
    await writeFile(join(to, "mine"), "x");
    await expect(unpackDisjoint(image.store, image.descriptor, to, { mode: "merge" })).rejects.toMatchObject({
      code: "CONFLICT",
    });
    expect(await readdir(to)).toEqual(["mine"]);
  });

  it.each([
    ["bytes", { size: 3000 }],
    ["entries", { entries: 6 }],
  ])("more %s than are allowed in all layers together", async (_what, limit) => {
    const image = await disjointImage([packageLayer("a"), packageLayer("b")]);
    await expect(unpacked(image, { mode: "merge", ...limit })).rejects.toMatchObject({ code: "LIMIT" });
  });
});

describe("a store", () => {
  const image = () => disjointImage([packageLayer("a"), packageLayer("b")]);
  const treeIn = async (store: string, member: string): Promise<string> => {
    for (const name of await readdir(join(store, "layers"))) {
      const path = join(store, "layers", name, "tree/nix/store", member);
      if (
        await stat(path).then(
          () => true,
          () => false,
        )
      )
        return path;
    }
    throw new Error(`${member} is not in the store`);
  };

  it("is shared by images: only layers that are new are extracted", async () => {
    const store = await temporaryDirectory();
    await unpacked(await image(), { mode: "hardlink", store });
    const more = await disjointImage([packageLayer("c"), packageLayer("b"), packageLayer("a")]);
    const { to, result } = await unpacked(more, { mode: "hardlink", store });
    expect(result).toMatchObject({ reused: 2, bytesWritten: 2, files: { linked: 3, copied: 0 } });
    const linked = await stat(join(to, a, "file"));
    expect(linked.ino).toBe((await stat(join(await treeIn(store, "a"), "file"))).ino);
  });

  it("compares directories above declared paths also where layers are there already", async () => {
    const store = await temporaryDirectory();
    await unpacked(await image(), { mode: "hardlink", store });
    const other = { layer: [directory("nix", { mode: 0o700 }), directory("nix/store"), directory("nix/store/c")] };
    const mixed = await disjointImage([packageLayer("a"), { ...other, annotations: owns(["/nix/store/c"]) }]);
    await expect(unpacked(mixed, { mode: "hardlink", store })).rejects.toThrow(/V2 layer 2 .*mode/);
  });

  it.each<[what: string, change: (file: string) => Promise<void>, options: Partial<UnpackDisjointOptions>]>([
    ["was written to", (path) => chmod(path, 0o644).then(() => writeFile(path, "evil")), {}],
    ["has another mode", (path) => chmod(path, 0o777), {}],
    [
      "was written to by somebody who hid it",
      async (path) => {
        const { atime, mtime } = await stat(path);
        await chmod(path, 0o644);
        await writeFile(path, "A\n");
        await chmod(path, 0o444);
        await utimes(path, atime, mtime);
      },
      { checkStore: true },
    ],
    ["has company", (path) => writeFile(join(path, "../more"), "x"), { checkStore: true }],
  ])("extracts a layer anew of which a file %s", async (_what, change, more) => {
    const store = await temporaryDirectory();
    const first = await image();
    await unpacked(first, { mode: "hardlink", store });
    await change(join(await treeIn(store, "a"), "file"));
    const { to, result } = await unpacked(first, { mode: "hardlink", store, ...more });
    expect(await treeOf(to)).toEqual(await ordinary(first));
    expect(result.bytesWritten).toBe(2);
  });

  it("is nothing else's directory", async () => {
    const store = await temporaryDirectory();
    await writeFile(join(store, "mine"), "x");
    await expect(unpacked(await image(), { mode: "hardlink", store })).rejects.toMatchObject({ code: "CONFLICT" });
    await expect(collectStore(store, { unusedFor: 0 })).rejects.toMatchObject({ code: "CONFLICT" });
    expect(await readdir(store)).toEqual(["mine"]);
  });

  it("is collected by when a layer was last used, and what dead processes left goes", async () => {
    const store = await temporaryDirectory();
    await unpacked(await image(), { mode: "hardlink", store });
    const old = new Date(Date.now() - 60_000);
    for (const name of await readdir(join(store, "layers")))
      await utimes(join(store, "layers", name, "layer.json"), old, old);
    await unpacked(await disjointImage([packageLayer("b"), packageLayer("c")]), { mode: "hardlink", store });
    const dead = join(store, "tmp", "999999999--00000000-x");
    await mkdir(dead);
    await makeLink("/", join(dead, "l"));
    await utimes(dead, 1, 1);
    expect(await collectStore(store, { unusedFor: 30_000, dryRun: true })).toMatchObject({
      kept: 2,
      leftovers: 1,
      removed: [expect.anything()],
    });
    expect(await collectStore(store, { unusedFor: 30_000 })).toMatchObject({
      kept: 2,
      leftovers: 1,
      removed: [expect.anything()],
    });
    expect(await readdir(join(store, "tmp"))).toEqual([]);
    expect(await collectStore(store)).toMatchObject({ kept: 2, removed: [] });
    const { result } = await unpacked(await image(), { mode: "hardlink", store });
    expect(result.reused).toBe(1);
    expect(await collectStore(store, { unusedFor: 0 })).toMatchObject({ kept: 0 });
    expect(await readdir(join(store, "layers"))).toEqual([]);
  });
});

it("a directory that nobody may write to is moved, and put back as it was", async () => {
  const members: readonly TarMember[] = [directory("locked", { mode: 0o555 }), directory("locked/in", { mode: 0o500 })];
  const image = await disjointImage([{ layer: members, annotations: owns(["/locked/in"]) }, packageLayer("a")]);
  expect(await treeOf((await unpacked(image, { mode: "merge" })).to)).toEqual(await ordinary(image));
});
