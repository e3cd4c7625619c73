import { contentOf, descriptorOf, digestOf, MemoryStore, mediaTypes } from "@stowage/layout";
import { describe, expect, it } from "vitest";
import { all, bytesOf, failure, pushImage, pushReferrer, streamOf, utf8 } from "./support.js";

const content = utf8("content of a blob");
const descriptor = descriptorOf(content, "text/plain");

describe("a store in memory", () => {
  it("keeps what is written and pushed, and says what was there before", async () => {
    const store = new MemoryStore();
    expect(await store.write(streamOf("content ", "of a blob"), "text/plain")).toEqual(descriptor);
    expect(await store.push(contentOf(content, descriptor))).toBe("present");
    expect(await bytesOf(store.fetch(descriptor))).toEqual(Buffer.from(content));
    expect(await bytesOf(store.fetch(descriptor, { from: 8 }))).toEqual(Buffer.from("of a blob"));
    const long = await store.write([content], "text/plain", { algorithm: "sha512" });
    expect(long.digest).toBe(digestOf(content, "sha512"));
    expect(await store.has(long)).toBe(true);
    expect(store).toMatchObject({ name: "memory", closed: false });
  });

  it("keeps its own copy of what it was given", async () => {
    const store = new MemoryStore();
    const bytes = Uint8Array.from(content);
    const written = await store.write([bytes], "text/plain");
    bytes.fill(0);
    expect(await bytesOf(store.fetch(written))).toEqual(Buffer.from(content));
  });

  it("takes nothing that is not what its descriptor says", async () => {
    const store = new MemoryStore();
    for (const text of ["content", "content of a blob and more", "CONTENT OF A BLOB"])
      await failure(store.push({ descriptor, open: () => streamOf(text) }), "MISMATCH");
    expect(await store.has(descriptor)).toBe(false);
    await failure(bytesOf(store.fetch(descriptor)), "NOT_FOUND");
  });

  it("fails with MISMATCH where another size is asked for", async () => {
    const store = new MemoryStore();
    await store.push(contentOf(content, descriptor));
    for (const from of [0, 3]) await failure(bytesOf(store.fetch({ ...descriptor, size: 5 }, { from })), "MISMATCH");
    expect(await store.has({ ...descriptor, size: 5 })).toBe(false);
  });

  it("has tags and referrers as a layout has them", async () => {
    const store = new MemoryStore("mine");
    const image = await pushImage(store);
    await store.tag("v1", image);
    const referrer = await pushReferrer(store, image);
    expect(await all(store.tags())).toEqual(["v1"]);
    expect(await store.resolve("v1")).toEqual(image);
    expect(await all(store.referrers(image))).toEqual([{ ...referrer, artifactType: "application/spdx+json" }]);
    await store.untag("v1");
    expect((await failure(store.resolve("v1"), "NOT_FOUND")).message).toContain("mine");
    await failure(store.tag("v2", { ...descriptor, mediaType: mediaTypes.manifest }), "NOT_FOUND");
  });

  it("makes one change after the other, and one that fails changes nothing", async () => {
    const store = new MemoryStore();
    const image = await pushImage(store);
    const changes = [
      ...Array.from({ length: 20 }, (_, at) => store.tag(`t${at}`, image)),
      store.update(async () => {
        await new Promise((resolve) => setImmediate(resolve));
        throw new RangeError("no");
      }),
      store.tag("last", image),
    ];
    const results = await Promise.allSettled(changes);
    expect(results.filter(({ status }) => status === "rejected")).toHaveLength(1);
    expect(await all(store.tags())).toHaveLength(21);
  });

  it("gives up where the signal is aborted", async () => {
    const store = new MemoryStore();
    const signal = AbortSignal.abort(new RangeError("given up"));
    const image = { ...descriptor, mediaType: mediaTypes.manifest };
    await expect(store.push(contentOf(content, descriptor), { signal })).rejects.toThrow("given up");
    await expect(store.write([content], "text/plain", { signal })).rejects.toThrow("given up");
    await expect(store.tag("v1", image, { signal })).rejects.toThrow("given up");
    await expect(bytesOf(store.fetch(descriptor, { signal }))).rejects.toThrow("given up");
  });
});
