import { readdir, utimes } from "node:fs/promises";
import { join } from "node:path";
import { digestOf, Layout } from "@stowage/layout";
import { describe, expect, test } from "vitest";
import { directoryStore, layoutStore, type Store } from "../src/index.js";
import { content, errorCode, startRegistry, temporaryDirectory } from "./registry.js";

const kinds: Readonly<Record<string, (path: string) => Promise<Store>>> = {
  directory: (path) => directoryStore(path),
  layout: async (path) => layoutStore(await Layout.create(path), { repository: "team/app" }),
};

const [one, two] = [content("one", 300_000), content("two", 200_000)];
const whole = Buffer.concat([one, two]);

describe.each(Object.entries(kinds))("an upload into a %s store", (_name, open) => {
  test.each(["sha256", "sha512"] as const)(
    "goes on where it was after a restart, or two, with %s",
    async (algorithm) => {
      const path = await temporaryDirectory();
      const first = await startRegistry({ store: await open(path) });
      const opened = await first.request(`blobs/uploads/?digest-algorithm=${algorithm}`, { method: "POST" });
      const location = opened.headers.get("location") as string;
      const empty = await first.startUpload();
      expect((await first.request(location, { method: "PATCH", body: one })).status).toBe(202);
      await first.server.close();
      await (await startRegistry({ store: await open(path) })).server.close();
      const third = await startRegistry({ store: await open(path) });
      const status = await third.request(location);
      expect([status.status, status.headers.get("range")]).toEqual([204, "0-299999"]);
      expect((await third.request(empty)).status).toBe(204);
      const digest = digestOf(whole, algorithm);
      const range = { "Content-Range": "300000-499999" };
      expect((await third.request(location, { method: "PATCH", body: two, headers: range })).status).toBe(202);
      expect((await third.request(`${location}?digest=${digest}`, { method: "PUT" })).status).toBe(201);
      const blob = await third.request(`blobs/${digest}`);
      expect(digestOf(Buffer.from(await blob.arrayBuffer()), algorithm)).toBe(digest);
      expect(third.failures).toEqual([]);
    },
  );

  test("that is ended right after a restart is verified from its first byte", async () => {
    const path = await temporaryDirectory();
    const before = await startRegistry({ store: await open(path) });
    const [right, wrong] = [await before.startUpload(), await before.startUpload()];
    for (const location of [right, wrong]) await before.request(location, { method: "PATCH", body: one });
    await before.server.close();
    const after = await startRegistry({ store: await open(path) });
    expect((await after.request(`${right}?digest=${digestOf(one)}`, { method: "PUT" })).status).toBe(201);
    const refused = await after.request(`${wrong}?digest=${digestOf(two)}`, { method: "PUT" });
    expect([refused.status, await errorCode(refused)]).toEqual([400, "DIGEST_INVALID"]);
    expect((await after.request(`blobs/${digestOf(two)}`)).status).toBe(404);
  });

  test("that was idle for too long is forgotten, and its file goes without anybody asking for it", async () => {
    const path = await temporaryDirectory();
    const before = await startRegistry({ store: await open(path) });
    const location = await before.startUpload();
    expect((await before.request(location, { method: "PATCH", body: one })).status).toBe(202);
    await before.server.close();
    expect(await partsIn(path)).toHaveLength(1);
    await new Promise((resolve) => setTimeout(resolve, 20));
    const after = await startRegistry({ store: await open(path), limits: { uploadIdle: 10 } });
    while ((await partsIn(path)).length > 0) await new Promise((resolve) => setTimeout(resolve, 5));
    expect((await after.request(location)).status).toBe(404);
    expect(after.failures).toEqual([]);
  });

  test("that was idle for too long is not gone on with, though its file is there", async () => {
    const path = await temporaryDirectory();
    const before = await startRegistry({ store: await open(path) });
    const location = await before.startUpload();
    await before.server.close();
    const [file] = await partsIn(path);
    const after = await startRegistry({ store: await open(path) });
    const old = new Date(Date.now() - 11 * 60_000);
    await utimes(file as string, old, old);
    expect((await after.request(location)).status).toBe(404);
    expect(await partsIn(path)).toEqual([]);
  });

  test("is found after a restart by its own repository only, and counts among the open ones", async () => {
    const path = await temporaryDirectory();
    const before = await startRegistry({ store: await open(path) });
    const locations = [await before.startUpload(), await before.startUpload()] as const;
    await before.server.close();
    const after = await startRegistry({ store: await open(path), limits: { uploads: 1 } });
    expect((await after.request(locations[0].replace("team/app", "team/other"))).status).toBe(404);
    const both = await Promise.all([after.request(locations[0]), after.request(locations[0])]);
    expect(both.map(({ status }) => status)).toEqual([204, 204]);
    expect((await after.request(locations[1])).status).toBe(429);
    await after.request(locations[0], { method: "DELETE" });
    expect((await after.request(locations[1])).status).toBe(204);
  });

  test("cannot be named by what is no id of an upload", async () => {
    const path = await temporaryDirectory();
    const registry = await startRegistry({ store: await open(path) });
    await registry.startUpload();
    for (const id of ["..%2f..%2fx", "x", "%00", "partial.upload-x", "0".repeat(36)])
      expect((await registry.request(`blobs/uploads/${id}`)).status).toBe(404);
  });
});

async function partsIn(path: string): Promise<string[]> {
  const files = await readdir(path, { recursive: true });
  return files.filter((name) => /(?:^|\/)partial\./.test(name)).map((name) => join(path, name));
}
