import { truncate, writeFile } from "node:fs/promises";
import { join } from "node:path";
import {
  ArchiveSource,
  ArchiveTarget,
  copy,
  digestOf,
  encodeReceipt,
  Layout,
  MAXIMUM_RECEIPT_SIZE,
  MemoryStore,
  parseReceipt,
  RECEIPT_TYPE,
  readReceipt,
  receiptBase,
  receiptOf,
} from "@stowage/layout";
import { describe, expect, it } from "vitest";
import { failure, pushImage, pushReferrer, temporaryDirectory } from "./support.js";

describe("a receipt", () => {
  it("names the images and lists every manifest and blob, and is the same from a store, an archive and a layout", async () => {
    const directory = await temporaryDirectory();
    const source = new MemoryStore();
    const root = await pushImage(source, { layers: ["one", "two"] });
    await source.tag("v1", root);
    await pushReferrer(source, root);
    const path = join(directory, "a.tar");
    const target = await ArchiveTarget.create(path);
    const layout = await Layout.create(join(directory, "layout"));
    for (const other of [target, layout]) await copy(source, other, "v1", { tags: ["v1"] });
    const written = encodeReceipt(await receiptOf(target));
    await target.close();
    const archive = await ArchiveSource.open(path);
    for (const other of [source, layout, archive])
      expect(Buffer.from(encodeReceipt(await receiptOf(other))).equals(written)).toBe(true);
    await archive.close();
    const receipt = parseReceipt(written, "x");
    const { mediaType, digest, size } = root;
    expect(receipt.roots).toEqual([{ name: "v1", mediaType, digest, size }]);
    expect(receipt.content.map((one) => one.digest)).toEqual([...receipt.content.map((one) => one.digest)].sort());
    // Two layers, a config and a manifest; the referrer, its empty config, and the list it stands in.
    expect(receipt.content).toHaveLength(7);
    expect(receipt.content).toContainEqual({ digest: digestOf("one"), size: 3 });
  });

  it("says what it lists is there only with the same size", async () => {
    const digest = digestOf("one");
    const base = receiptBase(
      { mediaType: RECEIPT_TYPE, schemaVersion: 1, roots: [], content: [{ digest, size: 4 }] },
      "a receipt",
    );
    expect(await base.has({ mediaType: "text/plain", digest, size: 4 })).toBe(true);
    expect(await base.has({ mediaType: "text/plain", digest, size: 3 })).toBe(false);
  });

  it("keeps names as names, wherever they seem to lead", () => {
    const descriptor = { mediaType: "application/vnd.oci.image.manifest.v1+json", digest: digestOf("x"), size: 1 };
    const roots = [{ name: "../../etc/passwd", ...descriptor }];
    const bytes = Buffer.from(JSON.stringify({ mediaType: RECEIPT_TYPE, schemaVersion: 1, roots, content: [] }));
    expect(parseReceipt(bytes, "x").roots).toEqual(roots);
  });

  it.each<[string, unknown]>([
    ["of another type", { mediaType: "application/json" }],
    ["without a type", { mediaType: undefined }],
    ["with a digest that is a path", { content: [{ digest: "sha256:../../../etc/passwd", size: 1 }] }],
    ["with a digest that is short", { content: [{ digest: "sha256:abcd", size: 1 }] }],
    ["with a size below nothing", { content: [{ digest: digestOf("x"), size: -1 }] }],
    ["with a size that is no number", { content: [{ digest: digestOf("x"), size: "1" }] }],
    ["without a list", { content: { length: 3 } }],
    ["with a root that is none", { roots: [{ name: "v1" }] }],
    ["with a name that is no text", { roots: [{ name: {}, mediaType: "a/b", digest: digestOf("x"), size: 1 }] }],
  ])("%s is refused", async (_what, change) => {
    const value = { mediaType: RECEIPT_TYPE, schemaVersion: 1, roots: [], content: [], ...(change as object) };
    await failure(() => parseReceipt(Buffer.from(JSON.stringify(value)), "x"), "INVALID");
  });

  it("of a later version, with a name twice, or that is no JSON is refused", async () => {
    const later = { mediaType: RECEIPT_TYPE, schemaVersion: 2, roots: [], content: [] };
    await failure(() => parseReceipt(Buffer.from(JSON.stringify(later)), "x"), "UNSUPPORTED");
    await failure(() => parseReceipt(Buffer.from('{"content":[],"content":[]}'), "x"), "INVALID");
    await failure(() => parseReceipt(Buffer.from("receipt"), "x"), "INVALID");
  });

  it("that is huge, a directory or not there is refused before it is read", async () => {
    const directory = await temporaryDirectory();
    const huge = join(directory, "huge.json");
    await writeFile(huge, "{");
    await truncate(huge, MAXIMUM_RECEIPT_SIZE + 1);
    await failure(readReceipt(huge), "LIMIT");
    await failure(readReceipt(directory), "DENIED");
    await failure(readReceipt(join(directory, "none.json")), "NOT_FOUND");
  });
});
