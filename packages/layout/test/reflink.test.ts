import { execFileSync } from "node:child_process";
import { mkdir, stat, statfs, truncate, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { copy, Layout, mediaTypes } from "@stowage/layout";
import { describe, expect, it, onTestFinished } from "vitest";
import { bytesOf, filesBelow, pushImage, temporaryDirectory } from "./support.js";

const MEGABYTE = 1_000_000;
const makers = {
  xfs: ["mkfs.xfs", "-q", "-f", "-m", "reflink=1"],
  btrfs: ["mkfs.btrfs", "-q", "-f"],
} as const;

/** Mounts a file system that can share blocks between files, or returns undefined, and says why, where that is not possible. */
async function mounted(kind: keyof typeof makers): Promise<string | undefined> {
  const directory = await temporaryDirectory();
  const [image, path] = [join(directory, "image"), join(directory, "disk")];
  await mkdir(path);
  await writeFile(image, "");
  await truncate(image, 400 * MEGABYTE);
  const [program, ...options] = makers[kind];
  try {
    execFileSync(program, [...options, image], { stdio: "pipe" });
    execFileSync("mount", ["-o", "loop", image, path], { stdio: "pipe" });
  } catch (error) {
    console.log(`not tried on ${kind}: it cannot be made and mounted here (${(error as Error).message.trim()})`);
    return undefined;
  }
  onTestFinished(() => {
    execFileSync("umount", [path]);
  });
  return path;
}

/** Bytes in use on the file system, once all that was written is on it. */
async function used(disk: string): Promise<number> {
  execFileSync("sync", ["-f", disk]);
  const { bsize, blocks, bfree } = await statfs(disk);
  return bsize * (blocks - bfree);
}

describe.each(["xfs", "btrfs"] as const)("on %s", (kind) => {
  it("layouts that share blobs, and copies between layouts, share the blocks and not the files", async () => {
    const disk = await mounted(kind);
    if (disk === undefined) return;
    const blobs = join(disk, "shared");
    const one = await Layout.create(join(disk, "one"), { blobs });
    const before = await used(disk);
    // Bytes that cannot be compressed, of which each copy would take as many again.
    const bytes = Buffer.alloc(40 * MEGABYTE);
    for (let at = 0; at + 4 <= bytes.length; at += 4) bytes.writeUInt32LE(Math.imul(at, 2654435761) >>> 0, at);
    const layer = await one.write([bytes], mediaTypes.layer);
    const image = await pushImage(one);
    const written = await used(disk);
    expect(written - before).toBeGreaterThan(35 * MEGABYTE);

    const two = await Layout.create(join(disk, "two"), { blobs });
    expect(await two.push({ descriptor: layer, open: () => [bytes] })).toBe("linked");
    const three = await Layout.create(join(disk, "three"), { hardlink: true });
    expect((await copy(one, three, image)).linked).toBeGreaterThan(0);
    expect(await three.push({ descriptor: layer, open: () => [bytes], origin: one })).toBe("linked");
    expect(await filesBelow(blobs)).toContain(`sha256/${layer.digest.slice("sha256:".length)}`);
    expect((await used(disk)) - written).toBeLessThan(20 * MEGABYTE);

    const inodes = [one, two, three].map(async (layout) => (await stat(layout.blobPath(layer.digest))).ino);
    expect(new Set(await Promise.all(inodes)).size).toBe(3);
    await writeFile(one.blobPath(layer.digest), "damaged in place");
    for (const layout of [two, three]) expect((await bytesOf(layout.fetch(layer))).equals(bytes)).toBe(true);
  });
});
