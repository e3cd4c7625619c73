import { gzipSync } from "node:zlib";
import { contentOf, type Descriptor, descriptorOf, encodeJson, type MemoryStore, mediaTypes } from "@stowage/layout";
import { describe, expect, it } from "vitest";
import { type TarMember, tarOf } from "../../layout/test/tar.js";
import { diff, type ImageDiff, type IndexDiff } from "../src/diff/diff.js";
import { directory, file, hardlink, imageOf, symlink, type TestLayer } from "./image-of.js";

const tree: readonly TarMember[] = [
  directory("d"),
  file("d/a", "a"),
  file("d/b", "b", { mode: 0o755 }),
  symlink("l", "d/a"),
];

async function compare(
  a: readonly TestLayer[],
  b: readonly TestLayer[],
  annotations: Readonly<Record<string, string>> = {},
): Promise<ImageDiff> {
  const [one, other] = [await imageOf(a), await imageOf(b, annotations)];
  const found = await diff(
    { source: one.store, reference: one.descriptor },
    { source: other.store, reference: other.descriptor },
  );
  return found as ImageDiff;
}

const recompressed = (members: readonly TarMember[]): TestLayer => ({
  tar: tarOf(members),
  bytes: gzipSync(tarOf(members), { level: 1, memLevel: 2 }),
});
const changed = (path: string, more: Partial<TarMember>): readonly TarMember[] =>
  tree.map((member) => (member.name === path ? { ...member, ...more } : member));

describe("why two images differ", () => {
  it.each<[reason: string, a: readonly TestLayer[], b: readonly TestLayer[]]>([
    ["identical", [tree], [tree]],
    ["same content, other compression", [tree], [recompressed(tree)]],
    ["same files, other mtime", [tree], [changed("d/a", { mtime: 5 })]],
    ["same files, other modes", [tree], [changed("d/a", { mode: 0o600 })]],
    ["same files, other owners and mtime", [tree], [changed("d/a", { uid: 5, mtime: 5 })]],
    ["same files, other xattrs", [tree], [changed("d/a", { pax: { "SCHILY.xattr.user.a": "b" } })]],
    ["same files, other access control lists", [tree], [changed("d/a", { pax: { "SCHILY.acl.access": "u" } })]],
    ["same files, other hard links", [[file("a", "x"), file("b", "x")]], [[file("a", "x"), hardlink("b", "a")]]],
    ["same files, in other layers", [tree], [tree.slice(0, 2), tree.slice(2)]],
    ["same files, in another order or form in their layers", [tree], [[...tree].reverse()]],
    ["other files: 1 changed", [tree], [changed("d/a", { content: "other" })]],
    ["other files: 1 changed", [tree], [changed("l", { link: "d/b" })]],
    ["other files: 1 added, 1 removed", [tree], [[...tree.slice(0, 3), file("new", "x")]]],
    ["other files: 2 removed", [tree], [tree, [file("d/.wh.a"), file(".wh.l")]]],
  ])("%s", async (reason, a, b) => {
    const found = await compare(a, b);
    expect(found.reason).toBe(reason);
    expect(found.equal).toBe(reason === "identical");
  });

  it("same layers, other annotations", async () => {
    const found = await compare([tree], [tree], { "org.example": "x" });
    expect(found.reason).toBe("same layers, other annotations");
    expect(found.manifest).toEqual([{ path: 'annotations["org.example"]', b: "x" }]);
    expect([found.layers, found.files, found.config]).toEqual([[], [], []]);
  });

  it("lists each file that differs with what it has in both", async () => {
    const found = await compare([tree], [changed("d/a", { mtime: 5, mode: 0o600 })]);
    expect(found.files).toEqual([
      {
        path: "d/a",
        change: "changed",
        aspects: ["mode", "mtime"],
        a: { mode: "0644", mtime: 0 },
        b: { mode: "0600", mtime: 5 },
      },
    ]);
    expect(found.layers.map(({ layer, change }) => [layer, change])).toEqual([[1, "content"]]);
  });
});

describe("why two indexes differ", () => {
  async function indexOf(
    images: Readonly<Record<string, readonly TestLayer[]>>,
    more: Readonly<Record<string, unknown>> = {},
  ): Promise<{ source: MemoryStore; reference: Descriptor }> {
    let source: MemoryStore | undefined;
    const manifests: Descriptor[] = [];
    for (const [architecture, layers] of Object.entries(images)) {
      const { store, descriptor } = await imageOf(layers);
      source ??= store;
      for await (const content of contents(store, descriptor)) await source.push(content);
      manifests.push({ ...descriptor, platform: { os: "linux", architecture } });
    }
    const bytes = encodeJson({ schemaVersion: 2, mediaType: mediaTypes.index, manifests, ...more });
    const reference = descriptorOf(bytes, mediaTypes.index);
    await source?.push(contentOf(bytes, reference));
    return { source: source as MemoryStore, reference };
  }

  async function* contents(store: MemoryStore, descriptor: Descriptor): AsyncGenerator<ReturnType<typeof contentOf>> {
    const read = async (of: Descriptor): Promise<Buffer> => {
      const chunks: Uint8Array[] = [];
      for await (const chunk of store.fetch(of)) chunks.push(chunk);
      return Buffer.concat(chunks);
    };
    const manifest = await read(descriptor);
    const { config, layers } = JSON.parse(manifest.toString()) as { config: Descriptor; layers: Descriptor[] };
    for (const child of [config, ...layers]) yield contentOf(await read(child), child);
    yield contentOf(manifest, descriptor);
  }

  it("is said for each platform", async () => {
    const a = await indexOf({ amd64: [tree], arm64: [tree], s390x: [tree] });
    const b = await indexOf({ amd64: [tree], arm64: [changed("d/a", { mtime: 5 })], riscv64: [tree] });
    const found = (await diff(a, b)) as IndexDiff;
    expect(found.kind).toBe("index");
    expect(found.reason).toBe(
      "linux/riscv64 only in the second, linux/s390x only in the first, linux/arm64: same files, other mtime",
    );
    expect(found.manifests.map(({ name, change }) => [name, change])).toEqual([
      ["linux/arm64", "changed"],
      ["linux/s390x", "removed"],
      ["linux/riscv64", "added"],
    ]);
  });

  it("is said of the index itself where its manifests are the same", async () => {
    const a = await indexOf({ amd64: [tree] });
    expect((await diff(a, await indexOf({ amd64: [tree] }, { annotations: { x: "y" } }))).reason).toBe(
      "same manifests, other annotations",
    );
    expect((await diff(a, a)).reason).toBe("identical");
  });

  it("is that of the image where one of the two is none", async () => {
    const a = await indexOf({ arm64: [tree], amd64: [changed("d/a", { mtime: 5 })] });
    const { store, descriptor } = await imageOf([tree]);
    const found = await diff(a, { source: store, reference: descriptor });
    expect([found.kind, found.reason]).toEqual(["image", "same files, other mtime"]);
  });
});
