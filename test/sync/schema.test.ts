import { readFileSync } from "node:fs";
import { parseSyncFile, syncFileSchema } from "@stowage/registry";
import { Ajv } from "ajv";
import { describe, expect, it } from "vitest";
import { parse } from "yaml";

const shipped = new URL("../../packages/cli/sync.schema.json", import.meta.url);
const schema = JSON.parse(readFileSync(shipped, "utf8"));
const validate = new Ajv({ strict: false, allErrors: true }).compile(schema);

/** What the parser says, without what a schema cannot know: places, patterns, and what does not go together. */
async function isAccepted(text: string): Promise<boolean> {
  try {
    await parseSyncFile(text, "sync.yaml");
    return true;
  } catch {
    return false;
  }
}

const item = (...lines: readonly string[]): string =>
  [
    "version: 1",
    "sync:",
    "  - source: docker.io/library/alpine",
    "    target: oci:mirror",
    ...lines.map((line) => `    ${line}`),
  ].join("\n");

describe("the JSON schema for editors", () => {
  it("that is shipped is the one that the parser is made of", async () => {
    // After a change of the keys, write what syncFileSchema() returns to the file.
    expect(schema).toEqual(await syncFileSchema());
    const { files, exports } = JSON.parse(readFileSync(new URL("package.json", shipped), "utf8"));
    expect(files).toContain("sync.schema.json");
    expect(exports["./sync.schema.json"]).toBe("./sync.schema.json");
  });

  it("knows every key that the documentation has, and takes its example", async () => {
    const text = readFileSync(new URL("../../docs/sync.md", import.meta.url), "utf8");
    const documented = [...text.matchAll(/^\| `([a-zA-Z]+)` /gm)].map((match) => match[1]);
    expect(documented).toEqual(Object.keys(schema.properties.sync.anyOf[0].properties));
    const [example] = [...text.matchAll(/^```yaml\n([\s\S]*?)^```/gm)].map((match) => match[1] as string);
    expect((await parseSyncFile(example as string, "sync.yaml")).items).toHaveLength(2);
    expect(validate(parse(example as string)), JSON.stringify(validate.errors)).toBe(true);
  });

  it("says of every key what it is for", () => {
    const settings = schema.properties.sync.anyOf[0].properties;
    for (const [key, { description }] of Object.entries<{ description?: string }>(settings))
      expect(`${key}: ${description}`).toMatch(/: .{10,}/);
  });

  it.each([
    item(),
    item("tags: 3.20"),
    item(
      "tags: [3.20, '3.*', { semver: '3.x', newest: 2, prerelease: true }, { regex: 'v[0-9]+', except: ['*-rc*'] }]",
    ),
    item(
      "tags: { newest: 3, by: created }",
      "names: tag",
      "prune: true",
      "noClobber: true",
      "fast: false",
      "forceRecursive: false",
    ),
    item("platforms: [linux/amd64, linux/arm64]", "index: keep", "referrers: none", "legacyTags: false"),
    item("referrers: { artifactTypes: [a/b], annotations: ['k=v', k], latest: true, depth: 0 }"),
    item("rename: { 'docker.io/(.*)': 'mirror.local/$1' }"),
    "version: 1\nconcurrency: 4\ndefaults: { platforms: linux/amd64 }\nsync: { source: docker.io/library, repositories: ['**'], target: 'oci:a' }",
  ])("accepts what the parser accepts: %j", async (text) => {
    expect(await isAccepted(text)).toBe(true);
    expect(validate(parse(text)), JSON.stringify(validate.errors)).toBe(true);
  });

  it.each([
    "",
    "version: 1",
    "sync: []",
    "version: 1\nsync: []",
    "version: 2\nsync: { source: a, target: 'oci:b' }",
    "version: '1'\nsync: { source: a, target: 'oci:b' }",
    "version: 1\nconcurrency: 0\nsync: { source: a, target: 'oci:b' }",
    "version: 1\ndefaults: {}\nsync: { source: a, target: 'oci:b' }",
    "version: 1\ndefaults: { source: a }\nsync: { source: a, target: 'oci:b' }",
    "version: 1\nsync: [a]",
    "version: 1\nsync: { target: 'oci:b' }",
    item("tag: x"),
    item("tags: []"),
    item("tags: [[a]]"),
    item("tags: {}"),
    item("tags: true"),
    item("tags: ['']"),
    item("tags: { newest: 1.5 }"),
    item("tags: { newest: '2' }"),
    item("tags: { by: age }"),
    item("tags: { globs: x }"),
    item("names: 1"),
    item("prune: 'true'"),
    item("referrers: some"),
    item("referrers: { depth: -1 }"),
    item("rename: {}"),
    item("rename: [a]"),
    item("rename: { a: '' }"),
    item(`tags: ${"x".repeat(501)}`),
  ])("refuses what the parser refuses: %j", async (text) => {
    expect(await isAccepted(text)).toBe(false);
    expect(validate(parse(text))).toBe(false);
  });
});
