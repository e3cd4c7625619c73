import { join } from "node:path";
import { type Digest, Layout, parseReference, referrersTag } from "@stowage/layout";
import { beforeAll, describe, expect, it } from "vitest";
import { pushImage, pushIndex, pushReferrer } from "./images.js";
import { scratch, startRegistry, syncAs, type TestRegistry, testClient } from "./places.js";

let from: TestRegistry;
let to: TestRegistry;
const client = testClient();
const repository = (registry: TestRegistry, name: string) =>
  client.repository(parseReference(`${registry.host}/${name}`));

async function tagsOf(source: { tags(): AsyncIterable<string> }): Promise<string[]> {
  const tags: string[] = [];
  for await (const tag of source.tags()) tags.push(tag);
  return tags;
}

/** The tag under which cosign's older versions keep a signature. */
const signatureTag = (digest: Digest): string => `${referrersTag(digest)}.sig`;

beforeAll(async () => {
  [from, to] = [await startRegistry(), await startRegistry()];
  await pushImage(repository(from, "app"), "one", ["v1"]);
  await pushImage(repository(from, "app"), "two", ["v2"]);
  await pushImage(repository(from, "other"), "three", ["w1"]);
});

describe("prune", () => {
  it("removes the tags that are no longer selected, and nothing without being asked", async () => {
    const directory = await scratch();
    await pushImage(repository(to, "a"), "mine", ["mine"]);
    const line = `- { source: ${from.host}/app, target: ${to.host}/a }`;
    expect((await syncAs(directory, [line])).pruned).toEqual([]);
    const told = await syncAs(directory, [line], { prune: true, dryRun: true });
    expect(await tagsOf(repository(to, "a"))).toEqual(["mine", "v1", "v2"]);
    const done = await syncAs(directory, [line.replace(" }", ', tags: "v2*" }')], { prune: true });
    expect(told.pruned).toMatchObject([
      { target: `${to.host}/a`, tag: "mine", digest: expect.stringMatching(/^sha256:/) },
    ]);
    expect(done.pruned.map(({ tag }) => tag)).toEqual(["mine", "v1"]);
    expect(await tagsOf(repository(to, "a"))).toEqual(["v2"]);
  });

  it("spares signatures of what stays and of its platforms, and takes those of what goes", async () => {
    const directory = await scratch();
    const target = repository(to, "signed");
    const stays = await pushIndex(repository(from, "signed"), "stays", "v1");
    await syncAs(directory, [`- { source: ${from.host}/signed, target: ${to.host}/signed }`]);
    const goes = await pushImage(target, "goes", ["old"]);
    const platform = await pushImage(target, "stays for arm64", [], { architecture: "arm64" });
    const unknown = `sha256:${"0".repeat(64)}` as Digest;
    const kept = [stays.digest, platform.digest, unknown].map(signatureTag);
    for (const digest of [stays.digest, platform.digest, goes.digest, unknown])
      await pushReferrer(target, { ...goes, digest }, "application/vnd.example.signature", [signatureTag(digest)]);
    await pushReferrer(target, stays, "application/vnd.example.signature");
    const report = await syncAs(directory, [
      `- { source: ${from.host}/signed, target: ${to.host}/signed, prune: true }`,
    ]);
    expect(report.pruned.map(({ tag }) => tag)).toEqual(["old", signatureTag(goes.digest)]);
    expect(await tagsOf(target)).toEqual([...kept, "v1"].sort());
    const referrers = [];
    for await (const referrer of target.referrers(stays)) referrers.push(referrer);
    expect(referrers).toHaveLength(1);
  });

  it("never removes anything where something failed that decides about it", async () => {
    const directory = await scratch();
    await pushImage(repository(to, "b"), "mine", ["mine"]);
    const line = (source: string, extra = ""): string =>
      `- { source: ${source}, target: ${to.host}/b, prune: true${extra} }`;
    for (const lines of [
      [line(`${from.host}/app`, ", tags: [v1, v9]")],
      [line(`${from.host}/app`), line(`${from.host}/none/such`)],
      [line(`${from.host}/app`), line(`${from.host}/other`, ', tags: "zz*"')],
    ]) {
      const report = await syncAs(directory, lines);
      expect(report.pruned).toEqual([]);
      expect(report.notPruned).toEqual([`${to.host}/b`]);
    }
    to.refuse = (request) => (request.startsWith("PUT /v2/b/manifests/v2") ? 403 : undefined);
    await repository(to, "b").untag("v2");
    const failed = await syncAs(directory, [line(`${from.host}/app`)]);
    to.refuse = () => undefined;
    expect(failed.images.map(({ error }) => error === undefined)).toEqual([true, false]);
    expect(failed.pruned).toEqual([]);
    expect(await tagsOf(repository(to, "b"))).toContain("mine");
  });

  it("of a source where nothing is selected removes nothing", async () => {
    const directory = await scratch();
    await pushImage(repository(to, "c"), "mine", ["mine"]);
    const report = await syncAs(directory, [
      `- { source: ${from.host}/app, target: ${to.host}/c, tags: "zz*", prune: true }`,
    ]);
    expect(report.failures).toMatchObject([{ error: { code: "NOT_FOUND" } }]);
    expect(await tagsOf(repository(to, "c"))).toEqual(["mine"]);
  });

  it("keeps what any item wants, and in a layout what has another name", async () => {
    const directory = await scratch();
    const layout = await Layout.create(join(directory, "mirror"));
    await pushImage(layout, "mine", ["mine", `${from.host}/app:old`, `${from.host}/third:x`]);
    const report = await syncAs(directory, [
      `- { source: ${from.host}/app, target: "oci:mirror", tags: v1, prune: true }`,
      `- { source: ${from.host}/app, target: "oci:mirror", tags: v2 }`,
      `- { source: ${from.host}/other, target: "oci:mirror" }`,
    ]);
    expect(report.pruned.map(({ tag }) => tag)).toEqual([`${from.host}/app:old`]);
    expect(await tagsOf(layout)).toEqual(
      [`${from.host}/app:v1`, `${from.host}/app:v2`, `${from.host}/other:w1`, `${from.host}/third:x`, "mine"].sort(),
    );
  });

  it("goes on where a registry does not delete a tag, and tells of it", async () => {
    const directory = await scratch();
    await pushImage(repository(to, "d"), "mine", ["mine", "more"]);
    to.refuse = (request) => (request === "DELETE /v2/d/manifests/mine" ? 405 : undefined);
    const report = await syncAs(directory, [`- { source: ${from.host}/app, target: ${to.host}/d, prune: true }`]);
    to.refuse = () => undefined;
    expect(report.pruned).toMatchObject([{ tag: "mine", error: { code: "UNSUPPORTED" } }, { tag: "more" }]);
    expect(await tagsOf(repository(to, "d"))).toEqual(["mine", "v1", "v2"]);
  });
});
