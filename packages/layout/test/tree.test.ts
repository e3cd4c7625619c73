import { type Descriptor, MemoryStore, mediaTypes, readBytes, type TreeNode, tree } from "@stowage/layout";
import { describe, expect, it } from "vitest";
import { pushBytes, pushImage, pushIndex, pushManifest, pushReferrer } from "./support.js";

/** A tree as indented text, with names in place of digests. */
function drawn(node: TreeNode, names: Map<string, Descriptor>, depth = 0): string {
  const name = [...names].find(([, descriptor]) => descriptor.digest === node.descriptor.digest)?.[0] ?? "?";
  const marks = [node.artifactType, node.problem, node.repeated && "repeated"].filter(Boolean);
  const line = `${"  ".repeat(depth)}${[name, ...marks].join(" ")}`;
  const below = [
    ...node.children.map((child) => drawn(child, names, depth + 1)),
    ...node.referrers.map((referrer) => drawn(referrer, names, depth + 1).replace(/\S/, "< $&")),
  ];
  return [line, ...below].join("\n");
}

describe("a tree", () => {
  it("has the manifests below a root and their referrers, and names a repeated one without its branches", async () => {
    const store = new MemoryStore();
    const one = await pushImage(store, { layers: ["one"] });
    const two = await pushImage(store, { layers: ["two"] });
    const inner = await pushIndex(store, [two, one]);
    const root = await pushIndex(store, [one, inner]);
    const sbom = await pushReferrer(store, one, "application/spdx+json");
    const signature = await pushReferrer(store, sbom, "application/x-signature");
    const names = new Map(Object.entries({ one, two, inner, root, sbom, signature }));
    expect(drawn(await tree(store, root), names)).toBe(
      [
        "root",
        "  one",
        "    < sbom application/spdx+json",
        "      < signature application/x-signature",
        "  inner",
        "    two",
        "    one repeated",
      ].join("\n"),
    );
    expect(drawn(await tree(store, root, { referrers: false }), names)).toBe(
      ["root", "  one", "  inner", "    two", "    one repeated"].join("\n"),
    );
  });

  it("counts blobs, and shows what is missing or cannot be read", async () => {
    const store = new MemoryStore();
    const image = await pushImage(store, { layers: ["12345"] });
    const missing = await pushImage(new MemoryStore(), { layers: ["elsewhere"] });
    const bad = { ...(await pushBytes(store, "{", "text/plain")), mediaType: mediaTypes.manifest };
    const root = await tree(store, await pushIndex(store, [image, missing, bad]));
    const [first, second, third] = root.children;
    const { config } = JSON.parse(Buffer.from(await readBytes(store, image)).toString());
    expect(first?.size).toBe(image.size + config.size + 5);
    expect(second).toMatchObject({ size: missing.size, problem: "missing" });
    expect(third?.problem).toContain("not valid JSON");
  });

  it("of a manifest that is missing is one node that says so", async () => {
    const missing = await pushManifest(new MemoryStore(), {
      config: { mediaType: "a/b", digest: "a:b", size: 1 },
      layers: [],
    });
    expect(await tree(new MemoryStore(), missing)).toMatchObject({ children: [], referrers: [], problem: "missing" });
  });
});
