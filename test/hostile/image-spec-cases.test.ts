import { readFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { parseConfig } from "@stowage/image";
import { Layout, mediaTypes, OciError, parseDescriptor, parseJson, parseManifest } from "@stowage/layout";
import { describe, expect, it } from "vitest";
import { handMadeLayout, put, temporaryDirectory } from "../../packages/layout/test/support.js";

interface Case {
  readonly name: string;
  readonly about: string;
  readonly kind: "descriptor" | "manifest" | "index" | "config" | "layout";
  readonly valid: boolean;
  readonly text: string;
}

const path = fileURLToPath(new URL("../fixtures/image-spec-cases.json", import.meta.url));
const { cases } = JSON.parse(await readFile(path, "utf8")) as { cases: readonly Case[] };

/**
 * Where this program judges otherwise, and why. The schema asks for at least one layer; an artifact without one is what
 * the distribution-spec's conformance tests push ("No Layers"), and tools write it. It asks for a media type as
 * artifactType; tools write `sbom`, and a referrer is not to be lost for that.
 */
const deviations: ReadonlyMap<string, boolean> = new Map([
  ["TestManifest/5", true],
  ["TestDescriptor/19", true],
]);

/** What the schema tests themselves do before they validate a Docker document. */
function inOciTypes(text: string): string {
  return text
    .replaceAll(mediaTypes.dockerManifestList, mediaTypes.index)
    .replaceAll(mediaTypes.dockerManifest, mediaTypes.manifest)
    .replaceAll(mediaTypes.dockerLayerGzip, mediaTypes.layerGzip)
    .replaceAll(mediaTypes.dockerConfig, mediaTypes.config);
}

/** Judges with the validator for that kind of document, as bytes from outside. */
async function judge(kind: Case["kind"], text: string): Promise<void> {
  const bytes = new TextEncoder().encode(text);
  switch (kind) {
    case "descriptor":
      parseDescriptor(parseJson(bytes, "the case"), "the case");
      return;
    case "config":
      parseConfig(bytes, "the case");
      return;
    case "layout": {
      const directory = await temporaryDirectory();
      await handMadeLayout(directory, { manifests: [] });
      await put(directory, "oci-layout", bytes);
      await Layout.open(directory);
      return;
    }
    default: {
      const { mediaType } = parseJson(bytes, "the case") as { mediaType?: string };
      parseManifest(bytes, mediaType ?? (kind === "index" ? mediaTypes.index : mediaTypes.manifest), "the case");
    }
  }
}

async function isAccepted(kind: Case["kind"], text: string): Promise<boolean> {
  try {
    await judge(kind, text);
    return true;
  } catch (error) {
    expect(error).toBeInstanceOf(OciError);
    expect((error as OciError).code).toBe("INVALID");
    return false;
  }
}

describe("the verdict of the image-spec's own tests is ours", () => {
  it("over all of them", () => {
    expect(cases).toHaveLength(84);
    expect(cases.filter(({ valid }) => valid)).toHaveLength(44);
    expect([...deviations.keys()].filter((name) => !cases.some((one) => one.name === name))).toEqual([]);
  });

  for (const { name, about, kind, valid, text } of cases) {
    const expected = deviations.get(name) ?? valid;
    const differently = expected === valid ? "" : " (the schema says otherwise)";
    it(`${name}: ${expected ? "accepted" : "refused"}${differently}, ${about}`, async () => {
      expect(await isAccepted(kind, text)).toBe(expected);
      expect(await isAccepted(kind, inOciTypes(text))).toBe(expected);
    });
  }
});

describe("the same for an index.json on the disk", () => {
  // An entry whose mediaType is missing or empty gets that of its content instead.
  const tolerated: ReadonlySet<string> = new Set(["TestImageIndex/5"]);
  for (const { name, about, kind, valid, text } of cases.filter((one) => one.kind === "index")) {
    const expected = valid || tolerated.has(name);
    it(`${name}: ${expected ? "opens" : "is refused"}, ${about}`, async () => {
      const directory = await temporaryDirectory();
      await handMadeLayout(directory, text);
      const opened = await Layout.open(directory).then(
        () => true,
        (error: unknown) => {
          expect(error).toMatchObject({ name: "OciError", code: "INVALID" });
          return false;
        },
      );
      expect(opened, kind).toBe(expected);
    });
  }
});
