import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import {
  ArchiveSource,
  copy,
  type Descriptor,
  Layout,
  parseReference,
  readManifest,
  type Source,
  verify,
} from "@stowage/layout";
import { type SyncReport, sync, syncItem } from "@stowage/registry";
import { beforeAll, describe, expect, it } from "vitest";
import { pushImage, pushIndex, pushReferrer } from "./images.js";
import { outcomes, scratch, startRegistry, syncAs, type TestRegistry, testClient } from "./places.js";

let from: TestRegistry;
let to: TestRegistry;
const client = testClient();
const repository = (registry: TestRegistry, name: string) =>
  client.repository(parseReference(`${registry.host}/${name}`));

async function tagsOf(source: Source): Promise<string[]> {
  const tags: string[] = [];
  for await (const tag of source.tags()) tags.push(tag);
  return tags;
}

async function referrersOf(source: Source, subject: Descriptor): Promise<string[]> {
  const found: string[] = [];
  for await (const { artifactType } of source.referrers(subject)) found.push(artifactType as string);
  return found;
}

let index: Descriptor;

beforeAll(async () => {
  [from, to] = [await startRegistry(), await startRegistry()];
  const alpine = repository(from, "library/alpine");
  for (const tag of ["3.9", "3.19", "3.20", "3.20-rc1", "edge"]) await pushImage(alpine, `alpine ${tag}`, [tag]);
  index = await pushIndex(alpine, "alpine", "multi");
  await pushReferrer(alpine, index, "application/spdx+json");
  await pushReferrer(alpine, index, "application/vnd.example.signature");
  await pushImage(repository(from, "library/busybox"), "busybox", ["1.36", "latest"]);
  await pushImage(repository(from, "acme/app"), "app", ["v1"]);
});

describe("what is synced", () => {
  it("from a repository to a layout gets full image names, and goes back to many repositories by a rule", async () => {
    const directory = await scratch();
    const there = await syncAs(directory, [
      `- { source: ${from.host}/library, repositories: "**", tags: ["3.*", latest], target: "oci:bundle", referrers: none }`,
    ]);
    // No busybox has a 3.*, but one that is named outright has to be there.
    expect(there.failures).toMatchObject([
      { source: `${from.host}/library/alpine:latest`, error: { code: "NOT_FOUND" } },
    ]);
    const layout = await Layout.open(join(directory, "bundle"));
    expect(await tagsOf(layout)).toEqual([
      `${from.host}/library/alpine:3.19`,
      `${from.host}/library/alpine:3.20`,
      `${from.host}/library/alpine:3.20-rc1`,
      `${from.host}/library/alpine:3.9`,
      `${from.host}/library/busybox:latest`,
    ]);
    const back = await syncAs(directory, [
      "- source: oci:bundle",
      "  rename:",
      `    ${from.host}/(.*)/(.*): ${to.host}/back/$2/$1`,
    ]);
    expect(back.failures).toEqual([]);
    expect(outcomes(back, from.host, to.host, `oci:${directory}/`)).toEqual([
      "created bundle:/library/alpine:3.19 -> /back/alpine/library:3.19",
      "created bundle:/library/alpine:3.20 -> /back/alpine/library:3.20",
      "created bundle:/library/alpine:3.20-rc1 -> /back/alpine/library:3.20-rc1",
      "created bundle:/library/alpine:3.9 -> /back/alpine/library:3.9",
      "created bundle:/library/busybox:latest -> /back/busybox/library:latest",
    ]);
    const restored = repository(to, "back/alpine/library");
    expect(await restored.resolve("3.20")).toEqual(await repository(from, "library/alpine").resolve("3.20"));
  });

  it("keeps the path of each repository below the prefix of a target", async () => {
    const directory = await scratch();
    const item = `{ source: ${from.host}, repositories: [library/busybox, acme/app], target: ${to.host}/below }`;
    const report = await syncAs(directory, [`- ${item}`]);
    expect(outcomes(report, from.host, to.host)).toEqual([
      "created /acme/app:v1 -> /below/acme/app:v1",
      "created /library/busybox:1.36 -> /below/library/busybox:1.36",
      "created /library/busybox:latest -> /below/library/busybox:latest",
    ]);
    // Names need no listing, which not every registry gives.
    from.requests.length = 0;
    await syncAs(directory, [`- ${item}`]);
    expect(from.requests.filter((line) => line.includes("_catalog"))).toEqual([]);
  });

  it("of one repository stays one in a registry, and several are refused that would become one", async () => {
    const directory = await scratch();
    await syncAs(directory, [`- { source: ${from.host}/acme/app, target: "oci:in", names: tag }`]);
    const one = await syncAs(directory, [`- { source: "oci:in", target: ${to.host}/one }`]);
    expect(outcomes(one, to.host, `oci:${directory}/`)).toEqual(["created in:v1 -> /one:v1"]);
    await syncAs(directory, [`- { source: ${from.host}/library/busybox, target: "oci:in" }`]);
    const several = await syncAs(directory, [`- { source: "oci:in", target: ${to.host}/one }`]);
    expect(several.images).toEqual([]);
    expect(several.failures).toMatchObject([{ error: { code: "CONFLICT" } }]);
  });

  it("is chosen by range and by number, platforms and referrers by what the item says", async () => {
    const directory = await scratch();
    const report = await syncAs(directory, [
      `- { source: ${from.host}/library/alpine, target: "oci:versions", tags: { semver: "3.x", newest: 2 }, names: tag }`,
      `- { source: "${from.host}/library/alpine:multi", target: "oci:arm:arm", platforms: linux/arm64, index: filter }`,
      `- { source: "${from.host}/library/alpine:multi", target: "oci:sbom:all", referrers: { artifactTypes: application/spdx+json } }`,
    ]);
    expect(report.failures).toEqual([]);
    expect(await tagsOf(await Layout.open(join(directory, "versions")))).toEqual(["3.19", "3.20"]);
    const arm = await Layout.open(join(directory, "arm"));
    const only = await arm.resolve("arm");
    expect((await readManifest(arm, only)).manifest).toMatchObject({
      manifests: [{ platform: { architecture: "arm64" } }],
    });
    expect((await verify(arm, [{ name: "arm", descriptor: only }])).findings).toEqual([]);
    const sbom = await Layout.open(join(directory, "sbom"));
    expect(await sbom.resolve("all")).toMatchObject({ digest: index.digest });
    expect(await referrersOf(sbom, index)).toEqual(["application/spdx+json"]);
  });

  it("goes into an archive whose bytes do not depend on who comes first, and out of it again", async () => {
    const directory = await scratch();
    const lines = [
      `- { source: ${from.host}/library/alpine, target: "oci-archive:a.tar" }`,
      `- { source: ${from.host}/library/busybox, target: "oci-archive:a.tar" }`,
    ];
    await syncAs(directory, lines);
    const first = await readFile(join(directory, "a.tar"));
    await syncAs(directory, lines, { concurrency: 1 });
    expect((await readFile(join(directory, "a.tar"))).equals(first)).toBe(true);
    const archive = await ArchiveSource.open(join(directory, "a.tar"));
    expect(await tagsOf(archive)).toHaveLength(8);
    await archive.close();
    const report = await syncAs(directory, [
      `- { source: "oci-archive:a.tar", repositories: "*/library/busybox", target: "docker-archive:b.tar" }`,
      `- { source: "docker-archive:b.tar", target: ${to.host}/from/archive }`,
    ]);
    expect(report.failures).toEqual([]);
    expect(await tagsOf(repository(to, "from/archive"))).toEqual(["1.36", "latest"]);
  });

  it("by one item may be read by the next", async () => {
    const directory = await scratch();
    const report = await syncAs(directory, [
      `- { source: ${from.host}/acme/app, target: "oci:chain" }`,
      `- { source: "oci:chain", target: ${to.host}/chained }`,
    ]);
    expect(outcomes(report, from.host, to.host, `oci:${directory}/`)).toEqual([
      "created /acme/app:v1 -> chain:/acme/app:v1",
      "created chain:/acme/app:v1 -> /chained:v1",
    ]);
  });

  it("is told as unchanged, moved or created", async () => {
    const directory = await scratch();
    const moving = repository(from, "moving");
    await pushImage(moving, "one", ["a", "b"]);
    const line = `- { source: ${from.host}/moving, target: ${to.host}/moving }`;
    await syncAs(directory, [line]);
    await pushImage(moving, "two", ["b", "c"]);
    expect(outcomes(await syncAs(directory, [line]), from.host, to.host).map((text) => text.split(" ")[0])).toEqual([
      "unchanged",
      "moved",
      "created",
    ]);
    await pushImage(moving, "three", ["a"]);
    const kept = await syncAs(directory, [line.replace(" }", ", noClobber: true }")]);
    expect(outcomes(kept, from.host, to.host).map((text) => text.split(" ")[0])).toEqual([
      "CONFLICT",
      "unchanged",
      "unchanged",
    ]);
  });
});

describe("what has not changed", () => {
  it("costs a HEAD on each side, and where referrers go along one question for them", async () => {
    const directory = await scratch();
    const line = (extra: string): string =>
      `- { source: "${from.host}/acme/app:v1", target: ${to.host}/quiet${extra} }`;
    await syncAs(directory, [line("")]);
    for (const [extra, questions] of [
      ["", 1],
      [", referrers: none", 0],
      [", fast: true", 0],
    ] as const) {
      from.requests.length = 0;
      to.requests.length = 0;
      const report = await syncAs(directory, [line(extra)]);
      expect(outcomes(report, from.host, to.host)).toEqual(["unchanged /acme/app:v1 -> /quiet:v1"]);
      expect(to.requests).toEqual(["HEAD /v2/quiet/manifests/v1"]);
      expect(from.requests[0]).toBe("HEAD /v2/acme/app/manifests/v1");
      expect(from.requests.slice(1).filter((text) => !text.includes("/referrers/"))).toEqual([]);
      expect(from.requests).toHaveLength(1 + questions);
    }
  });

  it("gets the referrers that came since", async () => {
    const directory = await scratch();
    const source = repository(from, "signed/later");
    const image = await pushImage(source, "signed later", ["v1"]);
    const line = `- { source: ${from.host}/signed/later, target: ${to.host}/signed/later }`;
    await syncAs(directory, [line]);
    await pushReferrer(source, image, "application/vnd.example.signature");
    const report = await syncAs(directory, [line]);
    expect(report.images).toMatchObject([{ change: "unchanged", report: { referrers: { found: 1, copied: 1 } } }]);
    expect(await referrersOf(repository(to, "signed/later"), image)).toEqual(["application/vnd.example.signature"]);
  });

  it("moves once although many images have it", async () => {
    const directory = await scratch();
    const shared = repository(from, "shared");
    await pushImage(shared, "the same", ["a", "b", "c", "d", "e", "f"]);
    to.requests.length = 0;
    await syncAs(directory, [`- { source: ${from.host}/shared, target: ${to.host}/shared }`]);
    expect(to.requests.filter((line) => line.startsWith("POST "))).toHaveLength(2);
  });
});

describe("a dry run", () => {
  it("says what the run then does, and does nothing", async () => {
    const directory = await scratch();
    await pushImage(repository(to, "planned"), "old", ["3.20", "mine"]);
    const lines = [
      `- { source: ${from.host}/library/alpine, target: ${to.host}/planned, prune: true }`,
      `- { source: ${from.host}/library/alpine, target: "oci:planned" }`,
    ];
    to.requests.length = 0;
    const told = await syncAs(directory, lines, { dryRun: true });
    expect(to.requests.filter((line) => !/^(HEAD|GET) /.test(line))).toEqual([]);
    await expect(Layout.open(join(directory, "planned"))).rejects.toMatchObject({ code: "NOT_FOUND" });
    const done = await syncAs(directory, lines);
    expect(outcomes(told)).toEqual(outcomes(done));
    expect(told.pruned).toEqual(done.pruned);
    expect(done.pruned).toMatchObject([{ tag: "mine" }]);
    const sum = (report: typeof told, count: "bytes" | "written" | "present"): number =>
      report.images.reduce((all, image) => all + (image.report?.[count] ?? 0), 0);
    for (const count of ["bytes", "written", "present"] as const) expect(sum(told, count)).toBe(sum(done, count));
    expect(sum(done, "bytes")).toBeGreaterThan(0);
  });
});

describe("a dry run into several repositories", () => {
  const counts = ["written", "present", "mounted", "linked", "bytes"] as const;
  const sums = ({ images }: SyncReport, host: string): number[] =>
    counts.map((count) =>
      images.filter(({ target }) => target.includes(host)).reduce((all, { report }) => all + (report?.[count] ?? 0), 0),
    );

  it("foresees what is mounted from one to the other, what several images share, and what goes on from there", async () => {
    const directory = await scratch();
    const more = repository(from, "library/more");
    // One of the places has something already; three tags stand for one image, and two images share their layers.
    await copy(repository(from, "library/alpine"), repository(to, "mounts/partly"), "3.19");
    await pushImage(more, "more", ["v1", "v2", "v3"]);
    await pushIndex(more, "alpine", "also");
    const lines = [
      `- { source: ${from.host}/library/alpine, target: ${to.host}/mounts/one }`,
      `- { source: ${from.host}/library/more, target: ${to.host}/mounts/more }`,
      `- { source: ${from.host}/library/alpine, target: ${to.host}/mounts/partly }`,
      `- { source: ${to.host}/mounts/one, target: ${to.host}/mounts/on, tags: [multi, "3.9"] }`,
      `- { source: ${from.host}/library/alpine, target: "oci:together" }`,
    ];
    const told = await syncAs(directory, lines, { dryRun: true, concurrency: 1 });
    to.requests.length = 0;
    const done = await syncAs(directory, lines, { concurrency: 1 });
    expect(done.failures).toEqual([]);
    expect(told.images.map(({ target, report }) => [target, counts.map((count) => report?.[count])])).toEqual(
      done.images.map(({ target, report }) => [target, counts.map((count) => report?.[count])]),
    );
    expect(to.requests.filter((line) => line.includes("mount=")).length).toBe(sums(told, to.host)[2]);
    expect(sums(done, "mounts/on:")[2]).toBeGreaterThan(0);
  });

  it("comes to the same sums where images move side by side", async () => {
    const directory = await scratch();
    const lines = ["a", "b", "c"].map(
      (name) => `- { source: ${from.host}/library/alpine, target: ${to.host}/beside/${name} }`,
    );
    const told = await syncAs(directory, lines, { dryRun: true });
    const done = await syncAs(directory, lines);
    expect(sums(told, to.host)).toEqual(sums(done, to.host));
    expect(sums(done, to.host)[2]).toBeGreaterThan(0);
  });
});

describe("a dry run of items that read what others write", () => {
  it("finds there what would be there", async () => {
    const directory = await scratch();
    const lines = [
      `- { source: ${from.host}/library/alpine, target: "oci:chain" }`,
      `- { source: "oci:chain", target: "oci-archive:chain.tar", tags: "3.*" }`,
      `- { source: "oci-archive:chain.tar", target: ${to.host}/chain/end }`,
    ];
    const told = await syncAs(directory, lines, { dryRun: true });
    await expect(Layout.open(join(directory, "chain"))).rejects.toMatchObject({ code: "NOT_FOUND" });
    const done = await syncAs(directory, lines);
    expect(told.failures).toEqual([]);
    expect(outcomes(told)).toEqual(outcomes(done));
    expect(told.images).toHaveLength(14);
    expect(told.images.map(({ report }) => report?.referrers)).toEqual(
      done.images.map(({ report }) => report?.referrers),
    );
  });
});

describe("what fails", () => {
  it("does not stop the rest, and is told of in the order of the file", async () => {
    const directory = await scratch();
    const report = await syncAs(directory, [
      `- { source: ${from.host}/none/such, target: "oci:x" }`,
      `- { source: ${from.host}/acme/app, target: ${to.host}/keeps/going, tags: [v1, v9] }`,
      `- { source: "oci:nowhere", target: "oci:x" }`,
      `- { source: ${from.host}/acme/app, target: "oci:x", tags: "zz*" }`,
    ]);
    expect(outcomes(report, from.host, to.host)).toEqual(["created /acme/app:v1 -> /keeps/going:v1"]);
    const where = (line: number): string => `${join(directory, "sync.yaml")}:${line}`;
    expect(report.failures.map((failure) => failure.where.replace(/:[0-9]+$/, ""))).toEqual([3, 4, 5, 6].map(where));
    expect(report.failures.map(({ error }) => (error as { code: string }).code)).toEqual(Array(4).fill("NOT_FOUND"));
  });

  it("is the second of two images that would have one name", async () => {
    const directory = await scratch();
    const report = await syncAs(directory, [
      `- { source: "${from.host}/library/alpine:3.20", target: "oci:one:v1" }`,
      `- { source: "${from.host}/library/alpine:3.19", target: "oci:one:v1" }`,
      `- { source: "${from.host}/library/alpine:3.20", target: "oci:one:v1" }`,
    ]);
    expect(report.images).toMatchObject([{ change: "created" }]);
    expect(report.failures).toMatchObject([
      { source: `${from.host}/library/alpine:3.19`, error: { code: "CONFLICT" } },
    ]);
  });

  it("in an archive leaves what was there before", async () => {
    const directory = await scratch();
    await writeFile(join(directory, "old.tar"), "before");
    const stop = new AbortController();
    stop.abort(new Error("enough"));
    const run = syncAs(directory, [`- { source: ${from.host}/acme/app, target: "oci-archive:old.tar" }`], {
      signal: stop.signal,
    });
    await expect(run).rejects.toThrow("enough");
    expect(await readFile(join(directory, "old.tar"), "utf8")).toBe("before");
  });
});

describe("a sync without a file", () => {
  it("says the same by the same keys", async () => {
    const directory = await scratch();
    const source = `${from.host}/acme/app`;
    const item = await syncItem({ source, target: `oci:${join(directory, "pair")}`, names: "tag" });
    const report = await sync({ path: "the command line", items: [item], concurrency: 1 }, { client });
    expect(outcomes(report, from.host, `oci:${directory}/`)).toEqual(["created /acme/app:v1 -> pair:v1"]);
    await expect(syncItem({ source })).rejects.toMatchObject({
      code: "INVALID",
      message: expect.stringContaining("there is no target"),
    });
  });
});
