import { existsSync, readdirSync } from "node:fs";
import { symlink } from "node:fs/promises";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type ActionName, actionNames, Job, metadataOf, runtimes } from "./runner.js";

/** Inputs with which an action does what it is for; each test spoils one of them. */
const right: Record<ActionName, Record<string, string>> = {
  build: { files: "app", target: "oci:o:v1" },
  attach: { subject: "oci:out:v1", "artifact-type": "application/vnd.acme.note" },
  publish: { source: "oci:out:v1", references: "127.0.0.1:1/acme/app:v1" },
  merge: { parts: "oci:out:v1", target: "oci:o:v1" },
  sync: { source: "oci:out", target: "oci:o" },
  serve: { directory: "out" },
  load: { source: "oci:out:v1", into: "archive", archive: "image.tar", name: "acme/app:v1" },
  setup: {},
  "nix-export": { from: "cache:nix", to: "oci:o:v1" },
};

const injections = [
  "$(touch pwned)",
  "`touch pwned`",
  "v1;touch pwned",
  "v1 && touch pwned",
  "-rf",
  "v1'\"|touch pwned",
];

/** Where a text goes that a program could take for a command. */
const tags: readonly (readonly [ActionName, string, (text: string) => string])[] = [
  ["build", "tags", (text) => `v1\n${text}`],
  ["attach", "tag", (text) => text],
  ["publish", "references", (text) => `127.0.0.1:1/acme/app:${text}`],
  ["merge", "ref", (text) => text],
  ["sync", "tags", (text) => text],
  ["load", "name", (text) => `acme/app:${text}`],
  ["setup", "version", (text) => text],
];

/** What cannot be read, and what the annotation has to say. */
const unparsable: readonly (readonly [ActionName, string, string, RegExp])[] = [
  ["build", "base", "Not A Reference", /lower case/],
  ["build", "created", "today", /2023-11-14T22:13:20Z/],
  ["build", "cmd", '["a"', /JSON/],
  ["build", "env", "novalue", /NAME=VALUE/],
  ["build", "expose", "x", /80\/tcp/],
  ["build", "volume", "relative", /absolute path/],
  ["build", "workdir", "relative", /absolute path/],
  ["build", "stop-signal", "1 2", /SIGTERM/],
  ["build", "compression", "zip", /none of gzip, gzip-native, zstd, none/],
  ["build", "platform", "a b", /linux\/amd64/],
  ["build", "plain-http", "http://x/", /registry\.local:5000/],
  ["build", "insecure", "a b", /registry\.local:5000/],
  ["build", "trust-realm", "https://x/token", /registry\.local:5000/],
  ["build", "ca-file", "missing.pem", /PEM/],
  ["build", "labels", "a=b\nnext line", /"next line" is not KEY=VALUE\n.*line of its own/],
  ["build", "annotations", "a=b\nnext line", /"next line".*KEY=VALUE\nBefore the key/],
  ["build", "files", ":/x", /SRC:DEST/],
  ["build", "cmd", "[1]", /not a JSON array of strings/],
  ["build", "owner", "root", /UID:GID/],
  ["build", "data-max", "much", /number/],
  ["attach", "subject", "oci-archive:a.tar:v1", /before it goes into the archive/],
  ["publish", "username", "octocat", /^input password: it is required where username/],
  ["publish", "password", "secret-1234", /^input username: it is required where password/],
  ["attach", "annotations", "a=b\n::error::c", /is not KEY=VALUE\n.*line of its own/],
  ["merge", "annotations", "a=b\nc", /is not KEY=VALUE\n.*line of its own/],
  ["merge", "descriptor-annotations", "a=b\nc", /is not KEY=VALUE\n.*line of its own/],
  ["attach", "artifact-type", "no type", /application\/spdx\+json/],
  ["attach", "platform", "a b", /linux\/amd64/],
  ["attach", "created", "today", /2023-11-14T22:13:20Z/],
  ["publish", "references", "oci:x:v1", /ghcr\.io\/OWNER\/NAME:TAG/],
  ["publish", "referrers", "some", /none of all, none/],
  ["publish", "source", "./out", /oci:\.\/out/],
  ["merge", "artifact-type", "no type", /application\/spdx\+json/],
  ["sync", "semver", "not a range", /^input semver: .*>=1\.2 <2/],
  ["sync", "newest", "-1", /1 to 9999/],
  ["sync", "concurrency", "many", /1 to 9999/],
  ["sync", "rename", "x", /docker\.io\/\(\.\*\)=mirror/],
  ["sync", "rename", "(=x", /^input rename: .*regular expression/],
  ["sync", "platform", "a b", /^input platform: .*linux\/amd64/s],
  ["sync", "index", "maybe", /none of keep, filter/],
  ["sync", "names", "short", /none of full, tag/],
  ["sync", "referrers", "some", /none of all, none/],
  ["sync", "allow-host", "https://x", /registry\.local:5000/],
  ["serve", "listen", "5000", /127\.0\.0\.1:5000/],
  ["serve", "listen", "127.0.0.1:99999", /HOST:PORT/],
  ["serve", "proxy", "not a host", /^input proxy: /],
  ["load", "into", "podman", /none of docker, kind, archive/],
  ["load", "platform", "a b", /linux\/amd64/],
  ["load", "archive", "", /archive: image\.tar/],
  ["load", "cluster", "-rf; x", /lower-case/],
  ["load", "referrers", "some", /none of none, all/],
  ["nix-export", "from", "nowhere:x", /store, cache:DIR/],
  ["nix-export", "from", "store", /^input roots: .*\n.*result/],
  ["nix-export", "to", "docker-archive:x.tar", /^input to: .*\n.*oci:out/],
  ["nix-export", "layering", "none", /none of popularity, size/],
  ["nix-export", "max-layers", "0", /1 to 9999/],
  ["nix-export", "trusted-key", "x", /^input trusted-key: /],
  ["setup", "version", "latest", /version: \d+\.\d+\.\d+/],
  ["setup", "url", "file:///etc/passwd", /http/],
  ["setup", "checksum", "abc", /64 hexadecimal/],
];

/** Paths that lead out of the workspace, one of them by a link in it. */
const outside: readonly (readonly [ActionName, string, (path: string) => string])[] = [
  ["build", "files", (path) => `${path}:/x`],
  ["build", "target", (path) => `oci:${path}:v1`],
  ["build", "base", (path) => `oci:${path}:v1`],
  ["build", "layer", (path) => path],
  ["build", "files-from", (path) => path],
  ["build", "ignore-file", (path) => path],
  ["build", "directory", (path) => path],
  ["attach", "subject", (path) => `oci:${path}:v1`],
  ["attach", "files", (path) => path],
  ["publish", "source", (path) => `oci-archive:${path}:v1`],
  ["merge", "parts", (path) => `oci:out:v1,oci:${path}:v1`],
  ["merge", "target", (path) => `oci:${path}:v1`],
  ["sync", "source", (path) => `oci:${path}`],
  ["sync", "target", (path) => `oci:${path}`],
  ["serve", "directory", (path) => path],
  ["load", "source", (path) => `oci:${path}:v1`],
  ["load", "archive", (path) => path],
  ["nix-export", "from", (path) => `graph:${path}`],
  ["nix-export", "to", (path) => `oci:${path}:v1`],
];

describe.each(runtimes)("a wrong input under $title", ({ node }) => {
  let job: Job;
  beforeAll(async () => {
    job = await Job.start();
    await job.write("app/hello.txt", "hello\n");
    await symlink("/etc", job.path("linked"));
    await job.write("sync.yaml", 'version: 1\nsync:\n  - { source: "oci:out", target: "oci:o" }\n');
    expect((await job.step("build", { node, inputs: { files: "app", target: "oci:out:v1" } })).code).toBe(0);
  });
  afterAll(() => job.end());

  const expectRefused = async (action: ActionName, inputs: Record<string, string>, message: RegExp): Promise<void> => {
    const result = await job.step(action, { node, inputs });
    const told = `${action} ${JSON.stringify(inputs)}\n${result.stdout}`;
    expect(result, told).toMatchObject({ code: 1, stderr: "" });
    expect(result.errors, told).toHaveLength(1);
    expect(result.errors[0]?.data, told).toMatch(message);
    expect(result.stdout).not.toMatch(/^\s+at |(?:stowage|docker) login|--[a-z]/m);
    expect(existsSync(job.path("pwned"))).toBe(false);
  };

  it.each(actionNames)("of %s that is required and missing is asked for, with the line to write", async (action) => {
    for (const [name, { required }] of Object.entries(metadataOf(action).inputs)) {
      if (required !== true) continue;
      for (const nothing of ["", " \n "])
        await expectRefused(
          action,
          { ...right[action], [name]: nothing },
          new RegExp(`^input ${name}: it is required\n.*\n${name}: `),
        );
    }
  });

  it.each(actionNames)("of %s that is to be true or false and is neither is told what to write", async (action) => {
    const flags = Object.entries(metadataOf(action).inputs).filter(
      ([name, input]) => /^(true|false)$/.test(input.default ?? "") || name === "required",
    );
    expect(flags.map(([name]) => name)).toContain("summary");
    for (const [name] of flags)
      await expectRefused(
        action,
        { ...right[action], [name]: "yes" },
        new RegExp(`"yes" is neither true nor false\nWrite ${name}: true or ${name}: false`),
      );
  });

  it.each(unparsable)("%s of %s: %j is told what to write", async (action, name, value, message) => {
    await expectRefused(
      action,
      { ...right[action], [name]: value, ...(name === "cluster" ? { into: "kind", archive: "" } : {}) },
      message,
    );
  });

  it.each(tags)("%s of %s that tries to be a command is none, and is refused", async (action, name, around) => {
    // Each of them for one input, and two for the others: what a tag is is decided in one place.
    for (const text of name === "ref" ? injections : injections.slice(0, 2)) {
      const { target: _target, ...ref } = right.merge;
      const rest = name === "ref" ? ref : right[action];
      await expectRefused(
        action,
        { ...rest, [name]: around(text) },
        new RegExp(`^input ${name}: .*(tag|version)`, "s"),
      );
    }
  });

  it.each(outside)("%s of %s that leads out of the workspace is refused", async (action, name, around) => {
    for (const path of name === "target" ? ["../outside", "/etc/ssl", "linked/ssl"] : ["../outside"]) {
      const inputs = { ...right[action], [name]: around(path), ...(name === "base" ? { target: "oci:o:v1" } : {}) };
      await expectRefused(
        action,
        inputs,
        new RegExp(`^input ${name}: .*lies outside the workspace\nWrite a path below .*allow-outside: true`),
      );
    }
    expect(existsSync(`${job.root}/outside`)).toBe(false);
  });

  it("of sync that names a lock or a sync file outside the workspace is refused", async () => {
    await expectRefused("sync", { source: "../sync.yaml" }, /^input source: .*outside the workspace/);
    await expectRefused(
      "sync",
      { source: "sync.yaml", lock: "../stowage.lock", frozen: "true" },
      /^input lock: .*outside/,
    );
  });

  it("that leads out of the workspace is taken where the workflow says that it may, and the runner's own directory always", async () => {
    const files = "../outside.txt:/x";
    await job.write("../outside.txt", "outside");
    const allowed = await job.step("build", {
      node,
      inputs: { files, target: "oci:../elsewhere:v1", "allow-outside": "true" },
    });
    expect(allowed).toMatchObject({ code: 0, errors: [] });
    const temporary = await job.step("build", {
      node,
      inputs: { files: "app", target: `oci:${job.root}/temp/layout:v1` },
    });
    expect(temporary).toMatchObject({ code: 0, errors: [] });
    expect(readdirSync(`${job.root}/elsewhere`)).toContain("oci-layout");
  });

  it("of a sync file is told with its line, one line for each mistake", async () => {
    await job.write("bad.yaml", 'version: 1\nsync:\n  - { sorce: "oci:out", target: "oci:o" }\n');
    await expectRefused(
      "sync",
      { source: "bad.yaml" },
      /^input source: bad\.yaml:3:5: .*write source.*\nbad\.yaml:3:7: .*sorce/,
    );
    await expectRefused("sync", { source: "missing.yaml" }, /^input source: .*missing\.yaml.*\n.*input target/);
    await expectRefused(
      "sync",
      { source: "sync.yaml", frozen: "true" },
      /stowage\.lock.*\nRun this step with update: true/,
    );
    await expectRefused("sync", { source: "sync.yaml", frozen: "true", update: "true" }, /^input frozen: /);
    await expectRefused("sync", { source: "sync.yaml", tags: "v1" }, /^input tags: .*\n.*into the file/);
    await expectRefused("sync", { ...right.sync, frozen: "true" }, /^input lock: /);
  });

  it("that is standard input or output is refused: the log of a step is read for commands", async () => {
    await expectRefused("build", { files: "app", target: "oci-archive:-" }, /standard input or output/);
    await expectRefused("publish", { ...right.publish, source: "docker-archive:-" }, /standard input or output/);
  });

  it("of an account that may be for two registries is told to say which", async () => {
    const account = { username: "me", password: "secret-1234" };
    const two = { source: "oci:out:v1", references: "ghcr.io/a/b:v1,quay.io/a/b:v1", ...account };
    await expectRefused("publish", two, /^input registry: .*ghcr\.io, quay\.io\n.*docker\/login-action/);
    await expectRefused(
      "publish",
      { ...right.publish, ...account, registry: "https://x y" },
      /no HOST\[:PORT\]\n.*ghcr\.io/,
    );
  });

  it("of one action that only goes with another input is told so", async () => {
    await expectRefused("merge", { parts: "oci:out:v1", target: "oci:o:v1", ref: "v1" }, /either target or ref/);
    await expectRefused("merge", { parts: "oci:out:v1" }, /either target or ref.*\nWrite target: /);
    await expectRefused("merge", { parts: "oci-archive:a.tar:v1", ref: "v1" }, /inside an archive/);
    await expectRefused("serve", { directory: "out", memory: "true" }, /memory/);
    await expectRefused("serve", {}, /^input directory: it is required\nWrite directory: cache/);
    await expectRefused("load", { ...right.load, into: "docker" }, /docker takes none/);
    await expectRefused("load", { source: "oci:out:v1" }, /^input name: it is required.*\n.*name: acme\/app:v1/);
    await expectRefused("build", { files: "app", target: "oci-archive:a.tar:v1", tags: "v2" }, /^input tags: /);
  });
});
