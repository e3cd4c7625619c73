import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { descriptorOf, Layout, mediaTypes, normalize } from "@stowage/layout";
import { describe, expect, it } from "vitest";
import { handMadeLayout, indexBytes, named, temporaryDirectory } from "./support.js";

describe("normalizing", () => {
  const bytes = indexBytes({ manifests: [] });
  const entry = descriptorOf(bytes, mediaTypes.index);

  async function layoutOf(index: Record<string, unknown>): Promise<Layout> {
    const path = join(await temporaryDirectory(), "layout");
    await handMadeLayout(path, index, [bytes]);
    return Layout.open(path);
  }

  it("puts right what was tolerated and loses no entry", async () => {
    const layout = await layoutOf({
      mediaType: undefined,
      manifests: [
        named(entry, "v2"),
        entry,
        named(entry, "v1"),
        named(entry, "v2"),
        named(entry, "docker.io/acme/app:v3"),
      ],
    });
    const codes = new Set((await layout.oddities()).map(({ code }) => code));
    for (const code of ["index-media-type", "entry-order", "entry-twice", "name-full"] as const)
      expect([code, codes.has(code)]).toEqual([code, true]);
    const { manifests } = await normalize(layout);
    expect(await layout.oddities()).toEqual([]);
    expect(manifests.map(({ annotations }) => annotations?.["org.opencontainers.image.ref.name"])).toEqual([
      "v1",
      "v2",
      "v3",
      undefined,
    ]);
    expect(manifests[2]?.annotations?.["io.containerd.image.name"]).toBe("docker.io/acme/app:v3");
    const file = await readFile(join(layout.path, "index.json"), "utf8");
    await normalize(layout);
    expect(await readFile(join(layout.path, "index.json"), "utf8")).toBe(file);
  });

  it("leaves full names alone whose tag would be taken twice, and keeps members it does not know", async () => {
    const names = ["a.example/app:v1", "b.example/app:v1"];
    const layout = await layoutOf({ manifests: names.map((name) => named(entry, name)), "x-unknown": { kept: true } });
    const index = await normalize(layout);
    expect(index.manifests.map(({ annotations }) => annotations?.["org.opencontainers.image.ref.name"])).toEqual(names);
    expect(index["x-unknown"]).toEqual({ kept: true });
  });

  it("writes a list where there was null", async () => {
    const layout = await layoutOf({ manifests: null });
    await normalize(layout);
    expect(JSON.parse(await readFile(join(layout.path, "index.json"), "utf8")).manifests).toEqual([]);
  });
});
