import { readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { Layout, parseReference } from "@stowage/layout";
import { parseSyncFile, readLock, type SyncOptions, type SyncReport } from "@stowage/registry";
import { beforeAll, beforeEach, describe, expect, it } from "vitest";
import { pushImage, pushIndex, pushReferrer } from "./images.js";
import { outcomes, scratch, startGuard, startRegistry, syncAs, type TestRegistry, testClient } from "./places.js";

let from: TestRegistry;
let directory: string;
const client = testClient();
const repository = (name: string) => client.repository(parseReference(`${from.host}/${name}`));

beforeAll(async () => {
  from = await startRegistry();
  await pushIndex(repository("app"), "app", "v1");
  await pushReferrer(repository("app"), await repository("app").resolve("v1"), "application/spdx+json");
  await pushImage(repository("other"), "other", ["w1", "w2"]);
});

beforeEach(async () => {
  directory = await scratch();
});

const lines = (): string[] => [
  `- { source: ${from.host}/app, target: "oci:mirror" }`,
  `- { source: ${from.host}/other, target: "oci:mirror", tags: "w*" }`,
];
const run = (options: SyncOptions = {}, items = lines()): Promise<SyncReport> => syncAs(directory, items, options);
const lockFile = (): Promise<string> => readFile(join(directory, "stowage.lock"), "utf8");
const digestOf = async (layout: string, tag: string): Promise<string> =>
  (await (await Layout.open(join(directory, layout))).resolve(`${from.host}/${tag}`)).digest;

describe("a lock", () => {
  it("has every manifest, is the same bytes for the same content, and is written only with --update", async () => {
    expect((await run()).lock).toBeUndefined();
    const first = await run({ lock: "update" });
    const text = await lockFile();
    const { images } = JSON.parse(text);
    expect(
      images.map(({ name, tag, manifests }: { name: string; tag: string; manifests: string[] }) => [
        name,
        tag,
        manifests.length,
      ]),
    ).toEqual([
      [`${from.host}/app`, "v1", 4],
      [`${from.host}/other`, "w1", 1],
      [`${from.host}/other`, "w2", 1],
    ]);
    await rm(join(directory, "mirror"), { recursive: true });
    const second = await run({ lock: "update", concurrency: 1 });
    expect(await lockFile()).toBe(text);
    expect(second.lock).toEqual(first.lock);
  });

  it("that is followed brings what it names although tags have moved and referrers have come, and moves when it is updated", async () => {
    const moving = repository("moving");
    const before = await pushImage(moving, "before", ["v1"]);
    const items = [`- { source: ${from.host}/moving, target: "oci:mirror" }`];
    await run({ lock: "update" }, items);
    const after = await pushImage(moving, "after", ["v1", "v2"]);
    await pushReferrer(moving, before, "application/vnd.example.late");
    await rm(join(directory, "mirror"), { recursive: true });
    from.requests.length = 0;
    const frozen = await run({ lock: "frozen" }, items);
    expect(frozen.failures).toEqual([]);
    expect(from.requests.filter((line) => /tags\/list|manifests\/v/.test(line))).toEqual([]);
    expect(await digestOf("mirror", "moving:v1")).toBe(before.digest);
    const layout = await Layout.open(join(directory, "mirror"));
    const referrers = [];
    for await (const referrer of layout.referrers(before)) referrers.push(referrer);
    expect(referrers).toEqual([]);
    const updated = await run({ lock: "update" }, items);
    expect(updated.lock?.digest).not.toBe(frozen.lock?.digest);
    expect(await digestOf("mirror", "moving:v1")).toBe(after.digest);
    expect(await digestOf("mirror", "moving:v2")).toBe(after.digest);
  });

  it("is not followed for a file that asks for something else, and says which item it is", async () => {
    await run({ lock: "update" });
    const changed = [lines()[0] as string, (lines()[1] as string).replace("w*", "w2*")];
    await expect(run({ lock: "frozen" }, changed)).rejects.toMatchObject({
      code: "CONFLICT",
      message: expect.stringContaining("sync.yaml:4:"),
      hint: expect.stringContaining("--update"),
    });
    await expect(run({ lock: "frozen" }, lines().slice(0, 1))).rejects.toMatchObject({ code: "CONFLICT" });
    await expect(run({ lock: "frozen" }, lines())).resolves.toMatchObject({ failures: [] });
  });

  it("that is missing or no lock is an error before anything is asked", async () => {
    from.requests.length = 0;
    await expect(run({ lock: "frozen" })).rejects.toMatchObject({
      code: "NOT_FOUND",
      hint: expect.stringContaining("--update"),
    });
    const digest = `sha256:${"0".repeat(64)}`;
    for (const text of [
      "{",
      "[]",
      "{}",
      '{"lockVersion":2,"items":[],"images":[]}',
      `{"lockVersion":1,"items":["${digest}"],"images":[{}]}`,
    ]) {
      await writeFile(join(directory, "stowage.lock"), text);
      await expect(run({ lock: "frozen" })).rejects.toMatchObject({ code: "INVALID" });
    }
    expect(from.requests).toEqual([]);
  });

  it("stays as it was where something failed, and in a dry run", async () => {
    await run({ lock: "update" });
    const before = await lockFile();
    const failed = await run({ lock: "update" }, [
      ...lines(),
      `- { source: ${from.host}/none/such, target: "oci:mirror" }`,
    ]);
    expect(failed.failures).toHaveLength(1);
    expect(failed.lock).toBeUndefined();
    await run({ lock: "update", dryRun: true }, lines().slice(0, 1));
    expect(await lockFile()).toBe(before);
  });

  it("names referrers that have to be there", async () => {
    const signed = repository("signed");
    const image = await pushImage(signed, "signed", ["v1"]);
    await pushReferrer(signed, image, "application/vnd.example.signature");
    const items = [`- { source: ${from.host}/signed, target: "oci:mirror" }`];
    await run({ lock: "update" }, items);
    await rm(join(directory, "mirror"), { recursive: true });
    from.refuse = (request) => (/referrers\/|manifests\/sha256-/.test(request) ? 404 : undefined);
    const report = await syncAs(directory, items, { lock: "frozen", client: testClient() });
    from.refuse = () => undefined;
    expect(outcomes(report, from.host, `oci:${directory}/`)).toEqual(["NOT_FOUND /signed:v1 -> mirror:/signed:v1"]);
  });

  it("can be kept somewhere else, and read by itself", async () => {
    const lockPath = join(directory, "other.lock");
    const report = await run({ lock: "update", lockPath });
    const file = await parseSyncFile(
      ["version: 1", "sync:", ...lines().map((line) => `  ${line}`)].join("\n"),
      join(directory, "sync.yaml"),
    );
    expect((await readLock(lockPath, file)).digest).toBe(report.lock?.digest);
  });
});

describe("offline", () => {
  /** The same items, for a registry that only counts who connects. */
  const guarded = (host: string, text: string): string => text.replaceAll(from.host, host);

  it("a run that follows a lock finds everything in the layout and connects to nobody", async () => {
    await run({ lock: "update" });
    const guard = await startGuard();
    const text = guarded(guard.host, await lockFile());
    // The layout has the names of that registry, as if it had come from there.
    const items = lines().map((line) => guarded(guard.host, line));
    const layout = await Layout.open(join(directory, "mirror"));
    for (const [name, tag] of [
      ["app", "v1"],
      ["other", "w1"],
      ["other", "w2"],
    ] as const)
      await layout.tag(`${guard.host}/${name}:${tag}`, await layout.resolve(`${from.host}/${name}:${tag}`));
    const file = await parseSyncFile(
      ["version: 1", "sync:", ...items.map((line) => `  ${line}`)].join("\n"),
      join(directory, "sync.yaml"),
    );
    const lock = { ...JSON.parse(text), items: file.items.map(({ digest }) => digest) };
    await writeFile(join(directory, "stowage.lock"), JSON.stringify(lock));
    for (const options of [{ lock: "frozen" }, {}] as const) {
      const report = await run({ ...options, offline: true }, items);
      expect(report.failures).toEqual([]);
      expect(report.images.map(({ change }) => change)).toEqual(["unchanged", "unchanged", "unchanged"]);
    }
    expect(guard.connections()).toBe(0);
  });

  it("fails clearly for what is not in the layout, and still connects to nobody", async () => {
    const guard = await startGuard();
    const items = [
      `- { source: ${guard.host}/app, target: "oci:empty", tags: v1 }`,
      `- { source: ${guard.host}/app, target: "${guard.host}/elsewhere" }`,
      `- { source: "${guard.host}/app:v1", target: "oci-archive:a.tar" }`,
    ];
    const report = await run({ offline: true }, items);
    expect(report.images).toEqual([]);
    expect(report.failures.map(({ error }) => (error as { code: string }).code)).toEqual([
      "DENIED",
      "DENIED",
      "DENIED",
    ]);
    await Layout.create(join(directory, "empty"));
    expect((await run({ offline: true }, items.slice(0, 1))).failures).toMatchObject([
      { error: { code: "NOT_FOUND" } },
    ]);
    expect(guard.connections()).toBe(0);
  });

  it("tells of a layout that has lost a blob", async () => {
    await run({ lock: "update" });
    const layout = await Layout.open(join(directory, "mirror"));
    const { digest } = await layout.resolve(`${from.host}/other:w1`);
    await rm(layout.blobPath(digest));
    const report = await run({ lock: "frozen", offline: true });
    expect(report.images.map(({ error }) => (error as { code?: string } | undefined)?.code)).toEqual([
      undefined,
      "DENIED",
      "DENIED",
    ]);
    expect((await run({ lock: "frozen" })).images.map(({ error }) => error)).toEqual([undefined, undefined, undefined]);
    expect((await run({ lock: "frozen", offline: true })).images.map(({ error }) => error)).toEqual([
      undefined,
      undefined,
      undefined,
    ]);
  });

  it("registries that are named may be asked even so", async () => {
    await run();
    const to = await startRegistry();
    const items = [`- { source: "oci:mirror", repositories: "**", target: ${to.host}/restored }`];
    expect((await run({ offline: true }, items)).images.map(({ error }) => (error as { code?: string })?.code)).toEqual(
      ["DENIED", "DENIED", "DENIED"],
    );
    const report = await run({ offline: true, allowedHosts: [to.host] }, items);
    expect(report.images.map(({ change }) => change)).toEqual(["created", "created", "created"]);
  });

  it("an image of some platforms is found in the layout under its own digest", async () => {
    const items = [`- { source: ${from.host}/app, target: "oci:mirror", platforms: [linux/arm64], index: filter }`];
    await run({ lock: "update" }, items);
    const report = await run({ lock: "frozen", offline: true }, items);
    expect(report.images).toMatchObject([{ change: "unchanged" }]);
  });
});
