import { readdir, utimes } from "node:fs/promises";
import { join } from "node:path";
import { digestOf, gc, Layout, MemoryStore } from "@stowage/layout";
import { describe, expect, it } from "vitest";
import { filesBelow, temporaryDirectory, utf8 } from "./support.js";

const newLayout = async (): Promise<Layout> => Layout.create(join(await temporaryDirectory(), "layout"));
const stores = { "a layout": newLayout, "a memory store": async () => new MemoryStore() };
const HOUR = 3_600_000;

async function* breaking(...texts: readonly string[]): AsyncGenerator<Uint8Array> {
  for (const text of texts) yield utf8(text);
  throw new Error("the line broke");
}

describe.each(Object.entries(stores))("an upload into %s", (_kind, make) => {
  it.each(["sha256", "sha512"] as const)("in parts is the blob of all of them, also by %s", async (algorithm) => {
    const store = await make();
    const upload = await store.uploads.begin("name");
    for (const part of ["one ", "two ", "three"]) await upload.append([utf8(part)]);
    expect(upload.size).toBe(13);
    const digest = digestOf("one two three", algorithm);
    await upload.commit(digest);
    expect(await store.size(digest)).toBe(13);
  });

  it("keeps what came before a part broke off, and goes on from there", async () => {
    const store = await make();
    const upload = await store.uploads.begin("name");
    await expect(upload.append(breaking("one ", "two "))).rejects.toMatchObject({ message: "the line broke" });
    expect(upload.size).toBe(8);
    await upload.append([utf8("three")]);
    await upload.commit(digestOf("one two three"));
  });

  it("that is not the blob it should be leaves nothing", async () => {
    const store = await make();
    const upload = await store.uploads.begin("name");
    await upload.append([utf8("something")]);
    await expect(upload.commit(digestOf("something else"))).rejects.toMatchObject({ code: "MISMATCH" });
    expect(await store.size(digestOf("something"))).toBeUndefined();
    if (store instanceof Layout) expect(await filesBelow(join(store.path, "ingest"))).toEqual([]);
  });

  it("that is given up while a part arrives leaves nothing", async () => {
    const store = await make();
    const upload = await store.uploads.begin("name");
    const abort = new AbortController();
    const endless = async function* () {
      yield utf8("some");
      abort.abort(new Error("enough"));
      await new Promise(() => {});
    };
    await expect(upload.append(endless(), { signal: abort.signal })).rejects.toMatchObject({ message: "enough" });
    await upload.remove();
    expect(await store.uploads.find("name", HOUR)).toBeUndefined();
  });
});

describe("an upload that was left in a layout", () => {
  it("is gone on with by its name, whatever that holds, and by one at a time", async () => {
    const layout = await newLayout();
    const name = "../../team/app\0*";
    const upload = await layout.uploads.begin(name);
    await upload.append([utf8("one ")]);
    expect(await layout.uploads.find(name, HOUR)).toBeUndefined();
    await upload.leave();
    const other = await Layout.open(layout.path);
    expect(await other.uploads.find("another name", HOUR)).toBeUndefined();
    const found = await other.uploads.find(name, HOUR);
    expect(found?.size).toBe(4);
    expect(await layout.uploads.find(name, HOUR)).toBeUndefined();
    await found?.append([utf8("two")]);
    await found?.commit(digestOf("one two"));
    expect(await layout.size(digestOf("one two"))).toBe(7);
  });

  it("stays through a collection, and goes when it was idle for too long", async () => {
    const layout = await newLayout();
    const [left, open] = [await layout.uploads.begin("left"), await layout.uploads.begin("open")];
    await left.leave();
    await gc(layout, { grace: 0 });
    await layout.uploads.expire(HOUR);
    const ingest = join(layout.path, "ingest");
    const files = (await readdir(ingest)).filter((file) => file.startsWith("partial."));
    expect(files).toHaveLength(2);
    const old = new Date(Date.now() - 2 * HOUR);
    for (const file of files) await utimes(join(ingest, file), old, old);
    await layout.uploads.expire(HOUR);
    expect(await layout.uploads.find("left", HOUR)).toBeUndefined();
    // Somebody is at this one: for how long it may be idle is for them to say.
    await open.append([utf8("open")]);
    await open.commit(digestOf("open"));
    expect(await layout.size(digestOf("open"))).toBe(4);
  });
});
