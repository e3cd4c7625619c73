import { cp, mkdir, readdir, writeFile } from "node:fs/promises";
import { delimiter, dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { describe, expect, it } from "vitest";
import { attempt, type Ended, needs, peersDirectory, run, scratch } from "../interop/peers.js";

const root = fileURLToPath(new URL("../../", import.meta.url));
const standIns = join(root, "test", "workflows", "stand-ins");

const path = [dirname(process.execPath), peersDirectory, process.env.PATH].join(delimiter);

/** Actions of GitHub's own, which are not to be had without it, and what stands in for them. */
const local = ["upload-artifact@v4", "download-artifact@v4", "cache@v5"].flatMap((name) => [
  "--local-repository",
  `actions/${name}=${join(standIns, name.slice(0, name.indexOf("@")))}`,
]);

/** A repository with nothing but the actions and the workflows. */
async function repository(): Promise<string> {
  const directory = await scratch();
  const actions = join(directory, "actions");
  await mkdir(actions);
  for (const entry of await readdir(join(root, "actions"), { withFileTypes: true }))
    if (entry.isDirectory() && !["node_modules", "src", "test", "types"].includes(entry.name))
      await cp(join(root, "actions", entry.name), join(actions, entry.name), { recursive: true });
  await cp(join(root, "test", "workflows"), join(directory, "workflows"), {
    recursive: true,
    filter: (path) => !/stand-ins|\.ts$/.test(path),
  });
  await cp(join(root, ".github"), join(directory, ".github"), { recursive: true });
  await writeFile(join(directory, ".gitignore"), "");
  const git = (...args: string[]) => run("git", args, { cwd: directory });
  await git("init", "-q", "-b", "main", ".");
  await git("remote", "add", "origin", "https://github.com/stowage/stowage.git");
  await git("add", "-A");
  await git("-c", "user.name=test", "-c", "user.email=test@example.invalid", "commit", "-q", "-m", "test");
  return directory;
}

/** Runs a workflow with act, on this machine and without containers. */
async function act(directory: string, workflow: string): Promise<Ended> {
  const store = await scratch();
  return attempt(
    "act",
    [
      ...["workflow_dispatch", "-W", workflow, "-P", "ubuntu-latest=-self-hosted", "-P", "ubuntu-24.04=-self-hosted"],
      ...["--env", `STORE=${store}`, "--no-cache-server", ...local],
    ],
    // The Node that runs the tests is the one that runs the actions.
    { cwd: directory, env: { XDG_CACHE_HOME: store, NO_COLOR: "1", PATH: path }, timeout: 110_000 },
  );
}

describe("with act, as GitHub runs it", { timeout: 120_000 }, () => {
  it.for([
    [".github/workflows/actions.yml", [/pulled sha256:[0-9a-f]{64}/, /merged sha256:[0-9a-f]{64}/, /miss, hit, miss/]],
    ["workflows/serve.yml", [/pulled sha256:[0-9a-f]{64}/]],
    ["workflows/refused.yml", [/refused/, /is no tag/, /nothing listens on 127\.0\.0\.1:1/]],
  ] as const)("%s comes to its end", async ([workflow, said], context) => {
    needs(context, "act", "git", "skopeo");
    const { code, stdout, stderr } = await act(await repository(), workflow);
    expect(code, `${stdout}\n${stderr}`).toBe(0);
    for (const text of said) expect(stdout).toMatch(text);
  });
});
