import { lstat, mkdir, readFile, readlink } from "node:fs/promises";
import { join } from "node:path";
import { digestOf, isOciError } from "@stowage/layout";
import { describe, expect, it } from "vitest";
import { type TarEntry, writeTar } from "../src/tar.js";
import { encodeTarHeader, type TarHeader } from "../src/tar-header.js";
import { readTar } from "../src/tar-reader.js";
import { all, feed, temporaryDirectory } from "./support.js";

const plain: TarHeader = { name: "file", type: "file", mode: 0o644, uid: 0, gid: 0, mtime: 0, size: 0 };
const file = (name: string, text: string, more: Partial<TarHeader> = {}): TarEntry => {
  const bytes = Buffer.from(text);
  return { ...plain, name, size: bytes.byteLength, ...more, open: () => [bytes] };
};
const deep = `${"directory-of-some-length/".repeat(8)}`;
const entries: readonly TarEntry[] = [
  { ...plain, name: deep, type: "directory", mode: 0o755 },
  file(`${deep}${"n".repeat(99)}`, "split over two fields"),
  file("a".repeat(240), "too long for ustar"),
  file("größe/日本語 𝒳.txt", "not ASCII"),
  file("mode-zero", "no bits", { mode: 0 }),
  file("ids", "large", { uid: 3_000_000_000, gid: 2_097_152 }),
  file("late", "after 2038", { mtime: 4_102_444_800 }),
  file("later", "after 2242", { mtime: 2 ** 33 }),
  { ...plain, name: "link", type: "symlink", mode: 0o777, linkname: `${"../".repeat(60)}größe` },
  { ...plain, name: "other", type: "hardlink", linkname: "ids" },
];

describe("a tar archive", () => {
  it("has the same bytes every time", async () => {
    const bytes = await all(writeTar(entries));
    expect(await all(writeTar(entries))).toEqual(bytes);
    expect(bytes.byteLength % 512).toBe(0);
    expect(digestOf(bytes)).toBe("sha256:7654dcf258f103905c01871b42bed2d37e53b32f2d3090ddff277f9d61ec4978");
  });

  it("gives back every name, target, id, time and body", async () => {
    const found: Record<string, unknown>[] = [];
    for await (const { header, body } of readTar(writeTar(entries), "the archive")) {
      const { pax: _pax, xattrs: _xattrs, ...own } = header;
      found.push({ ...own, linkname: header.linkname, body: (await all(body)).toString() });
    }
    const expected = await Promise.all(
      entries.map(async ({ open, ...header }) => ({
        ...header,
        linkname: header.linkname,
        body: (await all(open?.() ?? [])).toString(),
      })),
    );
    expect(found).toEqual(expected);
  });

  it("is unpacked by the system's tar", async () => {
    const directory = await temporaryDirectory();
    const body = "x".repeat(70_000);
    const archive = await all(
      writeTar([
        { ...plain, name: deep, type: "directory", mode: 0o755 },
        file(`${deep}${"n".repeat(120)}`, body),
        { ...plain, name: "größe", type: "symlink", mode: 0o777, linkname: deep },
        file("late", "late", { mtime: 4_102_444_800 }),
      ]),
    );
    await mkdir(directory, { recursive: true });
    await feed("tar", ["-xf", "-", "-C", directory, "--no-same-owner"], archive);
    expect(await readFile(join(directory, deep, "n".repeat(120)), "utf8")).toBe(body);
    expect(await readlink(join(directory, "größe"))).toBe(deep);
    expect((await lstat(join(directory, "late"))).mtime.toISOString()).toBe("2100-01-01T00:00:00.000Z");
  });

  it("writes a size of 8 GiB and more", async () => {
    const size = 9 * 2 ** 30 + 1;
    const header = encodeTarHeader({ ...plain, size });
    expect(Buffer.from(header).toString("latin1")).toContain(
      `21 size=${size}\n`.replace("21", String(` size=${size}\n`.length + 2)),
    );
    // Without PAX: the number itself, in base 256.
    const own = header.subarray(header.byteLength - 512);
    expect(own[124]).toBe(0x80);
    expect(Number(Buffer.from(own.subarray(128, 136)).readBigUInt64BE())).toBe(size);
  });

  it("refuses a value that has no place in it", () => {
    for (const wrong of [
      { uid: -1 },
      { gid: 2 ** 32 - 1 },
      { mtime: -1 },
      { mtime: 0.5 },
      { mtime: Number.NaN },
      { mode: 0o10000 },
      { size: 2 ** 53 },
    ]) {
      expect(() => encodeTarHeader({ ...plain, ...wrong }), JSON.stringify(wrong)).toThrow(/not a whole number/);
    }
  });

  it("refuses a name that is absolute or leads upwards", () => {
    for (const name of ["", "/etc/passwd", "..", "../x", "a/../b", "a/..", "a\0b"]) {
      expect(() => encodeTarHeader({ ...plain, name }), name).toThrow(/not an entry name/);
    }
    for (const name of ["..a", "a..b/c..", "...", "a/.../b"]) encodeTarHeader({ ...plain, name });
  });

  it("fails where a body has another size than its header says", async () => {
    for (const size of [2, 4, 0]) {
      const entry = { ...plain, size, open: () => [Buffer.from("abc")] };
      const writing = all(writeTar([size === 0 ? { ...entry, size: 1 } : entry]));
      await expect(writing).rejects.toSatisfy((error) => isOciError(error, "CONFLICT"));
    }
  });

  it("stops where it is aborted", async () => {
    const controller = new AbortController();
    const endless = {
      ...plain,
      size: 2 ** 40,
      open: function* () {
        for (;;) yield Buffer.alloc(2 ** 20);
      },
    };
    const reading = (async () => {
      for await (const _ of writeTar([endless], { signal: controller.signal })) controller.abort(new Error("enough"));
    })();
    await expect(reading).rejects.toThrow("enough");
  });
});

describe("reading a tar archive", () => {
  const invalid = (error: unknown): boolean => isOciError(error, "INVALID");
  const drain = async (bytes: Uint8Array): Promise<void> => {
    for await (const _ of readTar([bytes], "the archive"));
  };

  it("fails where it is cut off, damaged, or none", async () => {
    const bytes = await all(writeTar([file("a", "x".repeat(2000))]));
    await expect(drain(bytes.subarray(0, 1500))).rejects.toSatisfy(invalid);
    await expect(drain(bytes.subarray(0, 700))).rejects.toSatisfy(invalid);
    const damaged = Buffer.from(bytes);
    damaged[3] = 0x7a;
    await expect(drain(damaged)).rejects.toSatisfy(invalid);
    await expect(drain(Buffer.alloc(2048, "no archive "))).rejects.toSatisfy(invalid);
  });

  it("fails where a link or directory has a body, which readers take differently", async () => {
    const header = Buffer.from(encodeTarHeader({ ...plain, name: "d/", size: 512 }));
    header[156] = "5".charCodeAt(0);
    header.write("        ", 148, "latin1");
    let sum = 0;
    for (const byte of header) sum += byte;
    header.write(`${sum.toString(8).padStart(6, "0")}\0 `, 148, "latin1");
    await expect(drain(Buffer.concat([header, Buffer.alloc(1536)]))).rejects.toSatisfy(invalid);
  });

  it("passes on what its source fails with", async () => {
    async function* broken(): AsyncGenerator<Uint8Array> {
      yield Buffer.alloc(0);
      throw new TypeError("the source broke");
    }
    const reading = (async () => {
      for await (const _ of readTar(broken(), "the archive"));
    })();
    await expect(reading).rejects.toThrow(new TypeError("the source broke"));
  });
});
