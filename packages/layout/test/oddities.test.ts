import { mkdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { descriptorOf, Layout, mediaTypes, oddities } from "@stowage/layout";
import { describe, expect, it } from "vitest";
import {
  all,
  handMadeLayout,
  manifestBytes,
  named,
  pushImage,
  pushReferrer,
  put,
  temporaryDirectory,
  utf8,
} from "./support.js";

const config = descriptorOf(utf8("{}"), mediaTypes.config);
const bytes = manifestBytes({ config, layers: [] });
const A = descriptorOf(bytes, mediaTypes.manifest);
const B = { ...A, digest: A.digest.replace(/.$/, (last) => (last === "0" ? "1" : "0")) };
const { mediaType: _mediaType, ...untyped } = A;

const index = (manifests: unknown, members: object = {}): object => ({
  schemaVersion: 2,
  mediaType: mediaTypes.index,
  manifests,
  ...members,
});
const named1 = (name: string, entry: object = A): object => named(entry as typeof A, name);

describe("an oddity of index.json has its code", () => {
  it.each<[string, object]>([
    ["manifests-null", index(null)],
    ["index-media-type", { schemaVersion: 2, manifests: [] }],
    ["index-media-type", index([], { mediaType: mediaTypes.dockerManifestList })],
    ["unknown-member", index([], { "com.example": 1 })],
    ["unknown-member", index([{ ...A, "com.example": 1 }])],
    ["null-member", index([], { annotations: null })],
    ["null-member", index([{ ...A, platform: null }])],
    ["entry-media-type", index([untyped])],
    ["entry-media-type", index([{ ...A, mediaType: "" }])],
    ["entry-twice", index([A, A])],
    ["entry-twice", index([named1("v1"), named1("v1")])],
    ["entry-differs", index([named1("v1"), named1("v2", { ...A, size: A.size + 1 })])],
    ["entry-order", index([named1("v2"), named1("v1")])],
    ["entry-order", index([A, named1("v1", B)])],
    ["name-ambiguous", index([A, B].sort((a, b) => (a.digest < b.digest ? -1 : 1)).map((entry) => named1("v", entry)))],
    ["name-full", index([named1("docker.io/library/alpine:3")])],
    ["name-grammar", index([named1("-v1 ")])],
    ["name-grammar", index([named1("")])],
    ["artifact-type", index([{ ...A, artifactType: "sbom" }])],
    ["digest-algorithm", index([{ ...A, digest: "blake3:abc" }])],
  ])("%s: %j", (code, value) => {
    const found = oddities(value);
    expect(found.map((oddity) => oddity.code)).toEqual([code]);
    expect(found[0]?.message).toMatch(/^\S.*\S$/);
  });

  it("each on its own, in the order of the file", () => {
    const value = { manifests: [untyped, named1("a/b:c")], schemaVersion: 2, more: true };
    expect(oddities(value).map(({ code }) => code)).toEqual([
      "index-media-type",
      "unknown-member",
      "entry-media-type",
      "name-full",
      "entry-differs",
      "entry-order",
    ]);
  });

  it("and what is no index has none: it is refused elsewhere", () => {
    for (const value of [undefined, null, 1, "x", [], [null]]) expect(oddities(value)).toEqual([]);
    expect(oddities(index([null, 1, [], { digest: 1, annotations: [] }])).map(({ code }) => code)).toEqual([
      "entry-media-type",
    ]);
  });

  it("nor does a digest that is an object defeat it, whatever its members are", () => {
    const value = index([
      { mediaType: mediaTypes.manifest },
      { digest: { toString: 0 }, mediaType: mediaTypes.manifest },
    ]);
    expect(oddities(value)).toEqual([]);
  });
});

describe("a layout", () => {
  it("that only this program wrote has no oddity, with tags and referrers", async () => {
    const layout = await Layout.create(join(await temporaryDirectory(), "layout"));
    const image = await pushImage(layout);
    for (const tag of ["v1", "latest", "1.0-rc_1"]) await layout.tag(tag, image);
    await layout.tag("sbom", await pushReferrer(layout, image));
    await layout.write([utf8("x")], mediaTypes.octetStream, { algorithm: "sha512" });
    expect(await layout.oddities()).toEqual([]);
  });

  it("tells what was odd in the file until the next change, and keeps what it does not know", async () => {
    const path = await temporaryDirectory();
    const manifests = [named1("v1", untyped), { ...untyped, digest: B.digest, annotations: null, x: 1 }];
    await handMadeLayout(path, { mediaType: "application/x", manifests, annotations: null, y: null }, [bytes]);
    const layout = await Layout.open(path);
    expect((await layout.oddities()).map(({ code }) => code)).toEqual([
      "index-media-type",
      "null-member",
      "unknown-member",
      "entry-media-type",
      "entry-media-type",
      "null-member",
      "unknown-member",
    ]);
    await layout.tag("v2", A);
    expect(JSON.parse(await readFile(join(path, "index.json"), "utf8"))).toEqual({
      schemaVersion: 2,
      mediaType: mediaTypes.index,
      manifests: [named1("v1"), named1("v2"), { ...B, mediaType: mediaTypes.octetStream, x: 1 }],
      y: null,
    });
    expect((await layout.oddities()).map(({ code }) => code)).toEqual(["unknown-member", "unknown-member"]);
  });

  it("finds an entry without a mediaType by its tag, with the type its content has, and its referrers", async () => {
    const path = await temporaryDirectory();
    await handMadeLayout(path, { manifests: [named1("v1", untyped), named1("v1", untyped)] }, [bytes]);
    const layout = await Layout.open(path);
    expect(await layout.resolve("v1")).toEqual({ ...A });
    const referrer = await pushReferrer(layout, A);
    expect((await all(layout.referrers(A))).map(({ digest }) => digest)).toEqual([referrer.digest]);
  });

  it("has the files that are none of a layout", async () => {
    const path = await temporaryDirectory();
    await handMadeLayout(path, { manifests: [named1("v1")] }, [bytes]);
    const odd = ["README", "blobs/README", "blobs/sha256/README", `blobs/sha256/${"A".repeat(64)}`, "lost+found/x"];
    for (const name of [...odd, "blobs/other/abc", "ingest/1-2"]) await put(path, name, "x");
    await mkdir(join(path, "blobs", "sha512"));
    expect((await (await Layout.open(path)).oddities()).map(({ code, message }) => [code, message])).toEqual(
      ["README", `blobs/README`, `blobs/sha256/${"A".repeat(64)}`, "blobs/sha256/README", "lost+found"].map((name) => [
        "unknown-file",
        `"${name}" is no file of a layout`,
      ]),
    );
  });
});
