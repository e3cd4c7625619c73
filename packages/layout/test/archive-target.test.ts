import { execFileSync } from "node:child_process";
import { readdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import {
  ArchiveSource,
  ArchiveTarget,
  contentOf,
  copy,
  type Descriptor,
  descriptorOf,
  digestOf,
  Layout,
  MemoryStore,
  mediaTypes,
  type Source,
  verify,
} from "@stowage/layout";
import { describe, expect, it } from "vitest";
import {
  all,
  blobName,
  bytesOf,
  failure,
  pushBytes,
  pushImage,
  pushIndex,
  pushManifest,
  pushReferrer,
  streamOf,
  temporaryDirectory,
  utf8,
} from "./support.js";

/** A store with an index of four images, each with referrers, tagged `v1`. */
async function fullStore(): Promise<MemoryStore> {
  const store = new MemoryStore();
  const images: Descriptor[] = [];
  for (const architecture of ["amd64", "arm64", "s390x", "ppc64le"]) {
    const image = await pushImage(store, { platform: { os: "linux", architecture }, layers: ["base", architecture] });
    images.push(image);
    for (const type of ["application/spdx+json", "application/x-signature"]) {
      const layer = await pushBytes(store, `${type} of ${architecture}`, type);
      await pushManifest(store, { artifactType: type, config: layer, layers: [layer], subject: image });
    }
  }
  await store.tag("v1", await pushIndex(store, images));
  return store;
}

async function writeArchive(
  path: string,
  source: Source,
  reference: string | Descriptor = "v1",
  docker = false,
): Promise<void> {
  const target = await ArchiveTarget.create(path, { format: docker ? "hybrid" : "oci" });
  try {
    await copy(source, target, reference, { tags: ["v1"], referrers: docker ? "none" : "all" });
    await target.close();
  } catch (error) {
    await target.discard();
    throw error;
  }
}

/** Whether `v1` and all below it can be read from the archive. */
async function reads(path: string): Promise<boolean> {
  const source = await ArchiveSource.open(path);
  try {
    const report = await verify(source, [{ name: "v1", descriptor: await source.resolve("v1") }]);
    return report.findings.length === 0;
  } finally {
    await source.close();
  }
}

describe("an archive that is written", () => {
  it("has the same bytes on every run, whatever the source and however slowly it answers", async () => {
    const store = await fullStore();
    const directory = await temporaryDirectory();
    const layout = await Layout.create(join(directory, "layout"));
    await copy(store, layout, "v1", { tags: ["v1"] });
    const pause = (): Promise<void> => new Promise((resolve) => setTimeout(resolve, Math.random() * 5));
    const slow: Source = {
      name: "slow",
      resolve: (reference) => store.resolve(reference),
      async *fetch(descriptor) {
        await pause();
        yield* store.fetch(descriptor);
      },
      async *referrers(subject) {
        await pause();
        yield* store.referrers(subject);
      },
      tags: () => store.tags(),
    };
    const digests = new Set<string>();
    for (const [at, source] of [store, layout, slow, slow, slow].entries()) {
      await writeArchive(join(directory, `${at}.tar`), source);
      digests.add(digestOf(await readFile(join(directory, `${at}.tar`))));
    }
    expect(digests.size).toBe(1);
  });

  it("comes back with the same digests, tags and referrers, and a second archive of it has the same bytes", async () => {
    const store = await fullStore();
    const root = await store.resolve("v1");
    const directory = await temporaryDirectory();
    const [first, second] = [join(directory, "first.tar"), join(directory, "second.tar")];
    await writeArchive(first, store);
    const source = await ArchiveSource.open(first);
    expect(source.name).toBe(`oci-archive:${first}`);
    expect(await all(source.tags())).toEqual(["v1"]);
    expect((await source.resolve("v1")).digest).toBe(root.digest);
    const report = await verify(source, [{ name: "v1", descriptor: root }]);
    expect(report).toMatchObject({ manifests: 13, referrers: 8, findings: [] });
    await writeArchive(second, source);
    await source.close();
    expect((await readFile(second)).equals(await readFile(first))).toBe(true);
  });

  it("is one that tar can list, and holds no blob that nothing needs", async () => {
    const store = await fullStore();
    const path = join(await temporaryDirectory(), "x.tar");
    await writeArchive(path, store);
    const names = execFileSync("tar", ["-tf", path], { encoding: "utf8" }).trim().split("\n");
    expect(names[0]).toBe("oci-layout");
    expect(names.at(-1)).toBe("index.json");
    expect(new Set(names).size).toBe(names.length);
    const layout = await temporaryDirectory();
    execFileSync("tar", ["-xf", path, "-C", layout]);
    const opened = await Layout.open(layout);
    const { manifests } = await opened.index();
    const needed = new Set<string>();
    for (const { digest } of manifests) needed.add(blobName({ digest }));
    const report = await verify(
      opened,
      manifests.map((descriptor) => ({ name: "x", descriptor })),
    );
    expect(report.findings).toEqual([]);
    expect(names.filter((name) => name.startsWith("blobs/"))).toHaveLength(report.manifests + report.blobs);
    expect([...needed].every((name) => names.includes(name))).toBe(true);
  });

  it("carries no time, user or mode of this machine", async () => {
    const path = join(await temporaryDirectory(), "x.tar");
    await writeArchive(path, await fullStore());
    const environment = { ...process.env, TZ: "UTC", LC_ALL: "C" };
    const text = execFileSync("tar", ["--numeric-owner", "-tvf", path], { encoding: "utf8", env: environment });
    const attributes = text
      .trim()
      .split("\n")
      .map((line) =>
        line
          .replace(/ +\d+ (?=1970)/, " ")
          .split(" ")
          .slice(0, 4)
          .join(" "),
      );
    expect(new Set(attributes)).toEqual(new Set(["-rw-r--r-- 0/0 1970-01-01 00:00"]));
  });

  it("holds what was copied by digest without a tag", async () => {
    const store = await fullStore();
    const root = await store.resolve("v1");
    const path = join(await temporaryDirectory(), "x.tar");
    const target = await ArchiveTarget.create(path);
    await copy(store, target, root, { referrers: "none" });
    await target.close();
    const source = await ArchiveSource.open(path);
    expect((await source.resolve(root.digest)).digest).toBe(root.digest);
    expect((await verify(source, [{ name: "root", descriptor: root }])).findings).toEqual([]);
    await source.close();
  });

  it("has no name before it is complete, and the file that was there before stays until then", async () => {
    const directory = await temporaryDirectory();
    const path = join(directory, "x.tar");
    const target = await ArchiveTarget.create(path);
    await pushImage(target);
    expect(await readdir(directory)).not.toContain("x.tar");
    await target.discard();
    expect(await readdir(directory)).toEqual([]);
    await writeFile(path, "what was there");
    const second = await ArchiveTarget.create(path);
    await second.tag("v1", await pushImage(second));
    expect(await readFile(path, "utf8")).toBe("what was there");
    await second.close();
    expect(await reads(path)).toBe(true);
    expect(await readdir(directory)).toEqual(["x.tar"]);
  });

  it.each(["content that is not what its descriptor says", "a source that breaks", "a signal"])(
    "fails for %s, and then the file that was there before is still there and nothing else",
    async (what) => {
      const directory = await temporaryDirectory();
      const path = join(directory, "x.tar");
      await writeFile(path, "what was there");
      const target = await ArchiveTarget.create(path);
      const image = await pushImage(target);
      const layer = descriptorOf(Buffer.alloc(4_500_000), "text/plain");
      const controller = new AbortController();
      async function* open(): AsyncGenerator<Uint8Array> {
        yield Buffer.alloc(1_500_000);
        yield Buffer.alloc(1_500_000);
        if (what.includes("breaks")) throw new RangeError("broke");
        if (what.includes("signal")) controller.abort(new RangeError("given up"));
        yield Buffer.alloc(1_500_000, 1);
      }
      await expect(target.push({ descriptor: layer, open }, { signal: controller.signal })).rejects.toThrow();
      await expect(target.close()).rejects.toThrow();
      await expect(pushBytes(target, "later", "text/plain")).rejects.toThrow();
      expect(await target.has(image)).toBe(true);
      expect(await readdir(directory)).toEqual(["x.tar"]);
      expect(await readFile(path, "utf8")).toBe("what was there");
    },
  );

  it("goes on without a referrer that is missing or damaged, which is reported", async () => {
    const store = new MemoryStore();
    const image = await pushImage(store);
    const blob = descriptorOf(utf8("absent"), "text/plain");
    await pushManifest(store, { artifactType: "a/b", config: blob, layers: [], subject: image });
    const good = await pushReferrer(store, image, "c/d");
    await store.tag("v1", image);
    const damaged: Source = {
      name: "damaged",
      resolve: (reference) => store.resolve(reference),
      fetch: (descriptor) => (descriptor.digest === blob.digest ? streamOf("ABSENT") : store.fetch(descriptor)),
      referrers: (subject) => store.referrers(subject),
      tags: () => store.tags(),
    };
    for (const from of [store, damaged]) {
      const path = join(await temporaryDirectory(), "x.tar");
      const target = await ArchiveTarget.create(path);
      const report = await copy(from, target, "v1", { tags: ["v1"] });
      expect(report.failures).toHaveLength(1);
      await target.close();
      const source = await ArchiveSource.open(path);
      expect((await all(source.referrers(image))).map(({ digest }) => digest)).toEqual([good.digest]);
      await source.close();
    }
  });

  it("gives back its manifests while it is written, and refuses its blobs", async () => {
    const target = await ArchiveTarget.create(join(await temporaryDirectory(), "x.tar"));
    const image = await pushImage(target, { layers: ["a layer"] });
    expect((await bytesOf(target.fetch(image))).length).toBe(image.size);
    const layer = descriptorOf(utf8("a layer"), mediaTypes.layer);
    expect(await target.has(layer)).toBe(true);
    expect(await target.push(contentOf(utf8("a layer"), layer))).toBe("present");
    await failure(bytesOf(target.fetch(layer)), "UNSUPPORTED");
    await failure(bytesOf(target.fetch(descriptorOf(utf8("none"), "text/plain"))), "NOT_FOUND");
    expect(await target.write([utf8("a layer")], mediaTypes.layer)).toEqual(layer);
    await target.discard();
  });

  it("in a directory that does not exist is NOT_FOUND", async () => {
    await failure(ArchiveTarget.create(join(await temporaryDirectory(), "none", "x.tar")), "NOT_FOUND");
  });
});

describe("a docker-archive", () => {
  it("has the manifest.json that docker load reads", async () => {
    const store = new MemoryStore();
    const image = await pushImage(store, { layers: ["one", "two"] });
    const path = join(await temporaryDirectory(), "x.tar");
    const target = await ArchiveTarget.create(path, { format: "hybrid" });
    expect(target.name).toBe(`docker-archive:${path}`);
    await pushReferrer(store, image);
    await copy(store, target, image, { tags: ["alpine:3", "ghcr.io/a/b:v1"] });
    await target.close();
    const text = execFileSync("tar", ["-xOf", path, "manifest.json"], { encoding: "utf8" });
    const { config, layers } = JSON.parse((await bytesOf(store.fetch(image))).toString());
    expect(JSON.parse(text)).toEqual([
      {
        Config: blobName(config),
        RepoTags: ["docker.io/library/alpine:3", "ghcr.io/a/b:v1"],
        Layers: layers.map(blobName),
      },
    ]);
    const source = await ArchiveSource.open(path);
    expect((await source.resolve("ghcr.io/a/b:v1")).digest).toBe(image.digest);
    await source.close();
  });

  it("of several platforms, of an artifact, or under a name that is none cannot be written, and leaves nothing", async () => {
    const store = await fullStore();
    const artifact = await pushManifest(store, { config: await pushBytes(store, "x", "a/b"), layers: [] });
    const image = await pushImage(store);
    const directory = await temporaryDirectory();
    const path = join(directory, "x.tar");
    expect((await failure(writeArchive(path, store, "v1", true), "UNSUPPORTED")).hint).toContain("--platform");
    await failure(writeArchive(path, store, artifact, true), "UNSUPPORTED");
    const target = await ArchiveTarget.create(path, { format: "hybrid" });
    await copy(store, target, image, { tags: ["Not/A:v1"] });
    await failure(target.close(), "INVALID");
    expect(await readdir(directory)).toEqual([]);
  });
});
