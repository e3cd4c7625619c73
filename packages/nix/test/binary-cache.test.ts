import { generateKeyPairSync } from "node:crypto";
import { mkdtempSync, rmSync } from "node:fs";
import { readdir, readFile, writeFile } from "node:fs/promises";
import { request } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import {
  contentOf,
  type Descriptor,
  descriptorOf,
  digestOf,
  encodeJson,
  type ImageManifest,
  Layout,
  MemoryStore,
  mediaTypes,
  readManifest,
} from "@stowage/layout";
import fc from "fast-check";
import { afterAll, afterEach, describe, expect, it } from "vitest";
import {
  BinaryCache,
  type Closure,
  diffClosures,
  exportClosure,
  findSigner,
  hashNar,
  importClosure,
  nixKeys,
  parseNarInfo,
  parsePublicKey,
  parseSecretKey,
  type RunningCache,
  readAllStored,
  readCacheDirectory,
  readStoredClosure,
  serveCache,
  type TreeEntry,
  writeCache,
} from "../src/index.js";
import { APP, fixture, fixtures, LIBC, LINK, SCRIPT, ZLIB } from "./fixtures.js";
import { anyTree, treeOf } from "./trees.js";

const directory = mkdtempSync(join(tmpdir(), "stowage-nix-"));
const running: RunningCache[] = [];
afterEach(async () => {
  for (const cache of running.splice(0)) await cache.close();
});
afterAll(() => rmSync(directory, { recursive: true, force: true }));

const from = `${fixtures}/cache`;
const hashOf = (path: string): string => path.slice(11, 43);

async function cacheOf(
  options: Parameters<typeof exportClosure>[2] = {},
): Promise<{ store: MemoryStore; cache: BinaryCache }> {
  const store = new MemoryStore();
  const { descriptor } = await exportClosure(store, await readCacheDirectory(from, []), options);
  return { store, cache: new BinaryCache(store, await readStoredClosure(store, descriptor)) };
}

async function serve(cache: BinaryCache, onError?: (error: unknown) => void): Promise<string> {
  const served = await serveCache(cache, onError === undefined ? {} : { onError });
  running.push(served);
  return served.url;
}

describe("a binary cache over layers", () => {
  it.each([
    ["with a layer for each path", {}],
    ["with one layer for all", { layering: "single", links: false }],
    ["as an index of two images", { maxLayers: 2, wide: "index" }],
    ["that are not compressed", { compression: "none", maxLayers: 3 }],
  ] as const)("%s gives what the cache gave that they were made of", async (_what, options) => {
    const { cache } = await cacheOf(options);
    const url = await serve(cache);
    expect(await (await fetch(`${url}/nix-cache-info`)).text()).toContain("StoreDir: /nix/store\n");
    for (const path of [SCRIPT, LINK, APP, LIBC, ZLIB]) {
      const text = await (await fetch(`${url}/${hashOf(path)}.narinfo`)).text();
      const info = parseNarInfo(text, "served");
      const original = parseNarInfo(fixture(`cache/${hashOf(path)}.narinfo`).toString(), "original");
      const { url: _url, compression: _compression, fileHash: _hash, fileSize: _size, ...rest } = original;
      expect(info).toMatchObject(rest);
      const nar = Buffer.from(await (await fetch(`${url}/${info.url}`)).arrayBuffer());
      expect(digestOf(nar)).toBe(info.narHash);
      const head = await fetch(`${url}/${info.url}`, { method: "HEAD" });
      expect(head.headers.get("content-length")).toBe(String(info.narSize));
    }
  });

  it("answers 404 to what it does not have, and 405 to changes", async () => {
    const { cache } = await cacheOf();
    const url = await serve(cache);
    const nar = `nar/${hashOf(APP)}-${"0".repeat(52)}.nar`;
    for (const path of [
      "",
      "x",
      `${"0".repeat(32)}.narinfo`,
      "../x.narinfo",
      nar,
      `${hashOf(APP)}.ls`,
      "nar/../nix-cache-info",
    ])
      expect((await fetch(`${url}/${path}`)).status).toBe(path === "nar/../nix-cache-info" ? 200 : 404);
    for (const method of ["PUT", "POST", "DELETE"])
      expect(
        (await fetch(`${url}/${hashOf(APP)}.narinfo`, { method, body: method === "DELETE" ? null : "x" })).status,
      ).toBe(405);
    const raw = await new Promise<number>((resolve, reject) => {
      request(`${url}/nar/..%2f..%2fetc/passwd`, (response) => resolve(response.resume().statusCode as number))
        .on("error", reject)
        .end();
    });
    expect(raw).toBe(404);
  });

  it("gives no NAR to its end that is not what the narinfo says", async () => {
    const { store, cache: honest } = await cacheOf({ links: false });
    const [stored] = honest.paths().filter(({ info }) => info.path === LIBC);
    const [other] = honest.paths().filter(({ info }) => info.path === ZLIB);
    if (stored === undefined || other === undefined) throw new Error("not exported");
    const lies = [
      // The content of another path, a hash of nothing, and a size that is too small.
      { ...stored, layer: other.layer },
      { ...stored, info: { ...stored.info, narHash: digestOf("x") } },
      { ...stored, info: { ...stored.info, narSize: 8 } },
    ];
    for (const lie of lies) {
      const errors: unknown[] = [];
      const closure = { storeDirectory: "/nix/store", roots: [], paths: new Map([[LIBC, lie]]) };
      const url = await serve(new BinaryCache(store, closure), (error) => errors.push(error));
      const info = parseNarInfo(await (await fetch(`${url}/${hashOf(LIBC)}.narinfo`)).text(), "served");
      const nar = fetch(`${url}/${info.url}`).then(async (response) => {
        if (response.status !== 200) throw new Error(String(response.status));
        return response.arrayBuffer();
      });
      await expect(nar).rejects.toThrow();
      expect(errors).toHaveLength(1);
      await expect(writeCache(new BinaryCache(store, closure), mkdtempSync(join(directory, "lie-")))).rejects.toThrow();
    }
  });

  it("signs with a key of its own as well, once", async () => {
    const { publicKey, privateKey } = generateKeyPairSync("ed25519");
    const seed = privateKey.export({ format: "der", type: "pkcs8" }).subarray(-32);
    const key = parseSecretKey(`mine-1:${seed.toString("base64")}`);
    const { store, cache } = await cacheOf();
    const closure = {
      storeDirectory: "/nix/store",
      roots: [],
      paths: new Map(cache.paths().map((path) => [path.info.path, path])),
    };
    const signing = new BinaryCache(store, closure, { secretKeys: [key] });
    const [path] = signing.paths();
    if (path === undefined) throw new Error("no path");
    const info = parseNarInfo(signing.narInfo(path), "signed");
    const open = publicKey.export({ format: "der", type: "spki" }).subarray(-32).toString("base64");
    expect(findSigner(info, [parsePublicKey(`mine-1:${open}`)])).toBe("mine-1");
    expect(info.signatures).toHaveLength(2);
  });

  it("written into a directory is what was imported, path by path, whatever is in the paths", async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(anyTree(), { minLength: 1, maxLength: 4 }),
        fc.integer({ min: 1, max: 4 }),
        async (trees, maxLayers) => {
          const closure = await chainOf(trees);
          const store = new MemoryStore();
          const { descriptor } = await exportClosure(store, closure, { links: false, maxLayers });
          const written = mkdtempSync(join(directory, "written-"));
          await writeCache(new BinaryCache(store, await readStoredClosure(store, descriptor)), written);
          const again = await readCacheDirectory(written, []);
          const known = (all: Closure): unknown =>
            all.objects.map(({ info: { path, narHash, narSize, references } }) => ({
              path,
              narHash,
              narSize,
              references,
            }));
          expect(known(again)).toEqual(known(closure));
          const imported = new MemoryStore();
          const result = await importClosure(imported, again, {});
          const stored = await readStoredClosure(imported, result.descriptor);
          const alone = await exportClosure(new MemoryStore(), closure, { links: false, layering: "per-path" });
          expect([...stored.paths.values()].map(({ layer }) => layer.digest).sort()).toEqual(
            alone.layers.map((layer) => layer.descriptor.digest).sort(),
          );
        },
      ),
      { numRuns: 10 },
    );
  });

  it("written again changes nothing, and a cache of another store is left alone", async () => {
    const { cache } = await cacheOf();
    const written = join(directory, "again");
    expect(await writeCache(cache, written)).toMatchObject({ written: 6, present: 0, bytes: 3672 });
    const names = await readdir(written, { recursive: true });
    expect(names.filter((name) => name.includes(".tmp"))).toEqual([]);
    expect(await writeCache(cache, written)).toMatchObject({ written: 0, present: 6, bytes: 0 });
    await writeFile(join(written, "nix-cache-info"), "StoreDir: /gnu/store\n");
    await expect(writeCache(cache, written)).rejects.toMatchObject({ code: "CONFLICT" });
    expect(await readFile(join(written, "nix-cache-info"), "utf8")).toBe("StoreDir: /gnu/store\n");
  });

  it("of a layout holds what its tags hold together, and finds the rest by the tag that is its hash", async () => {
    const layout = await Layout.create(join(directory, "layout"));
    await exportClosure(layout, await readCacheDirectory(from, [ZLIB]), { tags: ["zlib"] });
    await exportClosure(layout, await readCacheDirectory(from, [APP]), { tags: ["app"] });
    expect([...(await readAllStored(layout)).paths.keys()]).toEqual([ZLIB, LIBC, APP]);
    await importClosure(layout, await readCacheDirectory(from, [LINK]), {});
    const none = { storeDirectory: "/nix/store", roots: [], paths: new Map() };
    const cache = new BinaryCache(layout, none);
    expect((await cache.file(`/${hashOf(LINK)}.narinfo`))?.mediaType).toBe("text/x-nix-narinfo");
    expect(await cache.file(`/${hashOf(SCRIPT)}.narinfo`)).toBeUndefined();
    await expect(readAllStored(await Layout.create(join(directory, "empty")))).rejects.toMatchObject({
      code: "NOT_FOUND",
    });
  });

  it.each<[string, Record<string, string>]>([
    ["a path elsewhere", { [nixKeys.storePath]: "/etc/passwd" }],
    ["a line break in a reference", { [nixKeys.references]: `${ZLIB.slice(11)}\nSig: x` }],
    ["a signature with a line break", { [nixKeys.signatures]: "a:AAAA\nStorePath:" }],
    ["no hash", { [nixKeys.narHash]: "" }],
    ["a negative size", { [nixKeys.narSize]: "-1" }],
    ["members that are no list", { [nixKeys.storePath]: "", [nixKeys.members]: "{}" }],
  ])("is not made of a layer that says it has %s", async (_what, annotations) => {
    const store = new MemoryStore();
    const { image } = await exportClosure(store, await readCacheDirectory(from, [LIBC]), { links: false });
    const manifest = (await readManifest(store, image)).manifest as unknown as ImageManifest & { kind?: string };
    const [layer] = manifest.layers as [Descriptor];
    const own = Object.entries({ ...layer.annotations, ...annotations }).filter(
      ([key, value]) => value !== "" || key === nixKeys.narHash,
    );
    const { kind: _kind, ...plain } = manifest;
    const bytes = encodeJson({ ...plain, layers: [{ ...layer, annotations: Object.fromEntries(own) }] });
    const hostile = descriptorOf(bytes, mediaTypes.manifest);
    await store.push(contentOf(bytes, hostile));
    await expect(readStoredClosure(store, hostile)).rejects.toMatchObject({ code: "INVALID" });
  });
});

describe("the difference of two closures", () => {
  it("is what has to be fetched, by path and by layer", async () => {
    const store = new MemoryStore();
    const one = await exportClosure(store, await readCacheDirectory(from, [ZLIB]), { links: false });
    const other = await exportClosure(store, await readCacheDirectory(from, [APP]), { links: false });
    const [before, after] = [await readStoredClosure(store, one.image), await readStoredClosure(store, other.image)];
    const diff = diffClosures(before, after);
    expect(diff.paths).toEqual([expect.objectContaining({ change: "added", path: APP, narSize: 1536 })]);
    expect([diff.kept, diff.layers.length, diff.bytes]).toEqual([2, 1, diff.layerBytes]);
    expect(diffClosures(after, before)).toMatchObject({
      paths: [{ change: "removed", path: APP }],
      bytes: 0,
      layers: [],
    });
    expect(diffClosures(after, after)).toMatchObject({ paths: [], kept: 3 });
    const grouped = await exportClosure(store, await readCacheDirectory(from, [APP]), {
      links: false,
      layering: "single",
    });
    const inOne = diffClosures(before, await readStoredClosure(store, grouped.image));
    expect(inOne.bytes).toBeLessThan(inOne.layerBytes);
    const stored = after.paths.get(ZLIB);
    if (stored === undefined) throw new Error("not there");
    const rebuilt = new Map(after.paths).set(ZLIB, { ...stored, info: { ...stored.info, narHash: digestOf("other") } });
    expect(diffClosures(after, { ...after, paths: rebuilt }).paths).toEqual([
      expect.objectContaining({ change: "changed", path: ZLIB }),
    ]);
  });
});

/** A closure of trees, each of which refers to the one behind it. */
async function chainOf(trees: readonly (readonly TreeEntry[])[]): Promise<Closure> {
  const base = (at: number): string => `${String(at).padStart(32, "0")}-tree-${at}`;
  const objects = await Promise.all(
    trees.map(async (entries, at) => {
      const path = `/nix/store/${base(at)}`;
      const references = at + 1 < trees.length ? [base(at + 1)] : [];
      return {
        info: { path, ...(await hashNar(treeOf(entries), path)), references, signatures: [] },
        tree: () => treeOf(entries),
      };
    }),
  );
  return { name: "chain", storeDirectory: "/nix/store", roots: [`/nix/store/${base(0)}`], objects };
}
