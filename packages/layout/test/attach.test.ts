import { readFile, symlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import {
  attach,
  emptyDescriptor,
  Layout,
  MemoryStore,
  mediaTypeOfFile,
  mediaTypes,
  plainDescriptor,
} from "@stowage/layout";
import { describe, expect, it } from "vitest";
import { all, bytesOf, failure, filesBelow, pushBytes, pushImage, put, temporaryDirectory } from "./support.js";

const CREATED = "org.opencontainers.image.created";
const TITLE = "org.opencontainers.image.title";

describe("attaching", () => {
  it("files makes a referrer that lists them with their titles and types", async () => {
    const store = new MemoryStore();
    const image = await pushImage(store);
    await store.tag("v1", image);
    const directory = await temporaryDirectory();
    await put(directory, "a.spdx.json", '{"spdxVersion":"SPDX-2.3"}');
    await put(directory, "notes.md", "# notes");
    const result = await attach(
      store,
      { ...image, annotations: { a: "b" } },
      {
        files: [
          { path: join(directory, "a.spdx.json") },
          { path: join(directory, "notes.md"), title: "README.md" },
          { path: join(directory, "notes.md"), mediaType: "text/x-notes", title: "sub/notes" },
        ],
        annotations: { "com.example": "x" },
        created: "2024-01-01T00:00:00Z",
      },
    );
    expect(result.artifactType).toBe("application/spdx+json");
    expect(result.files.map((file) => [file.mediaType, file.annotations?.[TITLE]])).toEqual([
      ["application/spdx+json", "a.spdx.json"],
      ["text/markdown", "README.md"],
      ["text/x-notes", "sub/notes"],
    ]);
    const annotations = { "com.example": "x", [CREATED]: "2024-01-01T00:00:00Z" };
    expect(await all(store.referrers(image))).toEqual([
      { ...plainDescriptor(result.descriptor), artifactType: "application/spdx+json", annotations },
    ]);
    const manifest = JSON.parse((await bytesOf(store.fetch(result.descriptor))).toString());
    expect(manifest).toEqual({
      schemaVersion: 2,
      mediaType: mediaTypes.manifest,
      artifactType: "application/spdx+json",
      config: emptyDescriptor,
      layers: result.files,
      subject: image,
      annotations,
    });
    expect((await bytesOf(store.fetch(manifest.config))).toString()).toBe("{}");
    expect((await bytesOf(store.fetch(manifest.layers[1]))).toString()).toBe("# notes");
    expect(await store.resolve("v1")).toEqual(image);
  });

  it("the same again, also with options in another order, makes the same digest and changes nothing", async () => {
    const layout = await Layout.create(join(await temporaryDirectory(), "layout"));
    const image = await pushImage(layout);
    const artifactType = "application/x-test";
    const first = await attach(layout, image, { artifactType, annotations: { b: "2", a: "1", "10": "x", é: "y" } });
    const index = await readFile(join(layout.path, "index.json"), "utf8");
    const second = await attach(layout, image, { artifactType, annotations: { é: "y", "10": "x", a: "1", b: "2" } });
    expect(second).toEqual(first);
    expect(await readFile(join(layout.path, "index.json"), "utf8")).toBe(index);
  });

  it("nothing but annotations makes a referrer with the empty blob, which is stored", async () => {
    const store = new MemoryStore();
    const image = await pushImage(store);
    const { descriptor, files } = await attach(store, image, { artifactType: "a/b", annotations: { k: "v" } });
    expect(files).toEqual([]);
    expect(JSON.parse((await bytesOf(store.fetch(descriptor))).toString()).layers).toEqual([emptyDescriptor]);
    expect(await store.has(emptyDescriptor)).toBe(true);
  });

  it("to a subject that is not there works, and a tag is set only where one is asked for", async () => {
    const store = new MemoryStore();
    const image = await pushImage(new MemoryStore());
    const { descriptor } = await attach(store, image, { artifactType: "a/b", tag: "sbom" });
    expect((await store.resolve("sbom")).digest).toBe(descriptor.digest);
    expect(await all(store.tags())).toEqual(["sbom"]);
    expect((await all(store.referrers(image))).map(({ digest }) => digest)).toEqual([descriptor.digest]);
  });

  it("to a referrer or an index works as to any manifest, to a blob it is INVALID", async () => {
    const store = new MemoryStore();
    const image = await pushImage(store);
    const { descriptor } = await attach(store, image, { artifactType: "a/b" });
    await attach(store, descriptor, { artifactType: "c/d" });
    expect(await all(store.referrers(descriptor))).toHaveLength(1);
    const blob = await pushBytes(store, "text", "text/plain");
    await failure(attach(store, blob, { artifactType: "a/b" }), "INVALID");
  });

  it("follows a symbolic link to a file of the user, and refuses a directory", async () => {
    const store = new MemoryStore();
    const image = await pushImage(store);
    const directory = await temporaryDirectory();
    await put(directory, "x.txt", "text");
    await symlink("x.txt", join(directory, "link.txt"));
    const { files } = await attach(store, image, {
      artifactType: "a/b",
      files: [{ path: join(directory, "link.txt") }],
    });
    expect(files[0]).toMatchObject({ size: 4, annotations: { [TITLE]: "link.txt" } });
    await failure(attach(store, image, { artifactType: "a/b", files: [{ path: directory }] }), "DENIED");
  });

  it.each([
    ["no files and no artifactType", [], {}, "INVALID"],
    ["a file whose name tells no artifactType", ["x.bin"], {}, "INVALID"],
    ["a file of plain JSON without an artifactType", ["x.json"], {}, "INVALID"],
    ["an artifactType that is no media type", ["x.bin"], { artifactType: "sbom" }, "INVALID"],
    ["a missing file behind one that is there", ["x.bin", "missing"], { artifactType: "a/b" }, "NOT_FOUND"],
  ] as const)("fails with %s and stores nothing", async (_what, names, options, code) => {
    const layout = await Layout.create(join(await temporaryDirectory(), "layout"));
    const image = await pushImage(layout);
    const before = await filesBelow(layout.path);
    const directory = await temporaryDirectory();
    for (const name of ["x.bin", "x.json"]) await put(directory, name, "{}");
    const files = names.map((name) => ({ path: join(directory, name) }));
    await failure(attach(layout, image, { ...options, files }), code);
    expect(await filesBelow(layout.path)).toEqual(before);
  });

  it("a file that changes while it is read is MISMATCH, and nothing refers to it", async () => {
    const store = new MemoryStore();
    const image = await pushImage(store);
    const path = join(await temporaryDirectory(), "x.txt");
    await writeFile(path, "before");
    const target = new (class extends MemoryStore {
      override async push(...parameters: Parameters<MemoryStore["push"]>): ReturnType<MemoryStore["push"]> {
        await writeFile(path, "after!");
        return super.push(...parameters);
      }
    })();
    await failure(attach(target, image, { artifactType: "a/b", files: [{ path }] }), "MISMATCH");
    expect(await all(target.referrers(image))).toEqual([]);
  });
});

describe("the media type that a file name suggests", () => {
  it.each([
    ["x.spdx.json", "application/spdx+json"],
    ["X.SPDX.JSON", "application/spdx+json"],
    ["bom.cdx.json", "application/vnd.cyclonedx+json"],
    ["/a/b/report.sarif.json", "application/sarif+json"],
    ["x.json", "application/json"],
    ["x.txt", "text/plain"],
    ["x", undefined],
    ["json", undefined],
  ])("%s: %s", (name, mediaType) => {
    expect(mediaTypeOfFile(name)).toBe(mediaType);
  });
});
