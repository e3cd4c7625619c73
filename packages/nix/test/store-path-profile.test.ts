import { readTar } from "@stowage/image";
import type { Descriptor } from "@stowage/layout";
import { describe, expect, it } from "vitest";
import {
  ancestorsTar,
  endOfTar,
  memberTar,
  nixKeys,
  parseNarInfo,
  parsePublicKey,
  parseStorePath,
  readNar,
  type StorePathProfileOptions,
  storePathProfile,
  type TreeEntry,
} from "../src/index.js";
import { pathAnnotations } from "../src/layer/annotations.js";
import { encodeHeader } from "../src/layer/store-tar.js";
import { all, fixture, LIBC, ZLIB } from "./fixtures.js";
import { collected, treeOf } from "./trees.js";

const infoOf = (path: string) => parseNarInfo(fixture(`cache/${path.slice(11, 43)}.narinfo`).toString(), "it");
const layerOf = (path: string, more: Record<string, string> = {}): Descriptor => ({
  mediaType: "application/vnd.oci.image.layer.v1.tar",
  digest: infoOf(path).narHash,
  size: 1,
  annotations: { ...pathAnnotations(infoOf(path)), ...more },
});
const entries = await collected(readNar([fixture("nar/libc.nar")], "libc"));

/** What is found wrong with a layer that says it is a path and has these entries. */
async function problems(
  parts: readonly Uint8Array[],
  options: StorePathProfileOptions & { layers?: readonly Descriptor[]; layer?: Descriptor } = {},
): Promise<string[]> {
  const found: string[] = [];
  const descriptor = options.layer ?? layerOf(LIBC);
  const check = storePathProfile(options).check({
    descriptor,
    image: { layers: options.layers ?? [descriptor] },
    report: (problem, entry) => found.push(entry === undefined ? problem : `${entry} ${problem}`),
  });
  for await (const { header, body } of readTar(parts, "tar")) {
    check?.entry(header);
    for await (const chunk of body) check?.data(chunk);
  }
  check?.end();
  return found;
}

const tarOf = (tree: readonly TreeEntry[]): Promise<Buffer> => all(memberTar(parseStorePath(LIBC), treeOf(tree)));
const head = ancestorsTar("/nix/store");
const name = LIBC.slice(1);

describe("a layer that says it is a store path", () => {
  it("is one where it is as it was exported, and signed where it has to be", async () => {
    const trustedKeys = [parsePublicKey(fixture("public.key").toString())];
    expect(await problems([head, await tarOf(entries), endOfTar], { trustedKeys })).toEqual([]);
  });

  it.each<[string, () => Promise<Uint8Array[]>, string]>([
    ["lacks a file", async () => [await tarOf(entries.slice(0, -1))], "has the hash"],
    [
      "has another mode",
      async () => [await tarOf(entries), encodeHeader({ name: `${name}/x`, type: "file", mode: 0o644, size: 0 })],
      "the mode 0644",
    ],
    [
      "has a file beside it",
      async () => [await tarOf(entries), encodeHeader({ name: `${name}x`, type: "file", mode: 0o444, size: 0 })],
      "in none of its store paths",
    ],
    ["is in two pieces", async () => [await tarOf(entries), await tarOf(entries)], "one root"],
    ["is not there", async () => [], "has not"],
  ])("is none where it %s", async (_what, parts, problem) => {
    expect((await problems([head, ...(await parts()), endOfTar])).join("\n")).toContain(problem);
  });

  it("is none where it was not signed, where what it says cannot be read, or where something it refers to is missing", async () => {
    const tar = [head, await tarOf(entries), endOfTar];
    const trustedKeys = [parsePublicKey(`exp-cache-1:${Buffer.alloc(32, 3).toString("base64")}`)];
    expect(await problems(tar, { trustedKeys })).toEqual([`${LIBC} has no signature by a trusted key`]);
    expect(await problems(tar, { layer: layerOf(LIBC, { [nixKeys.narSize]: "x" }) })).toEqual([
      expect.stringContaining("nar-size"),
    ]);
    const zlib = layerOf(ZLIB);
    expect(await problems([], { layer: zlib, layers: [zlib] })).toContain(
      `${ZLIB} refers to ${LIBC.slice(11)}, which no layer has`,
    );
    expect(await problems([], { layer: zlib, layers: [zlib, layerOf(LIBC)] })).toEqual([
      expect.stringContaining("has not"),
    ]);
    expect(await problems(tar, { layer: layerOf(LIBC, { [nixKeys.narSize]: "1000" }) })).toEqual([
      `${LIBC} has a NAR of 1008 bytes, not 1000`,
    ]);
  });
});
