import { createHash, randomBytes } from "node:crypto";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { CopyReport, ExportReport, Inspection } from "@stowage/layout";
import { beforeAll, describe, expect, it } from "vitest";
import { stowage, stowageJson } from "../cli/stowage.js";
import { type SmallImage, smallImage } from "./images.js";
import { needs, run } from "./peers.js";
import { type PeerRegistry, startDockerRegistry, startZot, watch, zot } from "./registries.js";

let image: SmallImage;
/** The digest of the second image, and those of the layers that it shares with the first and does not. */
let second: string;
let shared: string;
let added: string;

const json = <T>(...args: string[]): Promise<T> => stowageJson<T>(args, { cwd: image.directory });

beforeAll(async () => {
  image = await smallImage();
  await writeFile(join(image.directory, "noise"), randomBytes(60_000));
  const build = ["build", "noise:/noise", "--base", "oci:out:v1", "-t", "oci:out:v2"];
  second = (await json<{ descriptor: { digest: string } }>(...build)).descriptor.digest;
  const { layers } = await json<Inspection>("inspect", "oci:out:v2");
  [shared, added] = (layers ?? []).map(({ digest }) => digest) as string[] as [string, string];
  await json("export", "oci:out:v1", "v1.tar");
});

describe.each<[string, () => Promise<PeerRegistry>]>([
  ["docker-registry", startDockerRegistry],
  [zot, startZot],
])("with %s", (tool, start) => {
  it("a delta arrives where the base is, the difference alone goes there and comes back, and the rest is mounted", async (context) => {
    needs(context, tool, "crane");
    const { host, requests } = await watch(await start());
    const sent = (): string[] => requests.filter((line) => /^P(?:UT|OST|ATCH) /.test(line));
    await json("export", "oci:out:v2", "v2.tar", "--since", "v1.tar.receipt.json");
    const refused = await stowage(["import", "v2.tar", `${host}/acme/app`], { cwd: image.directory });
    expect(refused.code).toBe(1);
    expect(refused.stderr).toContain(shared);
    expect(sent()).toEqual([]);
    await json("import", "v1.tar", `${host}/acme/app`);
    await json("import", "v2.tar", `${host}/acme/app`);
    expect((await run("crane", ["digest", "--insecure", `${host}/acme/app:v2`])).trim()).toBe(second);
    await run("crane", ["validate", "--insecure", "--remote", `${host}/acme/app:v2`]);

    const before = requests.length;
    const name = `near-${tool}`;
    await json("copy", "oci:out:v1", `oci:${name}:v1`);
    const pull = ["copy", `${host}/acme/app:v2`, `oci:whole-${tool}`, "--have", `oci:${name}`];
    expect(await json<CopyReport>(...pull)).toMatchObject({ taken: { count: 1 }, descriptor: { digest: second } });
    const read = requests.slice(before).filter((line) => line.startsWith("GET ") && line.includes("/blobs/"));
    expect(read.join("\n")).toContain(added);
    expect(read.join("\n")).not.toContain(shared);
    const pushed = await json<CopyReport>("copy", "oci:out:v2", `${host}/acme/new:v2`, "--have", `${host}/acme/app`);
    expect(pushed.descriptor.digest).toBe(second);
    // Not every registry mounts. What lies here is not fetched from there then.
    const { mounted } = pushed;
    expect(pushed).toMatchObject({ taken: { count: mounted }, written: 4 - mounted });
    if (tool === "docker-registry") expect(mounted).toBe(3);
  });
});

describe("a part of an archive", () => {
  it("is a layout for others: skopeo reads the manifest in each of them", async (context) => {
    needs(context, "skopeo");
    const report = await json<ExportReport>("export", "oci:out:v2", "parts.tar", "--max-part", "30kB");
    expect(report.parts?.length).toBeGreaterThan(2);
    for (const { path } of report.parts ?? []) {
      const raw = await run("skopeo", ["inspect", "--raw", `oci-archive:${path}:v2`], { cwd: image.directory });
      expect(`sha256:${createHash("sha256").update(raw).digest("hex")}`).toBe(second);
    }
  });
});
