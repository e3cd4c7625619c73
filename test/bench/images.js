// Images for the benchmarks, written with the library that is built.
import { createHash, randomFillSync } from "node:crypto";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { attach, descriptorOf, encodeJson, Layout } from "@stowage/layout";

const types = {
  layer: "application/vnd.oci.image.layer.v1.tar+gzip",
  config: "application/vnd.oci.image.config.v1+json",
  manifest: "application/vnd.oci.image.manifest.v1+json",
};

/** A layout at `path` with images `v0`, `v1`... that share `base` random bytes in three layers, and have `own` more in two. */
export async function makeImages(path, { images, base, own }) {
  const layout = await Layout.create(path);
  const put = async (content, mediaType) => {
    const descriptor = descriptorOf(content, mediaType);
    await layout.push({ descriptor, open: () => [content] });
    return descriptor;
  };
  const layers = async (count, bytes) => {
    const found = [];
    for (let at = 0; at < count; at++)
      found.push(await put(randomFillSync(Buffer.allocUnsafe(Math.round(bytes / count))), types.layer));
    return found;
  };
  const shared = await layers(3, base);
  for (let at = 0; at < images; at++) {
    const blobs = [...shared, ...(await layers(2, own))];
    const config = await put(
      encodeJson({
        architecture: "amd64",
        os: "linux",
        rootfs: { type: "layers", diff_ids: blobs.map(({ digest }) => digest) },
      }),
      types.config,
    );
    const manifest = { schemaVersion: 2, mediaType: types.manifest, config, layers: blobs };
    await layout.tag(`v${at}`, await put(encodeJson(manifest), types.manifest));
  }
  return layout;
}

/** A layout at `path` with an image `v1` of so many layers of so many random bytes each, and so many referrers of 2 kB. */
export async function makeImage(path, { layers, bytes, referrers = 0 }) {
  const layout = await Layout.create(path);
  const put = async (content, mediaType) => {
    const descriptor = descriptorOf(content, mediaType);
    await layout.push({ descriptor, open: () => [content] });
    return descriptor;
  };
  const blobs = [];
  for (let at = 0; at < layers; at++) blobs.push(await put(randomFillSync(Buffer.allocUnsafe(bytes)), types.layer));
  const diffIds = blobs.map(({ digest }) => `sha256:${createHash("sha256").update(digest).digest("hex")}`);
  const config = await put(
    encodeJson({ architecture: "amd64", os: "linux", rootfs: { type: "layers", diff_ids: diffIds } }),
    types.config,
  );
  const manifest = { schemaVersion: 2, mediaType: types.manifest, config, layers: blobs };
  const image = await put(encodeJson(manifest), types.manifest);
  await layout.tag("v1", image);
  for (let at = 0; at < referrers; at++) {
    const file = join(path, "..", `report-${at}.json`);
    writeFileSync(file, JSON.stringify({ at, text: "x".repeat(2000) }));
    await attach(layout, image, { artifactType: "application/vnd.example.report", files: [{ path: file }] });
  }
  return layout;
}
