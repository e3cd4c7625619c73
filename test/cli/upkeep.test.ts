import { cp, readdir, readFile, rm, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { GcReport } from "@stowage/layout";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { startServe, stowage, stowageJson, temporaryDirectory } from "./stowage.js";

let directory: string;
let remove: () => Promise<void>;

beforeAll(async () => {
  ({ path: directory, remove } = await temporaryDirectory());
  for (let day = 1; day <= 3; day++) {
    await writeFile(join(directory, "app.txt"), `the application, version ${day}`);
    const image = `oci:template:v${day}`;
    const created = `2024-01-0${day}T00:00:00Z`;
    const runs = [
      ["build", "app.txt:/app.txt", "-t", image, "--created", created],
      ["attach", image, "app.txt", "--artifact-type", "application/x-note"],
    ];
    for (const args of runs) expect((await stowage(args, { cwd: directory })).stderr).toBe("");
  }
});

afterAll(() => remove());

/** A layout with the tags v1 to v3, made a day apart, each with a referrer. */
async function layoutWithTags(name: string): Promise<string> {
  await cp(join(directory, "template"), join(directory, name), { recursive: true });
  return name;
}

async function blobs(layout: string): Promise<string[]> {
  return (await readdir(join(directory, layout, "blobs", "sha256"))).sort();
}

const layerOf = async (layout: string, tag: string): Promise<string> => {
  const { layers } = await stowageJson<{ layers: { digest: string }[] }>(["inspect", `oci:${layout}:${tag}`], {
    cwd: directory,
  });
  return join(directory, layout, "blobs", (layers[0]?.digest ?? "").replace(":", "/"));
};

describe("stowage gc", () => {
  it("removes old tags and what they needed, after showing it in a dry run", async () => {
    const layout = await layoutWithTags("collected");
    const before = await blobs(layout);
    const args = ["gc", layout, "--keep-last", "1", "--grace", "0"];
    const dry = await stowage([...args, "--dry-run"], { cwd: directory });
    expect(dry.code).toBe(0);
    expect(dry.stdout).toContain("would remove tag v1");
    expect(await blobs(layout)).toEqual(before);
    const report = await stowageJson<{ tags: { tag: string }[]; removed: unknown[]; freed: number }>(args, {
      cwd: directory,
    });
    expect(report.tags.map(({ tag }) => tag).sort()).toEqual(["v1", "v2"]);
    expect(before.length - (await blobs(layout)).length).toBe(report.removed.length);
    expect(report.freed).toBeGreaterThan(0);
    const verified = await stowage(["verify", `oci:${layout}`, "--full"], { cwd: directory });
    expect([verified.code, verified.stdout]).toEqual([0, expect.stringContaining(": ok")]);
  });

  it("spares what is new, and says so", async () => {
    const layout = await layoutWithTags("young");
    expect((await stowage(["untag", `oci:${layout}:v1`], { cwd: directory })).code).toBe(0);
    const before = await blobs(layout);
    const run = await stowage(["gc", `oci:${layout}`], { cwd: directory });
    expect(run.stdout).toContain("younger than the grace time");
    expect(await blobs(layout)).toEqual(before);
  });

  it("makes room by the oldest tags of the groups that --per names, and ends with 0 where that is enough", async () => {
    const layout = await layoutWithTags("bounded");
    expect((await stowage(["tag", `oci:${layout}:v1`, "release"], { cwd: directory })).code).toBe(0);
    const { live } = await stowageJson<GcReport>(["gc", layout, "--dry-run"], { cwd: directory });
    const newest = ["--per", "v*", "--keep-last", "1"];
    const args = ["gc", layout, ...newest, "--max-size", String(live.bytes - 1), "--grace", "0"];
    const run = await stowage(args, { cwd: directory });
    expect(run.code).toBe(0);
    // v1 goes first, and makes no room, since its image is the release.
    expect(run.stdout.match(/^removed tag \S+/gm)?.sort()).toEqual(["removed tag v1", "removed tag v2"]);
    const { stdout } = await stowage(["list", `oci:${layout}`, "--quiet"], { cwd: directory });
    expect(stdout).toBe("release\nv3\n");
  });

  it("ends with 3 where what is to be kept is too large", async () => {
    const layout = await layoutWithTags("large");
    const run = await stowage(["gc", layout, "--keep-last", "1", "--max-size", "10", "--grace", "0"], {
      cwd: directory,
    });
    expect(run.code).toBe(3);
    expect(run.stderr).toContain("--max-size");
  });

  it.each([
    [["gc", "x", "--max-age", "soon"], "no duration"],
    [["gc", "x", "--max-size", "big"], "no size"],
    [["gc", "x", "--keep-last", "-1"], "no number"],
    [["gc", "x", "--per", "a-*"], "--per needs"],
    [["gc", "oci:x:v1"], "no layout as a whole"],
    [["gc", "oci-archive:x.tar"], "no layout as a whole"],
    [["verify", "oci:x", "--fast", "--full"], "exclude"],
    [["repair", "x"], "from"],
  ])("takes %j for wrong usage", async (args, text) => {
    const run = await stowage(args, { cwd: directory });
    expect(run.stderr).toContain(text);
    expect(run.code).toBe(2);
  });
});

describe("stowage repair", () => {
  it("fetches what is damaged or gone from a registry", async () => {
    const layout = await layoutWithTags("repaired");
    const served = await startServe(["--memory"]);
    try {
      for (const tag of ["v1", "v2", "v3"]) {
        const pushed = await stowage(["push", `oci:${layout}:${tag}`, `${served.host}/app:${tag}`], { cwd: directory });
        expect(pushed.code).toBe(0);
      }
      const [damaged, gone] = [await layerOf(layout, "v1"), await layerOf(layout, "v2")];
      const whole = await readFile(damaged);
      await writeFile(damaged, Buffer.alloc(whole.length));
      await rm(gone);
      const found = await stowage(["verify", `oci:${layout}`], { cwd: directory });
      expect(found.code).toBe(1);
      expect(found.stdout).toMatch(/^corrupt {2}v1 > layers\[0\]/m);
      expect(found.stdout).toMatch(/^missing {2}v2 > layers\[0\]/m);
      const run = await stowage(["repair", layout, "--from", `${served.host}/app`], { cwd: directory });
      expect([run.stderr, run.code]).toEqual(["", 0]);
      expect(run.stdout).toContain("2 repaired, 0 not");
      expect((await readFile(damaged)).equals(whole)).toBe(true);
      expect((await stowage(["verify", `oci:${layout}`], { cwd: directory })).code).toBe(0);
    } finally {
      await served.stop();
    }
  });

  it.each([
    ["index.json", "{"],
    ["index.json", undefined],
    ["oci-layout", undefined],
  ])(
    "does not guess what a layout held whose %s is %j, says what to do, and does it once that is there again",
    async (name, text) => {
      const layout = await layoutWithTags(`lost-${name}-${text === undefined ? "gone" : "broken"}`);
      const file = join(directory, layout, name);
      if (text === undefined) await rm(file);
      else await writeFile(file, text);
      const before = await blobs(layout);
      const run = await stowage(["repair", layout, "--from", "oci:template"], { cwd: directory });
      expect(run.code).toBe(1);
      expect(run.stderr).toContain(name);
      expect(run.stderr).toContain("from a backup");
      expect(await blobs(layout)).toEqual(before);
      await cp(join(directory, "template", name), file);
      await rm(await layerOf(layout, "v1"));
      expect((await stowage(["repair", layout, "--from", "oci:template"], { cwd: directory })).code).toBe(0);
      expect((await stowage(["verify", `oci:${layout}`], { cwd: directory })).code).toBe(0);
    },
  );

  it("ends with 3 where a part was repaired and with 1 where nothing was", async () => {
    const layout = await layoutWithTags("partly");
    const copied = await stowage(["copy", `oci:${layout}:v1`, "oci:source:v1"], { cwd: directory });
    expect(copied.code).toBe(0);
    await rm(await layerOf(layout, "v1"));
    await rm(await layerOf(layout, "v2"));
    const repair = ["repair", `oci:${layout}`, "--from", "oci:source"];
    const partly = await stowage(repair, { cwd: directory });
    expect(partly.code).toBe(3);
    expect(partly.stdout).toContain("1 repaired, 1 not");
    expect((await stat(await layerOf(layout, "v1"))).isFile()).toBe(true);
    expect((await stowage(repair, { cwd: directory })).code).toBe(1);
  });
});

describe("stowage verify", () => {
  it("lets content be missing where that is meant", async () => {
    const layout = await layoutWithTags("sparse");
    await rm(await layerOf(layout, "v1"));
    expect((await stowage(["verify", `oci:${layout}`], { cwd: directory })).code).toBe(1);
    const sparse = await stowage(["verify", `oci:${layout}`, "--sparse", "--fast"], { cwd: directory });
    expect(sparse.code).toBe(0);
    expect(sparse.stdout).toContain("note: missing  v1 > layers[0]");
  });

  it("lists what is odd when it is strict, and puts it right", async () => {
    const layout = await layoutWithTags("odd");
    const index = join(directory, layout, "index.json");
    const value = JSON.parse(await readFile(index, "utf8"));
    await writeFile(index, JSON.stringify({ ...value, manifests: value.manifests.reverse() }));
    expect((await stowage(["verify", `oci:${layout}`], { cwd: directory })).code).toBe(0);
    const strict = await stowage(["verify", `oci:${layout}`, "--strict"], { cwd: directory });
    expect([strict.code, strict.stdout]).toEqual([1, expect.stringContaining("warning: odd  entry-order: ")]);
    const fixed = await stowage(["verify", `oci:${layout}`, "--strict", "--fix"], { cwd: directory });
    expect([fixed.code, fixed.stdout]).toEqual([0, expect.stringContaining(": ok")]);
    expect((await stowage(["verify", `oci:${layout}:v1`, "--fix"], { cwd: directory })).code).toBe(2);
  });
});
