import { execFileSync, spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { mkdir, readdir, readFile, rename, rm, symlink, truncate, writeFile } from "node:fs/promises";
import { createServer } from "node:net";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { Layout, mediaTypes } from "@stowage/layout";
import { describe, expect, it, onTestFinished } from "vitest";
import { builtPackage } from "../../packages/layout/test/child-process.js";
import {
  blobName,
  failure,
  filesBelow,
  named,
  pushBytes,
  temporaryDirectory,
} from "../../packages/layout/test/support.js";
import {
  expectDone,
  expectRefusal,
  expectRefusedBy,
  image,
  layer,
  layerBytes,
  layoutIn,
  secret,
} from "./hostile-layout.js";

/** Something that is no regular file, put at a path. Returns false, and says why, where this system has no such thing. */
type Put = (path: string) => Promise<boolean>;

const special: Readonly<Record<string, Put>> = {
  "a FIFO": async (path) => run("mkfifo", path),
  "a device that never ends": async (path) => run("mknod", path, "c", "1", "5"),
  "a directory": async (path) => {
    await mkdir(path);
    return true;
  },
  "a socket": async (path) => {
    const server = createServer();
    // A socket's path may only be short.
    const short = join(await temporaryDirectory(), "s");
    await new Promise<void>((resolve) => server.listen(short, resolve));
    onTestFinished(() => void server.close());
    await rename(short, path);
    return true;
  },
  "a symbolic link out of the layout": async (path) => {
    const outside = join(await temporaryDirectory(), "outside");
    await writeFile(outside, secret);
    await symlink(outside, path);
    return true;
  },
  "a symbolic link to nothing": async (path) => {
    await symlink("/nonexistent/place", path);
    return true;
  },
};

async function run(command: string, ...parameters: string[]): Promise<boolean> {
  try {
    execFileSync(command, parameters, { stdio: "pipe" });
    return true;
  } catch (error) {
    console.log(`not tried: ${command} is not possible here (${(error as Error).message.trim()})`);
    return false;
  }
}

const notAFile = /is not a regular file|is a symbolic link|it is a directory|not there|has no blob/;

describe.each(Object.entries(special))("%s", (_what, place) => {
  it("in place of a blob is refused at once, and verify names the blob", async () => {
    const cwd = await layoutIn();
    const path = join(cwd, "in", blobName(layer));
    await rm(path);
    if (!(await place(path))) return;
    await Promise.all([
      expectRefusal(cwd, ["copy", "oci:in:v1", "oci:out:v1"], notAFile),
      expectRefusal(
        cwd,
        ["verify", "oci:in"],
        new RegExp(`(?:corrupt|missing) .*${layer.digest.slice("sha256:".length)}`),
      ),
    ]);
  });

  it("in place of a manifest is refused at once", async () => {
    const cwd = await layoutIn();
    const path = join(cwd, "in", blobName(image));
    await rm(path);
    if (!(await place(path))) return;
    await expectRefusedBy(cwd, notAFile, ["inspect", "copy", "tree", "verify", "tag"]);
  });

  it.each(["index.json", "oci-layout"])("in place of %s is refused at once", async (name) => {
    const cwd = await layoutIn();
    const path = join(cwd, "in", name);
    await rm(path);
    if (!(await place(path))) return;
    await expectRefusedBy(cwd, new RegExp(`${name}.*(?:${notAFile.source})`));
  });

  it("where a blob is to be written is replaced, and nothing is written through it", async () => {
    const cwd = await layoutIn();
    const path = join(cwd, "in", blobName(layer));
    await rm(path);
    if (!(await place(path))) return;
    const isDirectory = _what === "a directory";
    const layout = await Layout.open(join(cwd, "in"));
    if (isDirectory) {
      await failure(pushBytes(layout, layerBytes, mediaTypes.layer), "INVALID");
      expect(await readdir(path)).toEqual([]);
    } else {
      await pushBytes(layout, layerBytes, mediaTypes.layer);
      expect(await readFile(path, "utf8")).toBe("the only layer");
    }
    expect(await readdir(join(cwd, "in", "ingest"))).toEqual([]);
  });

  it("in place of what the lock holds does not hold up a change for longer than a lock that was lost", async () => {
    const cwd = await layoutIn();
    const lock = join(cwd, "in", "ingest", "lock");
    await mkdir(lock, { recursive: true });
    if (!(await place(join(lock, "1-0-abcdef")))) return;
    const layout = await Layout.open(join(cwd, "in"), { lockTimeout: 100 });
    const error = await layout.tag("v2", image).then(
      () => undefined,
      (reason: unknown) => reason,
    );
    expect(error).toMatchObject({ name: "OciError" });
    expect(await readFile(join(cwd, "in", "index.json"), "utf8")).not.toContain("v2");
  });
});

describe("a directory of the layout that is a symbolic link to elsewhere", () => {
  it.each(["blobs", "blobs/sha256", "blobs/sha512", "ingest"])(
    "%s: refused, not read and not written",
    async (name) => {
      const cwd = await layoutIn();
      const elsewhere = await temporaryDirectory();
      const path = join(cwd, "in", name);
      if (existsSync(path)) {
        await rm(elsewhere, { recursive: true });
        await rename(path, elsewhere);
      }
      await symlink(elsewhere, path);
      const before = await filesBelow(elsewhere);
      await writeFile(join(cwd, "file"), "new");
      await Promise.all([
        expectRefusal(cwd, ["copy", "oci:in:v1", "oci:out:v1"], /symbolic link/),
        expectRefusal(cwd, ["verify", "oci:in"], /symbolic link/),
        expectRefusal(cwd, ["tag", "oci:in:v1", "v2"], /symbolic link/),
        expectRefusal(cwd, ["attach", "oci:in:v1", "file", "--artifact-type", "application/x"], /symbolic link/),
        expectRefusal(cwd, ["build", "file:/file", "-t", "oci:in:v3"], /symbolic link/),
      ]);
      expect(await filesBelow(elsewhere)).toEqual(before);
    },
  );

  it.each(["blobs", "ingest"])("%s alone, where a layout is to be made: nothing is made there", async (name) => {
    const [path, elsewhere] = [join(await temporaryDirectory(), "in"), await temporaryDirectory()];
    await mkdir(path);
    await symlink(elsewhere, join(path, name));
    await failure(Layout.create(path), "DENIED");
    expect(await readdir(elsewhere)).toEqual([]);
    expect(await readdir(path)).toEqual([name]);
  });

  it("does not count where it is the directory of the layout itself", async () => {
    const cwd = await layoutIn();
    await symlink("in", join(cwd, "link"));
    await expectDone(cwd, ["tag", "oci:link:v1", "v2"]);
    await expectDone(cwd, ["verify", "oci:link:v2"]);
  });

  it("and a file in place of blobs is refused", async () => {
    const cwd = await layoutIn();
    await rm(join(cwd, "in", "blobs"), { recursive: true });
    await writeFile(join(cwd, "in", "blobs"), "");
    await expectRefusal(cwd, ["list", "oci:in"], /blobs is no directory/);
  });
});

describe("a file of 300 MB is refused for its size and not read", () => {
  const size = 300 * 1024 * 1024;
  const child = fileURLToPath(new URL("children/read.mjs", import.meta.url));

  /** Reads in a process of its own; how many bytes of memory that took more than a process that did nothing. */
  async function read(...parameters: string[]): Promise<{ code: string; grown: number }> {
    const process_ = spawn(process.execPath, [child, await builtPackage(), ...parameters], { stdio: "pipe" });
    const timer = setTimeout(() => process_.kill("SIGKILL"), 30_000);
    let output = "";
    process_.stdout.on("data", (data: Buffer) => {
      output += data.toString();
    });
    await new Promise((resolve) => process_.on("close", resolve));
    clearTimeout(timer);
    return JSON.parse(output);
  }

  it.each(["index.json", "oci-layout"])("%s", async (name) => {
    const cwd = await layoutIn();
    await truncate(join(cwd, "in", name), size);
    const { code, grown } = await read(join(cwd, "in"), "v1");
    expect(code).toBe("LIMIT");
    expect(grown).toBeLessThan(50 * 1024 * 1024);
    await expectRefusal(cwd, ["copy", "oci:in:v1", "oci:out:v1"], new RegExp(`${name}.*${size} bytes`));
  });

  it("a manifest that is declared as large, or is larger than declared", async () => {
    for (const [declared, expected] of [
      [size, "LIMIT"],
      [image.size, "MISMATCH"],
    ] as const) {
      const cwd = await layoutIn({ manifests: [named({ ...image, size: declared }, "v1")] });
      await truncate(join(cwd, "in", blobName(image)), size);
      const { code, grown } = await read(join(cwd, "in"), "v1");
      expect(code).toBe(expected);
      expect(grown).toBeLessThan(50 * 1024 * 1024);
    }
  });

  it("the index.json of an archive", async () => {
    const cwd = await layoutIn();
    await truncate(join(cwd, "in", "index.json"), size);
    execFileSync("tar", ["-cf", join(cwd, "in.tar"), "-C", join(cwd, "in"), "oci-layout", "index.json", "blobs"]);
    const { code, grown } = await read(join(cwd, "in.tar"), "v1");
    expect(code).toBe("LIMIT");
    expect(grown).toBeLessThan(50 * 1024 * 1024);
  });
});
