import { spawn } from "node:child_process";
import { open, readdir, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import { ArchiveSource, copy, digestOf, isOciError, MemoryStore, readManifest, verify } from "@stowage/layout";
import { describe, expect, it } from "vitest";
import { all, bytesOf, failure, temporaryDirectory, utf8 } from "./support.js";
import { type TarMember, tarOf } from "./tar.js";

const layerOf = (text: string): Buffer => tarOf([{ name: text, content: text }]);
const one = layerOf("one");
const two = layerOf("two");

function configOf(layers: readonly Uint8Array[], more: object = {}): string {
  const rootfs = { type: "layers", diff_ids: layers.map((layer) => digestOf(layer)) };
  return JSON.stringify({ architecture: "arm64", os: "linux", variant: "v8", config: {}, rootfs, ...more });
}

/** What `docker save` wrote from 1.10 to 24. */
function saved(layers: readonly Uint8Array[], names: readonly string[] | null = ["acme/app:v1"]): TarMember[] {
  const files = layers.map((content, at) => ({ name: `${at}abc/layer.tar`, content }));
  const config = { name: "cafe.json", content: configOf(layers) };
  const item = { Config: config.name, RepoTags: names, Layers: files.map(({ name }) => name) };
  return [...files, config, { name: "manifest.json", content: JSON.stringify([item]) }];
}

async function archiveOf(members: readonly TarMember[] | Uint8Array): Promise<string> {
  const path = join(await temporaryDirectory(), "x.tar");
  await writeFile(path, members instanceof Uint8Array ? members : tarOf(members));
  return path;
}

async function withArchive<T>(path: string, work: (source: ArchiveSource) => Promise<T>): Promise<T> {
  const source = await ArchiveSource.open(path);
  try {
    return await work(source);
  } finally {
    await source.close();
  }
}

async function manifestOf(source: ArchiveSource, name: string) {
  const { manifest } = await readManifest(source, await source.resolve(name));
  if (manifest.kind !== "image") throw new Error("no image");
  return manifest;
}

/** What a layer of the image is called in its tar. */
async function layerNames(source: ArchiveSource, name: string): Promise<string[]> {
  const { layers } = await manifestOf(source, name);
  return Promise.all(layers.map(async (layer) => (await bytesOf(source.fetch(layer))).toString("latin1", 0, 3)));
}

async function intact(source: ArchiveSource, name: string): Promise<boolean> {
  return (await verify(source, [{ name, descriptor: await source.resolve(name) }])).findings.length === 0;
}

describe("an archive of docker save without a layout in it", () => {
  it("is an image whose layers stay as they are and whose config says what it is for", async () => {
    await withArchive(await archiveOf(saved([one, two])), async (source) => {
      expect(await all(source.tags())).toEqual(["acme/app:v1"]);
      const { layers, config } = await manifestOf(source, "v1");
      expect(layers.map(({ digest }) => digest)).toEqual([digestOf(one), digestOf(two)]);
      expect((await bytesOf(source.fetch(config))).toString()).toBe(configOf([one, two]));
      expect((await source.index()).manifests[0]?.platform).toEqual({
        os: "linux",
        architecture: "arm64",
        variant: "v8",
      });
      expect(await intact(source, "v1")).toBe(true);
      expect(source.name).toMatch(/^docker-archive:/);
    });
  });

  it("has the same digest whenever it is read, and in a copy", async () => {
    const [path, other] = [await archiveOf(saved([one, two])), await archiveOf([...saved([one, two])].reverse())];
    const target = new MemoryStore();
    const copied = await withArchive(path, (source) => copy(source, target, "v1", { tags: ["v1"] }));
    await withArchive(other, async (source) =>
      expect((await source.resolve("v1")).digest).toBe(copied.descriptor.digest),
    );
    expect(copied).toMatchObject({ written: 4 });
  });

  it("may hold several images that share layers, and one without a name", async () => {
    const [first, second] = [saved([one, two], ["a:1", "b:2"]), saved([one], null)];
    const members = [
      ...first.slice(0, -1),
      { name: "beef.json", content: configOf([one]) },
      {
        name: "manifest.json",
        content: JSON.stringify([
          JSON.parse(String(first.at(-1)?.content))[0],
          { ...JSON.parse(String(second.at(-1)?.content))[0], Config: "beef.json" },
        ]),
      },
    ];
    await withArchive(await archiveOf(members), async (source) => {
      expect(await all(source.tags())).toEqual(["a:1", "b:2"]);
      expect((await source.resolve("1")).digest).toBe((await source.resolve("b:2")).digest);
      expect((await source.index()).manifests).toHaveLength(3);
    });
  });

  it("may have layers that are links to others, as skopeo writes them, and compressed ones", async () => {
    const zipped = gzipSync(two);
    const [, , config, manifest] = saved([one, two]) as [TarMember, TarMember, TarMember, TarMember];
    const members = [
      { name: "real.tar", content: one },
      { name: "0abc/layer.tar", type: "2", link: "../real.tar" },
      { name: "1abc/layer.tar", content: zipped },
      config,
      manifest,
    ];
    await withArchive(await archiveOf(members), async (source) => {
      const { layers } = await manifestOf(source, "v1");
      expect(layers[1]).toMatchObject({ digest: digestOf(zipped), mediaType: expect.stringContaining("gzip") });
      expect(await intact(source, "v1")).toBe(true);
    });
  });

  it("is passed over where there is a layout beside it, as Docker writes it since 25", async () => {
    const manifest = utf8(
      JSON.stringify({
        schemaVersion: 2,
        config: { mediaType: "a/b", digest: digestOf(utf8("{}")), size: 2 },
        layers: [],
      }),
    );
    const digest = digestOf(manifest);
    const entry = {
      mediaType: "application/vnd.oci.image.manifest.v1+json",
      digest,
      size: manifest.byteLength,
      annotations: { "org.opencontainers.image.ref.name": "v1" },
    };
    const members = [
      { name: "oci-layout", content: '{"imageLayoutVersion":"1.0.0"}' },
      { name: "index.json", content: JSON.stringify({ schemaVersion: 2, manifests: [entry] }) },
      { name: `blobs/sha256/${digest.slice(7)}`, content: manifest },
      ...saved([one]),
    ];
    await withArchive(await archiveOf(members), async (source) =>
      expect((await source.resolve("v1")).digest).toBe(digest),
    );
  });

  it.each<[string, (members: TarMember[]) => TarMember[], string]>([
    ["whose config is missing", (members) => members.filter(({ name }) => name !== "cafe.json"), "cafe.json"],
    ["whose layer is missing", (members) => members.filter(({ name }) => name !== "0abc/layer.tar"), "0abc/layer.tar"],
    [
      "with a layer too many",
      (members) => members.map((file) => (file.name === "cafe.json" ? { ...file, content: configOf([one]) } : file)),
      "2 layers",
    ],
    ["whose manifest.json is no list", (members) => replaced(members, "{}"), "manifest.json"],
    ["whose manifest.json holds no image", (members) => replaced(members, "[null]"), "image 0"],
    ["whose names are numbers", (members) => replaced(members, '[{"Config":"cafe.json","RepoTags":[1]}]'), "RepoTags"],
    [
      "whose config is no JSON",
      (members) => members.map((file) => (file.name === "cafe.json" ? { ...file, content: "no" } : file)),
      "cafe.json",
    ],
  ])("%s is refused, and the file is named", async (_what, change, text) => {
    const path = await archiveOf(change(saved([one, two])));
    expect((await failure(ArchiveSource.open(path), "INVALID")).message).toContain(text);
  });

  it("that names a file outside of itself is refused", async () => {
    const path = await archiveOf(replaced(saved([one]), '[{"Config":"../../etc/passwd","Layers":[]}]'));
    expect((await failure(ArchiveSource.open(path), "DENIED")).message).toContain("../../etc/passwd");
  });

  it("with a layer that is not what its diff_id says is found out when it is read", async () => {
    const members = saved([one]).map((file) =>
      file.name === "0abc/layer.tar" ? { ...file, content: layerOf("eno") } : file,
    );
    await withArchive(await archiveOf(members), async (source) => {
      const error = await copy(source, new MemoryStore(), "v1").catch((caught: unknown) => caught);
      expect(isOciError(error, "MISMATCH")).toBe(true);
    });
  });
});

function replaced(members: readonly TarMember[], manifest: string): TarMember[] {
  return members.map((file) => (file.name === "manifest.json" ? { ...file, content: manifest } : file));
}

describe("an archive of docker save from before 1.10", () => {
  const [base, top] = ["b".repeat(64), "a".repeat(64)];
  const members = (parent = base): TarMember[] => [
    { name: `${base}/VERSION`, content: "1.0" },
    {
      name: `${base}/json`,
      content: JSON.stringify({
        id: base,
        created: "2014-01-01T00:00:00Z",
        container_config: { Cmd: ["/bin/sh", "-c", "#(nop) ADD file"] },
      }),
    },
    { name: `${base}/layer.tar`, content: one },
    {
      name: `${top}/json`,
      content: JSON.stringify({
        id: top,
        parent,
        created: "2014-01-02T00:00:00Z",
        architecture: "amd64",
        os: "linux",
        author: "somebody",
        Size: 7,
        config: { Cmd: ["sh"] },
      }),
    },
    { name: `${top}/layer.tar`, content: two },
    { name: "repositories", content: JSON.stringify({ busybox: { latest: top, old: top } }) },
  ];

  it("is an image of the chain of its layers, with a config made of theirs", async () => {
    await withArchive(await archiveOf(members()), async (source) => {
      expect(await all(source.tags())).toEqual(["busybox:latest", "busybox:old"]);
      expect(await layerNames(source, "latest")).toEqual(["one", "two"]);
      const { config } = await manifestOf(source, "latest");
      expect(JSON.parse((await bytesOf(source.fetch(config))).toString())).toEqual({
        created: "2014-01-02T00:00:00Z",
        architecture: "amd64",
        os: "linux",
        author: "somebody",
        config: { Cmd: ["sh"] },
        rootfs: { type: "layers", diff_ids: [digestOf(one), digestOf(two)] },
        history: [
          { created: "2014-01-01T00:00:00Z", created_by: "/bin/sh -c #(nop) ADD file" },
          { created: "2014-01-02T00:00:00Z", author: "somebody" },
        ],
      });
      expect(await intact(source, "latest")).toBe(true);
    });
  });

  it("whose parents go in a circle, are missing, or lead elsewhere is refused", async () => {
    await failure(ArchiveSource.open(await archiveOf(members(top))), "LIMIT");
    await failure(ArchiveSource.open(await archiveOf(members("c".repeat(64)))), "INVALID");
    await failure(ArchiveSource.open(await archiveOf(members("../../etc"))), "INVALID");
  });
});

describe("a compressed archive", () => {
  it("is read like a plain one, and leaves no file behind", async () => {
    const before = new Set(await readdir(tmpdir()));
    await withArchive(await archiveOf(gzipSync(tarOf(saved([one])))), async (source) =>
      expect(await intact(source, "v1")).toBe(true),
    );
    expect(
      (await readdir(tmpdir())).filter((name) => name.startsWith("stowage-archive-") && !before.has(name)),
    ).toEqual([]);
  });

  it("that is compressed twice, cut off, or with xz, is refused", async () => {
    const zipped = gzipSync(tarOf(saved([one])));
    await failure(ArchiveSource.open(await archiveOf(gzipSync(zipped))), "UNSUPPORTED");
    await failure(ArchiveSource.open(await archiveOf(zipped.subarray(0, zipped.byteLength - 20))), "INVALID");
    await failure(ArchiveSource.open(await archiveOf(Buffer.from("fd377a585a0000", "hex"))), "UNSUPPORTED");
  });
});

describe("an archive on stdin", () => {
  const program = `
    import { ArchiveSource } from ${JSON.stringify(new URL("../dist/index.js", import.meta.url).href)};
    const source = await ArchiveSource.open("-");
    for await (const tag of source.tags()) console.log(tag, (await source.resolve(tag)).digest);
    await source.close();
  `;

  async function tagsOf(stdin: "pipe" | number, bytes?: Uint8Array): Promise<string> {
    const child = spawn(process.execPath, ["--input-type=module", "--eval", program], {
      stdio: [stdin, "pipe", "inherit"],
    });
    try {
      child.stdin?.end(bytes);
      return (await bytesOf(child.stdout as AsyncIterable<Uint8Array>)).toString();
    } finally {
      child.kill();
    }
  }

  it("is the same through a pipe and from a file", async () => {
    const path = await archiveOf(saved([one]));
    const handle = await open(path);
    try {
      const expected = await withArchive(
        path,
        async (source) => `acme/app:v1 ${(await source.resolve("v1")).digest}\n`,
      );
      expect(await tagsOf("pipe", tarOf(saved([one])))).toBe(expected);
      expect(await tagsOf(handle.fd)).toBe(expected);
    } finally {
      await handle.close();
    }
  });
});
