import { cp, mkdir, readdir, readFile, realpath, writeFile } from "node:fs/promises";
import { dirname, join, relative } from "node:path";
import { fileURLToPath } from "node:url";
import { describe, expect, it, type TestContext } from "vitest";
import { stowageJson } from "../cli/stowage.js";
import { attempt, needs, run, scratch, skip } from "./peers.js";

const root = fileURLToPath(new URL("../..", import.meta.url));

/** Skips the test where containers cannot be run. */
function needsContainers(context: TestContext): void {
  if (process.platform !== "linux") skip(context, "containers run on Linux only");
  needs(context, "umoci", "runc");
  if (process.getuid?.() !== 0) skip(context, "running a container takes root here");
}

/** Unpacks `oci:out:v1` with umoci, runs it with runc, and returns what it printed. */
async function runImage(directory: string): Promise<string> {
  await run("umoci", ["unpack", "--image", "out:v1", "bundle"], { cwd: directory });
  const file = join(directory, "bundle", "config.json");
  const config = JSON.parse(await readFile(file, "utf8"));
  config.process.terminal = false;
  await writeFile(file, JSON.stringify(config));
  const name = `stowage-interop-${process.pid}`;
  const state = ["--root", join(directory, "state")];
  try {
    return await run("runc", [...state, "run", "--bundle", "bundle", name], { cwd: directory });
  } finally {
    // Does nothing where the container has ended, as it should have.
    await attempt("runc", [...state, "delete", "--force", name], { cwd: directory });
  }
}

/** The busybox of Debian, one file that needs no library. */
async function fetchBusybox(context: TestContext, directory: string): Promise<void> {
  needs(context, "apt-get", "dpkg-deb");
  const fetched = await attempt("apt-get", ["download", "-q", "busybox-static"], { cwd: directory });
  if (fetched.code !== 0) skip(context, `busybox-static cannot be had: ${fetched.stderr.trim().split("\n").at(-1)}`);
  const archive = (await readdir(directory)).find((name) => name.endsWith(".deb")) as string;
  await run("dpkg-deb", ["-x", archive, "package"], { cwd: directory });
}

describe("an image that we built, unpacked by umoci and run by runc", () => {
  it("runs its entrypoint with its arguments, environment and working directory", async (context) => {
    needsContainers(context);
    const directory = await scratch();
    await fetchBusybox(context, directory);
    await writeFile(
      join(directory, "hello.sh"),
      'echo "arguments: $*"\necho "directory: $(pwd)"\necho "greeting: $GREETING"\ncat message.txt\n',
    );
    await writeFile(join(directory, "message.txt"), "from a file of the image\n");
    const files = ["package/bin/busybox:/bin/busybox", "hello.sh:/app/hello.sh", "message.txt:/app/message.txt"];
    const entrypoint = ["--entrypoint", JSON.stringify(["/bin/busybox", "sh", "/app/hello.sh"])];
    const config = [...entrypoint, "--cmd", "one", "--cmd", "two words", "--env", "GREETING=hello", "-w", "/app"];
    await stowageJson(["build", ...files, "-t", "oci:out:v1", ...config], { cwd: directory });
    expect((await runImage(directory)).split("\n")).toEqual([
      "arguments: one two words",
      "directory: /app",
      "greeting: hello",
      "from a file of the image",
      "",
    ]);
  });

  it("on another image runs as the user and with the environment that the two give together", async (context) => {
    needsContainers(context);
    const directory = await scratch();
    await fetchBusybox(context, directory);
    const base = ["--env", "FROM=base", "--env", "BOTH=base", "--entrypoint", "/bin/busybox"];
    const busybox = ["package/bin/busybox:/bin/busybox", "-t", "oci:base:v1", ...base];
    await stowageJson(["build", ...busybox], { cwd: directory });
    await writeFile(join(directory, "show.sh"), 'echo "$FROM $BOTH $TOP"; busybox id -u; busybox id -g\n');
    const top = ["--env", "BOTH=top", "--env", "TOP=top", "--env", "PATH=/bin", "--user", "1234:5678"];
    const cmd = ["--cmd", JSON.stringify(["sh", "/show.sh"])];
    await stowageJson(["build", "show.sh:/show.sh", "-t", "oci:out:v1", "--base", "oci:base:v1", ...top, ...cmd], {
      cwd: directory,
    });
    expect((await runImage(directory)).trim().split("\n")).toEqual(["base top top", "1234", "5678"]);
  });

  it("is this command itself with Node, and prints its version", async (context) => {
    needsContainers(context);
    const directory = await scratch();
    await collectCommand(join(directory, "app"));
    const files = ["app:/app", ...(await nodeRuntime())];
    const entrypoint = JSON.stringify(["/usr/local/bin/node", "/app/packages/cli/bin/stowage.js"]);
    // Stored as they are: how fast a hundred megabytes are compressed is not what this is about.
    const options = ["--compression", "none", "--entrypoint", entrypoint, "--cmd=--version"];
    await stowageJson(["build", ...files, "-t", "oci:out:v1", ...options], { cwd: directory });
    const { version } = await readManifest(join(root, "packages", "cli"));
    expect((await runImage(directory)).trim()).toBe(version);
  });
});

interface PackageManifest {
  readonly version: string;
  readonly dependencies?: Readonly<Record<string, string>>;
}

async function readManifest(folder: string): Promise<PackageManifest> {
  return JSON.parse(await readFile(join(folder, "package.json"), "utf8")) as PackageManifest;
}

/** Copies the command with its production dependencies, each below the package that wants it. */
async function collectCommand(target: string): Promise<void> {
  const visit = async (folder: string, place: string): Promise<void> => {
    await mkdir(place, { recursive: true });
    await cp(folder, place, {
      recursive: true,
      filter: (path) => !["node_modules", "src", "test"].includes(relative(folder, path).split("/")[0] as string),
    });
    const { dependencies } = await readManifest(folder);
    for (const name of Object.keys(dependencies ?? {}))
      await visit(await findPackage(folder, name), join(place, "node_modules", name));
  };
  await visit(join(root, "packages", "cli"), join(target, "packages", "cli"));
}

async function findPackage(folder: string, name: string): Promise<string> {
  for (let at = folder; at !== dirname(at); at = dirname(at)) {
    const found = await realpath(join(at, "node_modules", name)).catch(() => undefined);
    if (found !== undefined) return found;
  }
  throw new Error(`cannot find ${name}, which ${folder} depends on`);
}

/** The running Node, and the libraries it has loaded, as arguments of `stowage build`. */
async function nodeRuntime(): Promise<string[]> {
  const report = process.report?.getReport() as unknown as { sharedObjects: string[] };
  const libraries = report.sharedObjects.filter(
    (path) => path.startsWith("/") && path !== process.execPath && !path.endsWith(".node"),
  );
  const mappings = libraries.map(async (path) => `${await realpath(path)}:${path}`);
  return [`${await realpath(process.execPath)}:/usr/local/bin/node`, ...(await Promise.all(mappings))];
}
