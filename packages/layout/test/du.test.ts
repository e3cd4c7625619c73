import { link, symlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { contentOf, descriptorOf, du, Layout, mediaTypes } from "@stowage/layout";
import { expect, it } from "vitest";
import { temporaryDirectory, utf8 } from "./support.js";

const content = (text: string) => contentOf(utf8(text), descriptorOf(utf8(text), mediaTypes.layer));

it("counts what only one layout has as its own, and what others have too as shared", async () => {
  const directory = await temporaryDirectory();
  const [one, two] = [await Layout.create(join(directory, "one")), await Layout.create(join(directory, "two"))];
  for (const text of ["both", "only one"]) await one.push(content(text));
  for (const text of ["both", "two"]) await two.push(content(text));
  expect(await du([one, two])).toEqual({
    layouts: [
      { path: one.path, blobs: 2, bytes: 12, shared: 4, own: 8 },
      { path: two.path, blobs: 2, bytes: 7, shared: 4, own: 3 },
    ],
    bytes: 19,
    files: 19,
  });
  expect((await du([one])).layouts).toEqual([{ path: one.path, blobs: 2, bytes: 12, shared: 0, own: 12 }]);
});

it("counts a file with several names once, and as shared also where the other name is elsewhere", async () => {
  const directory = await temporaryDirectory();
  const one = await Layout.create(join(directory, "one"));
  await one.push(content("linked"));
  const two = await Layout.create(join(directory, "two"), { blobs: join(one.path, "blobs"), hardlink: true });
  const { digest } = content("linked").descriptor;
  await link(one.blobPath(digest), two.blobPath(digest));
  expect(await du([one, two])).toMatchObject({ bytes: 12, files: 6 });
  expect((await du([one])).layouts[0]).toMatchObject({ shared: 6, own: 0 });
});

it("leaves out what is no blob, and counts nothing in a layout without blobs", async () => {
  const directory = await temporaryDirectory();
  const layout = await Layout.create(directory);
  await symlink("/etc/hostname", join(directory, "blobs", "sha256", "link"));
  await writeFile(join(directory, "blobs", "file"), "not below an algorithm");
  expect(await du([layout])).toEqual({
    layouts: [{ path: directory, blobs: 0, bytes: 0, shared: 0, own: 0 }],
    bytes: 0,
    files: 0,
  });
});
