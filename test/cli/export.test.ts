import { spawn } from "node:child_process";
import { once } from "node:events";
import { cpSync, existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import * as zlib from "node:zlib";
import type { ExportReport, ListedTag } from "@stowage/layout";
import type { ImportReport } from "@stowage/registry";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type Served, startServe, stowage, stowageJson, temporaryDirectory } from "./stowage.js";

const command = fileURLToPath(new URL("../../packages/cli/bin/stowage.js", import.meta.url));
let directory: Awaited<ReturnType<typeof temporaryDirectory>>;
let served: Served;
let cwd: string;
let digest: string;

const json = <T>(...args: string[]): Promise<T> => stowageJson<T>(args, { cwd });
const names = async (location: string): Promise<string[]> =>
  (await json<ListedTag[]>("list", location)).map(({ tag }) => tag);

beforeAll(async () => {
  directory = await temporaryDirectory();
  cwd = directory.path;
  mkdirSync(join(cwd, "app"));
  writeFileSync(join(cwd, "app", "main.js"), "console.log('hi')\n");
  writeFileSync(join(cwd, "sbom.spdx.json"), "{}");
  served = await startServe(["--memory"]);
  const built = await json<{ descriptor: { digest: string } }>("build", "app:/app", "-t", "oci:out:v1");
  digest = built.descriptor.digest;
  await json("attach", "oci:out:v1", "sbom.spdx.json");
  for (const repository of ["acme/app", "acme/other"])
    await json("push", "oci:out:v1", `${served.host}/${repository}:v1`);
});

afterAll(async () => {
  await served?.stop();
  await directory?.remove();
});

describe("export", () => {
  it("writes what docker load reads, and says so where an image has no name for it", async () => {
    const run = await stowage(["export", "oci:out:v1", "plain.tar"], { cwd });
    expect(run).toMatchObject({ code: 0 });
    expect(run.stdout).toMatch(/^plain\.tar \(hybrid\)\nv1\n {2}digest {4}sha256:/);
    expect(run.stderr).toContain("docker load takes the image without a name");
    const report = await json<ExportReport>("export", "oci:out:v1", "named.tar", "--name", "acme/app:v1");
    expect(report.images[0]).toMatchObject({ descriptor: { digest }, tags: ["docker.io/acme/app:v1"] });
    expect(report.loaded).toMatchObject([{ name: "docker.io/acme/app:v1" }]);
  });

  it("to stdout is the same as to a file, and nothing else is printed there", async () => {
    await stowage(["export", "oci:out:v1", "file.tar", "-q"], { cwd });
    const child = spawn(process.execPath, [command, "export", "oci:out:v1", "-"], {
      cwd,
      stdio: ["ignore", "pipe", "ignore"],
    });
    const chunks: Buffer[] = [];
    child.stdout.on("data", (chunk: Buffer) => chunks.push(chunk));
    const [code] = await once(child, "close");
    expect(code).toBe(0);
    expect(Buffer.concat(chunks).equals(readFileSync(join(cwd, "file.tar")))).toBe(true);
  });

  it("compresses as the name of the file says, or as it is told", async () => {
    await json("export", "oci:out:v1", "a.tar.gz");
    expect(readFileSync(join(cwd, "a.tar.gz")).subarray(0, 2).toString("hex")).toBe("1f8b");
    expect(await names("oci-archive:a.tar.gz")).toEqual(["v1"]);
    await json("export", "oci:out:v1", "b.tar.gz", "--compress", "none");
    expect(readFileSync(join(cwd, "b.tar.gz")).subarray(0, 10).toString()).toBe("oci-layout");
  });

  it.each([
    [["export", "out.tar"], "a location to read and a file to write"],
    [["export", "oci:out:v1", "oci-archive:x.tar"], "export writes a FILE"],
    [["export", "oci:out:v1", "x.tar", "--format", "docker", "--referrers", "all"], "no place for referrers"],
    [["export", "oci:out:v1", "oci:out:v1", "x.tar", "--name", "a/b:c"], "--name is for one image"],
    [["export", "oci-archive:plain.tar", "plain.tar"], "read and written at once"],
    [["import", "plain.tar"], "import needs a target"],
    [["import", "plain.tar", "--rename", "(=b"], "no regular expression"],
    [["import", "oci-archive:plain.tar:v1", "oci:x"], "import brings all of them"],
  ])("wrong usage ends with 2: %j", async (args, text) => {
    const run = await stowage(args, { cwd });
    expect(run.stderr).toContain(text);
    expect(run).toMatchObject({ code: 2, stdout: "" });
    expect(existsSync(join(cwd, "x.tar"))).toBe(false);
  });

  it("with zstd is read back, or refused with nothing written where this Node has none", async () => {
    const run = await stowage(["export", "oci:out:v1", "packed.tar.zst"], { cwd });
    if ("createZstdCompress" in zlib) {
      expect(run).toMatchObject({ code: 0 });
      expect(readFileSync(join(cwd, "packed.tar.zst")).subarray(0, 4).toString("hex")).toBe("28b52ffd");
      const tree = await json<{ descriptor: { digest: string } }>("tree", "oci-archive:packed.tar.zst:v1");
      expect(tree.descriptor.digest).toBe(digest);
    } else {
      expect(run).toMatchObject({ code: 1, stdout: "" });
      expect(run.stderr).toMatch(/cannot compress with zstd.*Node 22\.15/s);
      expect(readdirSync(cwd).filter((name) => name.includes("packed"))).toEqual([]);
    }
  });

  it("to an archive and back into a layout loses no digest, name, referrer or annotation", async () => {
    await json("copy", "oci:out:v1", "oci:full:one");
    await json("tag", "oci:full:one", "two");
    const index = join(cwd, "full", "index.json");
    const before = JSON.parse(readFileSync(index, "utf8"));
    // The list of the referrers is made anew from what refers to the image.
    for (const { annotations } of before.manifests)
      if (/^(?:one|two)$/.test(annotations?.["org.opencontainers.image.ref.name"]))
        annotations["com.example.kept"] = "yes";
    writeFileSync(index, JSON.stringify(before));
    await json("export", "oci:full", "round.tar");
    await json("import", "round.tar", "oci:back");
    const after = JSON.parse(readFileSync(join(cwd, "back", "index.json"), "utf8"));
    const named = ({ manifests }: { manifests: { annotations?: Record<string, string> }[] }) =>
      manifests.filter(({ annotations }) => annotations?.["com.example.kept"] !== undefined);
    expect(named(after)).toEqual(named(before));
    for (const name of ["one", "two"]) {
      const [there, here] = [`oci:full:${name}`, `oci:back:${name}`];
      expect(await json("tree", here)).toEqual(await json("tree", there));
    }
    expect(await json("verify", "oci:back")).toMatchObject({ findings: [] });
  });
});

describe("an export that is interrupted", () => {
  it("leaves what was there before and nothing else", async () => {
    const layer = {
      mediaType: "application/vnd.oci.image.layer.v1.tar",
      digest: `sha256:${"5".repeat(64)}`,
      size: 1e9,
    };
    const mediaType = "application/vnd.oci.image.manifest.v1+json";
    const manifest = JSON.stringify({ schemaVersion: 2, mediaType, config: layer, layers: [layer] });
    const asked: string[] = [];
    // Sends the beginning of the layer, and then nothing.
    const server = createServer((request, response) => {
      asked.push(request.url ?? "");
      if (request.url?.includes("/manifests/")) {
        response.writeHead(200, { "content-type": mediaType, "content-length": manifest.length }).end(manifest);
      } else response.writeHead(200, { "content-length": layer.size }).write(Buffer.alloc(3_000_000));
    });
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    mkdirSync(join(cwd, "cut"));
    writeFileSync(join(cwd, "cut", "x.tar"), "before");
    const { port } = server.address() as AddressInfo;
    const child = spawn(process.execPath, [command, "export", `127.0.0.1:${port}/a/b:v1`, "cut/x.tar"], { cwd });
    try {
      await expect.poll(() => asked.some((url) => url.includes("/blobs/")), { timeout: 30_000 }).toBe(true);
      await expect.poll(() => readdirSync(join(cwd, "cut")).length, { timeout: 30_000 }).toBe(2);
      child.kill("SIGINT");
      expect((await once(child, "close"))[0]).toBe(130);
      expect(readdirSync(join(cwd, "cut"))).toEqual(["x.tar"]);
      expect(readFileSync(join(cwd, "cut", "x.tar"), "utf8")).toBe("before");
    } finally {
      child.kill("SIGKILL");
      server.closeAllConnections();
      server.close();
    }
  }, 60_000);
});

describe("a bundle of several repositories", () => {
  it("is restored where rules say, as the dry run tells before", async () => {
    const { host } = served;
    await json("export", `${host}/acme/app:v1`, `${host}/acme/other:v1`, "bundle.tar");
    const rules = ["--rename", `${host}/acme/(.*)=${host}/renamed/$1`];
    const planned = await json<ImportReport>("import", "bundle.tar", ...rules, "--dry-run");
    expect(planned.images.map(({ name, target }) => [name, target])).toEqual([
      [`${host}/acme/app:v1`, `${host}/renamed/app:v1`],
      [`${host}/acme/other:v1`, `${host}/renamed/other:v1`],
    ]);
    const run = await stowage(["import", "bundle.tar", ...rules], { cwd });
    expect(run.stdout).toContain(`${host}/acme/other:v1 -> ${host}/renamed/other:v1`);
    const tree = JSON.stringify(await json("tree", `${host}/renamed/other:v1`));
    expect(tree).toContain(digest);
    expect(tree).toContain("application/spdx+json");
  });
});

describe("import", () => {
  it("reads from stdin, and gives the one image the name of the target", async () => {
    await json("export", "oci:out:v1", "in.tar");
    const child = spawn(
      "sh",
      ["-c", 'cat in.tar | "$0" "$1" import - oci:from-stdin:mine --json', process.execPath, command],
      {
        cwd,
        stdio: ["ignore", "ignore", "inherit"],
      },
    );
    expect((await once(child, "close"))[0]).toBe(0);
    expect(await names("oci:from-stdin")).toEqual(["mine"]);
  });

  it("of an archive with a blob that is damaged, cut off or missing leaves the target as it was", async () => {
    await json("export", "oci:out:v1", "good.tar");
    await json("build", "app:/other", "-t", "oci:before:v0");
    const good = readFileSync(join(cwd, "good.tar"));
    const damaged = Buffer.from(good);
    // In the middle of the last blob that is written, a manifest, and of the first, a config.
    for (const at of [512 + 512 + 512 + 20, good.lastIndexOf('"layers"')]) damaged[at] = (damaged[at] as number) ^ 1;
    cpSync(join(cwd, "before"), join(cwd, "after"), { recursive: true });
    for (const [name, bytes, target] of [
      ["damaged.tar", damaged, "after"],
      ["cut.tar", good.subarray(0, good.length - 3000), "after"],
      ["damaged.tar", damaged, "made"],
    ] as const) {
      writeFileSync(join(cwd, name), bytes);
      const run = await stowage(["import", name, `oci:${target}`], { cwd });
      expect([run.code, run.stdout]).toEqual([1, ""]);
      expect(run.stderr).not.toMatch(/\n\s+at /);
    }
    expect(tree(join(cwd, "after"))).toEqual(tree(join(cwd, "before")));
    expect(existsSync(join(cwd, "made"))).toBe(false);
  });
});

/** Every file below a directory with what it holds. */
function tree(path: string): Record<string, string> {
  const files = readdirSync(path, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile());
  return Object.fromEntries(
    files.map((entry) => {
      const file = join(entry.parentPath, entry.name);
      return [file.slice(path.length), readFileSync(file, "latin1")];
    }),
  );
}
