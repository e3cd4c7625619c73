import { join } from "node:path";
import {
  type CopyEvent,
  type CopyOptions,
  type CopyReport,
  contentOf,
  copy,
  type Descriptor,
  emptyDescriptor,
  Layout,
  MemoryStore,
  plan,
  type Source,
} from "@stowage/layout";
import { describe, expect, it } from "vitest";
import { failure, filesBelow, pushImage, pushIndex, pushReferrer, temporaryDirectory, utf8 } from "./support.js";

async function newLayout(options = {}): Promise<Layout> {
  return Layout.create(join(await temporaryDirectory(), "layout"), options);
}

/** An index of two images that share a layer, with a referrer and a referrer of that. */
async function sample(): Promise<{ source: MemoryStore; root: Descriptor; images: Descriptor[] }> {
  const source = new MemoryStore();
  const arm = { os: "linux", architecture: "arm64" };
  const images = [await pushImage(source), await pushImage(source, { platform: arm, layers: ["a layer", "arm"] })];
  const root = await pushIndex(source, images);
  const sbom = await pushReferrer(source, images[0] as Descriptor);
  await pushReferrer(source, sbom, "application/x-signature");
  return { source, root, images };
}

/** What is told of each piece of content at its end, in no order. */
async function withEvents(
  run: (options: CopyOptions) => Promise<CopyReport>,
): Promise<{ report: CopyReport; done: string[] }> {
  const done: string[] = [];
  const onEvent = (event: CopyEvent): void => {
    if (event.type === "done") done.push(`${event.presence} ${event.descriptor.digest}`);
  };
  return { report: await run({ onEvent }), done: done.sort() };
}

describe("a plan", () => {
  it("says of every piece of content, every byte and every tag what the copy then does, and changes no file", async () => {
    const { source, root, images } = await sample();
    const other = await pushImage(source, { layers: ["something else"] });
    for (const prepare of [
      async () => {},
      async (target: Layout) => void (await copy(source, target, images[1] as Descriptor, { tags: ["v1"] })),
      async (target: Layout) => void (await copy(source, target, other, { tags: ["v1", "v2"] })),
      async (target: Layout) => void (await copy(source, target, root, { tags: ["v1"] })),
    ]) {
      const target = await newLayout();
      await prepare(target);
      const before = await filesBelow(target.path);
      const common = { tags: ["v1", "latest"] };
      const planned = await withEvents((options) => plan(source, target, root, { ...common, ...options }));
      expect(await filesBelow(target.path)).toEqual(before);
      const real = await withEvents((options) => copy(source, target, root, { ...common, ...options }));
      const { content, ...foreseen } = planned.report as Awaited<ReturnType<typeof plan>>;
      expect(foreseen).toEqual(real.report);
      expect(planned.done).toEqual(real.done);
      expect(content.map(({ presence, descriptor }) => `${presence} ${descriptor.digest}`).sort()).toEqual(real.done);
    }
  });

  it("tells tags that are created, moved and left as they are", async () => {
    const { source, root, images } = await sample();
    const target = await newLayout();
    await copy(source, target, images[0] as Descriptor, { tags: ["moved"] });
    await copy(source, target, root, { tags: ["same"] });
    const { tagged } = await plan(source, target, root, { tags: ["moved", "same", "new"] });
    expect(tagged).toEqual([
      { tag: "moved", change: "moved", before: images[0]?.digest },
      { tag: "same", change: "unchanged", before: root.digest },
      { tag: "new", change: "created" },
    ]);
    expect((await copy(source, target, root, { tags: ["moved", "same", "new"] })).tagged).toEqual(tagged);
  });

  it("counts what shared blobs and hard links bring as linked", async () => {
    const { source, root } = await sample();
    const shared = join(await temporaryDirectory(), "shared");
    const first = await newLayout({ blobs: shared });
    await copy(source, first, root);
    for (const [from, options] of [
      [source, { blobs: shared }],
      [first, { hardlink: true }],
    ] as const) {
      const target = await newLayout(options);
      const { content: _, ...foreseen } = await plan(from, target, root);
      expect(foreseen.linked).toBeGreaterThan(5);
      expect(foreseen).toEqual(await copy(from, target, root));
    }
  });

  it("fails where the copy would: of a tag that may not be moved, and of what is missing", async () => {
    const { source, root, images } = await sample();
    const target = await newLayout();
    await copy(source, target, images[0] as Descriptor, { tags: ["v1"] });
    await failure(plan(source, target, root, { tags: ["v1"], noClobber: true }), "CONFLICT");
    await failure(plan(source, target, "nothing"), "NOT_FOUND");
  });
});

describe("a tag that may not be moved", () => {
  it("makes a copy fail with both digests before anything is read or written, and one that is right does not", async () => {
    const { source, root, images } = await sample();
    const target = await newLayout();
    await copy(source, target, images[0] as Descriptor, { tags: ["v1"] });
    const before = await filesBelow(target.path);
    const options = { tags: ["new", "v1"], noClobber: true };
    const error = await failure(copy(source, target, root, options), "CONFLICT");
    expect(error.message).toContain(root.digest);
    expect(error.message).toContain(images[0]?.digest);
    expect(await filesBelow(target.path)).toEqual(before);
    const again = await copy(source, target, images[0] as Descriptor, options);
    expect(again.tagged.map(({ change }) => change)).toEqual(["created", "unchanged"]);
  });

  it("is told from a longer name of a layout that ends with it", async () => {
    const { source, root } = await sample();
    const target = await newLayout();
    await copy(source, target, root, { tags: ["example.com/app:v1"] });
    const { tagged } = await copy(source, target, root, { tags: ["v1"], noClobber: true });
    expect(tagged).toEqual([{ tag: "v1", change: "created" }]);
  });
});

describe("content that stands in its descriptor", () => {
  it("is taken from there where it is right, and from the source where it is not", async () => {
    const source = new MemoryStore();
    const text = utf8("in the manifest");
    const layer = await source.write([text], "text/plain");
    const config = { ...emptyDescriptor };
    await source.push(contentOf(utf8("{}"), emptyDescriptor));
    for (const [data, asked] of [
      [Buffer.from(text).toString("base64"), 0],
      [Buffer.from("something else!").toString("base64"), 1],
    ] as const) {
      const manifest = await source.write(
        [utf8(JSON.stringify({ schemaVersion: 2, config, layers: [{ ...layer, data }] }))],
        "application/vnd.oci.image.manifest.v1+json",
      );
      let count = 0;
      const counting: Source = {
        name: "counting",
        resolve: (reference) => source.resolve(reference),
        referrers: (subject) => source.referrers(subject),
        tags: () => source.tags(),
        fetch: (descriptor, options) => {
          if (descriptor.digest === layer.digest) count++;
          return source.fetch(descriptor, options);
        },
      };
      const target = new MemoryStore();
      await copy(counting, target, manifest);
      expect(count).toBe(asked);
      expect(await target.has(layer)).toBe(true);
    }
  });
});
