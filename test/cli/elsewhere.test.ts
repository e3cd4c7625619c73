import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { AttachResult, CopyReport, Descriptor, Inspection, ListedTag, TreeNode } from "@stowage/layout";
import type { PublishReport, RepositoryReconcileReport } from "@stowage/registry";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type Served, startServe, stowage, stowageJson, temporaryDirectory } from "./stowage.js";

let directory: Awaited<ReturnType<typeof temporaryDirectory>>;
let served: Served;
let cwd: string;
let image: string;
let sbom: string;
let signature: string;
let ofSbom: string;

const attach = async (...args: string[]): Promise<string> =>
  (await stowageJson<AttachResult>(["attach", ...args], { cwd })).descriptor.digest;
const referrersOf = async (...args: string[]): Promise<string[]> =>
  (await stowageJson<Inspection>(["inspect", ...args], { cwd })).referrers.map(({ digest }) => digest).sort();

beforeAll(async () => {
  directory = await temporaryDirectory();
  cwd = directory.path;
  mkdirSync(join(cwd, "app"));
  writeFileSync(join(cwd, "app", "hello.txt"), "hello\n");
  writeFileSync(join(cwd, "file.json"), "{}");
  served = await startServe(["--memory"]);
  const built = await stowageJson<{ descriptor: Descriptor }>(["build", "app:/app", "-t", "oci:out:v1"], { cwd });
  image = built.descriptor.digest;
  sbom = await attach("oci:out:v1", "file.json", "--artifact-type", "a/sbom");
  const signatures = ["--referrers-to", `${served.host}/signatures`];
  signature = await attach("oci:out:v1", "file.json", "--artifact-type", "a/signature", ...signatures);
  ofSbom = await attach(`oci:out@${sbom}`, "file.json", "--artifact-type", "a/signature", ...signatures);
});

afterAll(async () => {
  await served?.stop();
  await directory?.remove();
});

describe("referrers in another place than the image", () => {
  it("are attached there, and are shown with the image where that place is named", async () => {
    expect(await referrersOf("oci:out:v1")).toEqual([sbom]);
    const from = ["--referrers-from", `${served.host}/signatures`];
    expect(await referrersOf("oci:out:v1", ...from)).toEqual([sbom, signature].sort());
    const root = await stowageJson<TreeNode>(["tree", "oci:out:v1", ...from], { cwd });
    const shown = root.referrers.flatMap(({ descriptor, referrers }) => [
      descriptor.digest,
      ...referrers.map((one) => one.descriptor.digest),
    ]);
    expect(shown.sort()).toEqual([sbom, signature, ofSbom].sort());
    const [listed] = await stowageJson<ListedTag[]>(["list", "oci:out", ...from], { cwd });
    expect(listed).toMatchObject({ tag: "v1", referrers: 2 });
  });

  it("are copied along, and into one place or apart", async () => {
    const from = ["--referrers-from", `${served.host}/signatures`];
    const together = await stowageJson<CopyReport>(["copy", "oci:out:v1", "oci:together:v1", ...from], { cwd });
    expect(together.referrers).toEqual({ found: 3, copied: 3 });
    expect(await referrersOf("oci:together:v1")).toEqual([sbom, signature].sort());

    const to = ["--referrers-to", "oci:sidecar"];
    const apart = await stowageJson<CopyReport>(["copy", "oci:together:v1", "oci:bare:v1", ...to], { cwd });
    expect(apart.referrers).toEqual({ found: 3, copied: 3 });
    expect(await referrersOf("oci:bare:v1")).toEqual([]);
    expect(await referrersOf("oci:bare:v1", "--referrers-from", "oci:sidecar")).toEqual([sbom, signature].sort());
  });

  it("are published to one repository for many destinations", async () => {
    const { host } = served;
    const references = [`${host}/one/app:v1`, `${host}/two/app:v1`];
    const to = ["--referrers-to", `${host}/all/signatures`];
    const { targets } = await stowageJson<PublishReport>(["publish", "oci:out:v1", ...references, ...to], { cwd });
    expect(targets.map(({ report }) => report?.referrers)).toEqual(references.map(() => ({ found: 1, copied: 1 })));
    for (const reference of references) {
      expect(await referrersOf(reference)).toEqual([]);
      expect(await referrersOf(reference, "--referrers-from", `${host}/all/signatures`)).toEqual([sbom]);
    }
    expect(image).toMatch(/^sha256:/);
  });

  it("are no image, so that naming one is wrong usage", async () => {
    for (const option of ["--referrers-from", "--referrers-to"]) {
      const run = await stowage(["copy", "oci:out:v1", "oci:x:v1", option, "oci:sidecar:v1"], { cwd });
      expect([run.code, run.stderr]).toEqual([2, expect.stringContaining(option)]);
    }
  });
});

describe("publish to many destinations", () => {
  it("goes on where one refuses, names it, and ends with 3", async () => {
    const readonly = await startServe(["--memory", "--readonly"]);
    try {
      const references = [`${readonly.host}/acme/app:v1`, `${served.host}/three/app:v1`];
      const run = await stowage(["publish", "oci:out:v1", ...references], { cwd });
      expect(run.code).toBe(3);
      expect(run.stderr).toMatch(
        new RegExp(`not published: ${references[0]}: nothing may be pushed to .* answered 405`),
      );
      expect(run.stdout).toContain(`published ${references[1]}`);
      expect(run.stdout).not.toContain(references[0]);
      expect((await stowage(["publish", "oci:out:v1", references[0] as string], { cwd })).code).toBe(1);
    } finally {
      await readonly.stop();
    }
  });
});

describe("list --all", () => {
  it("shows the tags that only carry referrers, which are hidden otherwise", async () => {
    const hidden = `${image.replace(":", "-")}`;
    expect((await stowageJson<ListedTag[]>(["list", "oci:out"], { cwd })).map(({ tag }) => tag)).toEqual(["v1"]);
    const all = await stowageJson<ListedTag[]>(["list", "oci:out", "--all"], { cwd });
    expect(all).toContainEqual({ tag: hidden, carriesReferrers: true });
    const text = await stowage(["list", "oci:out", "-a"], { cwd });
    expect(text.stdout).toMatch(new RegExp(`TAG OF REFERRERS\\n(?:.*\\n)*${hidden}\\n`));
  });
});

describe("reconcile of a repository", () => {
  it("that has no list of referrers has nothing to do", async () => {
    await stowageJson(["push", "oci:out:v1", `${served.host}/four/app:v1`], { cwd });
    const reconcile = ["reconcile", `${served.host}/four/app`, "--prune"];
    const report = await stowageJson<RepositoryReconcileReport>(reconcile, { cwd });
    expect(report).toMatchObject({ lists: [], dryRun: false });
  });

  it("takes no options of a layout, and a layout none of its own", async () => {
    const repository = `${served.host}/four/app`;
    for (const args of [
      [repository, "--to", "oras"],
      [repository, "--drop-unread"],
      ["oci:out", "--prune"],
      ["oci:out", "--dry-run"],
    ])
      expect([args, (await stowage(["reconcile", ...args], { cwd })).code]).toEqual([args, 2]);
  });
});
