import { symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { Layout } from "@stowage/layout";
import {
  type Closure,
  type ClosureDiff,
  type ExportResult,
  exportClosure,
  hashNar,
  type PathInfo,
  parseRegistration,
  readCacheDirectory,
  type TreeEntry,
  writeExport,
} from "@stowage/nix";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type Served, startListening, stowageJson } from "../cli/stowage.js";
import { fileTree } from "./file-tree.js";
import { attempt, findTool, needs, run, scratch } from "./peers.js";
import { type PeerRegistry, startDockerRegistry, startZot, watch, zot } from "./registries.js";

const closureNix = fileURLToPath(new URL("../../packages/nix/test/fixtures/closure.nix", import.meta.url));
const listening: Served[] = [];
afterAll(() => Promise.all(listening.map((served) => served.stop())));

/** A store of its own, in which Nix works without root and without a network, with a small closure in it. */
interface LiveStore {
  readonly directory: string;
  readonly env: Readonly<Record<string, string>>;
  /** The script and the link of closure.nix. */
  readonly roots: readonly string[];
  readonly publicKey: string;
}

async function buildStore(): Promise<LiveStore> {
  const directory = await scratch();
  const env = {
    HOME: directory,
    XDG_CACHE_HOME: join(directory, "cache-home"),
    NIX_STORE_DIR: join(directory, "store"),
    NIX_STATE_DIR: join(directory, "var"),
    NIX_LOG_DIR: join(directory, "log"),
    NIX_CONFIG: "experimental-features = nix-command\nsubstituters =\nsandbox = false\nbuild-users-group =",
  };
  const options = { cwd: directory, env };
  const built = await run("nix-build", ["--no-out-link", closureNix, "-A", "script", "-A", "link"], options);
  const secret = await run("nix", ["key", "generate-secret", "--key-name", "live-1"], options);
  writeFileSync(join(directory, "secret.key"), secret);
  const publicKey = await run("nix", ["key", "convert-secret-to-public"], { ...options, input: secret });
  const roots = built.trim().split("\n");
  const cache = `file://${join(directory, "cache")}?secret-key=${join(directory, "secret.key")}`;
  await run("nix", ["copy", "--to", cache, ...roots], options);
  return { directory, env, roots, publicKey: publicKey.trim() };
}

describe("with Nix", () => {
  let store: LiveStore;
  let registry: PeerRegistry;

  beforeAll(async () => {
    if (findTool("nix-store") === undefined) return;
    store = await buildStore();
    if (findTool("docker-registry") !== undefined) registry = await startDockerRegistry();
  });

  const copyFrom = (url: string, key: string, root: string) =>
    attempt(
      "nix",
      [
        "copy",
        "--from",
        url,
        "--option",
        "trusted-public-keys",
        key,
        "--to",
        join(store.directory, root),
        ...store.roots,
      ],
      {
        cwd: store.directory,
        env: store.env,
      },
    );

  async function serveCache(...args: readonly string[]): Promise<Served> {
    const served = await startListening(["nix", "cache", ...args], { cwd: store.directory });
    listening.push(served);
    return served;
  }

  it("a closure goes from a signed cache through a registry into a store that asks for signatures", async (context) => {
    needs(context, "nix-store", "docker-registry");
    const here = { cwd: store.directory };
    // Two layers for six paths and their links: all paths share one.
    const options = ["--from", "cache:cache", "--max-layers", "2", "--trusted-key", store.publicKey];
    await stowageJson(["nix", "export", ...options, "--to", "oci:out:v1"], here);
    await stowageJson(["copy", "oci:out:v1", `${registry.host}/closure:v1`], here);
    await stowageJson(["copy", `${registry.host}/closure:v1`, "oci:pulled:v1"], here);
    const served = await serveCache("oci:pulled:v1");
    const copied = await copyFrom(`http://${served.host}`, store.publicKey, "root");
    expect(`${copied.code} ${copied.stderr}`).toMatch(/^0 copying 6 paths/);
    const check = ["--store", join(store.directory, "root"), "--verify", "--check-contents"];
    const verified = await attempt("nix-store", check, { env: store.env });
    expect(verified.code).toBe(0);
    expect(verified.stderr).not.toContain("modified");

    const wrong = `live-1:${Buffer.alloc(32, 7).toString("base64")}`;
    const refused = await copyFrom(`http://${served.host}`, wrong, "refused");
    expect(refused.code).not.toBe(0);
    expect(refused.stderr).toContain("lacks a valid signature");
    await served.stop();
  });

  it("a store path is found in a registry by the tag that is its hash, without an image", async (context) => {
    needs(context, "nix-store", "docker-registry");
    const here = { cwd: store.directory };
    await stowageJson(["nix", "import", "cache", "--to", `${registry.host}/store:all`], here);
    const served = await serveCache(`${registry.host}/store`, "--store-dir", join(store.directory, "store"));
    const copied = await copyFrom(`http://${served.host}`, store.publicKey, "by-hash");
    expect(`${copied.code} ${copied.stderr}`).toMatch(/^0 copying 6 paths/);
    const unknown = await fetch(`http://${served.host}/${"0".repeat(32)}.narinfo`);
    expect(unknown.status).toBe(404);
    await served.stop();
  });

  it("a cache that is written is taken as one that nix copy wrote, also as a substituter", async (context) => {
    needs(context, "nix-store");
    const here = { cwd: store.directory };
    await stowageJson(["nix", "export", "--from", "cache:cache", "--to", "oci:written:v1"], here);
    await stowageJson(["nix", "cache", "oci:written:v1", "--write", "written-cache"], here);
    const url = `file://${join(store.directory, "written-cache")}`;
    const copied = await copyFrom(url, store.publicKey, "written-root");
    expect(`${copied.code} ${copied.stderr}`).toMatch(/^0 copying 6 paths/);
    const substitute = ["--store", join(store.directory, "substituted"), "--option", "substituters", url];
    const keys = ["--option", "trusted-public-keys", store.publicKey];
    await run("nix-store", [...substitute, ...keys, "-r", store.roots[0] as string], { env: store.env });
  });

  it("the store itself gives the layers that its cache gives, also by a link and by a graph", async (context) => {
    needs(context, "nix-store");
    const here = { cwd: store.directory, env: store.env };
    const [script, link] = store.roots as [string, string];
    symlinkSync(link, join(store.directory, "result"));
    const digests = async (from: string, ...more: readonly string[]): Promise<unknown> => {
      const args = ["nix", "export", ...more, "--from", from, "--to", `oci:same:${from.replace(/\W.*$/, "")}`];
      const { layers, packed } = await stowageJson<ExportResult>(args, here);
      return { digests: layers.map(({ descriptor }) => descriptor.digest), packed };
    };
    const cache = (await digests("cache:cache")) as { digests: string[] };
    expect(await digests("store", script, "./result")).toEqual({ ...cache, packed: 0 });
    const info = await run("nix", ["path-info", "--json", "-r", ...store.roots], here);
    writeFileSync(join(store.directory, "path-info.json"), info);
    expect(await digests("graph:path-info.json")).toEqual({ ...cache, packed: 0 });
    const paths = (await run("nix-store", ["-qR", ...store.roots], here)).trim().split("\n");
    const archive = await attempt("sh", ["-c", `nix-store --export ${paths.join(" ")} > closure.export`], here);
    expect(archive.code).toBe(0);
    expect(await digests("export:closure.export")).toEqual({ ...cache, packed: 0 });
    const dump = parseRegistration(await run("nix-store", ["--dump-db"], here), "the dump");
    expect(dump.map(({ path }) => path)).toEqual(expect.arrayContaining(paths));
  });

  it("an archive that was written here is imported", async (context) => {
    needs(context, "nix-store");
    const { objects } = await readCacheDirectory(join(store.directory, "cache"), []);
    const chunks: Uint8Array[] = [];
    for await (const chunk of writeExport(objects)) chunks.push(Buffer.from(chunk));
    writeFileSync(join(store.directory, "written.export"), Buffer.concat(chunks));
    const root = join(store.directory, "imported");
    await run("sh", ["-c", `nix-store --store ${root} --import < written.export`], {
      cwd: store.directory,
      env: store.env,
    });
    await run("nix-store", ["--store", root, "--verify", "--check-contents"], { env: store.env });
  });
});

/** A closure of many small paths, without Nix. Those from `changed` on differ from version to version. */
async function manyPaths(count: number, changed: number, version: string): Promise<Closure> {
  const objects = await Promise.all(
    Array.from({ length: count }, async (_, at) => {
      const text = `file ${at}${at < changed ? "" : ` of ${version}`}\n`;
      const entries: TreeEntry[] = [
        { type: "directory", path: "" },
        { type: "directory", path: "share" },
        { type: "file", path: "share/file", executable: at % 2 === 0, size: text.length, body: [Buffer.from(text)] },
        { type: "symlink", path: "share/link", target: "file" },
      ];
      const tree = async function* (): AsyncGenerator<TreeEntry, void, undefined> {
        yield* entries;
      };
      const mark = at < changed ? "0" : version;
      const path = `/nix/store/${mark}${String(at).padStart(31, "0")}-path-${at}`;
      return { info: { path, ...(await hashNar(tree(), path)), references: [], signatures: [] }, tree };
    }),
  );
  return { name: "many", storeDirectory: "/nix/store", roots: objects.map(({ info }) => info.path), objects };
}

describe("a closure of 1,000 store paths", () => {
  let directory: string;
  let layout: Layout;

  beforeAll(async () => {
    directory = await scratch();
    layout = await Layout.create(join(directory, "many"));
    const options = { links: false, layering: "per-path" } as const;
    await exportClosure(layout, await manyPaths(1000, 900, "1"), { ...options, tags: ["one"] });
    await exportClosure(layout, await manyPaths(1000, 900, "2"), { ...options, tags: ["two"] });
  });

  it.for([
    { program: "docker-registry", start: startDockerRegistry },
    { program: zot, start: startZot },
  ])(
    "is pushed to $program and pulled; another that has 90 % of it moves the rest",
    { timeout: 240_000 },
    async ({ program, start }, context) => {
      needs(context, program);
      const watched = await watch(await start());
      const place = `${watched.host}/many`;
      await stowageJson(["copy", "oci:many:one", `${place}:one`, "--concurrency", "8"], { cwd: directory });
      const before = watched.requests.length;
      const sent = await stowageJson<{ written: number; present: number }>(
        ["copy", "oci:many:two", `${place}:two`, "--concurrency", "8"],
        { cwd: directory },
      );
      // A hundred layers, a config and a manifest.
      expect(sent).toMatchObject({ written: 102, present: 900 });
      const uploads = watched.requests.slice(before).filter((request) => request.startsWith("POST "));
      expect(uploads).toHaveLength(101);
      await stowageJson(["copy", `${place}:two`, `oci:pulled-${program}:two`, "--concurrency", "8"], {
        cwd: directory,
      });
      const [first, second] = [
        await layout.resolve("two"),
        await (await Layout.open(join(directory, `pulled-${program}`))).resolve("two"),
      ];
      expect(second.digest).toBe(first.digest);
      const diff = await stowageJson<ClosureDiff>(["nix", "diff", `${place}:one`, `${place}:two`], { cwd: directory });
      expect([diff.kept, diff.paths.length, diff.layers.length]).toEqual([900, 200, 100]);
    },
  );

  it("gives the same files under umoci, with a layer for each path and with few", async (context) => {
    needs(context, "umoci");
    const closure = await manyPaths(1000, 900, "1");
    await exportClosure(layout, closure, { links: false, maxLayers: 40, tags: ["narrow"] });
    for (const tag of ["one", "narrow"])
      await run("umoci", ["raw", "unpack", "--image", `many:${tag}`, `files-${tag}`], {
        cwd: directory,
        timeout: 200_000,
      });
    const [wide, narrow] = [
      await fileTree(join(directory, "files-one"), { whole: true }),
      await fileTree(join(directory, "files-narrow"), { whole: true }),
    ];
    expect(Object.keys(wide).length).toBe(1 + 2 + 4 * 1000);
    expect(narrow).toEqual(wide);
  }, 240_000);
});

describe("a store path that shares a layer", () => {
  it("is fetched from a registry with one request for a part of the blob", async (context) => {
    needs(context, "docker-registry");
    const directory = await scratch();
    const layout = await Layout.create(join(directory, "out"));
    const closure = await manyPaths(20, 20, "1");
    await exportClosure(layout, closure, { links: false, layering: "single", tags: ["v1"] });
    const watched = await watch(await startDockerRegistry());
    await stowageJson(["copy", "oci:out:v1", `${watched.host}/group:v1`], { cwd: directory });
    const served = await startListening(["nix", "cache", `${watched.host}/group:v1`], { cwd: directory });
    try {
      const base = (closure.objects[7] as { info: PathInfo }).info.path.slice(11);
      const narInfo = await (await fetch(`http://${served.host}/${base.slice(0, 32)}.narinfo`)).text();
      const before = watched.requests.length;
      const nar = await fetch(`http://${served.host}/${/^URL: (.*)$/m.exec(narInfo)?.[1]}`);
      expect((await nar.arrayBuffer()).byteLength).toBe((closure.objects[7] as { info: PathInfo }).info.narSize);
      expect(watched.requests.slice(before).filter((request) => request.includes("/blobs/"))).toHaveLength(1);
      expect(watched.ranges).toEqual([expect.stringMatching(/^bytes=[0-9]+-[0-9]+$/)]);
    } finally {
      await served.stop();
    }
  });
});
