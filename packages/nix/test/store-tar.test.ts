import { spawnSync } from "node:child_process";
import { lstatSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { afterAll, describe, expect, it } from "vitest";
import {
  ancestorsTar,
  endOfTar,
  hashNar,
  memberTar,
  parseStorePath,
  readNar,
  readStoreTar,
  readTree,
  type TreeEntry,
  writeNar,
} from "../src/index.js";
import { encodeHeader } from "../src/layer/store-tar.js";
import { APP, all, chunked, fixture } from "./fixtures.js";
import { anyTree, collected, treeOf } from "./trees.js";

const path = parseStorePath(APP);
const directory = mkdtempSync(join(tmpdir(), "stowage-nix-"));
afterAll(() => {
  spawnSync("chmod", ["-R", "u+w", directory]);
  rmSync(directory, { recursive: true, force: true });
});

async function layerTar(entries: readonly TreeEntry[]): Promise<Buffer> {
  return Buffer.concat([ancestorsTar("/nix/store"), await all(memberTar(path, treeOf(entries))), endOfTar]);
}

describe("the tar of a store path", () => {
  it("and its NAR are the same thing in two forms, whatever is in it", async () => {
    await fc.assert(
      fc.asyncProperty(anyTree(), fc.integer({ min: 1, max: 3000 }), async (entries, size) => {
        const nar = await all(writeNar(treeOf(entries), "tree"));
        const tar = await all(memberTar(path, readNar([nar], "tree")));
        expect(await all(writeNar(readStoreTar(chunked(tar, size), APP, "tar"), "tree"))).toEqual(nar);
        // With what stands before and behind it, too.
        const layer = await layerTar(entries);
        expect(await collected(readStoreTar([layer], APP, "tar"))).toEqual(entries);
        expect(await all(memberTar(path, readStoreTar([layer], APP, "tar")))).toEqual(tar);
      }),
      { numRuns: 50 },
    );
  });

  it("is taken by GNU tar, which makes a tree with the same NAR of it", async () => {
    await fc.assert(
      fc.asyncProperty(anyTree(), async (entries) => {
        const at = mkdtempSync(join(directory, "tar-"));
        writeFileSync(join(at, "layer.tar"), await layerTar(entries));
        const run = spawnSync("tar", ["-xpf", "layer.tar", "--delay-directory-restore", "--warning=no-timestamp"], {
          cwd: at,
          timeout: 20_000,
        });
        expect(run.stderr.toString()).toBe("");
        const { narHash } = await hashNar(treeOf(entries), "tree");
        const root = join(at, "nix", "store", path.baseName);
        expect((await hashNar(readTree(root), "tree")).narHash).toBe(narHash);
        const stat = lstatSync(root);
        expect(stat.mtimeMs).toBe(1000);
        if (stat.isDirectory()) expect(stat.mode & 0o777).toBe(0o555);
      }),
      { numRuns: 8 },
    );
    expect(readdirSync(directory).length).toBeGreaterThan(0);
  });

  it.each([".wh.x", ".wh..wh..opq", "a/.wh.b"])("is not made where a file is called %s", async (name) => {
    const parents = name.includes("/") ? [{ type: "directory", path: "a" } as const] : [];
    const entries: TreeEntry[] = [
      { type: "directory", path: "" },
      ...parents,
      { type: "symlink", path: name, target: "x" },
    ];
    await expect(layerTar(entries)).rejects.toThrow("means in a layer that something is deleted");
  });

  it("is made of a file whose name only has .wh. in it", async () => {
    const entries: TreeEntry[] = [
      { type: "directory", path: "" },
      { type: "directory", path: "a.wh.b" },
    ];
    expect(await collected(readStoreTar([await layerTar(entries)], APP, "tar"))).toEqual(entries);
  });

  const own = { name: `nix/store/${path.baseName}`, type: "file", mode: 0o444, size: 0 } as const;
  it.each<[string, Uint8Array[], string]>([
    ["outside of it", [encodeHeader({ ...own, name: "etc/passwd" })], "not in"],
    ["beside it", [encodeHeader({ ...own, name: `${own.name}-2` })], "not in"],
    ["with another mode", [encodeHeader({ ...own, mode: 0o644 })], "the mode 0644"],
    [
      "that is a directory with another mode",
      [encodeHeader({ ...own, name: "nix/", type: "directory", mode: 0o777 })],
      "the mode",
    ],
    ["twice", [encodeHeader(own), encodeHeader(own)], "one root"],
    [
      "below a link",
      [
        encodeHeader({ ...own, type: "symlink", mode: 0o777, linkname: "/etc" }),
        encodeHeader({ ...own, name: `${own.name}/x` }),
      ],
      "cannot stand in a NAR",
    ],
    [
      "called ..",
      [
        encodeHeader({ ...own, name: `${own.name}/`, type: "directory", mode: 0o555 }),
        encodeHeader({ ...own, name: `${own.name}/..` }),
      ],
      "cannot be",
    ],
  ])("gives no NAR where it has an entry %s", async (_what, headers, problem) => {
    const nar = all(writeNar(readStoreTar([Buffer.concat(headers), endOfTar], APP, "the layer"), "the layer"));
    await expect(nar).rejects.toThrow(problem);
  });

  it("of what Nix built is, byte for byte, what other programs were told it is", async () => {
    const tar = await layerTar(await collected(readNar([fixture("nar/app.nar")], "app")));
    expect(tar.byteLength % 512).toBe(0);
    expect(await collected(readStoreTar([tar], APP, "tar"))).toHaveLength(6);
  });
});
