import { cpSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import type { ExportResult } from "@stowage/nix";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type Served, startListening, startServe, stowage, stowageJson, temporaryDirectory } from "./stowage.js";

const root = fileURLToPath(new URL("../..", import.meta.url));
const fixtures = join(root, "packages/nix/test/fixtures");
const script = "/nix/store/bqy3xcn2d64va92hx2zw78cbp7bpvdbi-run-app";
const document = readFileSync(join(root, "docs/nix.md"), "utf8");

let directory: { path: string; remove(): Promise<void> };
let served: Served;

beforeAll(async () => {
  directory = await temporaryDirectory();
  for (const name of ["cache", "closure.export"])
    cpSync(join(fixtures, name), join(directory.path, name), { recursive: true });
  cpSync(join(fixtures, "public.key"), join(directory.path, "cache.pub"));
  served = await startServe(["registry", "--listen", "127.0.0.1:0"], { cwd: directory.path });
});

afterAll(async () => {
  await served?.stop();
  await directory?.remove();
});

const here = (): { cwd: string } => ({ cwd: directory.path });
const failure = async (...args: readonly string[]): Promise<string> => {
  const run = await stowage(["nix", ...args], here());
  return `${run.code} ${run.stderr.trim().replaceAll(/\s*\n\s*/g, " | ")}`;
};

describe("docs/nix.md", () => {
  it("has commands that work in this order", async () => {
    const [block = ""] = [...document.matchAll(/```sh\n(.*?)```/gs)].map((match) => match[1]);
    const lines = block.trim().split("\n");
    expect(lines.length).toBeGreaterThan(7);
    for (const line of lines) {
      const [name, ...args] = line.replaceAll("localhost:5000", served.host).split(" ");
      expect(name).toBe("stowage");
      const run = await stowage(args, here());
      expect(`${line}: ${run.stderr}`).toBe(`${line}: `);
      expect(run.code).toBe(0);
    }
    // What went through the registry is, path by path, what was imported from it.
    const diff = await stowageJson(["nix", "diff", "oci:store:all", "oci:out:wide"], here());
    expect(diff).toMatchObject({ paths: [], kept: 6, layers: [] });
  });
});

describe("stowage nix", () => {
  it("export says what it made, and in how many layers", async () => {
    const run = await stowage(["nix", "export", script, "--from", "cache:cache", "--to", "oci:said:v1"], here());
    expect(run.stdout).toMatch(
      /^exported the binary cache cache to oci:said:v1\n {2}layers {3}6 layers\n {2}digest {3}sha256:[0-9a-f]{64}\n {2}paths {4}5 store paths, 3\.5 kB\n$/,
    );
    const quiet = await stowage(
      ["nix", "export", script, "--from", "cache:cache", "--to", "oci:said:v1", "-q"],
      here(),
    );
    expect(quiet.stdout).toBe(`${/digest +(\S+)/.exec(run.stdout)?.[1]}\n`);
  });

  it("export goes into a registry and an archive, with referrers and tags, and gives the digest that a layout gets", async () => {
    const args = ["nix", "export", "--from", "cache:cache", "--wide", "referrer", "--per-path-artifacts"];
    const layout = await stowageJson<ExportResult>([...args, "--to", "oci:both:v1"], here());
    for (const to of [`${served.host}/nix:v1`, "oci-archive:nix.tar:v1"]) {
      const { descriptor } = await stowageJson<ExportResult>([...args, "--to", to], here());
      expect(descriptor.digest).toBe(layout.descriptor.digest);
      const tags = await stowage(["list", to.replace(/:v1$/, ""), "-q"], here());
      expect(tags.stdout).toContain(script.slice(11, 43));
      const tree = await stowage(["tree", to], here());
      expect(tree.stdout.match(/<-/g)).toHaveLength(2);
    }
  });

  it("export takes the config that build takes", async () => {
    const args = [
      "--cmd",
      "/bin/run-app",
      "--cmd=-v",
      "--env",
      "A=b",
      "--platform",
      "linux/arm64",
      "--annotation",
      "x=y",
    ];
    await stowageJson(["nix", "export", script, "--from", "cache:cache", "--to", "oci:config:v1", ...args], here());
    const { stdout } = await stowage(["inspect", "oci:config:v1", "--json"], here());
    for (const text of ['"Cmd":["/bin/run-app","-v"]', '"Env":["A=b"]', '"architecture":"arm64"', '"x":"y"'])
      expect(stdout).toContain(text);
  });

  it("cache serves a layout until it is interrupted, and tells of requests", async () => {
    await stowageJson(["nix", "import", "cache", "--to", "oci:served:all"], here());
    const cache = await startListening(["nix", "cache", "oci:served", "--log"], here());
    const errors: string[] = [];
    cache.process.stderr?.setEncoding("utf8").on("data", (text: string) => errors.push(text));
    const answer = await fetch(`http://${cache.host}/${script.slice(11, 43)}.narinfo`);
    expect(await answer.text()).toContain(`StorePath: ${script}\n`);
    expect(await cache.stop()).toBe(0);
    expect(errors.join("")).toContain(`GET /${script.slice(11, 43)}.narinfo 200`);
  });

  it("says what is wrong, and with what", async () => {
    const to = ["--to", "oci:wrong:v1"];
    writeFileSync(join(directory.path, "graph"), `${script}\n\n1\n/nix/store/${"0".repeat(32)}-missing\n`);
    expect(await failure("export", "--from", "nowhere:x", ...to)).toMatch(
      /^2 .*--from "nowhere:x" is not store, cache:DIR/,
    );
    expect(await failure("export", "--from", "store", ...to)).toMatch(/^2 .*needs at least one store path/);
    expect(await failure("export", "--from", "cache:missing", ...to)).toMatch(/^1 .*missing is no binary cache/);
    expect(await failure("export", "0".repeat(32), "--from", "cache:cache", ...to)).toMatch(/^1 .*has no store path/);
    expect(await failure("export", "--from", "graph:graph", ...to)).toMatch(
      /^1 .*lacks what is referred to: .*-missing/,
    );
    expect(await failure("export", "--from", "cache:cache", ...to, "--max-layers", "0")).toMatch(/^2 .*at least 1/);
    expect(await failure("export", "--from", "cache:cache", "--to", "docker-archive:x.tar")).toMatch(
      /^2 .*docker-archive/,
    );
    expect(await failure("export", "--from", "cache:cache", ...to, "--trusted-key", "bad")).toMatch(
      /^2 .*not a public key/,
    );
    const other = `other-1:${Buffer.alloc(32, 1).toString("base64")}`;
    expect(await failure("export", "--from", "cache:cache", ...to, "--trusted-key", other)).toMatch(
      /^1 .*5 of 6 store paths lack a signature by a trusted key, .* \| Trusted are other-1\.$/,
    );
    writeFileSync(join(directory.path, "file"), "x");
    await stowage(["build", "file:/file", "-t", "oci:plain:v1"], here());
    expect(await failure("cache", "oci:plain:v1", "--write", "w")).toMatch(/^1 .*holds no store path/);
  });
});
