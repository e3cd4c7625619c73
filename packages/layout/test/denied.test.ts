import { execFileSync } from "node:child_process";
import { chmod, chown, cp, mkdir, readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { Layout, verify } from "@stowage/layout";
import { describe, expect, it, onTestFinished } from "vitest";
import { builtPackage } from "./child-process.js";
import { filesBelow, pushImage, temporaryDirectory } from "./support.js";

const script = fileURLToPath(new URL("children/try.mjs", import.meta.url));
const nobody = 65_534;
const changes = ["write", "tag", "untag", "attach"] as const;

/** What each attempt in `children/try.mjs` ended with. */
type Results = Readonly<Record<"open" | "create" | "read" | (typeof changes)[number], string>>;

/** A layout with an image tagged v1 in a directory that everybody can reach, and a check that it is as it was. */
async function newLayout(): Promise<{ path: string; expectUnchanged(): Promise<void> }> {
  const directory = await temporaryDirectory();
  await chmod(directory, 0o755);
  const path = join(directory, "layout");
  const layout = await Layout.create(path);
  const descriptor = await pushImage(layout);
  await layout.tag("v1", descriptor);
  const files = await filesBelow(path);
  const index = await readFile(join(path, "index.json"), "utf8");
  return {
    path,
    async expectUnchanged() {
      expect(await filesBelow(path)).toEqual(files);
      expect(await readdir(join(path, "ingest"))).toEqual([]);
      expect(await readFile(join(path, "index.json"), "utf8")).toBe(index);
      expect((await verify(await Layout.open(path), [{ name: "v1", descriptor }])).findings).toEqual([]);
    },
  };
}

/** Runs the script by a command; it is ended by force after a while. */
async function tryAs(command: readonly string[], path: string): Promise<Results> {
  const [program, ...parameters] = [...command, process.execPath, script, await builtPackage(), path];
  return JSON.parse(
    execFileSync(program as string, parameters, { timeout: 30_000, killSignal: "SIGKILL", encoding: "utf8" }),
  ) as Results;
}

const asNobody = ["setpriv", `--reuid=${nobody}`, `--regid=${nobody}`, "--clear-groups"];

/** False, with the reason told, where no program can be run as another user. */
async function canBeNobody(path: string): Promise<boolean> {
  try {
    await tryAs(asNobody, path);
    return true;
  } catch (error) {
    console.log(`not tried as another user: setpriv is not possible here (${(error as Error).message.trim()})`);
    return false;
  }
}

describe("a layout on a file system that is mounted read-only", () => {
  it("is read as ever, and each change is DENIED and leaves it as it was", async () => {
    const { path, expectUnchanged } = await newLayout();
    const mounted = join(await temporaryDirectory(), "mounted");
    await mkdir(mounted);
    try {
      execFileSync("mount", ["--bind", path, mounted], { stdio: "pipe" });
      onTestFinished(() => void execFileSync("umount", [mounted]));
      execFileSync("mount", ["-o", "remount,ro,bind", mounted], { stdio: "pipe" });
    } catch (error) {
      console.log(`not tried read-only: a bind mount is not possible here (${(error as Error).message.trim()})`);
      return;
    }
    const results = await tryAs([], mounted);
    expect(results).toMatchObject({ open: "done", create: "done", read: "done" });
    for (const change of changes) expect(results[change]).toMatch(/^DENIED: .*the file system is read-only/);
    await expectUnchanged();
  });
});

describe("a layout of another user", () => {
  it.each<[string, string, number, readonly (keyof Results)[]]>([
    ["the directory", ".", 0o000, ["open", "create", "read", ...changes]],
    ["index.json", "index.json", 0o000, ["open", "create", "read", ...changes]],
    ["oci-layout", "oci-layout", 0o000, ["open", "create", "read", ...changes]],
    ["blobs", "blobs", 0o000, ["open", "create", "read", ...changes]],
    ["blobs/sha256", "blobs/sha256", 0o000, ["read", ...changes]],
    ["ingest", "ingest", 0o000, changes],
    ["nothing, but may not be written", ".", 0o755, changes],
  ])("that may not be read in %s: DENIED, and it stays as it was", async (_what, name, mode, denied) => {
    const { path, expectUnchanged } = await newLayout();
    if (!(await canBeNobody(path))) return;
    await chmod(join(path, name), mode);
    const results = await tryAs(asNobody, path);
    await chmod(join(path, name), (await isDirectory(join(path, name))) ? 0o755 : 0o644);
    for (const [attempt, result] of Object.entries(results)) {
      if (denied.includes(attempt as keyof Results))
        expect(`${attempt} ${result}`).toMatch(/ DENIED: .*permission denied/);
      else expect(`${attempt} ${result}`).toBe(`${attempt} done`);
    }
    await expectUnchanged();
  });

  it("that may be written but for one blob is changed, and reading that blob is DENIED", async () => {
    const { path } = await newLayout();
    if (!(await canBeNobody(path))) return;
    const theirs = join(await temporaryDirectory(), "theirs");
    await cp(path, theirs, { recursive: true });
    for (const name of [".", ...(await readdir(theirs, { recursive: true }))])
      await chown(join(theirs, name), nobody, nobody);
    await chmod(join(theirs, ".."), 0o755);
    const layer = (await filesBelow(theirs)).find((name) => name.startsWith("blobs/sha256/"));
    await chown(join(theirs, layer as string), 0, 0);
    await chmod(join(theirs, layer as string), 0o000);
    const results = await tryAs(asNobody, theirs);
    expect(results.write).toBe("done");
    expect(results.read).toMatch(/^DENIED: .*permission denied/);
  });
});

async function isDirectory(path: string): Promise<boolean> {
  return readdir(path).then(
    () => true,
    () => false,
  );
}
