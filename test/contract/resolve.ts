import { digestOf, isOciError } from "@stowage/layout";
import { describe, expect, test } from "vitest";
import { artifact, indexOf, pushAll } from "./content.js";
import type { Factory } from "./describe-target.js";

export function testResolve(factory: Factory): void {
  describe("resolve", () => {
    test("gives the descriptor a tag stands for", async () => {
      const { target } = await factory();
      const manifest = artifact("one");
      await pushAll(target, manifest);
      await target.tag("v1", manifest.descriptor);
      expect(await target.resolve("v1")).toMatchObject(manifest.descriptor);
    });

    test("gives the descriptor of the manifest with a digest, tagged or not", async () => {
      const { target } = await factory();
      const [tagged, untagged] = [artifact("tagged"), artifact("untagged")];
      await pushAll(target, tagged, untagged);
      await target.tag("v1", tagged.descriptor);
      expect(await target.resolve(tagged.descriptor.digest)).toMatchObject(tagged.descriptor);
      expect(await target.resolve(untagged.descriptor.digest)).toMatchObject(untagged.descriptor);
    });

    test("gives the descriptor of an index and of each manifest in it", async () => {
      const { target } = await factory();
      const child = artifact("child");
      const index = indexOf([child.descriptor]);
      await pushAll(target, child, index);
      await target.tag("multi", index.descriptor);
      expect(await target.resolve("multi")).toMatchObject(index.descriptor);
      expect(await target.resolve(child.descriptor.digest)).toMatchObject(child.descriptor);
    });

    test("gives the descriptor of a manifest with a sha512 digest", async () => {
      const { target } = await factory();
      const manifest = artifact("long", { algorithm: "sha512" });
      await pushAll(target, manifest);
      expect(await target.resolve(manifest.descriptor.digest)).toMatchObject(manifest.descriptor);
    });

    test("fails with NOT_FOUND where there is no such tag or digest", async () => {
      const { target } = await factory();
      await pushAll(target, artifact("something"));
      for (const reference of ["absent", digestOf("absent"), digestOf("absent", "sha512")]) {
        await expect(target.resolve(reference)).rejects.toSatisfy((error) => isOciError(error, "NOT_FOUND"));
      }
    });

    test("fails with NOT_FOUND where there is nothing at all", async () => {
      const { target } = await factory();
      await expect(target.resolve("latest")).rejects.toSatisfy((error) => isOciError(error, "NOT_FOUND"));
    });
  });
}
