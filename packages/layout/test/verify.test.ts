import { rm, symlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import {
  type Descriptor,
  descriptorOf,
  emptyDescriptor,
  Layout,
  MemoryStore,
  mediaTypes,
  parseDigest,
  readManifest,
  type VerifyReport,
  verify,
} from "@stowage/layout";
import { describe, expect, it } from "vitest";
import {
  pushBytes,
  pushImage,
  pushIndex,
  pushManifest,
  pushReferrer,
  put,
  temporaryDirectory,
  utf8,
} from "./support.js";

async function layoutWithIndex(): Promise<{ layout: Layout; images: Descriptor[]; root: Descriptor }> {
  const layout = await Layout.create(join(await temporaryDirectory(), "layout"));
  const images = [
    await pushImage(layout, { layers: ["one", "shared"] }),
    await pushImage(layout, { layers: ["two", "shared"] }),
  ];
  const root = await pushIndex(layout, images);
  await layout.tag("v1", root);
  return { layout, images, root };
}

const check = (source: Layout | MemoryStore, descriptor: Descriptor): Promise<VerifyReport> =>
  verify(source, [{ name: "v1", descriptor }]);

const states = ({ findings }: VerifyReport): string[] =>
  findings.map(({ state, path }) => `${state}: ${path.join(" > ")}`);

describe("verifying", () => {
  it("reads everything once and finds nothing in what is sound", async () => {
    const { layout, images, root } = await layoutWithIndex();
    const referrer = await pushReferrer(layout, images[0] as Descriptor);
    let read = 0;
    const report = await verify(
      layout,
      [
        { name: "v1", descriptor: root },
        { name: "again", descriptor: root },
      ],
      {
        onBytes: (count) => {
          read += count;
        },
      },
    );
    const blobs = "one".length + "two".length + "shared".length + 2;
    const configs = (await Promise.all(images.map((image) => readManifest(layout, image)))).map(({ manifest }) =>
      manifest.kind === "image" ? manifest.config.size : 0,
    );
    const bytes = [root, ...images, referrer].reduce(
      (sum, { size }) => sum + size,
      blobs + (configs[0] ?? 0) + (configs[1] ?? 0),
    );
    expect(report).toEqual({
      source: layout.name,
      roots: 2,
      manifests: 4,
      blobs: 6,
      referrers: 1,
      bytes,
      findings: [],
    });
    expect(read).toBe(bytes);
  });

  it("tells missing from corrupt, names the place, and goes on", async () => {
    const { layout, images, root } = await layoutWithIndex();
    const one = descriptorOf(utf8("one"), mediaTypes.layer);
    const two = descriptorOf(utf8("two"), mediaTypes.layer);
    const shared = descriptorOf(utf8("shared"), mediaTypes.layer);
    await rm(layout.blobPath(one.digest));
    await writeFile(layout.blobPath(two.digest), "TWO");
    await writeFile(layout.blobPath(shared.digest), "shared and more");
    const report = await check(layout, root);
    expect(states(report)).toEqual([
      "missing: v1 > manifests[0] > layers[0]",
      "corrupt: v1 > manifests[0] > layers[1]",
      "corrupt: v1 > manifests[1] > layers[0]",
    ]);
    expect(report.findings[2]?.message).toContain("has the digest sha256:");
    expect(report.findings[1]?.message).toContain("15 bytes");
    await rm(layout.blobPath((images[0] as Descriptor).digest));
    await writeFile(layout.blobPath((images[1] as Descriptor).digest), Buffer.alloc((images[1] as Descriptor).size));
    expect(states(await check(layout, root))).toEqual(["missing: v1 > manifests[0]", "corrupt: v1 > manifests[1]"]);
  });

  it("does not count what it could not read", async () => {
    const { layout, root } = await layoutWithIndex();
    const before = (await check(layout, root)).bytes;
    await rm(layout.blobPath(descriptorOf(utf8("shared"), mediaTypes.layer).digest));
    expect((await check(layout, root)).bytes).toBe(before - "shared".length);
  });

  it("takes a symbolic link or a directory in place of a blob for corrupt", async () => {
    const { layout, root } = await layoutWithIndex();
    for (const text of ["one", "two"]) {
      const path = layout.blobPath(descriptorOf(utf8(text), mediaTypes.layer).digest);
      await rm(path);
      if (text === "one") {
        await put(layout.path, "../outside", text);
        await symlink("../../../outside", path);
      } else await put(path, "inside", "x");
    }
    expect(states(await check(layout, root))).toEqual([
      "corrupt: v1 > manifests[0] > layers[0]",
      "corrupt: v1 > manifests[1] > layers[0]",
    ]);
  });

  it("finds a manifest of which only the embedded data is there missing", async () => {
    const { layout, images, root } = await layoutWithIndex();
    const image = images[0] as Descriptor;
    const data = Buffer.from((await readManifest(layout, image)).bytes).toString("base64");
    const index = await pushIndex(layout, [{ ...image, data }]);
    expect(states(await check(layout, index))).toEqual([]);
    await rm(layout.blobPath(image.digest));
    expect(states(await check(layout, index))).toEqual(["missing: v1 > manifests[0]"]);
    expect(states(await check(layout, root))).toEqual(["missing: v1 > manifests[0]"]);
  });

  it("calls content of an algorithm that is not known here unverifiable", async () => {
    const store = new MemoryStore();
    const unknown = { mediaType: "a/b", digest: parseDigest("other:abc"), size: 3 };
    const config = await pushBytes(store, "{}", "a/b");
    expect(states(await check(store, await pushManifest(store, { config, layers: [unknown] })))).toEqual([
      "unverifiable: v1 > layers[0]",
    ]);
  });

  it("calls invalid what breaks the spec though its bytes are right", async () => {
    const store = new MemoryStore();
    const layer = await pushBytes(store, "layer", mediaTypes.layer);
    const image = async (config: object | string): Promise<Descriptor> =>
      pushManifest(store, {
        config: await pushBytes(store, typeof config === "string" ? config : JSON.stringify(config), mediaTypes.config),
        layers: [layer],
      });
    const rootfs = { type: "layers", diff_ids: [layer.digest] };
    const cases: [object | string, number][] = [
      [{ rootfs }, 0],
      [{ rootfs, history: [{}, { empty_layer: true }, { empty_layer: true }] }, 0],
      [{ rootfs: { ...rootfs, diff_ids: [] } }, 1],
      [{ rootfs: { ...rootfs, diff_ids: [layer.digest, layer.digest] } }, 1],
      [{ rootfs, history: [{}, {}] }, 1],
      [{ rootfs, history: [null] }, 0],
      [{}, 1],
      [{ rootfs: null }, 1],
      [{ rootfs: "text" }, 1],
      ["[]", 1],
      ["{", 1],
    ];
    for (const [config, count] of cases) {
      const found = states(await check(store, await image(config)));
      expect([config, found]).toEqual([config, Array(count).fill("invalid: v1")]);
    }
    const broken = {
      ...(await pushBytes(store, '{"schemaVersion":2,"manifests":[],"layers":[]}', "a/b")),
      mediaType: mediaTypes.index,
    };
    expect(states(await check(store, broken))).toEqual(["invalid: v1"]);
  });

  it("passes over the config of an artifact", async () => {
    const store = new MemoryStore();
    const config = await pushBytes(store, "not json", "application/x-chart");
    expect(states(await check(store, await pushManifest(store, { config, layers: [] })))).toEqual([]);
  });

  it("follows referrers and theirs", async () => {
    const { layout, images, root } = await layoutWithIndex();
    const sbom = await pushReferrer(layout, images[1] as Descriptor, "application/spdx+json");
    await pushReferrer(layout, sbom, "application/x-signature");
    await rm(layout.blobPath(emptyDescriptor.digest));
    expect(states(await check(layout, root))).toEqual([
      "missing: v1 > manifests[1] > referrer application/spdx+json > config",
    ]);
  });

  it("gives up where the signal is aborted", async () => {
    const { layout, root } = await layoutWithIndex();
    const controller = new AbortController();
    const onBytes = (): void => controller.abort(new RangeError("given up"));
    const verifying = verify(layout, [{ name: "v1", descriptor: root }], { onBytes, signal: controller.signal });
    await expect(verifying).rejects.toThrow("given up");
  });
});
