import { isOciError, type Target } from "@stowage/layout";
import { describe, expect, test } from "vitest";
import { all, artifact, blob, pushAll, read, receive } from "./content.js";
import type { Factory } from "./describe-target.js";

const LARGE = 24 * 1024 * 1024;
const image = artifact("image");
const kept = blob("kept", 5000);

const operations: Readonly<Record<string, (target: Target, signal: AbortSignal) => Promise<unknown>>> = {
  resolve: (target, signal) => target.resolve("v1", { signal }),
  "resolve of a digest": (target, signal) => target.resolve(image.descriptor.digest, { signal }),
  "fetch of a blob": (target, signal) => read(target.fetch(kept.descriptor, { signal })),
  "fetch of a manifest": (target, signal) => read(target.fetch(image.descriptor, { signal })),
  "fetch from an offset": (target, signal) => read(target.fetch(kept.descriptor, { signal, from: 100 })),
  referrers: (target, signal) => all(target.referrers(image.descriptor, { signal })),
  tags: (target, signal) => all(target.tags({ signal })),
  "has for a blob": (target, signal) => target.has(kept.descriptor, { signal }),
  "has for a manifest": (target, signal) => target.has(image.descriptor, { signal }),
  "push of a blob": (target, signal) => target.push(blob("new"), { signal }),
  "push of a blob that is there": (target, signal) => target.push(kept, { signal }),
  "push of a manifest": (target, signal) => target.push(artifact("new"), { signal }),
  "push of a manifest that is there": (target, signal) => target.push(image, { signal }),
  tag: (target, signal) => target.tag("v2", image.descriptor, { signal }),
};

export function testAborting(factory: Factory): void {
  describe("a signal", () => {
    test.each(Object.entries(operations))(
      "that is aborted already makes %s fail with its reason",
      async (_name, run) => {
        const { target } = await factory();
        await pushAll(target, image, kept);
        await target.tag("v1", image.descriptor);
        const reason = new Error("given up");
        await expect(run(target, AbortSignal.abort(reason))).rejects.toBe(reason);
        expect(await all(target.tags())).toEqual(["v1"]);
        expect(await target.has(blob("new").descriptor)).toBe(false);
        expect(await target.has(artifact("new").descriptor)).toBe(false);
      },
    );

    test("ends a push on the way with its reason; then nothing was stored", async () => {
      const { target } = await factory();
      await pushAll(target);
      const content = blob("given up", LARGE);
      const controller = new AbortController();
      const reason = new Error("given up");
      const open = async function* () {
        for (let at = 0; at < LARGE; at += 1024 * 1024) {
          if (at === 4 * 1024 * 1024) controller.abort(reason);
          yield content.bytes.subarray(at, at + 1024 * 1024);
        }
      };
      await expect(target.push({ ...content, open }, { signal: controller.signal })).rejects.toBe(reason);
      expect(await target.has(content.descriptor)).toBe(false);
      expect(await target.push(content)).toBe("written");
    });

    test("ends a push whose bytes do not come", async () => {
      const { target } = await factory();
      await pushAll(target);
      const content = blob("stuck", LARGE);
      const controller = new AbortController();
      const reason = new Error("given up");
      const open = async function* () {
        yield content.bytes.subarray(0, 1024 * 1024);
        setTimeout(() => controller.abort(reason), 10);
        await new Promise(() => {});
      };
      await expect(target.push({ ...content, open }, { signal: controller.signal })).rejects.toBe(reason);
      expect(await target.has(content.descriptor)).toBe(false);
    }, 10_000);

    test("ends a fetch on the way with its reason, before the last chunk", async () => {
      const { target } = await factory();
      const content = blob("given up", LARGE);
      await pushAll(target, content);
      const controller = new AbortController();
      const reason = new Error("given up");
      const stream = async function* () {
        for await (const chunk of target.fetch(content.descriptor, { signal: controller.signal })) {
          yield chunk;
          controller.abort(reason);
        }
      };
      const { received, error } = await receive(stream());
      // A target that has all bytes at hand may have given them before it could be told.
      if (received.byteLength < LARGE) expect(error).toBe(reason);
      expect((await read(target.fetch(content.descriptor))).equals(content.bytes)).toBe(true);
    });

    test("that is not aborted changes nothing", async () => {
      const { target } = await factory();
      await pushAll(target, image, kept);
      await target.tag("v1", image.descriptor);
      const { signal } = new AbortController();
      for (const run of Object.values(operations)) await run(target, signal);
      await expect(target.resolve("absent", { signal })).rejects.toSatisfy((error) => isOciError(error, "NOT_FOUND"));
    });
  });
}
