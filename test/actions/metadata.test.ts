import { execFileSync } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { writeNixCache } from "./nix-cache.js";
import { type ActionName, actionNames, actionsFolder, Job, metadataOf } from "./runner.js";

const command = fileURLToPath(new URL("../../packages/cli/bin/stowage.js", import.meta.url));

/** Inputs without which an action does nothing; with them it gets to its end. */
const minimal: Record<ActionName, Record<string, string>> = {
  build: { files: "app", target: "oci:out:v1" },
  attach: { subject: "oci:out:v1", "artifact-type": "application/vnd.acme.note" },
  publish: { source: "oci:out:v1", references: "127.0.0.1:1/acme/app:v1" },
  merge: { parts: "oci:out:v1", target: "oci:merged:v1" },
  sync: { source: "oci:out", target: "oci:mirror" },
  serve: { directory: "out" },
  load: { source: "oci:out:v1", into: "archive", archive: "image.tar", name: "acme/app:v1" },
  setup: {},
  "nix-export": { from: "cache:nix", to: "oci:nixed:v1" },
};

/** The command that an action is, with the word before its options where it has one; setup is none. */
const commands: Partial<Record<ActionName, readonly string[]>> = {
  build: ["build"],
  attach: ["attach"],
  publish: ["publish"],
  merge: ["index", "merge"],
  sync: ["sync"],
  serve: ["serve"],
  "nix-export": ["nix", "export"],
};

/** The inputs that are not options of the command line, and the options that are no inputs. */
const account = ["password", "registry", "username"];
const common = ["allow-outside", "summary"];
const onlyInput: Partial<Record<ActionName, readonly string[]>> = {
  build: [...account, ...common, "annotations", "labels", "tags"],
  attach: [...account, ...common, "annotations"],
  publish: [...account, ...common],
  merge: [...account, ...common, "annotations", "descriptor-annotations"],
  sync: [...account, ...common, "gc", "required"],
  serve: common,
  "nix-export": [...account, ...common, "annotations", "labels"],
};
const onlyOption: Partial<Record<ActionName, readonly string[]>> = {
  build: ["annotation", "dst-creds", "label", "src-creds"],
  attach: ["annotation", "config", "creds", "location", "referrers-to", "subject-size", "subject-type"],
  publish: [
    "annotation-filter",
    "artifact-type",
    "chunk-size",
    "clobber",
    "concurrency",
    "depth",
    "dry-run",
    "dst-creds",
    "force-recursive",
    "include-external",
    "latest",
    "legacy-tags",
    "referrers-from",
    "referrers-to",
    "src-creds",
    "upload",
  ],
  merge: ["annotation", "descriptor-annotation"],
  sync: ["chunk-size", "upload"],
  "nix-export": ["annotation", "creds", "label"],
  serve: ["auth", "delete-blobs", "embed-referrers", "fault", "log", "sparse", "tls-cert", "tls-key", "tokens"],
};
/** What is about the command line itself, about how a layout lies on its disk, or about networks that a job does not see. */
const commonOptions = [
  ...["allow-root", "blobs", "hardlink", "help", "json", "quiet"],
  ...["allow-internal", "attribution", "cert", "key", "mirror"],
];

describe.each(actionNames)("%s", (action) => {
  const metadata = metadataOf(action);
  let job: Job;
  beforeAll(async () => {
    job = await Job.start();
    await job.write("app/hello.txt", "hello\n");
    await writeNixCache(job);
    if (action !== "build" && action !== "setup")
      expect(await job.step("build", { inputs: minimal.build })).toMatchObject({ code: 0 });
  });
  afterAll(() => job.end());

  it("runs on Node 24, from a script that is there", () => {
    expect(metadata.runs.using).toBe("node24");
    expect(existsSync(resolve(actionsFolder, action, metadata.runs.main))).toBe(true);
  });

  it("has a name, a description and an icon, and describes each input and output", () => {
    expect(metadata.name).toBe(`Stowage ${action}`);
    expect(metadata.branding).toEqual({ icon: expect.any(String), color: "blue" });
    for (const [name, { description }] of Object.entries({ ...metadata.inputs, ...metadata.outputs })) {
      expect(name).toMatch(/^[a-z]+(-[a-z]+)*$/);
      expect(description).toMatch(/\w/);
    }
  });

  it("reads every input it declares, and no other", async () => {
    const recorder = `
      import { appendFileSync } from "node:fs";
      process.env = new Proxy(process.env, {
        get(env, name) {
          if (String(name).startsWith("INPUT_")) appendFileSync(${JSON.stringify(join(job.root, `${action}.reads`))}, name + "\\n");
          return env[name];
        },
      });`;
    const { state } = await job.step(action, {
      inputs: minimal[action],
      nodeArguments: ["--import", `data:text/javascript,${encodeURIComponent(recorder)}`],
    });
    if (metadata.runs.post !== undefined) await job.step(action, { state });
    const read = new Set(
      readFileSync(join(job.root, `${action}.reads`), "utf8")
        .trim()
        .split("\n"),
    );
    const declared = Object.keys(metadata.inputs).map((name) => `INPUT_${name.toUpperCase()}`);
    expect([...read].sort()).toEqual(declared.sort());
  });

  it("sets every output it declares, and no other", async () => {
    const { outputs, state } = await job.step(action, { inputs: minimal[action] });
    if (metadata.runs.post !== undefined) await job.step(action, { state });
    expect(Object.keys(outputs).sort()).toEqual(Object.keys(metadata.outputs).sort());
  });

  const words = commands[action];
  if (words === undefined) return;

  it("names its inputs as the command line names its options", () => {
    const help = execFileSync(process.execPath, [command, ...words, "--help"], { encoding: "utf8", timeout: 30_000 });
    const positionals = [...(/Positionals:\n((?: {2}.*\n)+)/.exec(help)?.[1] ?? "").matchAll(/^ {2}([a-z]+) /gm)];
    const options = [...help.matchAll(/^ +(?:-\w, )?--([a-z-]+) /gm)];
    const names = [...new Set([...positionals, ...options].map((match) => match[1] as string))];
    const inputs = Object.keys(metadata.inputs);
    expect(names.length).toBeGreaterThan(5);
    expect(inputs.filter((name) => !names.includes(name)).sort()).toEqual([...(onlyInput[action] ?? [])].sort());
    expect(names.filter((name) => !inputs.includes(name)).sort()).toEqual(
      [...(onlyOption[action] ?? []), ...commonOptions].sort(),
    );
  });
});

describe("docs/actions", () => {
  it("has the inputs and outputs that the action.yml files declare", () => {
    expect(() =>
      execFileSync(process.execPath, [join(actionsFolder, "readme.mjs"), "--check"], {
        stdio: "pipe",
        timeout: 30_000,
      }),
    ).not.toThrow();
  });
});
