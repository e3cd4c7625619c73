import {
  childrenOf,
  descriptorOf,
  digestOf,
  effectiveArtifactType,
  emptyDescriptor,
  encodeJson,
  type Manifest,
  mediaTypes,
  parseManifest,
  referrerDescriptor,
  sniffManifestType,
} from "@stowage/layout";
import { describe, expect, it } from "vitest";
import { failure, indexBytes, manifestBytes, utf8 } from "./support.js";

const config = descriptorOf(utf8("{}"), mediaTypes.config);
const layer = descriptorOf(utf8("layer"), mediaTypes.layer);
const child = descriptorOf(utf8("child"), mediaTypes.manifest);

const parse = (value: object, mediaType: string = mediaTypes.manifest): Manifest =>
  parseManifest(encodeJson(value), mediaType, "it");

describe("a manifest", () => {
  it("is read with config, layers, subject and annotations", () => {
    const manifest = parse({ schemaVersion: 2, config, layers: [layer], subject: child, annotations: { a: "b" } });
    expect(manifest).toMatchObject({ kind: "image", config, layers: [layer], subject: child, annotations: { a: "b" } });
    expect(childrenOf(manifest)).toEqual([config, layer]);
  });

  it("may lack a mediaType, have no layers, or have null for them", () => {
    expect(childrenOf(parse({ schemaVersion: 2, config, layers: [] }))).toEqual([config]);
    expect(childrenOf(parse({ schemaVersion: 2, config, layers: null }))).toEqual([config]);
  });

  it("may have types and members nobody knows", () => {
    const unknown = { ...layer, mediaType: "application/x-unknown" };
    const manifest = parse({ schemaVersion: 2, config: unknown, layers: [unknown], artifactType: "a/b", extra: [1] });
    expect(childrenOf(manifest)).toEqual([unknown, unknown]);
  });

  it.each<[string, object]>([
    ["schemaVersion 1", { schemaVersion: 1, config, layers: [layer] }],
    ["schemaVersion as text", { schemaVersion: "2", config, layers: [layer] }],
    ["no schemaVersion", { config, layers: [layer] }],
    ["no config", { schemaVersion: 2, layers: [layer] }],
    ["no layers", { schemaVersion: 2, config }],
    ["layers that are an object", { schemaVersion: 2, config, layers: {} }],
    ["layers and manifests", { schemaVersion: 2, config, layers: [layer], manifests: [child] }],
    ["layers and fsLayers", { schemaVersion: 2, config, layers: [layer], fsLayers: [] }],
    ["a mediaType that is an index", { schemaVersion: 2, mediaType: mediaTypes.index, config, layers: [layer] }],
    ["a mediaType of Docker", { schemaVersion: 2, mediaType: mediaTypes.dockerManifest, config, layers: [layer] }],
    ["a mediaType that is a number", { schemaVersion: 2, mediaType: 3, config, layers: [layer] }],
    ["a layer with a negative size", { schemaVersion: 2, config, layers: [{ ...layer, size: -5 }] }],
    ["a subject that is a string", { schemaVersion: 2, config, layers: [layer], subject: layer.digest }],
    ["annotations with a number", { schemaVersion: 2, config, layers: [layer], annotations: { a: 1 } }],
    ["an artifactType that is a number", { schemaVersion: 2, config, layers: [layer], artifactType: 1 }],
    ["Layers in the wrong case", { schemaVersion: 2, config, Layers: [layer] }],
  ])("is refused with %s", async (_what, value) => {
    await failure(() => parse(value), "INVALID");
  });

  it("is refused where it is no object, and where its JSON has a duplicate name", async () => {
    await failure(() => parse([]), "INVALID");
    const text = `{"schemaVersion":2,"layers":[],"config":${JSON.stringify(config)},"layers":[]}`;
    await failure(() => parseManifest(utf8(text), mediaTypes.manifest, "it"), "INVALID");
  });

  it("keeps __proto__ as an annotation", () => {
    const text = `{"schemaVersion":2,"config":${JSON.stringify(config)},"layers":[],"annotations":{"__proto__":"x"}}`;
    const { annotations } = parseManifest(utf8(text), mediaTypes.manifest, "it");
    expect(JSON.stringify(annotations)).toBe('{"__proto__":"x"}');
  });

  it("of a type that is no manifest is UNSUPPORTED", async () => {
    await failure(() => parse({ schemaVersion: 2 }, "application/json"), "UNSUPPORTED");
  });
});

describe("an index", () => {
  it.each([mediaTypes.index, mediaTypes.dockerManifestList])("of type %s is read with its manifests", (mediaType) => {
    const manifest = parse({ schemaVersion: 2, mediaType, manifests: [child, layer] }, mediaType);
    expect(manifest.kind).toBe("index");
    expect(childrenOf(manifest)).toEqual([child, layer]);
  });

  it.each<[string, object]>([
    ["manifests and layers", { schemaVersion: 2, manifests: [child], layers: [layer] }],
    ["manifests and a config", { schemaVersion: 2, manifests: [child], config }],
    ["no manifests", { schemaVersion: 2 }],
    ["a mediaType that is a manifest", { schemaVersion: 2, mediaType: mediaTypes.manifest, manifests: [] }],
    ["a platform that is a string", { schemaVersion: 2, manifests: [{ ...child, platform: "linux/amd64" }] }],
  ])("is refused with %s", async (_what, value) => {
    await failure(() => parse(value, mediaTypes.index), "INVALID");
  });

  it("says which of its manifests is wrong", async () => {
    const value = { schemaVersion: 2, manifests: [child, { ...child, size: "9" }] };
    expect((await failure(() => parse(value, mediaTypes.index), "INVALID")).message).toContain("manifests[1] of it");
  });
});

describe("an artifact manifest of the withdrawn type", () => {
  it("is read with its blobs, which may be absent", () => {
    const value = { mediaType: mediaTypes.artifactManifest, artifactType: "a/b", subject: child };
    expect(parse({ ...value, blobs: [layer] }, mediaTypes.artifactManifest)).toMatchObject({ kind: "artifact" });
    expect(childrenOf(parse(value, mediaTypes.artifactManifest))).toEqual([]);
  });
});

describe("the artifactType a manifest is listed under", () => {
  it("is its own, else that of the config, and for an index only its own", () => {
    expect(effectiveArtifactType(parse({ schemaVersion: 2, artifactType: "a/b", config, layers: [] }))).toBe("a/b");
    expect(effectiveArtifactType(parse({ schemaVersion: 2, config, layers: [] }))).toBe(mediaTypes.config);
    expect(effectiveArtifactType(parse({ schemaVersion: 2, artifactType: "", config, layers: [] }))).toBe(
      mediaTypes.config,
    );
    const index = { schemaVersion: 2, manifests: [] };
    expect(effectiveArtifactType(parse(index, mediaTypes.index))).toBeUndefined();
    expect(effectiveArtifactType(parse({ ...index, artifactType: "a/b" }, mediaTypes.index))).toBe("a/b");
  });

  it("goes into the list with all annotations of the manifest, and nothing of the descriptor it was found by", () => {
    const bytes = manifestBytes({ artifactType: "a/b", config: emptyDescriptor, layers: [], annotations: { c: "d" } });
    const found = descriptorOf(bytes, mediaTypes.manifest, { annotations: { e: "f" }, data: "e30=" });
    expect(referrerDescriptor(found, parseManifest(bytes, mediaTypes.manifest, "it"))).toEqual({
      mediaType: mediaTypes.manifest,
      digest: digestOf(bytes),
      size: bytes.byteLength,
      artifactType: "a/b",
      annotations: { c: "d" },
    });
  });
});

describe("the type of a manifest without a descriptor", () => {
  it.each<[string | undefined, object]>([
    [mediaTypes.manifest, { schemaVersion: 2, config, layers: [] }],
    [mediaTypes.index, { schemaVersion: 2, manifests: [] }],
    [mediaTypes.dockerManifest, { schemaVersion: 2, mediaType: mediaTypes.dockerManifest }],
    [undefined, { mediaType: "application/json", schemaVersion: 2, manifests: [] }],
    [undefined, { schemaVersion: 1, manifests: [] }],
    [undefined, { architecture: "amd64", os: "linux", config: {} }],
    [undefined, {}],
  ])("is %s", (mediaType, value) => {
    expect(sniffManifestType(value as Record<string, unknown>)).toBe(mediaType);
  });
});

it("a document of our own is JSON in the given order of keys, without a newline", () => {
  expect(Buffer.from(encodeJson({ b: 1, a: [2] })).toString()).toBe('{"b":1,"a":[2]}');
  expect(Buffer.from(indexBytes({ manifests: [] })).toString()).toBe(
    `{"schemaVersion":2,"mediaType":"${mediaTypes.index}","manifests":[]}`,
  );
});
