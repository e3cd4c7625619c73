import { spawnSync } from "node:child_process";
import { cpSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { type Run, stowage, stowageJson, temporaryDirectory } from "./stowage.js";

let directory: Awaited<ReturnType<typeof temporaryDirectory>>;
let cwd: string;
let pristine: string;
let layer: string;
let manifest: string;

beforeAll(async () => {
  directory = await temporaryDirectory();
  pristine = join(directory.path, "pristine");
  mkdirSync(join(directory.path, "app"));
  writeFileSync(join(directory.path, "app", "data"), "x".repeat(5000));
  const built = await stowageJson<{ descriptor: { digest: string }; layers: { descriptor: { digest: string } }[] }>(
    ["build", "app:/app", "-t", "oci:pristine:v1", "--platform", "linux/amd64"],
    { cwd: directory.path },
  );
  manifest = built.descriptor.digest;
  layer = built.layers[0]?.descriptor.digest as string;
});

afterAll(() => directory?.remove());

beforeEach(() => {
  cwd = join(directory.path, "case");
  rmSync(cwd, { recursive: true, force: true });
  mkdirSync(cwd);
  cpSync(pristine, join(cwd, "in"), { recursive: true });
});

const blob = (digest: string, layout = "in"): string => join(cwd, layout, "blobs", ...digest.split(":"));

/** One line that says what is wrong, no stack, no result; and a target without a tag and without leftovers. */
function expectRefusal(run: Run, text: string | RegExp, code = 1): void {
  expect(run.stderr).toMatch(text);
  expect(run.stderr).not.toMatch(/\n\s+at /);
  expect(run.stdout).toBe("");
  expect(run.code).toBe(code);
  if (!existsSync(join(cwd, "out"))) return;
  expect(JSON.parse(readFileSync(join(cwd, "out", "index.json"), "utf8")).manifests).toEqual([]);
  expect(readdirSync(join(cwd, "out", "ingest"))).toEqual([]);
}

describe("content that is not what it says", () => {
  it("a blob with other bytes is refused by name, and verify finds it", async () => {
    const bytes = readFileSync(blob(layer));
    bytes[20] = (bytes[20] as number) ^ 1;
    writeFileSync(blob(layer), bytes);
    const run = await stowage(["copy", "oci:in:v1", "oci:out:v1"], { cwd });
    expectRefusal(run, layer);
    expect(run.stderr).toMatch(/cannot copy sha256:[0-9a-f]{64} from oci:in to oci:out: layers\[0\]: /);
    expect(existsSync(blob(layer, "out"))).toBe(false);
    const verified = await stowage(["verify", "oci:in"], { cwd });
    expect(verified.code).toBe(1);
    expect(verified.stdout).toMatch(/^corrupt {2}v1 > layers\[0\]: /);
  });

  it.each([-1, 1])("a blob whose size is off by %i is refused", async (by) => {
    if (by < 0) truncateSync(blob(layer), readFileSync(blob(layer)).length - 1);
    else writeFileSync(blob(layer), Buffer.concat([readFileSync(blob(layer)), Buffer.from("!")]));
    expectRefusal(await stowage(["copy", "oci:in:v1", "oci:out:v1"], { cwd }), layer);
  });

  it("a blob that is not there is named, with its place", async () => {
    rmSync(blob(layer));
    const run = await stowage(["copy", "oci:in:v1", "oci:out:v1"], { cwd });
    expectRefusal(run, layer);
    const verified = await stowage(["verify", "oci:in"], { cwd });
    expect(verified.stdout).toMatch(/^missing {2}v1 > layers\[0\]: /);
  });

  it("a manifest of another size than index.json says is refused", async () => {
    editIndex((index) => (index.manifests[0].size += 1));
    expectRefusal(await stowage(["inspect", "oci:in:v1"], { cwd }), manifest);
  });
});

describe("an index.json that cannot be right", () => {
  it("a path in place of a digest is refused before anything is opened", async () => {
    editIndex((index) => (index.manifests[0].digest = "sha256:../../../../etc/passwd"));
    const run = await stowage(["inspect", "oci:in:v1"], { cwd });
    expectRefusal(run, /manifests\[0\].*not a digest/);
    expect(run.stderr).toContain("sha256: followed by 64");
  });

  it("half a file is refused, and the layout stays as it is", async () => {
    const file = join(cwd, "in", "index.json");
    const half = readFileSync(file).subarray(0, 100);
    writeFileSync(file, half);
    for (const args of [
      ["list", "oci:in"],
      ["tag", "oci:in:v1", "v2"],
      ["build", "../app:/app", "-t", "oci:in:v3"],
    ]) {
      expectRefusal(await stowage(args, { cwd }), /index\.json.*JSON/);
    }
    expect(readFileSync(file)).toEqual(half);
  });

  it("a name that stands twice is refused", async () => {
    writeFileSync(join(cwd, "in", "index.json"), '{"schemaVersion":2,"manifests":[],"manifests":[]}');
    expectRefusal(await stowage(["list", "oci:in"], { cwd }), /"manifests" stands twice/);
  });
});

describe("something that is not there", () => {
  it("a layout, a tag, a file and an archive are named", async () => {
    expectRefusal(await stowage(["list", "oci:nowhere"], { cwd }), "nowhere");
    expectRefusal(await stowage(["copy", "oci:in:v9", "oci:out:v9"], { cwd }), /v9[\s\S]*It has v1/);
    expectRefusal(await stowage(["attach", "oci:in:v1", "no-such.spdx.json"], { cwd }), "no-such.spdx.json");
    expectRefusal(await stowage(["list", "oci-archive:no.tar"], { cwd }), "no.tar");
    expectRefusal(await stowage(["list", "oci:."], { cwd }), "oci-layout");
  });

  it("a registry that does not listen is named, and nothing is written", async () => {
    const run = await stowage(["pull", "127.0.0.1:1/team/app:v1", "oci:out:v1"], { cwd });
    expectRefusal(run, /127\.0\.0\.1:1/);
    expect(existsSync(join(cwd, "out"))).toBe(false);
  });

  it("a directory that holds something else does not become a layout", async () => {
    mkdirSync(join(cwd, "project"));
    writeFileSync(join(cwd, "project", "package.json"), "{}");
    expectRefusal(await stowage(["copy", "oci:in:v1", "oci:project:v1"], { cwd }), "package.json");
    expect(readdirSync(join(cwd, "project"))).toEqual(["package.json"]);
  });
});

describe("a wrong password", () => {
  let server: Server;
  let host: string;

  beforeAll(async () => {
    // A registry that lets nobody in: what the client says about it is what is tried here.
    server = createServer((request, response) => {
      request.resume();
      response.writeHead(401, { "www-authenticate": 'Basic realm="test"', "content-type": "application/json" });
      response.end('{"errors":[{"code":"UNAUTHORIZED","message":"authentication required"}]}');
    });
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    host = `127.0.0.1:${(server.address() as AddressInfo).port}`;
  });

  afterAll(() => new Promise((resolve) => server.close(resolve)));

  it("is told without the password, and a missing one with what to do", async () => {
    mkdirSync(join(cwd, "docker"));
    const auth = Buffer.from("alice:s3cr3t-pass").toString("base64");
    writeFileSync(join(cwd, "docker", "config.json"), JSON.stringify({ auths: { [host]: { auth } } }));
    const wrong = await stowage(["push", "oci:in:v1", `${host}/team/app:v1`], {
      cwd,
      env: { DOCKER_CONFIG: join(cwd, "docker") },
    });
    expectRefusal(wrong, host);
    expect(wrong.stderr).not.toContain("s3cr3t-pass");
    expect(wrong.stderr).not.toContain(auth);
    const missing = await stowage(["push", "oci:in:v1", `${host}/team/app:v1`], { cwd });
    expectRefusal(missing, host);
    expect(missing.stderr).not.toBe(wrong.stderr);
  });
});

describe("a full disk", () => {
  it("is told as such, and what was there stays", async (context) => {
    const small = join(cwd, "small");
    mkdirSync(small);
    const mounted = spawnSync("mount", ["-t", "tmpfs", "-o", "size=1m", "tmpfs", small], { encoding: "utf8" });
    if (mounted.status !== 0)
      return context.skip(`cannot mount a small tmpfs here: ${mounted.stderr ?? mounted.error?.message}`);
    try {
      expect((await stowage(["copy", "oci:in:v1", "oci:small/layout:v1"], { cwd })).code).toBe(0);
      const before = readFileSync(join(small, "layout", "index.json"));
      writeFileSync(join(cwd, "large"), Buffer.alloc(4 * 1024 * 1024, 7));
      for (const args of [
        ["build", "large:/large", "-t", "oci:small/layout:v2", "--compression", "none"],
        ["attach", "oci:small/layout:v1", "large", "--artifact-type", "a/b"],
        ["copy", "oci:in:v1", "oci-archive:small/x.tar:v1"],
      ]) {
        if (args[0] === "copy") writeFileSync(join(small, "filler"), Buffer.alloc(availableBytes(small)));
        const run = await stowage(args, { cwd });
        expect(run.stderr).toContain("no space left on the device (ENOSPC)");
        expect(run).toMatchObject({ code: 1, stdout: "" });
      }
      expect(readFileSync(join(small, "layout", "index.json"))).toEqual(before);
      expect(readdirSync(join(small, "layout", "ingest"))).toEqual([]);
      expect(readdirSync(small).sort()).toEqual(["filler", "layout"]);
      expect((await stowage(["verify", "oci:small/layout"], { cwd })).code).toBe(0);
    } finally {
      spawnSync("umount", [small]);
    }
  });
});

function availableBytes(path: string): number {
  const asked = spawnSync("df", ["--output=avail", "-B1", path], { encoding: "utf8" });
  return Number(asked.stdout.split("\n")[1]);
}

// biome-ignore lint/suspicious/noExplicitAny: the shape is what the test breaks
function editIndex(change: (index: any) => void): void {
  const file = join(cwd, "in", "index.json");
  const index = JSON.parse(readFileSync(file, "utf8"));
  change(index);
  writeFileSync(file, JSON.stringify(index));
}
