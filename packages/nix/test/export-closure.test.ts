import { mkdtempSync, rmSync } from "node:fs";
import { mkdir, readFile, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { gunzipSync } from "node:zlib";
import { parseConfig } from "@stowage/image";
import {
  annotationKeys,
  type Descriptor,
  digestOf,
  type ImageIndex,
  type ImageManifest,
  Layout,
  MemoryStore,
  readBytes,
  readManifest,
  type Source,
  verify,
  verifyLayout,
} from "@stowage/layout";
import fc from "fast-check";
import { afterAll, describe, expect, it } from "vitest";
import {
  type AnnotatedPath,
  annotatedPaths,
  type Closure,
  type ExportOptions,
  exportClosure,
  hashNar,
  importClosure,
  nixKeys,
  openNar,
  parsePublicKey,
  readCacheDirectory,
  readExportFile,
  readGraphFile,
  type StoreObject,
  soloLayer,
  type TreeEntry,
} from "../src/index.js";
import { APP, all, CONF, fixture, fixtures, LIBC, LINK, SCRIPT, ZLIB } from "./fixtures.js";
import { anyTree, treeOf } from "./trees.js";

const directory = mkdtempSync(join(tmpdir(), "stowage-nix-"));
afterAll(() => rmSync(directory, { recursive: true, force: true }));

const cache = `${fixtures}/cache`;
/** What another program, which the canonical form was tried out with, made of the six paths in bytewise order. */
const DIFF_IDS = [
  "sha256:900350089a6dcd0cd34248c11a5b03cc71624466796dfc5fd1b68d12d346e576",
  "sha256:f74a162098aba32c80f7bcd7727e61a75191ef6b7194a151476dfd858e63f19d",
  "sha256:9dbc9751eccc7f8d0e780f702b9ae16cc20ea7c46a4420feedab188503d26a4d",
  "sha256:77f36e680be3c56b2bdce1c1ed8afe50bcbcbeedbb4e9c0d89f612b912553ab4",
  "sha256:2b0ebbbb46c0f3f3b4b24c2a4cb9a1c792baadc28a1dd3c3412df091f470c3cf",
  "sha256:73af34e17ad652a8fdb0efd602fcba8689c6d771c28090e75b14ecf6c93f8e9e",
];

async function manifestOf(source: Source, descriptor: Descriptor): Promise<ImageManifest> {
  return (await readManifest(source, descriptor)).manifest as unknown as ImageManifest;
}

async function indexOf(source: Source, descriptor: Descriptor): Promise<ImageIndex> {
  return (await readManifest(source, descriptor)).manifest as unknown as ImageIndex;
}

describe("the export of a closure", () => {
  it("has a layer for each path, which says what it is, and the same in whatever form the closure comes", async () => {
    const store = new MemoryStore();
    const options: ExportOptions = { tags: ["v1"], links: false };
    const fromCache = await exportClosure(store, await readCacheDirectory(cache, [SCRIPT, LINK]), options);
    expect(fromCache).toMatchObject({ paths: 6, packed: 6, narSize: 3672, roots: [LINK, SCRIPT], tags: ["v1"] });
    const manifest = await manifestOf(store, fromCache.image);
    const paths = manifest.layers.flatMap((layer) => annotatedPaths(layer.annotations, "it").map(({ info }) => info));
    expect(paths.map(({ path }) => path)).toEqual([LIBC, ZLIB, APP, CONF, LINK, SCRIPT]);
    expect(paths.find(({ path }) => path === APP)?.signatures).toHaveLength(1);
    expect(manifest.layers[0]?.annotations).toMatchObject({
      "dev.stowage.disjoint.paths": JSON.stringify([LIBC]),
      "dev.stowage.disjoint.readonly": "true",
      "dev.stowage.nix.references": "",
    });
    expect(manifest.annotations).toMatchObject({
      [nixKeys.roots]: JSON.stringify([LINK, SCRIPT]),
      [nixKeys.storeDirectory]: "/nix/store",
      "dev.stowage.disjoint.version": "1",
    });
    const other = new MemoryStore();
    const fromExport = await exportClosure(other, await readExportFile(`${fixtures}/closure.export`, []), options);
    expect(fromExport.layers.map(({ diffId }) => diffId)).toEqual(fromCache.layers.map(({ diffId }) => diffId));
    // The bytes that were found by experiment, and are not to change.
    const inOrder = [LINK, CONF, SCRIPT, ZLIB, LIBC, APP].map(
      (path) => fromCache.layers[paths.findIndex((info) => info.path === path)]?.diffId,
    );
    expect(inOrder).toEqual(DIFF_IDS);
  });

  it("has the same digest again, and again where it is made into a layout that has it", async () => {
    const closure = await readCacheDirectory(cache, []);
    const layout = await Layout.create(join(directory, "again"));
    const first = await exportClosure(layout, closure, { maxLayers: 3, tags: ["a"] });
    const again = await exportClosure(layout, closure, { maxLayers: 3, tags: ["b"] });
    const elsewhere = await exportClosure(new MemoryStore(), closure, { maxLayers: 3 });
    expect([again.descriptor.digest, elsewhere.descriptor.digest]).toEqual(Array(2).fill(first.descriptor.digest));
    expect([first.packed, again.packed]).toEqual([6, 0]);
    // Other layers are put together from the same pieces.
    const other = await exportClosure(layout, closure, { maxLayers: 5, tags: ["c"] });
    expect(other.packed).toBe(0);
    const alone = await exportClosure(layout, closure, { layering: "per-path", tags: ["d"] });
    expect(alone.packed).toBe(0);
    expect(alone.descriptor.digest).toBe(
      (await exportClosure(new MemoryStore(), closure, { layering: "per-path" })).descriptor.digest,
    );
    const roots = await Promise.all(
      ["b", "c", "d"].map(async (name) => ({ name, descriptor: await layout.resolve(name) })),
    );
    expect((await verify(layout, roots, { level: "full" })).findings).toEqual([]);
  });

  it("has no more layers than it may, and each path in one piece in one of them", async () => {
    const closure = await readCacheDirectory(cache, []);
    for (const [maxLayers, layering] of [
      [2, "popularity"],
      [4, "size"],
      [100, "single"],
      [1, "popularity"],
    ] as const) {
      const store = new MemoryStore();
      const { image, layers } = await exportClosure(store, closure, { maxLayers, layering, links: false });
      expect(layers.length).toBeLessThanOrEqual(layering === "single" ? 1 : maxLayers);
      const manifest = await manifestOf(store, image);
      const config = parseConfig(await readBytes(store, manifest.config), "config");
      const found: string[] = [];
      for (const [at, layer] of manifest.layers.entries()) {
        const tar = gunzipSync(await readBytes(store, layer));
        expect(digestOf(tar)).toBe(config.rootfs.diff_ids[at]);
        for (const stored of annotatedPaths(layer.annotations, "it")) {
          found.push(stored.info.path);
          expect(digestOf(await all(openNar(store, { ...stored, layer })))).toBe(stored.info.narHash);
        }
      }
      expect(found.sort()).toEqual([APP, CONF, LIBC, LINK, SCRIPT, ZLIB].sort());
    }
  });

  it("links what the roots have into the root, and runs the only program", async () => {
    const store = new MemoryStore();
    const { image } = await exportClosure(store, await readCacheDirectory(cache, [SCRIPT]), {});
    const manifest = await manifestOf(store, image);
    const last = manifest.layers.at(-1) as Descriptor;
    expect(last.annotations?.[annotationKeys.disjointPaths]).toBe('["/bin"]');
    expect(gunzipSync(await readBytes(store, last)).toString("latin1")).toContain(SCRIPT);
    const { config } = parseConfig(await readBytes(store, manifest.config), "config");
    expect(config).toMatchObject({ Cmd: ["/bin/run-app"], Env: ["PATH=/bin"] });
  });

  it("is refused where two roots would give one name, unless there are to be no links", async () => {
    const file = (text: string): TreeEntry[] => [
      { type: "directory", path: "" },
      { type: "directory", path: "bin" },
      { type: "file", path: "bin/tool", executable: true, size: text.length, body: [Buffer.from(text)] },
    ];
    const closure = await closureOfTrees([file("one"), file("two")]);
    await expect(exportClosure(new MemoryStore(), closure, {})).rejects.toMatchObject({ code: "CONFLICT" });
    expect((await exportClosure(new MemoryStore(), closure, { links: false })).paths).toBe(2);
  });

  it("as wide image, referrer or second of an index, has the same files", async () => {
    const closure = await readCacheDirectory(cache, []);
    const store = new MemoryStore();
    const result = await exportClosure(store, closure, {
      maxLayers: 3,
      wide: "referrer",
      pathArtifacts: true,
      tags: ["v1"],
    });
    const referrers: Descriptor[] = [];
    for await (const referrer of store.referrers(result.image)) referrers.push(referrer);
    expect(referrers.map(({ digest }) => digest).sort()).toEqual([result.wide?.digest, result.closure?.digest].sort());
    const wide = await manifestOf(store, result.wide as Descriptor);
    expect(wide.layers).toHaveLength(7);
    const index = await indexOf(store, result.closure as Descriptor);
    expect(index.manifests).toHaveLength(6);
    expect(index).toMatchObject({ artifactType: "application/vnd.stowage.nix.closure.v1" });
    const artifact = await manifestOf(store, await store.resolve(LIBC.slice(11, 43)));
    expect(wide.layers.map(({ digest }) => digest)).toContain(artifact.layers[0]?.digest);

    const both = await exportClosure(store, closure, { maxLayers: 3, wide: "index", tags: ["v2"] });
    const { manifests } = await indexOf(store, both.descriptor);
    expect(manifests.map(({ platform }) => platform?.["os.features"])).toEqual([undefined, ["dev.stowage.disjoint"]]);
    expect(manifests[0]?.digest).toBe(both.image.digest);
  });

  it("is refused where a path is not what its hash says, and leaves no tag", async () => {
    const closure = await readCacheDirectory(cache, [APP]);
    const forged: Closure = {
      ...closure,
      objects: closure.objects.map((object) =>
        object.info.path === LIBC ? { ...object, tree: (closure.objects[0] as StoreObject).tree } : object,
      ),
    };
    const layout = await Layout.create(join(directory, "forged"));
    await expect(exportClosure(layout, forged, { tags: ["v1"] })).rejects.toMatchObject({ code: "MISMATCH" });
    await expect(layout.resolve("v1")).rejects.toMatchObject({ code: "NOT_FOUND" });
  });

  it("is refused where a key is missing, unless the path proves itself", async () => {
    const trusted = [parsePublicKey(fixture("public.key").toString())];
    const signed = await readCacheDirectory(cache, []);
    expect((await exportClosure(new MemoryStore(), signed, { trustedKeys: trusted })).paths).toBe(6);
    const unsigned = await readExportFile(`${fixtures}/closure.export`, []);
    await expect(exportClosure(new MemoryStore(), unsigned, { trustedKeys: trusted })).rejects.toMatchObject({
      code: "DENIED",
      message: expect.stringContaining("6 of 6 store paths lack a signature"),
    });
    const alone = await readCacheDirectory(cache, [CONF]);
    const [conf] = alone.objects as [StoreObject];
    const without = (more: object): Closure => ({
      ...alone,
      objects: [{ ...conf, info: { ...conf.info, signatures: [], ...more } }],
    });
    expect((await exportClosure(new MemoryStore(), without({}), { trustedKeys: trusted })).paths).toBe(1);
    const [libc] = (await readCacheDirectory(cache, [LIBC])).objects as [StoreObject];
    const lie = {
      ...alone,
      roots: [LIBC],
      objects: [{ ...libc, info: { ...libc.info, signatures: [], ca: conf.info.ca as string } }],
    };
    await expect(exportClosure(new MemoryStore(), lie, { trustedKeys: trusted })).rejects.toMatchObject({
      code: "DENIED",
    });
  });
});

describe("a layer of several store paths", () => {
  it("has in it, byte for byte, the layer of each of them", async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(anyTree(), { minLength: 2, maxLength: 6 }),
        fc.constantFrom("gzip", "none", "gzip-native"),
        async (trees, compression) => {
          const closure = await closureOfTrees(trees);
          const options = { compression, links: false } as const;
          const [one, other] = [new MemoryStore(), new MemoryStore()];
          const { image } = await exportClosure(one, closure, { ...options, layering: "single" });
          const wide = await exportClosure(other, closure, { ...options, layering: "per-path" });
          const [layer] = (await manifestOf(one, image)).layers as [Descriptor];
          const members = annotatedPaths(layer.annotations, "it").flatMap(({ member }) => member ?? []);
          expect(members).toHaveLength(trees.length);
          const blob = await readBytes(one, layer);
          for (const alone of (await manifestOf(other, wide.image)).layers) {
            const [{ info }] = annotatedPaths(alone.annotations, "it") as [AnnotatedPath];
            const bytes = await all(soloLayer(one, layer, members, info.path));
            expect(digestOf(bytes)).toBe(alone.digest);
            const member = members.find(({ path }) => path === info.path);
            expect(member?.layer).toBe(alone.digest);
            expect(digestOf(blob.subarray(member?.offset, (member?.offset ?? 0) + (member?.size ?? 0)))).toBe(
              member?.digest,
            );
          }
        },
      ),
      { numRuns: 8 },
    );
  });
});

describe("the import of a binary cache", () => {
  it("has a manifest for each path, tagged by its hash, and an index of them", async () => {
    const layout = await Layout.create(join(directory, "imported"));
    const result = await importClosure(layout, await readCacheDirectory(cache, []), { tags: ["all"] });
    expect(result).toMatchObject({ paths: 6, packed: 6, tags: ["all"] });
    const tags: string[] = [];
    for await (const tag of layout.tags()) tags.push(tag);
    expect(tags).toEqual([LINK, CONF, "/nix/store/all", SCRIPT, ZLIB, LIBC, APP].map((path) => path.slice(11, 43)));
    const again = await importClosure(layout, await readCacheDirectory(cache, []), {});
    expect(again).toMatchObject({ packed: 0, descriptor: { digest: result.descriptor.digest } });
    expect(await verifyLayout(layout)).toEqual([]);
  });
});

describe("a closure", () => {
  it("has what its roots refer to and nothing else", async () => {
    const closure = await readCacheDirectory(cache, [ZLIB.slice(11)]);
    expect(closure.objects.map(({ info }) => info.path)).toEqual([ZLIB, LIBC]);
    expect((await readCacheDirectory(cache, [ZLIB.slice(11, 43)])).roots).toEqual([ZLIB]);
  });

  it("is refused where something that is referred to is missing, and all of it is named", async () => {
    const graph = join(directory, "graph");
    await writeFile(graph, `${APP}\n\n2\n${LIBC}\n${ZLIB}\n`);
    await expect(readGraphFile(graph, [])).rejects.toThrow(`lacks what is referred to: ${ZLIB}, ${LIBC}`);
  });

  it("is refused where paths refer to each other in a circle", async () => {
    const graph = join(directory, "circle");
    await writeFile(graph, `${APP}\n\n1\n${LIBC}\n${LIBC}\n\n1\n${APP}\n`);
    await expect(readGraphFile(graph, [APP])).rejects.toThrow("refers to itself through others");
  });

  it("is refused where a root is not there, or there is no cache", async () => {
    await expect(readCacheDirectory(cache, [`/nix/store/${"0".repeat(32)}-x`])).rejects.toMatchObject({
      code: "NOT_FOUND",
    });
    await expect(readCacheDirectory(cache, [`${APP}x`])).rejects.toMatchObject({ code: "NOT_FOUND" });
    await expect(readCacheDirectory(directory, [])).rejects.toThrow("is no binary cache");
    await expect(readExportFile(`${fixtures}/closure.export`, ["x"])).rejects.toMatchObject({ code: "NOT_FOUND" });
  });

  it.each(["../secret.nar", "/etc/passwd", "file:///etc/passwd", "http://example.com/x.nar", "nar/../../x", ".."])(
    "is refused where a NAR is at %s",
    async (url) => {
      const hostile = mkdtempSync(join(directory, "hostile-"));
      await writeFile(join(hostile, "nix-cache-info"), "StoreDir: /nix/store\n");
      const name = `${LIBC.slice(11, 43)}.narinfo`;
      await writeFile(
        join(hostile, name),
        (await readFile(`${cache}/${name}`, "utf8")).replace(/^URL: .*$/m, `URL: ${url}`),
      );
      await expect(readCacheDirectory(hostile, [])).rejects.toMatchObject({ code: "DENIED" });
    },
  );

  it("with a graph beside a store on the disk is what the disk has", async () => {
    const root = join(directory, "root");
    await mkdir(join(root, "nix/store", CONF.slice(11)), { recursive: true });
    await writeFile(join(root, "nix/store", CONF.slice(11), "file"), "content");
    const graph = join(directory, "graph.txt");
    await writeFile(graph, `${CONF}\n\n0\n`);
    const closure = await readGraphFile(graph, [], { storeRoot: root });
    const store = new MemoryStore();
    expect(await exportClosure(store, closure, {})).toMatchObject({ paths: 1, packed: 1 });
  });
});

/** A closure of trees that do not refer to each other. */
async function closureOfTrees(trees: readonly (readonly TreeEntry[])[]): Promise<Closure> {
  const objects = await Promise.all(
    trees.map(async (entries, at) => {
      const path = `/nix/store/${String(at).padStart(32, "0")}-tree-${at}`;
      const nar = await hashNar(treeOf(entries), path);
      return { info: { path, ...nar, references: [], signatures: [] }, tree: () => treeOf(entries) };
    }),
  );
  return { name: "trees", storeDirectory: "/nix/store", roots: objects.map(({ info }) => info.path), objects };
}
