import { copy, type Descriptor, Layout, MemoryStore, mediaTypes } from "@stowage/layout";
import { RegistryClient } from "@stowage/registry";
import { memoryStore, serve } from "@stowage/server";
import { expect, onTestFinished, test } from "vitest";
import { temporaryDirectory } from "../cli/stowage.js";
import { artifact, blob, indexOf, pushAll, read } from "./content.js";

test("an image whose every digest is sha512 goes from a layout through a registry to a layout, with its tag and its referrer", async () => {
  const server = await serve({ store: memoryStore() });
  const client = new RegistryClient({ credentials: false, upload: { strategy: "chunked", chunkSize: 1_000_000 } });
  const directory = await temporaryDirectory();
  onTestFinished(async () => {
    await client.close();
    await server.close();
    await directory.remove();
  });
  const source = new MemoryStore();
  const image = artifact("image", { algorithm: "sha512" });
  const layer = blob("layer", 3_000_000, "sha512");
  await pushAll(source, image, layer);
  await source.push(artifact("referrer", { algorithm: "sha512", subject: image.descriptor }));
  const index = indexOf([image.descriptor]);
  const root: Descriptor = await source.write([index.bytes], mediaTypes.index, { algorithm: "sha512" });
  expect(root.digest).toMatch(/^sha512:/);

  const repository = client.repository(`127.0.0.1:${server.port}/some/repo`);
  const sent = await copy(source, repository, root, { tags: ["v1"] });
  expect(sent).toMatchObject({ referrers: { found: 1, copied: 1 }, failures: [] });
  expect((await copy(source, repository, root, { tags: ["v1"], noClobber: true })).tagged[0]?.change).toBe("unchanged");
  expect((await repository.resolve(root.digest)).digest).toBe(root.digest);
  await repository.push(layer);

  const target = await Layout.create(`${directory.path}/layout`);
  const back = await copy(repository, target, root.digest, { tags: ["v1"] });
  expect(back).toMatchObject({ descriptor: { digest: root.digest }, referrers: { found: 1, copied: 1 } });
  await target.push({ descriptor: layer.descriptor, open: () => repository.fetch(layer.descriptor) });
  expect((await read(target.fetch(layer.descriptor))).equals(layer.bytes)).toBe(true);
});
