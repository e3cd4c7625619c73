import { execFileSync } from "node:child_process";
import { appendFile, chmod, rm, utimes, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { Layout } from "@stowage/layout";
import { describe, expect, test } from "vitest";
import { layoutStore } from "../src/index.js";
import { artifact, content, pushArtifact, startRegistry, temporaryDirectory } from "./registry.js";

/** After this, in ms, a server may keep what it found: before, a change of a file might not show. */
const SETTLED = 150;

/** A server whose layout is changed from outside, and which was asked often enough to know the image by heart. */
async function served() {
  const path = join(await temporaryDirectory(), "layout");
  const registry = await startRegistry({ store: layoutStore(await Layout.create(path), { repository: "team/app" }) });
  const { digest } = await pushArtifact(registry, "image", { tag: "v1" });
  const layout = await Layout.open(path);
  const digestAt = async (reference: string): Promise<string | number> => {
    const response = await registry.request(`manifests/${reference}`);
    await response.arrayBuffer();
    return response.status === 200 ? (response.headers.get("docker-content-digest") as string) : response.status;
  };
  await sleep(SETTLED);
  for (let time = 0; time < 3; time++)
    for (const reference of ["v1", digest]) expect(await digestAt(reference)).toBe(digest);
  return { registry, layout, digest, digestAt };
}

describe("a manifest that was served before", () => {
  test("is another one as soon as another process has moved the tag, and none when it took it away", async () => {
    const { layout, digest, digestAt } = await served();
    const other = await layout.write([artifact("other")], "application/vnd.oci.image.manifest.v1+json");
    for (let time = 0; time < 3; time++) {
      await layout.tag("v1", other);
      expect(await digestAt("v1")).toBe(other.digest);
      await layout.tag("v1", await layout.resolve(digest));
      expect(await digestAt("v1")).toBe(digest);
    }
    await layout.untag("v1");
    expect(await digestAt("v1")).toBe(404);
  });

  test("is gone with its file, though nothing else has changed", async () => {
    const { layout, digest, digestAt } = await served();
    await rm(layout.blobPath(digest));
    expect([await digestAt("v1"), await digestAt(digest)]).toEqual([404, 404]);
  });

  test("is not served any more when its file was damaged in place", async () => {
    const { registry, layout, digest, digestAt } = await served();
    const path = layout.blobPath(digest);
    await chmod(path, 0o644);
    await writeFile(path, artifact("imagf"));
    expect([await digestAt("v1"), await digestAt(digest)]).toEqual([500, 500]);
    expect(registry.failures).toHaveLength(2);
  });

  test("is spared by a collection again when it was not asked for in a while", async () => {
    const { layout, digest, digestAt } = await served();
    const old = new Date(Date.now() - 7_200_000);
    const path = layout.blobPath(digest);
    await utimes(path, old, old);
    expect(await digestAt(digest)).toBe(digest);
    const age = execFileSync(process.execPath, [
      "-p",
      "Date.now() - require('fs').statSync(process.argv[1]).mtimeMs",
      path,
    ]);
    expect(Number(age.toString())).toBeLessThan(3_600_000);
  });
});

describe("a large blob that was served before", () => {
  test("is verified anew when its file has changed, and never served whole where it is damaged", async () => {
    const { registry, layout } = await served();
    const blob = await registry.pushBlob(content("good", 3_000_000));
    const path = layout.blobPath(blob.digest);
    const pull = async () => Buffer.from(await (await registry.request(`blobs/${blob.digest}`)).arrayBuffer());
    await sleep(SETTLED);
    for (let time = 0; time < 3; time++) expect((await pull()).equals(content("good", 3_000_000))).toBe(true);
    await chmod(path, 0o644);
    await writeFile(path, content("evil", 3_000_000));
    await expect(pull()).rejects.toThrow();
    await sleep(SETTLED);
    await expect(pull()).rejects.toThrow();
    await appendFile(path, "more");
    expect((await registry.request(`blobs/${blob.digest}`)).status).toBe(200);
    await writeFile(path, content("good", 3_000_000));
    expect((await pull()).equals(content("good", 3_000_000))).toBe(true);
  });

  test("comes in whole and in parts for many clients at once", async () => {
    const { registry } = await served();
    const bytes = Buffer.from(Array.from({ length: 2_100_000 }, (_, at) => (at * 7 + (at >> 9)) & 255));
    const { digest } = await registry.pushBlob(bytes);
    const part = async ([start, end]: readonly [number, number]) => {
      const response = await registry.request(`blobs/${digest}`, { headers: { Range: `bytes=${start}-${end}` } });
      expect(response.status).toBe(206);
      return Buffer.from(await response.arrayBuffer()).equals(bytes.subarray(start, end + 1));
    };
    const ranges = [
      [0, 2_099_999],
      [1, 2_099_999],
      [0, 700_000],
      [262_143, 1_048_577],
      [1_500_000, 2_099_999],
    ] as const;
    const all = await Promise.all([...ranges, ...ranges, ...ranges].map(part));
    expect(all.every(Boolean)).toBe(true);
  });

  test("whose client goes away in the middle leaves no file open", async () => {
    const { registry } = await served();
    const { digest } = await registry.pushBlob(content("x", 20_000_000));
    const openFiles = () =>
      execFileSync("ls", [`/proc/${process.pid}/fd`])
        .toString()
        .split("\n").length;
    const before = process.platform === "linux" ? openFiles() : 0;
    for (let time = 0; time < 20; time++) {
      const stopping = new AbortController();
      const response = await registry.request(`blobs/${digest}`, { signal: stopping.signal });
      await response.body?.getReader().read();
      stopping.abort();
    }
    while (process.platform === "linux" && openFiles() > before + 8) await sleep(10);
    expect(registry.failures).toEqual([]);
  });
});
