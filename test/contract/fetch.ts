import { isOciError } from "@stowage/layout";
import { describe, expect, test } from "vitest";
import { artifact, blob, pushAll, read, receive, type Sample } from "./content.js";
import type { DamageableFixture, Factory } from "./describe-target.js";

const LARGE = 3 * 1024 * 1024 + 7;

/** Content of every kind a target stores. */
const samples: Readonly<Record<string, () => Sample>> = {
  "a blob": () => blob("some bytes"),
  "a blob of one byte": () => blob("x"),
  "a blob without a byte": () => blob("", 0),
  "a blob of several chunks": () => blob("large", LARGE),
  "a blob of exactly one mebibyte": () => blob("mebibyte", 1024 * 1024),
  "a blob with a sha512 digest": () => blob("sixty-four bytes", LARGE, "sha512"),
  "a manifest": () => artifact("manifest"),
  "a manifest with a sha512 digest": () => artifact("manifest", { algorithm: "sha512" }),
};

export function testFetch(factory: Factory): void {
  describe("fetch", () => {
    test.each(Object.entries(samples))("gives the bytes of %s, as often as asked", async (_what, make) => {
      const { target } = await factory();
      const content = make();
      await pushAll(target, content);
      const [first, second] = await Promise.all([1, 2].map(() => read(target.fetch(content.descriptor))));
      expect(first?.equals(content.bytes)).toBe(true);
      expect(second?.equals(content.bytes)).toBe(true);
    });

    test("fails with NOT_FOUND where the blob or manifest is not there", async () => {
      const { target } = await factory();
      await pushAll(target);
      for (const { descriptor } of [blob("absent"), blob("absent", 20, "sha512"), artifact("absent")]) {
        const { received, error } = await receive(target.fetch(descriptor));
        expect([received.byteLength, isOciError(error, "NOT_FOUND")]).toEqual([0, true]);
      }
    });

    test.each([
      ["a blob", () => blob("sized", 2000)],
      ["a blob of several chunks", () => blob("sized", LARGE)],
      ["a manifest", () => artifact("sized")],
    ])("fails with MISMATCH where %s has another size, and withholds the last bytes", async (_what, make) => {
      const { target } = await factory();
      const { bytes, descriptor } = make();
      await pushAll(target, make());
      for (const size of [0, descriptor.size - 1, descriptor.size + 1, descriptor.size * 2]) {
        const { received, error } = await receive(target.fetch({ ...descriptor, size }));
        expect([size, isOciError(error, "MISMATCH")]).toEqual([size, true]);
        expect(received.byteLength).toBeLessThan(Math.max(1, Math.min(size, bytes.byteLength)));
      }
    });

    test.each([1, 5, 1024 * 1024 - 1, 1024 * 1024, LARGE - 1, LARGE])(
      "from byte %i on gives the rest of a blob",
      async (from) => {
        const { target } = await factory();
        const content = blob("resumed", LARGE);
        await pushAll(target, content);
        expect((await read(target.fetch(content.descriptor, { from }))).equals(content.bytes.subarray(from))).toBe(
          true,
        );
      },
    );

    test("from byte 0 on gives all, verified", async () => {
      const { target } = await factory();
      const content = blob("beginning", 5000);
      await pushAll(target, content);
      expect((await read(target.fetch(content.descriptor, { from: 0 }))).equals(content.bytes)).toBe(true);
      const { error } = await receive(target.fetch({ ...content.descriptor, size: 5001 }, { from: 0 }));
      expect(isOciError(error, "MISMATCH")).toBe(true);
    });

    test("from an offset on gives the rest of a manifest", async () => {
      const { target } = await factory();
      const content = artifact("resumed");
      await pushAll(target, content);
      const rest = await read(target.fetch(content.descriptor, { from: 10 }));
      expect(rest.equals(content.bytes.subarray(10))).toBe(true);
    });

    test("from an offset on checks the size: MISMATCH where the content is shorter or longer than declared", async () => {
      const { target } = await factory();
      const content = blob("resumed", 5000);
      await pushAll(target, content);
      for (const size of [4000, 6000]) {
        const { error } = await receive(target.fetch({ ...content.descriptor, size }, { from: 3000 }));
        expect([size, isOciError(error, "MISMATCH")]).toEqual([size, true]);
      }
    });

    test("from an offset on fails with NOT_FOUND where the content is not there", async () => {
      const { target } = await factory();
      await pushAll(target);
      const { error } = await receive(target.fetch(blob("absent", 5000).descriptor, { from: 3000 }));
      expect(isOciError(error, "NOT_FOUND")).toBe(true);
    });

    test("can be left before the end", async () => {
      const { target } = await factory();
      const content = blob("left", LARGE);
      await pushAll(target, content);
      for await (const chunk of target.fetch(content.descriptor)) {
        expect(chunk.byteLength).toBeGreaterThan(0);
        break;
      }
      expect((await read(target.fetch(content.descriptor))).equals(content.bytes)).toBe(true);
    });
  });
}

export function testDamage(factory: Factory<DamageableFixture>): void {
  describe("content that was damaged where it lies", () => {
    test.each([
      ["a blob", () => blob("good", 1000)],
      ["a blob of several chunks", () => blob("good", LARGE)],
      ["a manifest", () => artifact("good")],
    ])("is never given whole: %s", async (_what, make) => {
      const { target, damage } = await factory();
      const content = make();
      await pushAll(target, artifact("other"));
      await target.push({ ...content, open: () => [content.bytes] });
      await damage(content.descriptor.digest);
      const { received, error } = await receive(target.fetch(content.descriptor));
      // Good bytes that a target has kept elsewhere are as good as a failure.
      if (error === undefined) expect(received.equals(content.bytes)).toBe(true);
      else expect(received.byteLength).toBeLessThan(content.bytes.byteLength);
    });
  });
}
