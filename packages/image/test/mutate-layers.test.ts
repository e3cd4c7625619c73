import { join } from "node:path";
import { gzipSync } from "node:zlib";
import {
  type CompressedLayer,
  contentOf,
  type Descriptor,
  type Digest,
  descriptorOf,
  digestOf,
  encodeJson,
  isOciError,
  Layout,
  MemoryStore,
  mediaTypes,
  type Platform,
  parseJson,
  readBytes,
  type TarReadHeader,
  verify,
} from "@stowage/layout";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { writeCompressed } from "../src/compress-layer.js";
import { type Compression, layerMediaType } from "../src/compression.js";
import { ImageFiles } from "../src/files/image-files.js";
import { readImage } from "../src/image.js";
import { type MutateOptions, mutate } from "../src/mutate/mutate.js";
import { openLayer } from "../src/open-layer.js";
import { writeTar } from "../src/tar.js";
import { copyTarEntry } from "../src/tar-copy.js";
import { readTar } from "../src/tar-reader.js";
import { temporaryDirectory, writeFiles } from "./support.js";

const amd64: Platform = { os: "linux", architecture: "amd64" };

type Entry = Partial<TarReadHeader> & { readonly name: string; readonly text?: string };
const file = (name: string, text = name): Entry => ({ name, text });
const directory = (name: string, more: Partial<Entry> = {}): Entry => ({
  name: `${name}/`,
  type: "directory",
  ...more,
});
const link = (name: string, linkname: string): Entry => ({ name, linkname, type: "hardlink" });
const symlink = (name: string, linkname: string): Entry => ({ name, linkname, type: "symlink" });

interface ImageOptions {
  readonly compression?: Compression;
  readonly config?: Readonly<Record<string, unknown>>;
  readonly annotations?: Readonly<Record<string, string>>;
  readonly history?: boolean;
}

async function put(store: MemoryStore, value: unknown, mediaType: string): Promise<Descriptor> {
  const bytes = encodeJson(value);
  const descriptor = descriptorOf(bytes, mediaType);
  await store.push(contentOf(bytes, descriptor));
  return descriptor;
}

async function* tar(entries: readonly Entry[]) {
  const encoded = entries.map(({ text, ...entry }) => {
    const body = Buffer.from(entry.type === undefined ? (text ?? "") : "");
    const header = { type: "file", mode: 0o755, uid: 0, gid: 0, mtime: 7, pax: {}, xattrs: new Map(), ...entry };
    const content = {
      async *[Symbol.asyncIterator]() {
        yield body;
      },
    };
    return copyTarEntry({ header: { ...header, size: body.length } as TarReadHeader, body: content }, "the test");
  });
  async function* all() {
    yield* encoded;
  }
  yield* writeTar(all());
}

/** An image of layers that are written entry by entry. */
async function image(store: MemoryStore, layers: readonly (readonly Entry[])[], options: ImageOptions = {}) {
  const made = [];
  for (const entries of layers)
    made.push(await writeCompressed(store, tar(entries), { compression: options.compression ?? "none" }));
  const history = layers.flatMap((_layer, at) => [
    { created_by: `ENV ${at}`, empty_layer: true },
    { created_by: `layer ${at}` },
  ]);
  const config = await put(
    store,
    {
      ...amd64,
      config: options.config ?? {},
      rootfs: { type: "layers", diff_ids: made.map(({ diffId }) => diffId) },
      ...(options.history === false ? {} : { history: [...history, { created_by: "CMD", empty_layer: true }] }),
    },
    mediaTypes.config,
  );
  const { annotations } = options;
  return put(
    store,
    {
      schemaVersion: 2,
      mediaType: mediaTypes.manifest,
      config,
      layers: made.map(({ descriptor }) => descriptor),
      ...(annotations === undefined ? {} : { annotations }),
    },
    mediaTypes.manifest,
  );
}

/** Changes an image and checks all that came of it. */
async function changed(store: MemoryStore, root: Descriptor, options: MutateOptions) {
  const target = new MemoryStore();
  const report = await mutate(store, target, root, options);
  const again = await mutate(store, new MemoryStore(), root, options);
  expect(again.descriptor).toEqual(report.descriptor);
  const verified = await verify(target, [{ name: "it", descriptor: report.descriptor }], { level: "full" });
  expect(verified.findings).toEqual([]);
  const result = await readImage(target, report.descriptor, undefined);
  return { target, report, image: result, steps: result.config.history?.map((step) => step.created_by) };
}

/** The files of an image with their digests, and which names are of one file. */
async function files(store: MemoryStore, root: Descriptor) {
  const listed = [...(await ImageFiles.read(store, await readImage(store, root, undefined), { digests: true }))];
  const names = new Map<string, string[]>();
  for (const { type, layer, entry, path } of listed)
    if (type === "file") names.set(`${layer} ${entry}`, [...(names.get(`${layer} ${entry}`) ?? []), path]);
  return listed.map(({ layer, entry, pax: _pax, ...rest }) => ({
    ...rest,
    names: rest.type === "file" ? names.get(`${layer} ${entry}`) : [],
  }));
}

async function entriesOf(store: MemoryStore, layer: Descriptor | undefined) {
  const found: TarReadHeader[] = [];
  for await (const { header } of readTar(openLayer(store, layer as Descriptor, "it"), "it")) found.push(header);
  return found;
}

async function failure(work: Promise<unknown>): Promise<{ code: string; message: string }> {
  const error: unknown = await work.then(
    () => undefined,
    (reason: unknown) => reason,
  );
  if (!isOciError(error)) throw new Error(`not refused: ${String(error)}`);
  return error;
}

describe("compressing again", () => {
  it("takes what the target has compressed before, and lets it remember what is new", async () => {
    const store = new MemoryStore();
    const root = await image(store, [[file("a")], [file("b")]]);
    const target = await Layout.create(join(await temporaryDirectory(), "layout"));
    const layersOf = async (options: MutateOptions) => {
      const { descriptor } = await mutate(store, target, root, options);
      return (await readImage(target, descriptor, undefined)).layers.map(({ digest }) => digest);
    };
    const first = await layersOf({ compression: "gzip" });
    const { config, layers } = await readImage(store, root, undefined);
    const diffId = config.rootfs.diff_ids[0] as Digest;
    const [record] = await target.compressedLayers.find({ compressor: "gzip-6", diffId });
    expect(record?.descriptor.digest).toBe(first[0]);
    // Another layer of the same tar in its place shows that it is looked for there.
    const plain = await readBytes(store, layers[0] as Descriptor);
    const other = await target.write([gzipSync(plain, { level: 1 })], mediaTypes.layerGzip);
    expect(other.digest).not.toBe(first[0]);
    await target.compressedLayers.record({ ...(record as CompressedLayer), descriptor: other });
    expect(await layersOf({ compression: "gzip" })).toEqual([other.digest, first[1]]);
  });

  it.each(["none", "gzip", "gzip-native"] as const)("%s keeps the config and every tar", async (compression) => {
    const store = new MemoryStore();
    const root = await image(store, [[file("a")], [file("b")], [file("a")]]);
    const before = await readImage(store, root, undefined);
    const { image: after } = await changed(store, root, { compression });
    expect(after.layers.map(({ mediaType }) => mediaType)).toEqual(after.layers.map(() => layerMediaType(compression)));
    expect(after.config).toEqual(before.config);
    expect(after.descriptor.digest === root.digest).toBe(compression === "none");
  });

  it("says which Node has zstd, or uses it", async () => {
    const store = new MemoryStore();
    const root = await image(store, [[file("a")]]);
    const work = mutate(store, new MemoryStore(), root, { compression: "zstd" });
    const [major = 0, minor = 0] = process.versions.node.split(".").map(Number);
    if (major > 22 || (major === 22 && minor >= 15)) expect((await work).images).toHaveLength(1);
    else expect(await failure(work)).toMatchObject({ code: "UNSUPPORTED", hint: expect.stringContaining("22.15") });
  });

  it("keeps what a layer is annotated with, but not what was about its bytes", async () => {
    const store = new MemoryStore();
    const layer = await writeCompressed(store, tar([file("a")]), { compression: "none" });
    const annotations = { own: "1", "containerd.io/snapshot/stargz/toc.digest": "sha256:0" };
    const config = await put(
      store,
      { ...amd64, rootfs: { type: "layers", diff_ids: [layer.diffId] } },
      mediaTypes.config,
    );
    const root = await put(
      store,
      { schemaVersion: 2, config, layers: [{ ...layer.descriptor, annotations }] },
      mediaTypes.manifest,
    );
    const { image: after } = await changed(store, root, { compression: "gzip" });
    expect(after.layers[0]?.annotations).toEqual({ own: "1" });
  });
});

describe("converting media types", () => {
  it("makes a Docker image and the OCI image again", async () => {
    const store = new MemoryStore();
    const root = await image(store, [[file("a")], [file("b")]], { compression: "gzip" });
    const { target, report, image: docker } = await changed(store, root, { mediaTypes: "docker" });
    const manifest = parseJson(await readBytes(target, report.descriptor), "it");
    expect(manifest).toMatchObject({
      mediaType: mediaTypes.dockerManifest,
      config: { mediaType: mediaTypes.dockerConfig },
      layers: [{ mediaType: mediaTypes.dockerLayerGzip }, { mediaType: mediaTypes.dockerLayerGzip }],
    });
    expect(docker.layers.map(({ digest }) => digest)).toEqual(
      (await readImage(store, root, undefined)).layers.map(({ digest }) => digest),
    );
    const back = await changed(target, report.descriptor, { mediaTypes: "oci" });
    expect(back.report.descriptor.digest).toBe(root.digest);
  });

  it("converts an index with its images, and gives new layers of a Docker image Docker's types", async () => {
    const store = new MemoryStore();
    const one = await image(store, [[file("a")]], { compression: "gzip" });
    const root = await put(
      store,
      { schemaVersion: 2, mediaType: mediaTypes.index, manifests: [{ ...one, platform: amd64 }] },
      mediaTypes.index,
    );
    const target = new MemoryStore();
    const { descriptor } = await mutate(store, target, root, { mediaTypes: "docker" });
    expect(descriptor.mediaType).toBe(mediaTypes.dockerManifestList);
    const after = await readImage(target, descriptor, amd64);
    expect(after.descriptor.mediaType).toBe(mediaTypes.dockerManifest);
    const plain = await changed(target, after.descriptor, { compression: "none" });
    expect(plain.image.layers[0]?.mediaType).toBe(mediaTypes.dockerLayer);
  });

  it("refuses a layer for which Docker has no type", async () => {
    const store = new MemoryStore();
    const layer = { ...descriptorOf(Buffer.from("x"), mediaTypes.layerZstd) };
    const config = await put(
      store,
      { ...amd64, rootfs: { type: "layers", diff_ids: [digestOf("x")] } },
      mediaTypes.config,
    );
    const root = await put(store, { schemaVersion: 2, config, layers: [layer] }, mediaTypes.manifest);
    expect(await failure(mutate(store, new MemoryStore(), root, { mediaTypes: "docker" }))).toMatchObject({
      code: "UNSUPPORTED",
      hint: expect.stringContaining("gzip"),
    });
  });
});

describe("giving everything one time", () => {
  const rich: Entry[] = [
    directory("d", { mtime: 12.5, mode: 0o1777, pax: { atime: "99" } }),
    { name: "x", text: "x", xattrs: new Map([["user.bin", Uint8Array.of(0, 10, 255)]]), uid: 3_000_000 },
    { name: "null", type: "character-device", device: { major: 1, minor: 3 } },
    { name: "pipe", type: "fifo" },
    { name: `n${String.fromCharCode(0xdcff)}`, text: "not UTF-8" },
    { name: "é".repeat(90), text: "long" },
    { name: "old", text: "", mtime: -5 },
    symlink("s", "x"),
    link("h", "x"),
    file(".wh.gone", ""),
  ];

  it("sets the time of files, config and history, and leaves all else as it is", async () => {
    const store = new MemoryStore();
    const root = await image(store, [rich], { compression: "gzip" });
    const before = await entriesOf(store, (await readImage(store, root, undefined)).layers[0]);
    const { target, image: after } = await changed(store, root, { timestamps: 86_400 });
    const entries = await entriesOf(target, after.layers[0]);
    const plain = ({ pax: _pax, ...header }: TarReadHeader) => header;
    expect(entries.map(plain)).toEqual(before.map((header) => ({ ...plain(header), mtime: 86_400 })));
    expect(entries.every(({ pax }) => pax.atime === undefined)).toBe(true);
    expect(after.config.created).toBe("1970-01-02T00:00:00Z");
    expect(after.config.history?.every(({ created }) => created === "1970-01-02T00:00:00Z")).toBe(true);
  });

  it("makes two images the same that differ only in their times", async () => {
    const store = new MemoryStore();
    const one = await image(store, [[file("a"), directory("d", { mtime: 1 })]]);
    const other = await image(store, [[file("a"), directory("d", { mtime: 2.5 })]]);
    expect(one.digest).not.toBe(other.digest);
    expect((await changed(store, one, { timestamps: 0 })).report.descriptor.digest).toBe(
      (await changed(store, other, { timestamps: 0 })).report.descriptor.digest,
    );
  });
});

describe("dropping, replacing and adding layers", () => {
  it("takes history and diff_ids along, and keeps steps that have no layer", async () => {
    const store = new MemoryStore();
    const root = await image(store, [[file("a")], [file("b")], [file("c")]]);
    const before = await readImage(store, root, undefined);
    const { image: after, steps } = await changed(store, root, {
      dropLayers: [2, before.layers[2]?.digest as string],
    });
    expect(after.layers).toEqual([before.layers[0]]);
    expect(steps).toEqual(["ENV 0", "layer 0", "ENV 1", "ENV 2", "CMD"]);
    const byDiffId = await changed(store, root, { dropLayers: [before.config.rootfs.diff_ids[0] as string] });
    expect(byDiffId.image.layers).toEqual(before.layers.slice(1));
  });

  it("adds files and tars on top, and puts one in the place of another", async () => {
    const cwd = await temporaryDirectory();
    await writeFiles(cwd, { "new.txt": "new" });
    const store = new MemoryStore();
    const root = await image(store, [[file("a")], [directory("usr"), symlink("bin", "usr")]]);
    const {
      target,
      image: after,
      report,
      steps,
    } = await changed(store, root, {
      cwd,
      addLayers: [{ files: ["new.txt:/bin/new.txt"] }],
      replaceLayers: [{ layer: 1, by: { files: ["new.txt:/z"] } }],
    });
    expect(after.layers).toHaveLength(3);
    expect(steps).toEqual(["ENV 0", "stowage mutate", "ENV 1", "layer 1", "CMD", "stowage mutate"]);
    const paths = (await files(target, report.descriptor)).map(({ path }) => path);
    // Into the directory that the link of the image means.
    expect(paths).toEqual(["", "bin", "usr", "usr/new.txt", "z"]);
  });

  it("leaves no claim to a base whose layers are gone, and keeps one that still holds", async () => {
    const cwd = await temporaryDirectory();
    await writeFiles(cwd, { x: "x" });
    const store = new MemoryStore();
    const annotations = { "org.opencontainers.image.base.name": "alpine", own: "1" };
    const root = await image(store, [[file("a")], [file("b")]], { annotations });
    expect((await changed(store, root, { dropLayers: [1] })).image.annotations).toEqual({ own: "1" });
    const added = await changed(store, root, { cwd, addLayers: [{ files: ["x"] }] });
    expect(added.image.annotations).toEqual(annotations);
  });

  it("makes no history where there was none that fits", async () => {
    const store = new MemoryStore();
    const root = await image(store, [[file("a")], [file("b")]], { history: false });
    expect((await changed(store, root, { dropLayers: [1] })).image.config).not.toHaveProperty("history");
  });

  it.each([[3], [0], [1.5], ["sha256:12"], [digestOf("x") as string]])("refuses layer %j of two", async (layer) => {
    const store = new MemoryStore();
    const root = await image(store, [[file("a")], [file("b")]]);
    expect(await failure(mutate(store, new MemoryStore(), root, { dropLayers: [layer] }))).toMatchObject({
      code: "NOT_FOUND",
      message: expect.stringContaining(String(layer)),
    });
  });
});

describe("moving onto another base", () => {
  const config = (more: object, env: readonly string[]) => ({ Env: ["PATH=/bin", ...env], WorkingDir: "/", ...more });

  it("exchanges the layers of the base, its history and what the config has from it", async () => {
    const store = new MemoryStore();
    const other = new MemoryStore("the new base");
    const old = await image(store, [[file("a", "1")], [file("b", "1")]], {
      config: config({ Labels: { base: "1", both: "1" }, StopSignal: "SIGINT" }, ["VERSION=1", "GONE=1"]),
    });
    const fresh = await image(other, [[file("a", "2")]], {
      config: config({ Labels: { base: "2", both: "2" }, User: "base" }, ["VERSION=2", "GONE=2", "NEW=1"]),
    });
    const base = await readImage(store, old, undefined);
    const app = await writeCompressed(store, tar([file("app")]), { compression: "none" });
    const root = await put(
      store,
      {
        schemaVersion: 2,
        mediaType: mediaTypes.manifest,
        config: await put(
          store,
          {
            ...amd64,
            config: config({ Labels: { base: "1", both: "mine", app: "1" }, StopSignal: "SIGINT", Cmd: ["app"] }, [
              "VERSION=1",
              "APP=1",
            ]),
            rootfs: { type: "layers", diff_ids: [...base.config.rootfs.diff_ids, app.diffId] },
            history: [...(base.config.history ?? []), { created_by: "COPY app" }],
          },
          mediaTypes.config,
        ),
        layers: [...base.layers, app.descriptor],
      },
      mediaTypes.manifest,
    );
    const rebase = {
      from: { source: store, reference: old },
      onto: { source: other, reference: fresh, name: "example.com/base:2" },
    };
    const { image: after, steps } = await changed(store, root, { rebase });
    expect(after.layers).toEqual([...(await readImage(other, fresh, undefined)).layers, app.descriptor]);
    expect(steps).toEqual(["ENV 0", "layer 0", "CMD", "COPY app"]);
    expect(after.config.config).toEqual({
      Env: ["PATH=/bin", "VERSION=2", "NEW=1", "APP=1"],
      WorkingDir: "/",
      User: "base",
      Labels: { app: "1", base: "2", both: "mine" },
      Cmd: ["app"],
    });
    expect(after.annotations).toEqual({
      "org.opencontainers.image.base.digest": fresh.digest,
      "org.opencontainers.image.base.name": "example.com/base:2",
    });
    const wrong = mutate(store, new MemoryStore(), root, { rebase: { from: rebase.onto, onto: rebase.from } });
    expect(await failure(wrong)).toMatchObject({
      code: "CONFLICT",
      message: expect.stringContaining("layer 1 of the base"),
    });
  });
});

describe("leaving files out", () => {
  it("leaves them out of every layer, with what is in them and what takes them away", async () => {
    const store = new MemoryStore();
    const root = await image(store, [
      [directory("var"), file("var/log/a"), file("keep")],
      [file("keep2")],
      [file("var/log/.wh.a", ""), file("deep/x.pyc"), file("var/b")],
    ]);
    const before = await readImage(store, root, undefined);
    const { target, report, image: after } = await changed(store, root, { strip: ["var/log", "**/*.pyc"] });
    expect((await files(target, report.descriptor)).map(({ path }) => path)).toEqual([
      "",
      "keep",
      "keep2",
      "var",
      "var/b",
    ]);
    expect(after.layers[1]).toEqual(before.layers[1]);
    expect(await entriesOf(target, after.layers[2])).toHaveLength(1);
  });

  it("keeps the content of a file whose first name goes", async () => {
    const store = new MemoryStore();
    const root = await image(store, [
      [file("a", "content"), link("b", "a"), link("c", "b"), link("d", "c"), symlink("s", "a")],
    ]);
    const before = await files(store, root);
    for (const strip of [["a"], ["b"], ["a", "b"], ["a", "c"], ["s"], ["a", "b", "c"]]) {
      const { target, report } = await changed(store, root, { strip });
      expect(await files(target, report.descriptor)).toEqual(
        before
          .filter(({ path }) => !strip.includes(path))
          .map((one) => ({ ...one, names: one.names?.filter((name) => !strip.includes(name)) })),
      );
    }
  });

  it("says so where the content of a file that stays is in a layer below", async () => {
    const store = new MemoryStore();
    const root = await image(store, [[file("a")], [link("b", "a")]]);
    expect(await failure(mutate(store, new MemoryStore(), root, { strip: ["a"] }))).toMatchObject({
      code: "UNSUPPORTED",
      hint: "Flatten the image first.",
    });
    const { target, report } = await changed(store, root, { flatten: true });
    const stripped = await changed(target, report.descriptor, { strip: ["a"] });
    expect((await files(stripped.target, stripped.report.descriptor)).map(({ path }) => path)).toEqual(["", "b"]);
  });
});

const path = fc.array(fc.constantFrom("a", "b", "c"), { minLength: 1, maxLength: 3 }).map((parts) => parts.join("/"));
const entry: fc.Arbitrary<Entry> = fc.oneof(
  { weight: 4, arbitrary: fc.tuple(path, fc.constantFrom("1", "22", "")).map(([name, text]) => file(name, text)) },
  { weight: 3, arbitrary: fc.tuple(path, fc.nat(3)).map(([name, mtime]) => directory(name, { mtime })) },
  { weight: 2, arbitrary: fc.tuple(path, path).map(([name, to]) => symlink(name, `/${to}`)) },
  { weight: 2, arbitrary: fc.tuple(path, path).map(([name, to]) => link(name, to)) },
  { weight: 2, arbitrary: path.map((name) => file(name.replace(/[^/]+$/, ".wh.$&"), "")) },
  { weight: 1, arbitrary: path.map((name) => file(`${name}/.wh..wh..opq`, "")) },
  {
    weight: 1,
    arbitrary: path.map((name) => ({ name, type: "block-device" as const, device: { major: 8, minor: 1 } })),
  },
);
const layers = fc.array(fc.array(entry, { maxLength: 7 }), { minLength: 2, maxLength: 4 });

/** Only images that can be read: where an entry is refused, the image is no example. */
async function readable(store: MemoryStore, root: Descriptor) {
  try {
    return await files(store, root);
  } catch (error) {
    if (isOciError(error, "INVALID")) return undefined;
    throw error;
  }
}

describe("one layer of several", () => {
  it("flattened, an image has the same files, and every name of each", async () => {
    let count = 0;
    await fc.assert(
      fc.asyncProperty(layers, async (each) => {
        const store = new MemoryStore();
        const root = await image(store, each);
        const before = await readable(store, root);
        fc.pre(before !== undefined);
        count++;
        const { target, report, image: after, steps } = await changed(store, root, { flatten: true });
        expect(await files(target, report.descriptor)).toEqual(before);
        expect(after.layers).toHaveLength(1);
        expect(steps).toEqual(["stowage mutate", "CMD"]);
        const names = (await entriesOf(target, after.layers[0])).map(({ name }) => name);
        expect(names.filter((name) => name.includes(".wh."))).toEqual([]);
      }),
      { numRuns: 80, maxSkipsPerRun: 1000 },
    );
    expect(count).toBeGreaterThanOrEqual(80);
  });

  it("of a range, it has the same files, whatever is below and above", async () => {
    await fc.assert(
      fc.asyncProperty(layers, fc.nat(3), fc.nat(3), async (each, one, other) => {
        const [first, last] = [one, other].map((at) => 1 + (at % each.length)).sort((a, b) => a - b) as [
          number,
          number,
        ];
        const store = new MemoryStore();
        const root = await image(store, each);
        const before = await readable(store, root);
        fc.pre(before !== undefined);
        const { target, report, image: after } = await changed(store, root, { squash: { first, last } });
        expect(after.layers).toHaveLength(each.length - (last - first));
        expect(await files(target, report.descriptor)).toEqual(before);
      }),
      { numRuns: 100, maxSkipsPerRun: 1000 },
    );
  });

  it.each([
    [0, 1],
    [2, 1],
    [1, 4],
  ])("refuses the range %d to %d of three", async (first, last) => {
    const store = new MemoryStore();
    const root = await image(store, [[file("a")], [file("b")], [file("c")]]);
    expect(await failure(mutate(store, new MemoryStore(), root, { squash: { first, last } }))).toMatchObject({
      code: "INVALID",
    });
  });

  it("takes what layers have in common once, for every image of an index", async () => {
    const store = new MemoryStore();
    const one = await image(store, [[file("a")], [file("b")]], { config: { User: "1" } });
    const other = await image(store, [[file("a")], [file("b")]], { config: { User: "2" } });
    const root = await put(
      store,
      { schemaVersion: 2, mediaType: mediaTypes.index, manifests: [one, other] },
      mediaTypes.index,
    );
    const target = new MemoryStore();
    const { images } = await mutate(store, target, root, { flatten: true });
    const digests: (Digest | undefined)[] = [];
    for (const { descriptor } of images)
      digests.push((await readImage(target, descriptor, undefined)).layers[0]?.digest);
    expect(new Set(digests).size).toBe(1);
  });
});
