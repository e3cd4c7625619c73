import { readdir } from "node:fs/promises";
import { join } from "node:path";
import {
  emptyDescriptor,
  type ImageManifest,
  isOciError,
  Layout,
  mediaTypes,
  parseJson,
  readBytes,
  verifyLayout,
} from "@stowage/layout";
import { beforeEach, describe, expect, it } from "vitest";
import { type BuildArtifactOptions, buildArtifact } from "../src/build-artifact.js";
import { temporaryDirectory, writeFiles } from "./support.js";

const TYPE = "application/vnd.example.model.v1";

let root: string;
let layout: Layout;

beforeEach(async () => {
  root = await temporaryDirectory();
  await writeFiles(root, {
    "model.bin": "weights",
    "notes.md": "# notes",
    "config.json": "{}",
    "wasm.json": '{"os":1}',
  });
  layout = await Layout.create(join(root, "layout"));
});

const file = (name: string, mediaType?: string) => ({ path: join(root, name), mediaType });

async function make(options: BuildArtifactOptions) {
  const result = await buildArtifact(layout, options);
  return { result, manifest: parseJson(await readBytes(layout, result.descriptor), "it") as unknown as ImageManifest };
}

describe("an artifact", () => {
  it("of files has the empty config and its artifactType, and each file its type and title", async () => {
    const { result, manifest } = await make({
      artifactType: TYPE,
      files: [file("model.bin", "application/vnd.example.weights"), file("notes.md")],
      annotations: { b: "2", a: "1" },
      tags: ["v1"],
    });
    expect(manifest).toEqual({
      schemaVersion: 2,
      mediaType: mediaTypes.manifest,
      artifactType: TYPE,
      config: emptyDescriptor,
      layers: result.files,
      annotations: { a: "1", b: "2" },
    });
    expect(result.files.map(({ mediaType, annotations }) => [mediaType, annotations])).toEqual([
      ["application/vnd.example.weights", { "org.opencontainers.image.title": "model.bin" }],
      ["text/markdown", { "org.opencontainers.image.title": "notes.md" }],
    ]);
    expect(await layout.has(emptyDescriptor)).toBe(true);
    expect(await layout.resolve("v1")).toMatchObject({ digest: result.descriptor.digest, artifactType: TYPE });
    expect(await verifyLayout(layout)).toEqual([]);
    expect((await make({ artifactType: TYPE, files: [file("model.bin")] })).result.descriptor.digest).not.toBe(
      result.descriptor.digest,
    );
  });

  it("without files has one empty layer", async () => {
    const { manifest } = await make({ artifactType: TYPE, annotations: { reason: "obsolete" } });
    expect(manifest).toMatchObject({ config: emptyDescriptor, layers: [emptyDescriptor] });
  });

  it("of a module with the config that wasm hosts read is what that config says", async () => {
    const { result, manifest } = await make({
      files: [file("model.bin", "application/wasm")],
      config: file("wasm.json", "application/vnd.wasm.config.v0+json"),
    });
    expect(manifest.config).toEqual({
      mediaType: "application/vnd.wasm.config.v0+json",
      digest: result.config.digest,
      size: 8,
    });
    expect(manifest).not.toHaveProperty("artifactType");
    expect(result.artifactType).toBe("application/vnd.wasm.config.v0+json");
  });

  it("has small content in its descriptors where that is asked for", async () => {
    const { manifest } = await make({ artifactType: TYPE, files: [file("model.bin")], dataMax: 7 });
    expect(manifest.layers[0]?.data).toBe(Buffer.from("weights").toString("base64"));
  });

  it.each<[string, BuildArtifactOptions, "INVALID" | "NOT_FOUND"]>([
    ["nothing says what it is", {}, "INVALID"],
    ["its type is no media type", { artifactType: "model" }, "INVALID"],
    [
      "its config is that of an image",
      { artifactType: TYPE, config: { path: "config.json", mediaType: mediaTypes.config } },
      "INVALID",
    ],
    [
      "its config is empty and it has no type",
      { config: { path: "config.json", mediaType: mediaTypes.empty } },
      "INVALID",
    ],
    ["a file is missing", { artifactType: TYPE, files: [{ path: "missing" }] }, "NOT_FOUND"],
    ["an annotation is no text", { artifactType: TYPE, annotations: { a: 1 as unknown as string } }, "INVALID"],
  ])("is refused where %s, and nothing is stored", async (_why, options, code) => {
    const inRoot = <T extends { path: string }>(one: T): T => ({ ...one, path: join(root, one.path) });
    const { config, files } = options;
    await expect(
      make({ ...options, ...(config && { config: inRoot(config) }), ...(files && { files: files.map(inRoot) }) }),
    ).rejects.toSatisfy((error) => isOciError(error, code));
    expect(await readdir(join(root, "layout/blobs/sha256"))).toEqual([]);
  });
});
