import { existsSync, mkdirSync, writeFileSync } from "node:fs";
import { readFile, rm } from "node:fs/promises";
import { join } from "node:path";
import type { AttachResult, CopyPlan, CopyReport, ImageIndex, Inspection, ListedTag } from "@stowage/layout";
import type { PublishReport } from "@stowage/registry";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { makeImage } from "../bench/images.js";
import { type Served, startServe, stowage, stowageJson, temporaryDirectory } from "./stowage.js";

let directory: Awaited<ReturnType<typeof temporaryDirectory>>;
let served: Served;
let cwd: string;
const digests: Record<string, string> = {};

const json = <T>(...args: string[]): Promise<T> => stowageJson<T>(args, { cwd });

beforeAll(async () => {
  directory = await temporaryDirectory();
  cwd = directory.path;
  mkdirSync(join(cwd, "app"));
  writeFileSync(join(cwd, "app", "main.js"), "console.log('hi')\n");
  writeFileSync(join(cwd, "note.txt"), "a note");
  served = await startServe(["--memory"]);
  for (const architecture of ["amd64", "arm64", "s390x"]) {
    const built = await json<{ descriptor: { digest: string } }>(
      ...["build", "app:/app", "-t", `oci:out:${architecture}`, "--platform", `linux/${architecture}`],
    );
    digests[architecture] = built.descriptor.digest;
  }
  await writeIndex(["amd64", "arm64", "s390x"]);
});

afterAll(async () => {
  await served.stop();
  await directory.remove();
});

/** Makes an index of images of the layout `out`, as a push of one, and pulls it back under the tag `all`. */
async function writeIndex(architectures: readonly string[]): Promise<void> {
  const manifests: ImageIndex["manifests"][number][] = [];
  for (const architecture of architectures) {
    const { descriptor } = await json<Inspection>("inspect", `oci:out:${architecture}`);
    await json("push", `oci:out:${architecture}`, `${served.host}/made/app:${architecture}`);
    manifests.push({ ...descriptor, platform: { os: "linux", architecture } });
  }
  const mediaType = "application/vnd.oci.image.index.v1+json";
  const answer = await fetch(`http://${served.host}/v2/made/app/manifests/all`, {
    method: "PUT",
    headers: { "content-type": mediaType },
    body: JSON.stringify({ schemaVersion: 2, mediaType, manifests }),
  });
  expect(answer.status).toBe(201);
  await json("pull", `${served.host}/made/app:all`, "oci:out:all");
}

describe("copy", () => {
  it("says nothing but its result, however much goes at once", async () => {
    await makeImage(join(cwd, "many"), { layers: 30, bytes: 1000 });
    const pushed = await stowage(["push", "-q", "oci:many:v1", `${served.host}/many/app:v1`], { cwd });
    expect(pushed.stderr).toBe("");
    expect(pushed.code).toBe(0);
    const pulled = await stowage(["pull", "-q", `${served.host}/many/app:v1`, "oci:pulled:v1"], { cwd });
    expect(pulled).toEqual(pushed);
  });
});

describe("copy --dry-run", () => {
  it("tells what the copy then does, and makes nothing: into a layout, an archive and a registry", async () => {
    for (const [target, file] of [
      ["oci:planned:all", "planned"],
      ["oci-archive:planned.tar:all", "planned.tar"],
      [`${served.host}/planned/app:all`, undefined],
    ] as const) {
      const { content, ...foreseen } = await json<CopyPlan>("copy", "oci:out:all", target, "--dry-run");
      expect(file !== undefined && existsSync(join(cwd, file))).toBe(false);
      const report = await json<CopyReport>("copy", "oci:out:all", target);
      expect({ ...foreseen, target: "" }).toEqual({ ...report, target: "" });
      expect(content.filter(({ presence }) => presence === "written")).toHaveLength(report.written);
      expect(report.tagged).toEqual([{ tag: "all", change: "created" }]);
    }
    const tags = await fetch(`http://${served.host}/v2/never/app/tags/list`);
    expect(tags.status).toBe(404);
  });

  it("says it in words", async () => {
    const { stdout, code } = await stowage(["copy", "oci:out:arm64", `${served.host}/made/app:amd64`, "--dry-run"], {
      cwd,
    });
    expect(code).toBe(0);
    expect(stdout).toContain(`dry run: oci:out:arm64 -> ${served.host}/made/app:amd64`);
    expect(stdout).toContain("0 to write, 1 present; 0 B to move");
    expect(stdout).toContain(`amd64 moved from ${digests.amd64}`);
  });

  it("of a publish to several places tells each, and tags none", async () => {
    const places = [`${served.host}/plan/one:v1`, `${served.host}/plan/one:v2`, `${served.host}/plan/two:v1`];
    const planned = await json<PublishReport>("publish", "oci:out:all", ...places, "--dry-run");
    const bytes = planned.targets.map(({ report }) => report?.bytes);
    // What is sent to one repository of a registry is mounted in the other.
    expect(new Set(bytes).size).toBe(2);
    expect(planned.targets.every(({ report }) => report?.tagged[0]?.change === "created")).toBe(true);
    expect((await fetch(`http://${served.host}/v2/plan/one/tags/list`)).status).toBe(404);
    const real = await json<PublishReport>("publish", "oci:out:all", ...places);
    const total = (report: PublishReport): number =>
      [0, 2].reduce((sum, at) => sum + (report.targets[at]?.report?.bytes ?? 0), 0);
    expect(total(real)).toBe(total(planned));
    const words = await stowage(["publish", "oci:out:all", ...places, "--dry-run"], { cwd });
    expect(words.stdout).toContain(`would publish ${places[0]}`);
    expect(words.stdout).toContain("v1 unchanged");
  });
});

describe("a copy to a repository that is new", () => {
  it("mounts what other repositories have once a probe has found that the registry looks there", async () => {
    const env = { XDG_CACHE_HOME: join(cwd, "cache") };
    const push = (repository: string): Promise<CopyReport> =>
      stowageJson<CopyReport>(["push", "oci:out:amd64", `${served.host}/${repository}:v1`], { cwd, env });
    expect(await push("mounts/one")).toMatchObject({ mounted: 0 });
    await stowageJson(["probe", `${served.host}/mounts/one`, "--write"], { cwd, env });
    expect(await push("mounts/two")).toMatchObject({ mounted: 2, written: 1 });
  });
});

describe("--no-clobber", () => {
  it("ends with 1, both digests and nothing sent where a tag stands for something else", async () => {
    const target = `${served.host}/kept/app:v1`;
    await json("push", "oci:out:amd64", target);
    for (const command of [
      ["copy", "oci:out:arm64", target],
      ["publish", "oci:out:arm64", target],
    ]) {
      const { code, stderr } = await stowage([...command, "--no-clobber"], { cwd });
      expect(code).toBe(1);
      for (const digest of [digests.amd64, digests.arm64]) expect(stderr).toContain(digest);
    }
    const absent = await fetch(`http://${served.host}/v2/kept/app/manifests/${digests.arm64}`);
    expect(absent.status).toBe(404);
    const same = await json<CopyReport>("push", "oci:out:amd64", target, "--no-clobber");
    expect(same.tagged).toEqual([{ tag: "v1", change: "unchanged", before: digests.amd64 }]);
  });
});

describe("--platform", () => {
  it("of one is that image, of several a new index, and with --index keep the index with holes", async () => {
    const one = await json<CopyReport>("copy", "oci:out:all", "oci:one:v1", "--platform", "linux/arm64");
    expect(one.descriptor.digest).toBe(digests.arm64);
    const two = await stowage(["copy", "oci:out:all", "oci:two:v1", "--platform", "linux/amd64,linux/arm64"], { cwd });
    expect(two.stdout).toContain("left out  linux/s390x");
    const listed = await json<ListedTag[]>("list", "oci:two");
    expect(listed[0]?.platforms).toEqual(["linux/amd64", "linux/arm64"]);
    const kept = ["--platform", "linux/amd64", "--index", "keep"];
    const sparse = await json<CopyReport>("copy", "oci:out:all", "oci:sparse:v1", ...kept);
    expect(sparse.descriptor.digest).toBe((await json<Inspection>("inspect", "oci:out:all")).descriptor.digest);
    expect(existsSync(join(cwd, "sparse", "blobs", "sha256", (digests.arm64 as string).slice(7)))).toBe(false);
  });

  it("that is missing is named with those there are; --index without it is wrong usage", async () => {
    const { code, stderr } = await stowage(
      ["copy", "oci:out:all", "oci:x:v1", "--platform", "linux/amd64,windows/amd64"],
      { cwd },
    );
    expect(code).toBe(1);
    expect(stderr).toContain("windows/amd64");
    expect(stderr).toContain("linux/s390x");
    expect((await stowage(["copy", "oci:out:all", "oci:x:v1", "--index", "keep"], { cwd })).code).toBe(2);
  });
});

describe("--upload and --chunk-size", () => {
  it("send a blob in chunks, and refuse what is no size", async () => {
    const pushed = ["--upload", "chunked", "--chunk-size", "50"];
    const report = await json<CopyReport>("push", "oci:out:amd64", `${served.host}/chunks/app:v1`, ...pushed);
    expect(report.written).toBe(3);
    await json("pull", `${served.host}/chunks/app:v1`, "oci:from-chunks");
    for (const size of ["0", "much"])
      expect((await stowage(["push", "oci:out:amd64", "oci:x:v1", "--chunk-size", size], { cwd })).code).toBe(2);
  });
});

describe("a referrer that is lost on the way", () => {
  it("makes copy and publish end with 3 and is named, and the image arrives with its tag", async () => {
    const attached = await json<AttachResult>("attach", "oci:out:amd64", "note.txt", "--artifact-type", "a/note");
    const blob = JSON.parse(await readFile(join(cwd, blobPath(attached.descriptor.digest)), "utf8")).layers[0].digest;
    await rm(join(cwd, blobPath(blob)));
    for (const command of ["copy", "publish"]) {
      const target = `${served.host}/lost/${command}:v1`;
      const { code, stderr } = await stowage([command, "oci:out:amd64", target], { cwd });
      expect(code).toBe(3);
      expect(stderr).toContain("referrer a/note");
      expect(stderr).toContain(blob);
      expect((await json<Inspection>("inspect", target)).descriptor.digest).toBe(digests.amd64);
    }
  });
});

function blobPath(digest: string): string {
  return join("out", "blobs", "sha256", digest.slice("sha256:".length));
}
