import { existsSync } from "node:fs";
import { writeFile } from "node:fs/promises";
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

  test("that was idle for too long is forgotten, and nothing is remembered twice", async () => {
    const path = await temporaryDirectory();
    const store = await open(path);
    const before = await startRegistry({ store });
    const location = await before.startUpload();
    await before.server.close();
    expect(existsSync(store.uploadsFile as string)).toBe(true);
    await new Promise((resolve) => setTimeout(resolve, 20));
    const after = await startRegistry({ store, limits: { uploadIdle: 10 } });
    expect(existsSync(store.uploadsFile as string)).toBe(false);
    expect((await after.request(location)).status).toBe(404);
  });
});

describe("a file of uploads that somebody has changed", () => {
  test("is taken as far as it makes sense", async () => {
    const path = await temporaryDirectory();
    const file = join(path, ".uploads.json");
    const id = "00000000-0000-4000-8000-000000000000";
    const good = { id, repository: "team/app", algorithm: "sha256", last: Date.now() };
    const bad = [
      null,
      { ...good, id: "../../x" },
      { ...good, repository: "../x" },
      { ...good, algorithm: "md5" },
      { ...good, part: { digest: "sha256:../../etc/passwd", size: 1 } },
      { ...good, part: { digest: digestOf("x"), size: -1 } },
    ];
    for (const text of ["", "{", "null", "7", JSON.stringify(bad)]) {
      await writeFile(file, text);
      const registry = await startRegistry({ store: await directoryStore(path) });
      expect((await registry.request(`blobs/uploads/${id}`)).status).toBe(404);
      await registry.server.close();
    }
    await writeFile(file, JSON.stringify([...bad, good]));
    const registry = await startRegistry({ store: await directoryStore(path) });
    expect((await registry.request(`blobs/uploads/${id}`)).status).toBe(204);
  });
});
