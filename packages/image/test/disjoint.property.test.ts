import { join } from "node:path";
import { type Descriptor, MemoryStore } from "@stowage/layout";
import fc from "fast-check";
import { expect, it } from "vitest";
import type { TarMember } from "../../layout/test/tar.js";
import { annotateDisjoint } from "../src/disjoint/annotate.js";
import { type DisjointMode, unpackDisjoint } from "../src/disjoint/unpack-disjoint.js";
import { verifyDisjoint } from "../src/disjoint/verify.js";
import { unpack } from "../src/unpack/unpack.js";
import { type DeclaringLayer, disjointImage, owns } from "./disjoint-image.js";
import { directory, file, hardlink, symlink } from "./image-of.js";
import { temporaryDirectory } from "./support.js";
import { treeOf } from "./tree-of.js";

let count = 0;
const scratch = temporaryDirectory();
const place = async (): Promise<string> => join(await scratch, String(count++));

async function unpacked(
  { store, descriptor }: { store: MemoryStore; descriptor: Descriptor },
  mode?: DisjointMode,
): Promise<Record<string, unknown>> {
  const to = await place();
  if (mode === undefined) await unpack(store, descriptor, to);
  else await unpackDisjoint(store, descriptor, to, mode === "merge" ? { mode } : { mode, store: await place() });
  return treeOf(to);
}

const mode = fc.constantFrom(0o555, 0o755, 0o700, 0o1777, 0o6755);
const name = fc.oneof(
  fc.constantFrom("a", "b", "ab", "größe", "日本", "-x", "a b"),
  fc
    .string({ unit: "grapheme-ascii", minLength: 1, maxLength: 6 })
    .filter((text) => !/[/\0]|^\.{1,2}$|^\.wh\./.test(text)),
);
const mtime = fc.nat(2_000_000_000);

/** What is below one owned path: every entry behind the directory it is in. */
const content = fc.array(
  fc.record({
    name,
    mode,
    mtime,
    kind: fc.constantFrom("file", "directory", "symlink", "hardlink"),
    into: fc.nat(),
    text: fc.string({ maxLength: 20 }),
  }),
  { maxLength: 8 },
);

function membersOf(
  root: string,
  items: readonly {
    readonly name: string;
    readonly kind: string;
    readonly mode: number;
    readonly mtime: number;
    readonly into: number;
    readonly text: string;
  }[],
): TarMember[] {
  const members: TarMember[] = [directory(root, { mode: 0o555, mtime: 1 })];
  const directories = [root];
  const files: string[] = [];
  const taken = new Set([root]);
  for (const item of items) {
    const path = `${directories[item.into % directories.length]}/${item.name}`;
    if (taken.has(path)) continue;
    taken.add(path);
    const { mode: permissions, mtime: time } = item;
    const target = files[item.into % Math.max(files.length, 1)];
    if (item.kind === "directory") {
      directories.push(path);
      members.push(directory(path, { mode: permissions, mtime: time }));
    } else if (item.kind === "symlink") members.push(symlink(path, item.text.replaceAll("\0", "") || "/"));
    else if (item.kind === "hardlink" && target !== undefined) members.push(hardlink(path, target));
    else {
      files.push(path);
      members.push(file(path, item.text, { mode: permissions, mtime: time }));
    }
  }
  return members.map((member) => ({
    ...member,
    pax: { path: member.name, ...(member.link === undefined ? {} : { linkpath: member.link }) },
  }));
}

/** Layers with an owned path or two each, and the directories above. */
const layers = fc
  .array(fc.array(content, { minLength: 1, maxLength: 2 }), { minLength: 2, maxLength: 5 })
  .map((all): DeclaringLayer[] =>
    all.map((roots, at) => {
      const paths = roots.map((_items, number) => (number === 0 ? `nix/store/${at}` : `opt/${at}`));
      const above = [
        directory("nix"),
        directory("nix/store", { mode: 0o1775, mtime: 3 }),
        ...(roots.length > 1 ? [directory("opt")] : []),
      ];
      const members = [...above, ...roots.flatMap((items, number) => membersOf(paths[number] as string, items))];
      return { layer: members, annotations: owns(paths.map((path) => `/${path}`)) };
    }),
  );

it("layers that own their paths give the same tree in any order, in every way, and as they are unpacked without that", async () => {
  await fc.assert(
    fc.asyncProperty(
      layers.chain((all) => fc.tuple(fc.constant(all), fc.shuffledSubarray(all, { minLength: all.length }))),
      fc.constantFrom<DisjointMode>("merge", "hardlink", "reflink"),
      async ([all, shuffled], how) => {
        const image = await disjointImage(all);
        expect((await verifyDisjoint(image.store, image.descriptor)).violations).toEqual([]);
        const expected = await unpacked(image);
        const permuted = await disjointImage(shuffled);
        expect(await unpacked(permuted)).toEqual(expected);
        expect(await unpacked(permuted, how)).toEqual(expected);
        // The same files in one layer.
        const seen = new Set<string>();
        const members = all.flatMap(({ layer }) => layer as readonly TarMember[]);
        const once = members.filter(({ name: each }) => !seen.has(each) && seen.add(each));
        expect(await unpacked(await disjointImage([{ layer: once }]))).toEqual(expected);
      },
    ),
    { numRuns: 25 },
  );
});

const wild = fc.array(
  fc.array(
    fc.record({
      path: fc.array(fc.constantFrom("a", "b", ".wh.a", ".wh..wh..opq"), { minLength: 1, maxLength: 3 }),
      kind: fc.constantFrom("directory", "directory", "file", "symlink", "hardlink"),
      to: fc.constantFrom("a", "b", "/a", "../b", "a/b"),
      mode: fc.constantFrom(0o755, 0o755, 0o755, 0o700),
    }),
    { maxLength: 6 },
  ),
  { minLength: 1, maxLength: 4 },
);

it("whatever the layers are, what annotate lets them declare is true, and gives the files they give without it", async () => {
  await fc.assert(
    fc.asyncProperty(wild, async (all) => {
      const plain = all.map((items) => ({
        layer: items.map(({ path, kind, to, mode: permissions }): TarMember => {
          const at = path.join("/");
          if (kind === "directory") return directory(at, { mode: permissions });
          if (kind === "symlink") return symlink(at, to);
          return kind === "hardlink" ? hardlink(at, to) : file(at, to);
        }),
      }));
      const { store, descriptor } = await disjointImage(plain);
      const target = new MemoryStore();
      const report = await annotateDisjoint(store, target, descriptor);
      const expected = await unpacked({ store, descriptor }).catch(() => undefined);
      // Names that mean nothing are wrong in any layer.
      if (expected === undefined) return;
      const verified = await verifyDisjoint(target, report.descriptor);
      expect(verified.violations).toEqual([]);
      if (verified.disjoint === 0) return;
      expect(await unpacked({ store: target, descriptor: report.descriptor }, "merge")).toEqual(expected);
    }),
    { numRuns: 150 },
  );
});
