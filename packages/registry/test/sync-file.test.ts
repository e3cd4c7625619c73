import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { parseSyncFile, readSyncFile, type SyncFile } from "../src/index.js";
import { failure } from "./support/artifacts.js";

const parse = (text: string, path = "sync.yaml"): Promise<SyncFile> => parseSyncFile(text, path);
const item = (...lines: readonly string[]): string =>
  ["version: 1", "sync:", "  - source: docker.io/library/alpine", ...lines.map((line) => `    ${line}`)].join("\n");

describe("a sync file", () => {
  it("says what is kept in step with what", async () => {
    const file = await parse(item("target: oci:mirror", 'tags: [3.20, "3.1*"]'));
    expect(file).toMatchObject({ path: "sync.yaml", concurrency: 8 });
    expect(file.items).toMatchObject([
      {
        where: "sync.yaml:3:13",
        source: { kind: "registry", reference: { host: "docker.io", repository: "library/alpine" } },
        target: { kind: "layout", path: "mirror" },
        tags: [{ exact: "3.20" }, { exact: undefined }],
        names: "full",
        referrers: "all",
        legacyTags: true,
        prune: false,
      },
    ]);
  });

  it("has paths that are relative to it", async () => {
    const file = await parse(
      "version: 1\nsync: [{ source: 'oci:in', target: 'oci-archive:/out.tar' }]",
      "ci/sync.yaml",
    );
    expect(file.items).toMatchObject([{ source: { path: join("ci", "in") }, target: { path: "/out.tar" } }]);
  });

  it("has defaults that an item may overrule", async () => {
    const file = await parse(
      [
        "version: 1",
        "defaults: { referrers: none, prune: true, platforms: linux/amd64 }",
        "sync:",
        "  - { source: alpine, target: 'oci:a' }",
        "  - { source: alpine, target: 'oci:b', referrers: { artifactTypes: [a/b], depth: 1 }, prune: false }",
        "  - { source: alpine, target: 'oci-archive:c.tar' }",
      ].join("\n"),
    );
    expect(file.items.map(({ referrers, prune }) => [referrers, prune])).toEqual([
      ["none", true],
      [{ artifactTypes: ["a/b"], annotations: undefined, latest: undefined, depth: 1 }, false],
      ["none", false],
    ]);
    expect(file.items[0]?.platforms).toEqual([{ os: "linux", architecture: "amd64" }]);
  });

  it("asks for signatures under older tags only where tags are listed anyway", async () => {
    const texts = [item("target: oci:a"), item("target: oci:a", "tags: [a, b]"), item("target: oci:a", "tags: a*")];
    const files = await Promise.all(texts.map((text) => parse(text)));
    expect(files.map(({ items }) => items[0]?.legacyTags)).toEqual([true, false, true]);
  });

  it("has items whose digest tells what they ask for, whatever it looks like in the file", async () => {
    const digest = async (text: string): Promise<string | undefined> => (await parse(text)).items[0]?.digest;
    const plain = await digest(item("target: oci:a", "tags: ['3.*']"));
    expect(await digest(item("tags:", "  - '3.*' # all of them", "target: 'oci:a'", "prune: true"))).toBe(plain);
    expect(await digest(item("target: oci:a", "tags: ['3.*', x]"))).not.toBe(plain);
    expect(await digest(item("target: oci:b", "tags: ['3.*']"))).not.toBe(plain);
  });
});

describe("a mistake in a sync file is told with file, line, column and what to write", () => {
  it.each([
    ["version: 1\nsync:\n  - source: [", "sync.yaml:3:14: this is no YAML"],
    ["version: 1\nversion: 1\nsync: []", "sync.yaml:2:1: this is no YAML: Map keys must be unique"],
    ["", "sync.yaml:1:1: nothing where a mapping belongs; its keys are version,"],
    ["sync: [{ source: alpine, target: 'oci:a' }]", 'sync.yaml:1:1: "version" is missing; write version:'],
    ["version: 2\nsync: [{ source: alpine, target: 'oci:a' }]", 'sync.yaml:1:10: "2" where a whole number from 1 to 1'],
    ["version: 1\nsync: []", "sync.yaml:2:7: an empty list; write at least one"],
    ["version: 1\ncreds: []\nsync: []", 'sync.yaml:2:1: unknown key "creds"; leave it out: credentials are those'],
    ["version: 1\nsync: [{ target: 'oci:a' }]", 'sync.yaml:2:8: "source" is missing; write source:'],
    [item(), "sync.yaml:3:13: there is no target; write target:"],
    [item("target:"), "sync.yaml:4:5: nothing where a text belongs; write oci:mirror"],
    [item("target: ./dir"), 'sync.yaml:4:13: "./dir" looks like a path'],
    [item("target: oci:-"), 'sync.yaml:4:13: "oci:-" is a stream'],
    [item("target: s3://bucket"), "sync.yaml:4:13: "],
    [item("target: oci:mirror:v1"), "sync.yaml:4:13: the target names one image, and the source may be many"],
    [item("target: oci:a", "tag: latest"), 'sync.yaml:5:5: unknown key "tag"; write tags'],
    [item("target: oci:a", "platfroms: linux/amd64"), 'sync.yaml:5:5: unknown key "platfroms"; write platforms'],
    [item("target: oci:a", "type: image"), 'sync.yaml:5:5: unknown key "type"; leave it out'],
    [item("target: oci:a", "platforms: [linux//]"), 'sync.yaml:5:17: not a platform: "linux//"; A platform looks like'],
    [item("target: oci:a", "prune: yes"), 'sync.yaml:5:12: "yes" where true or false belongs'],
    [item("target: oci:a", "names: short"), 'sync.yaml:5:12: "short" where full or tag belongs'],
    [item("target: oci:a", "tags: [true]"), 'sync.yaml:5:12: "true" where a text belongs'],
    [item("target: oci:a", "tags:", "  - regex: '3\\.('"), "sync.yaml:6:16: "],
    [
      item("target: oci:a", "tags:", "  - semver: newest"),
      'sync.yaml:6:17: "newest" is no range of versions; write for example',
    ],
    [item("target: oci:a", "tags:", "  - newest: 0"), 'sync.yaml:6:17: "0" where a whole number from 1'],
    [item("target: oci:a", "tags:", "  - by: created"), "sync.yaml:6:13: by says which are the newest; write newest:"],
    [item("rename: { 'docker.io/(.*)': 'x/$2' }"), 'sync.yaml:4:15: "x/$2" names $2'],
    [item("rename: { '(': 'x' }"), 'sync.yaml:4:15: "(" is no regular expression'],
    [item("target: ghcr.io/a", "rename: { a: b }"), "sync.yaml:5:13: with a registry as target"],
    [item("target: ghcr.io/a", "names: tag"), "sync.yaml:5:12: names is for layouts and archives"],
    [item("target: oci-archive:a.tar", "prune: true"), "sync.yaml:5:12: an archive is written anew each time"],
    [item("target: oci:a", "index: keep"), "sync.yaml:5:12: index says what becomes of an index"],
    [
      "version: 1\nsync: [{ source: 'alpine:3', target: 'oci:a', tags: x }]",
      "the source names one image already; leave tags out",
    ],
    [
      "version: 1\nsync: [{ source: alpine, repositories: x, target: 'oci:a' }]",
      '"alpine" names no registry; write its host first',
    ],
  ])("%j", async (text, told) => {
    const error = await failure(parse(text));
    expect(error.message).toContain(told);
    expect(error.code).toBe("INVALID");
  });

  it("and so are all the others, in the order of the file", async () => {
    const error = await failure(parse(item("target: ./x", "tag: y", "prune: z")));
    expect(error.message.split("\n").map((line) => line.split(" ")[0])).toEqual([
      "sync.yaml:4:13:",
      "sync.yaml:5:5:",
      "sync.yaml:6:12:",
    ]);
  });

  it("but not more than twenty", async () => {
    const error = await failure(
      parse(item("target: oci:a", ...Array.from({ length: 30 }, (_none, at) => `x${at}: 1`))),
    );
    expect(error.message.split("\n")).toHaveLength(21);
    expect(error.message).toMatch(/and 10 more mistakes$/);
  });
});

describe("a hostile sync file", () => {
  it("cannot grow by aliases", async () => {
    const tags = `&t [${Array.from({ length: 1000 }, (_none, at) => `t${at}`).join(", ")}]`;
    const items = Array.from({ length: 400 }, () => "{ source: alpine, target: 'oci:a', tags: *t }");
    const text = `version: 1\nsync:\n  - { source: alpine, target: 'oci:a', tags: ${tags} }\n  - ${items.join("\n  - ")}`;
    expect(await failure(parse(text))).toMatchObject({ code: "LIMIT" });
  });

  it("cannot hold itself", async () => {
    expect(await failure(parse("version: 1\nsync: &a [*a]"))).toMatchObject({ code: "INVALID" });
  });

  it("has bounds on its lists and texts", async () => {
    const many = Array.from({ length: 1001 }, (_none, at) => `t${at}`).join(", ");
    expect((await failure(parse(item("target: oci:a", `tags: [${many}]`)))).message).toContain("at most 1000");
    expect((await failure(parse(item(`target: oci:${"a".repeat(2000)}`)))).message).toContain("longer than 1000");
  });

  it("of more than four MiB is not read, and one that is not there is not found", async () => {
    const directory = await mkdtemp(join(tmpdir(), "stowage-sync-"));
    try {
      const path = join(directory, "sync.yaml");
      await writeFile(path, `# ${"x".repeat(4 * 1024 * 1024)}\n${item("target: oci:a")}`);
      expect(await failure(readSyncFile(path))).toMatchObject({ code: "LIMIT" });
      expect(await failure(readSyncFile(join(directory, "none.yaml")))).toMatchObject({ code: "NOT_FOUND" });
      await writeFile(path, item("target: oci:a"));
      expect((await readSyncFile(path)).items).toMatchObject([{ target: { path: join(directory, "a") } }]);
    } finally {
      await rm(directory, { recursive: true });
    }
  });
});
