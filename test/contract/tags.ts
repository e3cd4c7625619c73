import { isOciError, referrersTag } from "@stowage/layout";
import { describe, expect, test } from "vitest";
import { all, artifact, blob, indexOf, pushAll, read } from "./content.js";
import type { Factory } from "./describe-target.js";

export function testTags(factory: Factory): void {
  describe("tags", () => {
    test("gives each tag once, in bytewise order", async () => {
      const { target } = await factory();
      const [one, two] = [artifact("one"), artifact("two")];
      await pushAll(target, one, two);
      const names = ["b", "B", "a", "_a", "a.b", "a-b", "a_b", "1.10", "1.9", "latest", `${"x".repeat(127)}-`];
      for (const name of names) await target.tag(name, one.descriptor);
      for (const name of names) await target.tag(name, two.descriptor);
      expect(await all(target.tags())).toEqual([...names].sort());
    });

    test("gives nothing where nothing is tagged", async () => {
      const { target } = await factory();
      await pushAll(target, artifact("untagged"));
      expect(await all(target.tags())).toEqual([]);
    });

    test("leaves out the tags that only carry a referrers list", async () => {
      const { target } = await factory();
      const image = artifact("image");
      const list = indexOf([]);
      await pushAll(target, image, list, artifact("sbom", { subject: image.descriptor }));
      await target.tag("v1", image.descriptor);
      await target.tag(referrersTag(artifact("absent").descriptor.digest), list.descriptor);
      expect(await all(target.tags())).toEqual(["v1"]);
    });
  });

  describe("tag", () => {
    test("lets a tag stand for the manifest instead of whatever it stood for", async () => {
      const { target } = await factory();
      const [one, two] = [artifact("one"), artifact("two")];
      await pushAll(target, one, two);
      for (const manifest of [one, two, two, one]) {
        await target.tag("latest", manifest.descriptor);
        expect((await target.resolve("latest")).digest).toBe(manifest.descriptor.digest);
      }
      expect(await all(target.tags())).toEqual(["latest"]);
    });

    test("gives one manifest many tags, and each of them stands for it", async () => {
      const { target } = await factory();
      const manifest = artifact("one");
      await pushAll(target, manifest);
      for (const name of ["1", "1.2", "1.2.3"]) await target.tag(name, manifest.descriptor);
      for (const name of ["1", "1.2", "1.2.3"]) expect(await target.resolve(name)).toMatchObject(manifest.descriptor);
    });

    test("tags an index", async () => {
      const { target } = await factory();
      const child = artifact("child");
      const index = indexOf([child.descriptor]);
      await pushAll(target, child, index);
      await target.tag("multi", index.descriptor);
      expect(await target.resolve("multi")).toMatchObject(index.descriptor);
    });

    test("tags a manifest with a sha512 digest: the tag stands for the same bytes", async () => {
      const { target } = await factory();
      const manifest = artifact("long", { algorithm: "sha512" });
      await pushAll(target, manifest);
      await target.tag("long", manifest.descriptor);
      expect((await read(target.fetch(await target.resolve("long")))).equals(manifest.bytes)).toBe(true);
    });

    test("leaves the old manifest where it was", async () => {
      const { target } = await factory();
      const [one, two] = [artifact("one"), artifact("two")];
      await pushAll(target, one, two);
      await target.tag("latest", one.descriptor);
      await target.tag("latest", two.descriptor);
      expect(await target.has(one.descriptor)).toBe(true);
      expect(await target.resolve(one.descriptor.digest)).toMatchObject(one.descriptor);
    });

    test("fails with NOT_FOUND where the manifest is not present, and leaves the tag as it was", async () => {
      const { target } = await factory();
      const manifest = artifact("present");
      await pushAll(target, manifest, blob("a blob"));
      await target.tag("v1", manifest.descriptor);
      for (const name of ["v1", "v2"]) {
        await expect(target.tag(name, artifact("absent").descriptor)).rejects.toSatisfy((error) =>
          isOciError(error, "NOT_FOUND"),
        );
      }
      expect((await target.resolve("v1")).digest).toBe(manifest.descriptor.digest);
      expect(await all(target.tags())).toEqual(["v1"]);
    });

    test("keeps all tags that are set at once", async () => {
      const { target } = await factory();
      const manifest = artifact("busy");
      await pushAll(target, manifest);
      const names = Array.from({ length: 20 }, (_, at) => `t${at}`);
      await Promise.all(names.map((name) => target.tag(name, manifest.descriptor)));
      expect(await all(target.tags())).toEqual([...names].sort());
    });
  });
}
