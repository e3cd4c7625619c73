import { readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { descriptorOf, digestOf, encodeJson, Layout, mediaTypes } from "@stowage/layout";
import { describe, expect, it } from "vitest";
import {
  all,
  filesBelow,
  indexBytes,
  manifestBytes,
  named,
  REF_NAME,
  utf8,
} from "../../packages/layout/test/support.js";
import { stowage } from "../cli/stowage.js";
import {
  config,
  expectDone,
  expectRefusal,
  expectRefusedBy,
  image,
  judge,
  layer,
  layoutIn,
  layoutWithRoot,
  nest,
  secret,
} from "./hostile-layout.js";

describe("an entry of index.json", () => {
  const entry = (members: string): string =>
    `{"schemaVersion":2,"mediaType":"${mediaTypes.index}","manifests":[{"mediaType":"${mediaTypes.manifest}",${members},"annotations":{"${REF_NAME}":"v1"}}]}`;
  const digest = `"digest":"${image.digest}"`;

  it.each([
    ["negative", "-1"],
    ["2^53", "9007199254740992"],
    ["2^63 - 1", "9223372036854775807"],
    ["1e400", "1e400"],
    ["a fraction", "12.5"],
    ["text", `"${image.size}"`],
    ["null", "null"],
    ["a list", "[1]"],
    ["true", "true"],
  ])("with a size that is %s is refused", async (_what, size) => {
    const cwd = await layoutIn(entry(`${digest},"size":${size}`));
    await expectRefusedBy(cwd, /manifests\[0\] of .*index\.json has the size/);
  });

  it.each([-1, 1, 1_000_000])("with a size that is off by %d is refused", async (difference) => {
    const cwd = await layoutIn(entry(`${digest},"size":${image.size + difference}`));
    await expectRefusedBy(cwd, new RegExp(`has ${image.size} bytes|is not there`), [
      "inspect",
      "copy",
      "tree",
      "verify",
      "tag",
    ]);
  });

  it.each([
    "sha256:../../../../etc/passwd",
    `sha256:${"../".repeat(21)}x`,
    "sha256:/etc/passwd",
    "../../etc:passwd",
    "sha256/../..:abc",
    "sha256:..",
    ".:.",
    "other:..",
    "sha256:",
    "sha256",
    `sha256:${"A".repeat(64)}`,
    `sha256:${"a".repeat(63)}`,
    `sha256:${"a".repeat(65)}`,
    `sha512:${"a".repeat(64)}`,
    `SHA256:${"a".repeat(64)}`,
    `sha256:${"a".repeat(63)}\\u0000`,
    `sha256:${"a".repeat(64)}\\n`,
    `other:${"a".repeat(300)}`,
  ])("with the digest %s is refused before a path is made of it", async (text) => {
    const cwd = await layoutIn(entry(`"digest":"${text}","size":3`));
    await expectRefusedBy(cwd, /not a digest/);
  });

  it("with __proto__ and constructor for annotations and members pollutes nothing and keeps them", async () => {
    const cwd = await layoutIn(
      entry(
        `${digest},"size":${image.size},"__proto__":{"polluted":1},"constructor":{"prototype":{"polluted":1}}`,
      ).replace(`"${REF_NAME}"`, `"__proto__":"x","constructor":"y","${REF_NAME}"`),
    );
    await expectDone(cwd, ["tag", "oci:in:v1", "v2"]);
    const written = await readFile(join(cwd, "in", "index.json"), "utf8");
    expect(written).toContain('"__proto__":{"polluted":1}');
    expect(written).toContain('"__proto__":"x","constructor":"y"');
    const layout = await Layout.open(join(cwd, "in"));
    expect((await layout.resolve("v1")).annotations).toMatchObject({ constructor: "y" });
    expect("polluted" in {}).toBe(false);
    for (const name of ["__proto__", "constructor", "toString"])
      await expectRefusal(cwd, ["inspect", `oci:in:${name}`], /has no tag/);
  });

  it("with __proto__ as an object among the annotations is refused", async () => {
    const text = entry(`${digest},"size":${image.size}`).replace(`"${REF_NAME}"`, `"__proto__":{"a":1},"${REF_NAME}"`);
    await expectRefusedBy(await layoutIn(text), /has an annotation "__proto__" that is not a string/);
  });

  it("whose name would command a terminal is shown and not obeyed", async () => {
    const name = "v1\u001b]0;title\u0007\u009b31m";
    const cwd = await layoutIn({ manifests: [named(image, name)] });
    const runs = [await stowage(["list", "oci:in"], { cwd }), await stowage(["verify", "oci:in"], { cwd })];
    for (const { stdout, stderr } of runs) expect(`${stdout}${stderr}`).not.toMatch(/[\u001b\u0007\u009b]/);
    expect(runs[0]?.stdout).toContain("v1\\x1b]0;title");
  });
});

describe("index.json as text", () => {
  const good = JSON.stringify({ schemaVersion: 2, manifests: [named(image, "v1")] });

  it.each<[string, string]>([
    ["200000 nested arrays", `${good.slice(0, -1)},"x":${"[".repeat(200_000)}${"]".repeat(200_000)}}`],
    ["200000 nested objects that do not end", `${good.slice(0, -1)},"x":${'{"a":'.repeat(200_000)}`],
    ["a name twice", good.replace('"size"', '"size":1,"size"')],
    ["a name twice, once escaped", good.replace('"size"', '"s\\u0069ze":1,"size"')],
    ["Manifests", good.replace("manifests", "Manifests")],
    ["MANIFESTS beside manifests: null", `{"schemaVersion":2,"manifests":{},"MANIFESTS":[]}`],
    ["schemaversion", good.replace("schemaVersion", "schemaversion")],
    ["a byte order mark", `\ufeff${good}`],
    ["something behind it", `${good}x`],
    ["a second document", `${good}${good}`],
    ["a NUL behind it", `${good}\0`],
    ["nothing", ""],
    ["schemaVersion as text", good.replace('"schemaVersion":2', '"schemaVersion":"2"')],
    ["layers beside manifests", `${good.slice(0, -1)},"layers":[]}`],
    ["a config beside manifests", `${good.slice(0, -1)},"config":${JSON.stringify(config)}}`],
    ["the mediaType of an image", `${good.slice(0, -1)},"mediaType":"${mediaTypes.manifest}"}`],
    ["a subject that is none", `${good.slice(0, -1)},"subject":"v1"}`],
  ])("with %s is refused", async (_what, text) => {
    await expectRefusedBy(await layoutIn(text), /index\.json/);
  });

  it("that is broken with the codes of a terminal in it is told without them", async () => {
    const run = await expectRefusal(await layoutIn("\u001b[31m{"), ["list", "oci:in"], /index\.json/);
    expect(run.stderr).not.toContain("\u001b");
  });

  it("with the entry in the wrong case is refused, and a second one in that case is ignored", async () => {
    await expectRefusedBy(await layoutIn(good.replace('"digest"', '"Digest"')), /not a digest/);
    const cwd = await layoutIn(good.replace('"digest"', `"Digest":"${layer.digest}","digest"`));
    await expectDone(cwd, ["verify", "oci:in"]);
  });
});

describe("oci-layout", () => {
  it.each<[string, string, RegExp]>([
    ["version 9.0.0", '{"imageLayoutVersion":"9.0.0"}', /imageLayoutVersion "9\.0\.0"/],
    ["a version that is a number", '{"imageLayoutVersion":1.0}', /imageLayoutVersion 1/],
    ["no version", "{}", /imageLayoutVersion undefined/],
    ["the version in the wrong case", '{"imagelayoutversion":"1.0.0"}', /imageLayoutVersion undefined/],
    ["two versions", '{"imageLayoutVersion":"1.0.0","imageLayoutVersion":"9.0.0"}', /twice/],
    ["no JSON", "1.0.0", /oci-layout is not valid JSON/],
    ["a list", '["1.0.0"]', /oci-layout is not a JSON object/],
  ])("with %s is refused, and told", async (_what, text, message) => {
    const cwd = await layoutIn();
    await writeFile(join(cwd, "in", "oci-layout"), text);
    await expectRefusedBy(cwd, message);
  });

  it("that is not there is told", async () => {
    const cwd = await layoutIn();
    await rm(join(cwd, "in", "oci-layout"));
    await expectRefusedBy(cwd, /it has no file oci-layout/);
  });
});

describe("a manifest", () => {
  const { index, manifest, dockerManifest } = mediaTypes;

  it.each<[string, Uint8Array, string, RegExp]>([
    [
      "with layers and manifests",
      manifestBytes({ config, layers: [layer], manifests: [image] }),
      manifest,
      /two readers/,
    ],
    ["that is an index with layers", indexBytes({ manifests: [image], layers: [layer] }), index, /two readers/],
    ["that is an index with a config", indexBytes({ manifests: [image], config }), index, /two readers/],
    ["with layers of version 1 too", manifestBytes({ config, layers: [layer], fsLayers: [] }), manifest, /two readers/],
    [
      "that says it is another type",
      manifestBytes({ config, layers: [], mediaType: dockerManifest }),
      manifest,
      /says it is/,
    ],
    ["that says it is an index", indexBytes({ config, layers: [layer] }), manifest, /says it is/],
    ["of schemaVersion 1", manifestBytes({ config, layers: [], schemaVersion: 1 }), manifest, /schemaVersion 1, not 2/],
    [
      "with a config that is a path",
      manifestBytes({ config: { ...config, digest: "sha256:../x" }, layers: [] }),
      manifest,
      /not a digest/,
    ],
    [
      "with a layer of negative size",
      manifestBytes({ config, layers: [{ ...layer, size: -1 }] }),
      manifest,
      /the size -1/,
    ],
    ["with layers that are an object", manifestBytes({ config, layers: {} }), manifest, /has no layers/],
    [
      "with a subject that is text",
      manifestBytes({ config, layers: [], subject: "v1" }),
      manifest,
      /subject of .* is not an object/,
    ],
    ["that is a list", utf8("[]"), manifest, /not a JSON object/],
    ["that is no JSON", utf8("\u007fELF"), manifest, /not valid JSON/],
    ["with a duplicate name", utf8('{"schemaVersion":2,"schemaVersion":2}'), manifest, /twice/],
    ["that nests too deep", utf8(`{"schemaVersion":2,"x":${"[".repeat(200_000)}}`), manifest, /nests deeper/],
  ])("%s is refused by all that read it", async (_what, bytes, mediaType, message) => {
    const cwd = await layoutWithRoot(bytes, mediaType);
    await expectRefusedBy(cwd, message, ["inspect", "copy", "tree", "verify"]);
  });

  it("with fewer layers than its config has diff_ids is found by verify, and building on it fails cleanly", async () => {
    const other = encodeJson({
      architecture: "amd64",
      os: "linux",
      rootfs: { type: "layers", diff_ids: [layer.digest, digestOf("x")] },
      history: [{ created_by: "one" }],
    });
    const bytes = manifestBytes({ config: descriptorOf(other, mediaTypes.config), layers: [layer] });
    const cwd = await layoutWithRoot(bytes, manifest, [other]);
    await writeFile(join(cwd, "file"), secret);
    await Promise.all([
      expectRefusal(cwd, ["verify", "oci:in"], /has 1 layers, its config has 2 diff_ids/),
      expectRefusal(cwd, ["build", "file:/file", "--base", "oci:in:v1", "-t", "oci:out:v1"], /layers|diff_ids/),
    ]);
  });

  it.each<[string, unknown]>([
    ["a rootfs that is text", { architecture: "amd64", os: "linux", rootfs: "x" }],
    [
      "history that holds null",
      { architecture: "amd64", os: "linux", rootfs: { type: "layers", diff_ids: [] }, history: [null] },
    ],
    ["a list", []],
    ["null", null],
  ])("whose config is %s is found by verify and breaks no listing", async (_what, value) => {
    const other = encodeJson(value);
    const bytes = manifestBytes({ config: descriptorOf(other, mediaTypes.config), layers: [layer] });
    const cwd = await layoutWithRoot(bytes, manifest, [other]);
    const results = await judge(cwd);
    expect(results.verify).toMatchObject({ code: "finding", message: expect.stringMatching(/^invalid: /) });
    for (const verb of ["list", "tree", "tag", "copy"] as const) expect(results[verb]).toEqual({ code: "done" });
  });
});

describe("a graph", () => {
  it("of 2^30 paths through 31 manifests is read in as many steps", async () => {
    const { blobs, root } = nest(30, 2);
    const cwd = await layoutIn({ manifests: [named(root, "v1")] }, blobs);
    await Promise.all([
      expectDone(cwd, ["verify", "oci:in"]),
      expectDone(cwd, ["tree", "oci:in:v1"]),
      expectDone(cwd, ["list", "oci:in"]),
      expectDone(cwd, ["inspect", "oci:in:v1"]),
      expectRefusal(cwd, ["copy", "oci:in:v1", "oci:one:v1", "--platform", "linux/s390x"], /has no linux\/s390x/),
    ]);
    await expectDone(cwd, ["copy", "oci:in:v1", "oci:out:v1"]);
    await expectDone(cwd, ["copy", "oci:in:v1", "oci-archive:out.tar:v1"]);
    await expectDone(cwd, ["verify", "oci-archive:out.tar"]);
    const results = await judge(cwd);
    for (const verb of ["convert", "reconcile", "repair", "gc"] as const)
      expect(results[verb]).toEqual({ code: "done" });
  });

  it("of 1000 nested indexes is refused for its depth", async () => {
    const { blobs, root } = nest(1000, 1);
    const cwd = await layoutIn({ manifests: [named(root, "v1")] }, blobs);
    await Promise.all([
      expectRefusal(cwd, ["copy", "oci:in:v1", "oci:out:v1"], /nested deeper than 64 levels/),
      expectRefusal(cwd, ["verify", "oci:in"], /nested deeper than 64 levels/),
      expectRefusal(cwd, ["tree", "oci:in:v1"], /nested deeper than 64 levels/),
      expectRefusal(
        cwd,
        ["copy", "oci:in:v1", "oci:other:v1", "--platform", "linux/amd64"],
        /nested deeper than 64 levels/,
      ),
    ]);
    expect(await all((await Layout.open(join(cwd, "in"))).referrers(image))).toEqual([]);
    // Nothing that a tag leads to is lost, however deep it stands.
    await expectDone(cwd, ["gc", "in", "--grace", "0"]);
    expect(await filesBelow(join(cwd, "in", "blobs"))).toHaveLength(blobs.length + 3);
    await judge(cwd);
  });

  it("of an index whose subject is its own child ends", async () => {
    const bytes = indexBytes({ manifests: [image], subject: image, artifactType: "application/x" });
    const cwd = await layoutWithRoot(bytes, mediaTypes.index);
    await expectDone(cwd, ["verify", "oci:in"]);
    await expectDone(cwd, ["tree", "oci:in:v1"]);
    await expectDone(cwd, ["copy", "oci:in:v1", "oci:out:v1"]);
    await expectDone(cwd, ["copy", `oci:in@${image.digest}`, "oci:other:v1"]);
    const results = await judge(cwd);
    for (const verb of ["convert", "reconcile", "repair", "gc"] as const)
      expect(results[verb]).toEqual({ code: "done" });
  });

  it("of 20000 entries for one digest is read", async () => {
    const bytes = indexBytes({ manifests: Array.from({ length: 20_000 }, () => image) });
    const cwd = await layoutWithRoot(bytes, mediaTypes.index);
    const results = await judge(cwd);
    for (const verb of ["verify", "copy", "tree", "inspect"] as const) expect(results[verb]).toEqual({ code: "done" });
  });
});
