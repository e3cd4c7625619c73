import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { narStrings } from "../src/formats/nar-reader.js";
import { MAXIMUM_TREE_DEPTH } from "../src/formats/tree-entry.js";
import { hashNar, readNar, type Tree, type TreeEntry, writeNar } from "../src/index.js";
import { all, chunked, fixture } from "./fixtures.js";
import { anyTree, collected, treeOf } from "./trees.js";

const nar = fixture("nar/app.nar");

describe("a NAR", () => {
  it("that Nix wrote is read as the tree it is, and written again to the same bytes", async () => {
    const entries = await collected(readNar([nar], "app"));
    expect(entries.map(({ type, path }) => `${type} ${path}`)).toEqual([
      "directory ",
      "directory bin",
      "file bin/Zapp",
      "file bin/app",
      "symlink bin/app-alias",
      "directory etc",
    ]);
    expect(await all(writeNar(treeOf(entries), "app"))).toEqual(nar);
  });

  it("and its tree are the same thing in two forms, whatever is in it and however its bytes come", async () => {
    await fc.assert(
      fc.asyncProperty(anyTree(), fc.integer({ min: 1, max: 1000 }), async (entries, size) => {
        const bytes = await all(writeNar(treeOf(entries), "tree"));
        expect(await collected(readNar(chunked(bytes, size), "tree"))).toEqual(entries);
        expect((await hashNar(treeOf(entries), "tree")).narSize).toBe(bytes.byteLength);
      }),
      { numRuns: 50 },
    );
  });

  it("is refused where a byte of it that is no content is another, and never hangs", async () => {
    await fc.assert(
      fc.asyncProperty(fc.nat(nar.byteLength - 1), fc.integer({ min: 1, max: 255 }), async (at, change) => {
        const damaged = Buffer.from(nar);
        damaged[at] = (damaged[at] as number) ^ change;
        // A tree that comes out of it has to be what the bytes say, or they would stand for two things.
        const again = await all(writeNar(readNar([damaged], "damaged"), "damaged")).catch((error) => error.code);
        if (typeof again !== "string") expect(again).toEqual(damaged);
        else expect(["INVALID", "LIMIT"]).toContain(again);
      }),
      { numRuns: 200 },
    );
  });

  it.each([
    ["cut off", nar.subarray(0, nar.byteLength - 8)],
    ["followed by something", Buffer.concat([nar, Buffer.alloc(8)])],
    ["empty", Buffer.alloc(0)],
    ["of an unknown kind of file", narStrings("nix-archive-1", "(", "type", "fifo", ")")],
    ["with names in another order", directory("b", "a")],
    ["with a name twice", directory("a", "a")],
    ["with the name ..", directory("..")],
    ["with a slash in a name", directory("a/b")],
    ["with an empty name", directory("")],
    ["with a name of 256 bytes", directory("a".repeat(256))],
    ["with a link to nowhere", narStrings("nix-archive-1", "(", "type", "symlink", "target", "", ")")],
    ["with a file without contents", narStrings("nix-archive-1", "(", "type", "regular", ")")],
  ])("%s is refused", async (_what, bytes) => {
    await expect(collected(readNar([bytes], "hostile"))).rejects.toMatchObject({ code: "INVALID" });
  });

  it("is refused where it says it holds more than there can be, without taking the memory", async () => {
    const huge = narStrings("nix-archive-1", "(", "type", "regular", "contents");
    const size = Buffer.alloc(8);
    size.writeBigUInt64LE(2n ** 50n);
    await expect(collected(readNar([huge, size, Buffer.alloc(100)], "huge"))).rejects.toThrow("ends too early");
    await expect(collected(readNar([huge, Buffer.alloc(8, 0xff)], "huge"))).rejects.toThrow("a size of");
    const long = Buffer.concat([narStrings("nix-archive-1", "(", "type"), size]);
    await expect(collected(readNar([long], "long"))).rejects.toThrow("16 are allowed");
  });

  it("is refused where it is as deep as Nix takes none", async () => {
    const open = narStrings("(", "type", "directory", "entry", "(", "name", "a", "node");
    const deep = Buffer.concat([narStrings("nix-archive-1"), ...Array<Buffer>(MAXIMUM_TREE_DEPTH).fill(open)]);
    await expect(collected(readNar([deep], "deep"))).rejects.toMatchObject({ code: "LIMIT" });
  });

  it.each<[string, readonly TreeEntry[]]>([
    ["without a root", []],
    [
      "with two roots",
      [
        { type: "directory", path: "" },
        { type: "directory", path: "" },
      ],
    ],
    [
      "below a file",
      [
        { type: "symlink", path: "", target: "x" },
        { type: "directory", path: "a" },
      ],
    ],
    ["below a directory that is closed", [dir(""), dir("a"), dir("b"), dir("a/c")]],
    ["in the order of text", [dir(""), dir("a"), dir("a-b"), dir("a/z")]],
  ])("of a tree %s cannot be written", async (_what, entries) => {
    await expect(all(writeNar(treeOf(entries), "tree"))).rejects.toMatchObject({ code: "INVALID" });
  });

  it("of a file that shrinks or grows meanwhile is not written", async () => {
    for (const size of [2, 4]) {
      const tree: Tree = treeOf([{ type: "file", path: "", executable: false, size, body: [Buffer.from("abc")] }]);
      await expect(all(writeNar(tree, "tree"))).rejects.toMatchObject({ code: "CONFLICT" });
    }
  });
});

function dir(path: string): TreeEntry {
  return { type: "directory", path };
}

function directory(...names: readonly string[]): Buffer {
  const entries = names.flatMap((name) => {
    const node = ["(", "type", "regular", "contents", "", ")"];
    return ["entry", "(", "name", name, "node", ...node, ")"];
  });
  return narStrings("nix-archive-1", "(", "type", "directory", ...entries, ")");
}
