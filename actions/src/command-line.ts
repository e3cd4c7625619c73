import { createHash } from "node:crypto";
import { cp, mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join, posix } from "node:path";
import { fileURLToPath } from "node:url";
import { cacheDir, downloadTool, extractTar } from "@actions/tool-cache";
import { OciError } from "@stowage/layout";
import { info } from "./log.js";

/** What the command line is called in the tool cache. */
export const TOOL = "stowage";

/** Where an archive of the command line is, and what its SHA-256 has to be, in hexadecimal. */
export interface ToolArchive {
  /** Default: among the files of the release. */
  readonly url: string | undefined;
  /** Default: what `SHA256SUMS` beside the archive says. */
  readonly checksum: string | undefined;
}

const RELEASES = "https://github.com/stowage/stowage/releases/download";

/** The list of the files of an installed command line, with the SHA-256 of each. */
const LIST = "files.json";
const LISTED = /^(?:bundle\/(?:main\.js|[A-Za-z0-9_-]+\.mjs)|bin\/stowage(?:\.cmd|\.js)?|package\.json|licenses\.txt)$/;

/** Why what is installed at `path` is not the command line of this version; undefined where it is. */
export async function checkTool(path: string, version: string): Promise<string | undefined> {
  try {
    const manifest = JSON.parse(await readFile(join(path, "package.json"), "utf8")) as { version?: unknown };
    if (manifest.version !== version) return `it is version ${String(manifest.version)}`;
    const files = JSON.parse(await readFile(join(path, LIST), "utf8")) as Record<string, unknown>;
    if (!Object.keys(files).includes("bundle/main.js")) return `${LIST} names no program`;
    for (const [name, sum] of Object.entries(files)) {
      if (!LISTED.test(name)) return `${LIST} names ${JSON.stringify(name)}`;
      if (sha256(await readFile(join(path, ...name.split("/")))) !== sum) return `${name} is not what ${LIST} says`;
    }
    return undefined;
  } catch (error) {
    return (error as Error).message;
  }
}

/** Installs the command line that came with this action. Needs no network. */
export async function bundledTool(version: string): Promise<string> {
  const dist = dirname(fileURLToPath(import.meta.url));
  return installed(version, async (folder) => {
    const files = JSON.parse(await readFile(join(dist, "tool.json"), "utf8")) as Record<string, string>;
    for (const [name, content] of Object.entries(files)) {
      const file = join(folder, ...name.split("/"));
      await mkdir(dirname(file), { recursive: true });
      const source = name === "bundle/main.js" ? "stowage.mjs" : posix.basename(name);
      if (/^[0-9a-f]{64}$/.test(content)) await cp(join(dist, source), file);
      else await writeFile(file, content, { mode: name.startsWith("bin/") ? 0o755 : 0o644 });
    }
    return folder;
  });
}

/** Downloads an archive of the command line and installs it. Fails with `MISMATCH` where it is not what its checksum says. */
export async function downloadedTool(version: string, { url, checksum }: ToolArchive): Promise<string> {
  const name = `stowage-${version}.tgz`;
  const from = url ?? `${RELEASES}/v${version}/${name}`;
  return installed(version, async (folder) => {
    const wanted = checksum ?? (await publishedSum(from));
    const file = await downloaded(from, join(folder, name));
    const actual = sha256(await readFile(file));
    if (actual !== wanted)
      throw new OciError("MISMATCH", `${from} has the SHA-256 ${actual}, not ${wanted}`, {
        hint: "Compare with the checksum in the release notes; do not use the file before it is known why it differs.",
      });
    info(`${from} has the SHA-256 ${actual}, as it should`);
    return extractTar(file, join(folder, "tool"));
  });
}

/** Prepares a command line in a scratch directory, checks it, and puts it into the tool cache. */
async function installed(version: string, prepare: (folder: string) => Promise<string>): Promise<string> {
  const scratch = await mkdtemp(join(process.env.RUNNER_TEMP || tmpdir(), "stowage-setup-"));
  try {
    const folder = await prepare(scratch);
    const problem = await checkTool(folder, version);
    if (problem !== undefined)
      throw new OciError("MISMATCH", `what was to be installed is not stowage ${version}: ${problem}`);
    return await cacheDir(folder, TOOL, version);
  } finally {
    await rm(scratch, { recursive: true, force: true });
  }
}

async function publishedSum(url: string): Promise<string> {
  const sums = new URL("SHA256SUMS", url).href;
  const scratch = await mkdtemp(join(process.env.RUNNER_TEMP || tmpdir(), "stowage-sums-"));
  try {
    const text = await readFile(await downloaded(sums, join(scratch, "SHA256SUMS")), "utf8");
    const name = posix.basename(new URL(url).pathname);
    const line = text.split("\n").find((one) => one.endsWith(` ${name}`) || one.endsWith(`*${name}`));
    const sum = /^[0-9a-f]{64}(?= )/.exec(line ?? "")?.[0];
    if (sum !== undefined) return sum;
    throw new OciError("NOT_FOUND", `${sums} has no SHA-256 of ${name}`, { hint: "Give it as the input checksum." });
  } finally {
    await rm(scratch, { recursive: true, force: true });
  }
}

async function downloaded(url: string, file: string): Promise<string> {
  try {
    return await downloadTool(url, file);
  } catch (error) {
    throw new OciError("REGISTRY", `cannot download ${url}: ${(error as Error).message}`, {
      hint: "Is there such a release? Without a network, leave version out: the action brings its own.",
      cause: error,
    });
  }
}

function sha256(bytes: Uint8Array): string {
  return createHash("sha256").update(bytes).digest("hex");
}
