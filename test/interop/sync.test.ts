import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { Layout, type Source } from "@stowage/layout";
import { parseSyncFile, RegistryClient, type SyncReport, sync } from "@stowage/registry";
import { afterAll, describe, expect, it } from "vitest";
import { pushImage, pushIndex, pushReferrer } from "../sync/images.js";
import { findTool, needs, run, runJson, scratch } from "./peers.js";
import { startDockerRegistry, startOlareg, startZot, zot } from "./registries.js";

const client = new RegistryClient({ credentials: false, environment: {} });
afterAll(() => client.close());

async function syncAs(directory: string, lines: readonly string[]): Promise<SyncReport> {
  const text = ["version: 1", "sync:", ...lines.map((line) => `  - ${line}`)].join("\n");
  return sync(await parseSyncFile(text, join(directory, "sync.yaml")), { client });
}

async function listed(source: Source): Promise<string[]> {
  const tags: string[] = [];
  for await (const tag of source.tags()) tags.push(tag);
  return tags;
}

/** Two repositories, one with an index that is signed. */
async function fill(host: string): Promise<void> {
  const app = client.repository(`${host}/acme/app`);
  const index = await pushIndex(app, "app", "v2");
  await pushImage(app, "app one", ["v1"]);
  await pushReferrer(app, index, "application/vnd.example.signature");
  await pushImage(client.repository(`${host}/acme/web`), "web", ["v1"]);
}

describe.each([
  ["docker-registry", "docker-registry", startDockerRegistry],
  ["olareg", "olareg", startOlareg],
  [zot, zot, startZot],
] as const)("a sync from docker-registry through a layout to %s", (_name, tool, start) => {
  it("brings every repository that is listed, with referrers, and finds nothing to do again", async (context) => {
    needs(context, "docker-registry", tool);
    const directory = await scratch();
    const [from, to] = [await startDockerRegistry(), await start()];
    await fill(from.host);
    const lines = [
      `{ source: ${from.host}/acme, repositories: "**", target: "oci:bundle" }`,
      `{ source: "oci:bundle", repositories: "**", rename: { "${from.host}/(.*)": "${to.host}/copied/$1" } }`,
    ];
    const first = await syncAs(directory, lines);
    expect([...first.failures, ...first.images.filter(({ error }) => error !== undefined)]).toEqual([]);
    expect(await listed(await Layout.open(join(directory, "bundle")))).toEqual(
      ["app:v1", "app:v2", "web:v1"].map((name) => `${from.host}/acme/${name}`),
    );
    const source = client.repository(`${from.host}/acme/app`);
    const target = client.repository(`${to.host}/copied/acme/app`);
    const index = await source.resolve("v2");
    expect(await target.resolve("v2")).toEqual(index);
    const referrers = [];
    for await (const { artifactType } of target.referrers(index)) referrers.push(artifactType);
    expect(referrers).toEqual(["application/vnd.example.signature"]);
    const again = await syncAs(directory, lines);
    expect(again.images.map(({ change }) => change)).toEqual(Array(6).fill("unchanged"));
    expect(again.images.reduce((sum, { report }) => sum + (report?.bytes ?? 0), 0)).toBe(0);
  });
});

describe("beside regsync", () => {
  it("leaves the same tags with the same digests, and each finds the other's work done", async (context) => {
    needs(context, "docker-registry", "regsync", "crane");
    const directory = await scratch();
    const [from, to] = [await startDockerRegistry(), await startDockerRegistry()];
    await fill(from.host);
    const report = await syncAs(directory, [`{ source: ${from.host}/acme/app, target: ${to.host}/ours, tags: "v*" }`]);
    expect(report.failures).toEqual([]);
    const hosts = [from, to].map(({ host }) => `{ registry: "${host}", tls: disabled }`).join(", ");
    const item = (target: string): string =>
      `{ source: ${from.host}/acme/app, target: ${to.host}/${target}, type: repository, referrers: true, tags: { allow: ["v.*"] } }`;
    await writeFile(
      join(directory, "regsync.yaml"),
      `version: 1\ncreds: [${hosts}]\nsync: [${item("theirs")}, ${item("ours")}]\n`,
    );
    await run(findTool("regsync") as string, ["once", "-c", "regsync.yaml"], { cwd: directory });
    const digest = (name: string): Promise<string> => run("crane", ["digest", "--insecure", `${to.host}/${name}`]);
    for (const tag of ["v1", "v2"]) expect(await digest(`ours:${tag}`)).toBe(await digest(`theirs:${tag}`));
    const theirs = await syncAs(directory, [
      `{ source: ${from.host}/acme/app, target: ${to.host}/theirs, tags: "v*" }`,
    ]);
    expect(theirs.images.map(({ change, report: copied }) => [change, copied?.bytes ?? 0])).toEqual([
      ["unchanged", 0],
      ["unchanged", 0],
    ]);
  });

  it("makes a layout in which oras and skopeo find the images by their tags", async (context) => {
    needs(context, "docker-registry", "skopeo", "oras");
    const directory = await scratch();
    const from = await startDockerRegistry();
    await fill(from.host);
    await syncAs(directory, [`{ source: ${from.host}/acme/app, target: "oci:bundle", tags: v1, names: tag }`]);
    const { digest } = await client.repository(`${from.host}/acme/app`).resolve("v1");
    expect(await runJson("skopeo", ["inspect", "oci:bundle:v1"], { cwd: directory })).toMatchObject({ Digest: digest });
    expect((await run("oras", ["resolve", "--oci-layout", "bundle:v1"], { cwd: directory })).trim()).toBe(digest);
  });
});
