import { rm, stat, truncate, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { Layout, parseReference, readBytes } from "@stowage/layout";
import type { SyncOptions, SyncReport } from "@stowage/registry";
import { beforeAll, beforeEach, describe, expect, it } from "vitest";
import { pushImage } from "./images.js";
import { scratch, startRegistry, syncAs, type TestRegistry, testClient } from "./places.js";

let from: TestRegistry;
let directory: string;
const client = testClient();

beforeAll(async () => {
  from = await startRegistry();
  await pushImage(client.repository(parseReference(`${from.host}/app`)), "app", ["v1"]);
});

beforeEach(async () => {
  directory = await scratch();
  expect((await run({ lock: "update" })).images).toHaveLength(1);
});

const run = (options: SyncOptions): Promise<SyncReport> =>
  syncAs(directory, [`- { source: ${from.host}/app, target: "oci:mirror" }`], options);

async function blobs(): Promise<Record<string, string>> {
  const layout = await Layout.open(join(directory, "mirror"));
  const image = await layout.resolve(`${from.host}/app:v1`);
  const manifest = JSON.parse(Buffer.from(await readBytes(layout, image)).toString()) as {
    config: { digest: string };
    layers: { digest: string }[];
  };
  const path = (digest: string): string => join(directory, "mirror", "blobs", digest.replace(":", "/"));
  return {
    manifest: path(image.digest),
    config: path(manifest.config.digest),
    layer: path(manifest.layers[0]?.digest as string),
  };
}

describe("a sync that salvages", () => {
  it("brings again what is damaged in the layout at the target, and says what that was", async () => {
    for (const [part, file] of Object.entries(await blobs())) {
      await writeFile(file, "x".repeat((await stat(file)).size));
      const report = await run({ lock: "frozen", salvage: true });
      expect(report.salvaged, part).toMatchObject([{ path: join(directory, "mirror"), blobs: [expect.any(String)] }]);
      expect(report.images).toMatchObject([{ report: { written: 1 } }]);
      expect((await run({ lock: "frozen", salvage: true, offline: true })).salvaged).toEqual([]);
    }
  });

  it("brings only what was damaged where the index is gone as well", async () => {
    const { layer } = await blobs();
    await truncate(layer as string, 1);
    await rm(join(directory, "mirror", "index.json"));
    from.requests.length = 0;
    const report = await run({ lock: "frozen", salvage: true });
    expect(report).toMatchObject({
      failures: [],
      salvaged: [{ blobs: [expect.any(String)], index: expect.any(String) }],
    });
    expect(from.requests.filter((line) => line.startsWith("GET") && line.includes("/blobs/"))).toHaveLength(1);
  });

  it("changes nothing in a dry run", async () => {
    const { layer } = await blobs();
    await truncate(layer as string, 1);
    expect((await run({ lock: "frozen", salvage: true, dryRun: true })).salvaged).toEqual([]);
    expect((await run({ lock: "frozen", salvage: true })).salvaged).toHaveLength(1);
  });
});
