import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { stowage } from "./stowage.js";

const help = await stowage(["--help"]);
const names = [...help.stdout.matchAll(/^ {2}stowage ([a-z-]+)/gm)].map((match) => match[1] as string);

describe("stowage --help", () => {
  it("names every command, and ends well", () => {
    expect(help.code).toBe(0);
    expect(names).toEqual(
      "build attach copy export import publish sync index mutate disjoint list inspect tree tag untag unpack cat ls-files diff check-base verify du gc repair reconcile convert probe serve nix login logout completion".split(
        " ",
      ),
    );
  });

  it("is what the README's table names", () => {
    const readme = readFileSync(new URL("../../README.md", import.meta.url), "utf8");
    const table = readme.slice(readme.indexOf("| I want to"), readme.indexOf("## Locations"));
    const inTable = new Set([...table.matchAll(/`stowage ([a-z-]+)`/g)].map((match) => match[1]));
    expect([...inTable].sort()).toEqual([...names].sort());
  });

  it.each(names)("%s has its own page with two examples", async (name) => {
    const page = await stowage([name, "--help"]);
    expect(page.code).toBe(0);
    expect(page.stderr).toBe("");
    const examples = page.stdout.slice(page.stdout.indexOf("Examples:"));
    expect(examples.match(new RegExp(`stowage ((cp|push|pull|ls) |${name} )`, "g"))?.length).toBeGreaterThanOrEqual(2);
  });

  it.each([
    ["index", "create merge add remove list"],
    ["nix", "export import cache diff"],
    ["disjoint", "annotate verify gc"],
  ])("%s --help names its commands, each with a page of its own", async (group, commands) => {
    const page = await stowage([group, "--help"]);
    expect(
      [
        ...page.stdout
          .slice(0, page.stdout.indexOf("Examples:"))
          .matchAll(new RegExp(`^ {2}stowage ${group} ([a-z]+)`, "gm")),
      ].map((match) => match[1]),
    ).toEqual(commands.split(" "));
    for (const name of commands.split(" ")) {
      const { code, stdout } = await stowage([group, name, "--help"]);
      expect(code).toBe(0);
      expect(
        stdout.slice(stdout.indexOf("Examples:")).match(new RegExp(`stowage ${group} ${name} `, "g"))?.length,
      ).toBeGreaterThanOrEqual(2);
    }
  });

  it("prints the version of the package", async () => {
    const { version } = JSON.parse(readFileSync(new URL("../../packages/cli/package.json", import.meta.url), "utf8"));
    expect((await stowage(["--version"])).stdout.trim()).toBe(version);
  });

  it.each(["bash", "zsh", "fish"])("completion %s is a script that asks stowage what fits", async (shell) => {
    const { code, stdout } = await stowage(["completion", shell]);
    expect(code).toBe(0);
    expect(stdout).toContain("stowage --get-yargs-completions");
  });

  it("completes commands and options", async () => {
    const commands = await stowage(["--get-yargs-completions", "stowage", "ver"], { env: { SHELL: "/bin/bash" } });
    expect(commands.stdout.split("\n")).toContain("verify");
    const options = await stowage(["--get-yargs-completions", "stowage", "copy", "--ref"], {
      env: { SHELL: "/bin/bash" },
    });
    expect(options.stdout).toContain("--referrers");
  });
});

describe("wrong usage ends with 2 and a line on stderr", () => {
  it.each([
    [[], "Name a command"],
    [["frobnicate"], "frobnicate"],
    [["copy", "oci:a"], "Not enough"],
    [["copy", "oci:a:b", "oci:c", "--referrers", "some"], "referrers"],
    [["list", "oci:a", "--nonsense"], "nonsense"],
    [["copy", "Alpine:3", "oci:c"], "lower case"],
    [["copy", "alpine:3", "./dir"], "oci:./dir"],
    [["copy", "s3://bucket", "oci:c"], "s3://"],
    [["copy", "oci:a@sha256:12", "oci:c"], "digest"],
    [["build", "x", "-t", "oci:a:b", "--platform", "linux//"], "platform"],
    [["build", "x", "-t", "oci:a:b", "--annotation", "novalue"], "KEY=VALUE"],
    [["build", "x", "-t", "oci:a:b", "--created", "yesterday"], "yesterday"],
    [["build", "x", "-t", "oci:a:b", "--cmd", "--version"], "cmd"],
    [["index"], "create, merge"],
    [["index", "merge", "oci:a"], "--target"],
    [["index", "add", "oci:a:b", "oci:c", "oci:d", "--platform", "linux/arm"], "one image"],
    [["serve"], "--memory"],
    [["serve", "--memory", "--listen", "everywhere"], "HOST:PORT"],
    [["publish", "oci:a:b", "oci:c:d"], "no registry"],
    [["attach", "oci-archive:a.tar:v1", "x"], "archive"],
    [["sync", "none.yaml"], "a target as well"],
    [["sync", "none.yaml", "--tags", "x"], "--tags is for a sync from a source to a target"],
    [["sync", "alpine", "oci:a", "--newest", "few"], "--newest"],
    [["sync", "alpine", "oci:a", "--rename", "x"], "FROM=TO"],
    [["sync", "alpine", "oci:a", "--frozen"], "a lock is for a sync file"],
    [["sync", "alpine:3", "oci:a", "--tags", "x"], "names one image already"],
    [["unpack", "oci:a:b", "c", "--max-size", "much"], "much"],
    [["unpack", "oci:a:b", "c", "--uid-map", "0:1000:"], "range of ids"],
    [["unpack", "oci:a:b", "c", "--owners", "mine", "--gid-map", "0:1000"], "exclude each other"],
    [["ls-files", "oci:a:b", "--layer", "top"], "top"],
  ])("%j", async (args, text) => {
    const run = await stowage(args);
    expect(run.stderr).toContain(text);
    expect(run.stderr).not.toMatch(/\n\s+at /);
    expect(run.stdout).toBe("");
    expect(run.code).toBe(2);
  });
});
