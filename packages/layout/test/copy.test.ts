import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import {
  type Bytes,
  type CopyEvent,
  contentOf,
  copy,
  type Descriptor,
  descriptorOf,
  Layout,
  MemoryStore,
  mediaTypes,
  type Source,
  verify,
} from "@stowage/layout";
import { describe, expect, it } from "vitest";
import {
  all,
  bytesOf,
  failure,
  filesBelow,
  named,
  pushBytes,
  pushImage,
  pushIndex,
  pushManifest,
  pushReferrer,
  streamOf,
  temporaryDirectory,
  utf8,
} from "./support.js";
import { Watched } from "./watched.js";

async function newLayout(): Promise<Layout> {
  return Layout.create(join(await temporaryDirectory(), "layout"));
}

describe("a copy", () => {
  it("moves an index with its images and referrers from memory to a layout and on, byte for byte", async () => {
    const memory = new MemoryStore();
    const arm = { os: "linux", architecture: "arm64" };
    const images = [await pushImage(memory), await pushImage(memory, { platform: arm, layers: ["a layer", "arm"] })];
    const root = await pushIndex(memory, images);
    await memory.tag("v1", root);
    const sbom = await pushReferrer(memory, images[1] as Descriptor);
    const signature = await pushReferrer(memory, sbom, "application/x-signature");
    const last = await pushReferrer(memory, root, "application/x-signature");

    const [first, second] = [await newLayout(), await newLayout()];
    const report = await copy(memory, first, "v1", { tags: ["v1", "latest"] });
    expect(report).toMatchObject({ descriptor: root, tags: ["v1", "latest"], present: 0, failures: [] });
    expect(report.referrers).toEqual({ found: 3, copied: 3 });
    expect(report.written).toBe(11);
    await copy(first, second, "latest", { tags: ["v1", "latest"] });
    for (const layout of [first, second]) {
      expect(await all(layout.tags())).toEqual(["latest", "v1"]);
      expect((await layout.resolve("v1")).digest).toBe(root.digest);
      for (const [subject, referrer] of [
        [images[1], sbom],
        [sbom, signature],
        [root, last],
      ] as const)
        expect((await all(layout.referrers(subject as Descriptor))).map(({ digest }) => digest)).toEqual([
          referrer.digest,
        ]);
      expect((await verify(layout, [{ name: "v1", descriptor: root }])).findings).toEqual([]);
    }
    expect(await filesBelow(first.path)).toEqual(await filesBelow(second.path));
    for (const name of await filesBelow(first.path))
      expect(await readFile(join(first.path, name))).toEqual(await readFile(join(second.path, name)));
  });

  it("of what is there already reads nothing of the source, writes nothing and says so", async () => {
    const memory = new MemoryStore();
    const root = await pushIndex(memory, [await pushImage(memory), await pushImage(memory, { layers: ["x"] })]);
    const target = await newLayout();
    const written = (await copy(memory, target, root)).written;
    const again = new Watched(memory);
    const report = await copy(again, target, root);
    expect(report).toMatchObject({ written: 0, present: written, bytes: 0 });
    expect(again.fetched.size).toBe(0);
  });

  it("without a tag leaves an entry without a name at the target, and under a name that is there no second one", async () => {
    const memory = new MemoryStore();
    const root = await pushImage(memory);
    const target = await newLayout();
    await copy(memory, target, root);
    expect((await target.index()).manifests).toEqual([root]);
    await copy(memory, target, root, { tags: ["v1"] });
    await copy(memory, target, root);
    expect((await target.index()).manifests).toEqual([named(root, "v1"), root]);
  });

  it("moves a part that two manifests share once", async () => {
    const memory = new MemoryStore();
    const shared = { layers: ["shared", "also shared"] };
    const images = [await pushImage(memory, shared), await pushImage(memory, { ...shared, annotations: { a: "b" } })];
    const root = await pushIndex(memory, [await pushIndex(memory, images), ...images]);
    const source = new Watched(memory);
    const events: CopyEvent[] = [];
    const report = await copy(source, new MemoryStore(), root, { onEvent: (event) => void events.push(event) });
    expect(new Set(source.fetched.values())).toEqual(new Set([1]));
    expect(report.written).toBe(source.fetched.size);
    const done = events.filter((event) => event.type === "done").map(({ descriptor }) => descriptor.digest);
    expect(new Set(done).size).toBe(done.length);
    expect(done.at(-1)).toBe(root.digest);
    expect(events.filter((event) => event.type === "start")).toHaveLength(done.length);
    const counted = events.reduce((sum, event) => sum + (event.type === "bytes" ? event.bytes : 0), 0);
    expect(counted).toBe(report.bytes);
  });

  it("of an index to which 2^30 paths lead ends at once", async () => {
    const memory = new MemoryStore();
    let root = await pushImage(memory);
    for (let level = 0; level < 30; level++) root = await pushIndex(memory, [root, root]);
    const source = new Watched(memory);
    expect((await copy(source, new MemoryStore(), root)).written).toBe(33);
    expect(new Set(source.fetched.values())).toEqual(new Set([1]));
  });

  it("of an index nested 1000 deep is LIMIT and sets no tag", async () => {
    const memory = new MemoryStore();
    let root = await pushImage(memory);
    for (let level = 0; level < 1000; level++) root = await pushIndex(memory, [root]);
    const target = new MemoryStore();
    await failure(copy(memory, target, root, { tags: ["deep"] }), "LIMIT");
    expect(await all(target.tags())).toEqual([]);
  });

  it("copies the children of a manifest though a blob of the same digest came before it", async () => {
    const memory = new MemoryStore();
    const image = await pushImage(memory);
    const root = await pushIndex(memory, [{ ...image, mediaType: "text/plain" }, image]);
    const target = new MemoryStore();
    await copy(memory, target, root);
    expect(await target.has(descriptorOf(utf8("a layer"), mediaTypes.layer))).toBe(true);
    expect((await verify(target, [{ name: "root", descriptor: root }])).findings).toEqual([]);
  });

  it("keeps the bytes of a manifest that no serialiser of ours would write", async () => {
    const memory = new MemoryStore();
    const config = await pushBytes(memory, "{}", "application/x-config");
    const text = ` {"layers": [ ],\n"schemaVersion":2.0,"2":1,"1":2,"config":${JSON.stringify(config)}, "x":"\\u00e9\\/"}\n`;
    const root = await pushBytes(memory, text, mediaTypes.manifest);
    const target = await newLayout();
    await copy(memory, target, root);
    expect((await bytesOf(target.fetch(root))).toString()).toBe(text);
  });
});

describe("a copy that cannot be completed", () => {
  it("sets no tag, leaves no half file, and says where in the graph it failed", async () => {
    const memory = new MemoryStore();
    const image = await pushImage(memory, { layers: ["one"] });
    const layer = descriptorOf(utf8("absent"), mediaTypes.layer);
    const broken = await pushManifest(memory, { config: descriptorOf(utf8("{}"), mediaTypes.config), layers: [layer] });
    const root = await pushIndex(memory, [image, broken]);
    const target = await newLayout();
    const events: CopyEvent[] = [];
    const options = { tags: ["v1"], onEvent: (event: CopyEvent) => void events.push(event) };
    const error = await failure(copy(memory, target, root, options), "NOT_FOUND");
    expect(error.message).toMatch(
      /^cannot copy sha256:\S+ from memory to oci:\S+: manifests\[1\] > (config|layers\[0\]): /,
    );
    expect(events.filter((event) => event.type === "failed").length).toBeGreaterThan(0);
    expect(await all(target.tags())).toEqual([]);
    expect(await target.has(root)).toBe(false);
    expect(await target.has(image)).toBe(true);
    expect(await readdir(join(target.path, "ingest"))).toEqual([]);
    await failure(copy(memory, target, "v9"), "NOT_FOUND");
  });

  it("stores nothing of content that is not what its descriptor says", async () => {
    const memory = new MemoryStore();
    const image = await pushImage(memory, { layers: ["the layer"] });
    const layer = descriptorOf(utf8("the layer"), mediaTypes.layer);
    const lying: Source = {
      name: "lying",
      resolve: () => Promise.resolve(image),
      fetch: (descriptor) => (descriptor.digest === layer.digest ? streamOf("THE LAYER") : memory.fetch(descriptor)),
      referrers: () => streamOf() as never,
      tags: () => streamOf() as never,
    };
    const target = await newLayout();
    await failure(copy(lying, target, "v1", { tags: ["v1"] }), "MISMATCH");
    expect(await target.has(layer)).toBe(false);
    expect(await target.has(image)).toBe(false);
    expect(await readdir(join(target.path, "ingest"))).toEqual([]);
  });

  it("stops where the signal is aborted, with its reason, and leaves no half file and no tag", async () => {
    const memory = new MemoryStore();
    const root = await pushImage(memory, { layers: Array.from({ length: 20 }, (_, at) => `layer ${at}`) });
    const target = await newLayout();
    const controller = new AbortController();
    const onEvent = (event: CopyEvent): void => {
      if (event.type === "done") controller.abort(new RangeError("given up"));
    };
    const options = { tags: ["v1"], onEvent, signal: controller.signal, concurrency: 2 };
    await expect(copy(memory, target, root, options)).rejects.toThrow("given up");
    expect(await target.has(root)).toBe(false);
    expect(await readdir(join(target.path, "ingest"))).toEqual([]);
    expect(await all(target.tags())).toEqual([]);
  });

  it.each([0, -1, 1.5, Number.NaN])("is a mistake of the program with a concurrency of %s", async (concurrency) => {
    const memory = new MemoryStore();
    await expect(copy(memory, new MemoryStore(), await pushImage(memory), { concurrency })).rejects.toThrow(TypeError);
  });

  it("has no more under way at once than it was told, or the target takes, and less of what is large", async () => {
    const large = "x".repeat(1024 * 1024);
    for (const [concurrency, limit, most, text] of [
      [3, undefined, 3, large],
      [3, 1, 1, ""],
      [undefined, undefined, 16, ""],
      [undefined, 3, 3, ""],
      [undefined, 1, 1, large],
      [undefined, undefined, 4, large],
    ] as const) {
      const memory = new MemoryStore();
      const root = await pushImage(memory, { layers: Array.from({ length: 20 }, (_, at) => `${text}layer ${at}`) });
      let now = 0;
      let highest = 0;
      const target = new (class extends MemoryStore {
        readonly concurrency = limit as number;
        protected override async store(...parameters: Parameters<MemoryStore["push"]>): Promise<"written"> {
          highest = Math.max(highest, ++now);
          await new Promise((resolve) => setTimeout(resolve, 2));
          now--;
          await super.store(parameters[0], parameters[1] ?? {});
          return "written";
        }
      })();
      await copy(memory, target, root, concurrency === undefined ? {} : { concurrency });
      expect(highest).toBe(most);
    }
  });
});

it("a target that takes a manifest only with its parts is asked for the manifest alone, unless everything is to be looked at", async () => {
  const memory = new MemoryStore();
  const root = await pushImage(memory);
  const closed = new (class extends MemoryStore {
    override readonly closed = true as unknown as false;
  })();
  await copy(memory, closed, root);
  const [quick, thorough] = [new Watched(memory), new Watched(memory)];
  expect(await copy(quick, closed, root)).toMatchObject({ present: 1, written: 0 });
  expect(await copy(thorough, closed, root, { forceRecursive: true })).toMatchObject({ present: 3, written: 0 });
});

it("content says where it comes from, so that a target may link or mount it", async () => {
  const memory = new MemoryStore();
  const root = await pushImage(memory);
  const origins: unknown[] = [];
  const target = new (class extends MemoryStore {
    override push(...[content, options]: Parameters<MemoryStore["push"]>): ReturnType<MemoryStore["push"]> {
      origins.push(content.origin);
      return super.push(content, options);
    }
  })();
  await copy(memory, target, root);
  expect(origins).toEqual([memory, memory, memory]);
  const open = (): Bytes => [utf8("x")];
  expect(await target.push({ descriptor: descriptorOf(utf8("x"), "text/plain"), open })).toBe("written");
  expect(contentOf(utf8("x"), descriptorOf(utf8("x"), "text/plain")).origin).toBeUndefined();
});
