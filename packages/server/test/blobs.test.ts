import { chmod, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { digestOf, Layout } from "@stowage/layout";
import { describe, expect, test } from "vitest";
import { layoutStore } from "../src/index.js";
import { content, errorCode, startRegistry, stores, temporaryDirectory } from "./registry.js";

describe.each(Object.entries(stores))("pulling blobs from a %s store", (_kind, store) => {
  test("a blob comes back byte for byte, and HEAD says the same of it as GET", async () => {
    const registry = await startRegistry({ store: await store() });
    const bytes = content("0123456789", 3_000_000);
    const { digest } = await registry.pushBlob(bytes);
    const get = await registry.request(`blobs/${digest}`);
    expect(Buffer.from(await get.arrayBuffer()).equals(bytes)).toBe(true);
    const head = await registry.request(`blobs/${digest}`, { method: "HEAD" });
    for (const response of [get, head]) {
      expect(response.status).toBe(200);
      expect(response.headers.get("content-length")).toBe("3000000");
      expect(response.headers.get("docker-content-digest")).toBe(digest);
      expect(response.headers.get("content-type")).toBe("application/octet-stream");
      expect(response.headers.get("accept-ranges")).toBe("bytes");
    }
    expect(await head.text()).toBe("");
  });

  test("a blob under a sha512 digest comes back", async () => {
    const registry = await startRegistry({ store: await store() });
    const bytes = content("long digest");
    const digest = digestOf(bytes, "sha512");
    const put = await registry.request(`blobs/uploads/?digest=${digest}`, { method: "POST", body: bytes });
    expect(put.status).toBe(201);
    expect(await (await registry.request(`blobs/${digest}`)).text()).toBe("long digest");
  });

  test.each([
    ["bytes=0-3", "0123", "bytes 0-3/10"],
    ["bytes=7-", "789", "bytes 7-9/10"],
    ["bytes=-2", "89", "bytes 8-9/10"],
    ["bytes=8-100", "89", "bytes 8-9/10"],
    ["bytes=-100", "0123456789", "bytes 0-9/10"],
  ])("the range %s is answered with 206 and those bytes", async (range, expected, contentRange) => {
    const registry = await startRegistry({ store: await store() });
    const { digest } = await registry.pushBlob(content("0123456789"));
    const response = await registry.request(`blobs/${digest}`, { headers: { Range: range } });
    expect(response.status).toBe(206);
    expect(response.headers.get("content-range")).toBe(contentRange);
    expect(response.headers.get("content-length")).toBe(String(expected.length));
    expect(await response.text()).toBe(expected);
  });

  test.each(["bytes=10-", "bytes=5-2", "bytes=100-200", "bytes=-0"])(
    "the range %s of ten bytes is refused with 416",
    async (range) => {
      const registry = await startRegistry({ store: await store() });
      const { digest } = await registry.pushBlob(content("0123456789"));
      const response = await registry.request(`blobs/${digest}`, { headers: { Range: range } });
      expect(response.status).toBe(416);
      expect(response.headers.get("content-range")).toBe("bytes */10");
    },
  );

  test.each(["bytes=0-1,4-5", "lines=1-2", "bytes=-", "nonsense"])(
    "the Range %s is ignored and all is sent",
    async (range) => {
      const registry = await startRegistry({ store: await store() });
      const { digest } = await registry.pushBlob(content("0123456789"));
      const response = await registry.request(`blobs/${digest}`, { headers: { Range: range } });
      expect(response.status).toBe(200);
      expect(await response.text()).toBe("0123456789");
    },
  );

  test("a range across the chunks of a large blob has exactly its bytes", async () => {
    const registry = await startRegistry({ store: await store() });
    const bytes = Buffer.from(Array.from({ length: 3_000_000 }, (_, at) => at % 251));
    const { digest } = await registry.pushBlob(bytes);
    const response = await registry.request(`blobs/${digest}`, { headers: { Range: "bytes=1000000-2500000" } });
    expect(Buffer.from(await response.arrayBuffer()).equals(bytes.subarray(1_000_000, 2_500_001))).toBe(true);
  });

  test("the empty blob can be pushed and pulled", async () => {
    const registry = await startRegistry({ store: await store() });
    const { digest } = await registry.pushBlob(new Uint8Array());
    const response = await registry.request(`blobs/${digest}`);
    expect(response.status).toBe(200);
    expect(response.headers.get("content-length")).toBe("0");
  });

  test("a blob that is not there is BLOB_UNKNOWN, one in a repository that is not there NAME_UNKNOWN", async () => {
    const registry = await startRegistry({ store: await store() });
    const digest = digestOf("absent");
    await registry.pushBlob(content("something"));
    const missing = await registry.request(`blobs/${digest}`);
    expect([missing.status, await errorCode(missing)]).toEqual([404, "BLOB_UNKNOWN"]);
    const elsewhere = await registry.request(`/v2/no/such/repository/blobs/${digest}`);
    expect([elsewhere.status, await errorCode(elsewhere)]).toEqual([404, "NAME_UNKNOWN"]);
  });
});

test("a blob that was damaged in the layout is never served whole", async () => {
  const layout = await Layout.create(join(await temporaryDirectory(), "layout"));
  const descriptor = await layout.write([content("good", 2_500_000)], "application/octet-stream");
  const path = layout.blobPath(descriptor.digest);
  await chmod(path, 0o644);
  await writeFile(path, content("evil", 2_500_000));
  const registry = await startRegistry({ store: layoutStore(layout, { repository: "team/app" }) });
  const response = await registry.request(`blobs/${descriptor.digest}`);
  await expect(response.arrayBuffer()).rejects.toThrow();
  expect(registry.failures).toHaveLength(1);
});
