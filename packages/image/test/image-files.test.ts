import { isOciError, type Platform } from "@stowage/layout";
import { describe, expect, it } from "vitest";
import { cat } from "../src/files/cat.js";
import { type ListedFile, type ListFilesOptions, listFiles } from "../src/files/list-files.js";
import { directory, file, hardlink, imageOf, symlink } from "./image-of.js";
import { all } from "./support.js";

const layers = [
  [
    directory("etc", { mode: 0o711, uid: 3 }),
    file("etc/hosts", "old", { mtime: 5 }),
    file("etc/gone", "x"),
    symlink("link", "etc/hosts"),
    symlink("up", "../../../etc/hosts"),
    symlink("etc/absolute", "/etc/hosts"),
    symlink("round", "round"),
    file("acl", "x", { pax: { "SCHILY.acl.access": "user::rw-", "SCHILY.xattr.user.x": "value" } }),
  ],
  [file("etc/hosts", "new", { mode: 0o600 }), file("etc/.wh.gone"), hardlink("hard", "etc/hosts"), file("sub/f", "y")],
];

async function listed(options: ListFilesOptions = {}): Promise<ListedFile[]> {
  const { store, descriptor } = await imageOf(layers);
  const files: ListedFile[] = [];
  for await (const found of listFiles(store, descriptor, options)) files.push(found);
  return files;
}

async function read(path: string): Promise<string> {
  const { store, descriptor } = await imageOf(layers);
  return (await all(cat(store, descriptor, path))).toString();
}

describe("the files of an image", () => {
  it("are those that all layers together leave, each with the layer it comes from", async () => {
    const files = await listed({ digests: true });
    expect(files.map(({ path, layer }) => [path, layer])).toEqual([
      ["", undefined],
      ["acl", 1],
      ["etc", 1],
      ["etc/absolute", 1],
      ["etc/hosts", 2],
      ["hard", 2],
      ["link", 1],
      ["round", 1],
      ["sub", undefined],
      ["sub/f", 2],
      ["up", 1],
    ]);
    const [hosts, hard] = ["etc/hosts", "hard"].map((name) => files.find(({ path }) => path === name));
    expect(hosts).toMatchObject({ type: "file", mode: 0o600, size: 3, mtime: 0 });
    expect(hard).toEqual({ ...hosts, path: "hard" });
    expect(files.find(({ path }) => path === "acl")).toMatchObject({
      xattrs: { "user.x": Buffer.from("value").toString("base64") },
      pax: { "SCHILY.acl.access": "user::rw-" },
    });
  });

  it("of one layer are its entries, whiteouts among them", async () => {
    const found = await listed({ layer: 2 });
    expect(found.map(({ path, type }) => [type, path])).toEqual([
      ["file", "etc/hosts"],
      ["whiteout", "etc/gone"],
      ["hardlink", "hard"],
      ["file", "sub/f"],
    ]);
    await expect(listed({ layer: 3 })).rejects.toSatisfy((error) => isOciError(error, "NOT_FOUND"));
  });

  it("are only those of the platform that is asked for", async () => {
    const platform: Platform = { os: "linux", architecture: "arm64" };
    await expect(listed({ platform })).rejects.toSatisfy((error) => isOciError(error, "NOT_FOUND"));
  });
});

describe("the content of a file", () => {
  it.each(["etc/hosts", "/etc/hosts", "link", "up", "etc/absolute", "hard", "./etc/../link"])(
    "is found at %s, links followed inside of the image",
    async (path) => {
      expect(await read(path)).toBe("new");
    },
  );

  it.each([
    ["etc/gone", "NOT_FOUND"],
    ["nothing", "NOT_FOUND"],
    ["etc/hosts/x", "NOT_FOUND"],
    ["etc", "INVALID"],
    ["/", "INVALID"],
    ["round", "INVALID"],
  ] as const)("of %s is refused with %s", async (path, code) => {
    await expect(read(path)).rejects.toSatisfy((error) => isOciError(error, code));
  });
});
