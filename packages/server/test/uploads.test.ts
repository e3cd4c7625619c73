import { readdir } from "node:fs/promises";
import { request as httpRequest } from "node:http";
import { connect } from "node:net";
import { join } from "node:path";
import { digestOf, Layout } from "@stowage/layout";
import { describe, expect, test } from "vitest";
import { layoutStore } from "../src/index.js";
import { content, errorCode, type Registry, startRegistry, stores, temporaryDirectory } from "./registry.js";

const patch = (registry: Registry, location: string, bytes: Uint8Array, headers: Record<string, string> = {}) =>
  registry.request(location, { method: "PATCH", body: bytes, headers });
const finish = (
  registry: Registry,
  location: string,
  digest: string,
  body?: Uint8Array,
  headers: Record<string, string> = {},
) =>
  registry.request(`${location}?digest=${digest}`, { method: "PUT", headers, ...(body === undefined ? {} : { body }) });
const pulled = async (registry: Registry, digest: string) => (await registry.request(`blobs/${digest}`)).text();

describe.each(Object.entries(stores))("pushing blobs to a %s store", (_kind, store) => {
  test("POST then PUT stores the blob and says where it is", async () => {
    const registry = await startRegistry({ store: await store() });
    const bytes = content("monolithic");
    const response = await finish(registry, await registry.startUpload(), digestOf(bytes), bytes);
    expect(response.status).toBe(201);
    expect(response.headers.get("location")).toBe(`/v2/team/app/blobs/${digestOf(bytes)}`);
    expect(response.headers.get("docker-content-digest")).toBe(digestOf(bytes));
    expect(await pulled(registry, digestOf(bytes))).toBe("monolithic");
  });

  test("chunks add up to the blob, whether the last one comes with PATCH or with PUT", async () => {
    const registry = await startRegistry({ store: await store() });
    const digest = digestOf("first second third");
    for (const last of ["PATCH", "PUT"]) {
      const location = await registry.startUpload();
      const first = await patch(registry, location, content("first "), { "Content-Range": "0-5" });
      expect([first.status, first.headers.get("range")]).toEqual([202, "0-5"]);
      const next = first.headers.get("location") as string;
      const second = await patch(registry, next, content("second "), { "Content-Range": "6-12" });
      expect([second.status, second.headers.get("range")]).toEqual([202, "0-12"]);
      const range = { "Content-Range": "13-17" };
      if (last === "PATCH") await patch(registry, next, content("third"), range);
      const end = await (last === "PATCH"
        ? finish(registry, next, digest)
        : finish(registry, next, digest, content("third"), range));
      expect(end.status).toBe(201);
      expect(await pulled(registry, digest)).toBe("first second third");
    }
  });

  test("a chunk out of order is refused with 416 and changes nothing", async () => {
    const registry = await startRegistry({ store: await store() });
    const location = await registry.startUpload();
    await patch(registry, location, content("first "), { "Content-Range": "0-5" });
    for (const range of ["7-11", "0-4", "5-9"]) {
      const response = await patch(registry, location, content("xxxxx"), { "Content-Range": range });
      expect([response.status, response.headers.get("range")]).toEqual([416, "0-5"]);
    }
    const status = await registry.request(location);
    expect([status.status, status.headers.get("range"), status.headers.get("location")]).toEqual([
      204,
      "0-5",
      location,
    ]);
    expect((await finish(registry, location, digestOf("first "))).status).toBe(201);
  });

  test("a body of unknown length is taken with PATCH, with PUT and with POST", async () => {
    const registry = await startRegistry({ store: await store() });
    const digest = digestOf(content("streamed", 300_000));
    const body = () =>
      new ReadableStream({
        start(controller) {
          for (let at = 0; at < 3; at++)
            controller.enqueue(Buffer.from(content("streamed", 300_000)).subarray(at * 100_000, (at + 1) * 100_000));
          controller.close();
        },
      });
    const streaming = (path: string, method: string) =>
      registry.request(path, { method, body: body(), duplex: "half" } as RequestInit);
    const location = await registry.startUpload();
    expect((await streaming(location, "PATCH")).headers.get("range")).toBe("0-299999");
    expect((await finish(registry, location, digest)).status).toBe(201);
    expect((await streaming(`${await registry.startUpload()}?digest=${digest}`, "PUT")).status).toBe(201);
    expect((await streaming(`blobs/uploads/?digest=${digest}`, "POST")).status).toBe(201);
    expect((await pulled(registry, digest)).length).toBe(300_000);
  });

  test("content with another digest is refused with DIGEST_INVALID and not stored, however it was sent", async () => {
    const registry = await startRegistry({ store: await store() });
    const digest = digestOf("what was promised");
    const chunked = await registry.startUpload();
    await patch(registry, chunked, content("something else"));
    const responses = [
      await finish(registry, await registry.startUpload(), digest, content("something else")),
      await finish(registry, chunked, digest),
      await registry.request(`blobs/uploads/?digest=${digest}`, { method: "POST", body: content("something else") }),
    ];
    for (const response of responses) {
      expect([response.status, await errorCode(response)]).toEqual([400, "DIGEST_INVALID"]);
    }
    for (const wrong of [digest, digestOf("something else")]) {
      expect((await registry.request(`blobs/${wrong}`, { method: "HEAD" })).status).toBe(404);
    }
  });

  test("an upload whose digest is sha512 is verified, announced or not", async () => {
    const registry = await startRegistry({ store: await store() });
    for (const query of ["?digest-algorithm=sha512", ""]) {
      const start = async () => {
        const response = await registry.request(`blobs/uploads/${query}`, { method: "POST" });
        return response.headers.get("location") as string;
      };
      const [wrong, right] = [await start(), await start()];
      await patch(registry, wrong, content(`sixty-five bytes ${query}`));
      await patch(registry, right, content(`sixty-four bytes ${query}`));
      const digest = digestOf(`sixty-four bytes ${query}`, "sha512");
      expect((await finish(registry, wrong, digest)).status).toBe(400);
      expect((await registry.request(`blobs/${digest}`, { method: "HEAD" })).status).toBe(404);
      expect((await finish(registry, right, digest)).status).toBe(201);
      expect(await pulled(registry, digest)).toBe(`sixty-four bytes ${query}`);
    }
  });

  test("a blob that is there already is taken again without harm", async () => {
    const registry = await startRegistry({ store: await store() });
    const bytes = content("twice", 2_000_000);
    await registry.pushBlob(bytes);
    await registry.pushBlob(bytes);
    expect((await pulled(registry, digestOf(bytes))).length).toBe(2_000_000);
  });

  test("a cancelled upload is gone", async () => {
    const registry = await startRegistry({ store: await store() });
    const location = await registry.startUpload();
    await patch(registry, location, content("half of it"));
    expect((await registry.request(location, { method: "DELETE" })).status).toBe(204);
    for (const response of [
      await registry.request(location),
      await patch(registry, location, content("more")),
      await finish(registry, location, digestOf("half of it")),
      await registry.request(location, { method: "DELETE" }),
    ]) {
      expect([response.status, response.status === 204 ? "" : await errorCode(response)]).toEqual([
        404,
        "BLOB_UPLOAD_UNKNOWN",
      ]);
    }
  });

  test("an upload belongs to its repository", async () => {
    const registry = await startRegistry({ store: await store() });
    const location = await registry.startUpload();
    const elsewhere = location.replace("team/app", "team/other");
    expect((await patch(registry, elsewhere, content("stray"))).status).toBe(404);
  });

  test("what arrived before a connection broke stays, and the upload goes on from there", async () => {
    const registry = await startRegistry({ store: await store() });
    const location = await registry.startUpload();
    const socket = connect(registry.server.port, "127.0.0.1");
    socket.write(`PATCH ${location} HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n`);
    socket.write("begin ");
    const range = async () => (await registry.request(location)).headers.get("range");
    while ((await range()) !== "0-5") await new Promise((resolve) => setTimeout(resolve, 5));
    socket.destroy();
    let response: Response;
    do response = await patch(registry, location, content("end"), { "Content-Range": "6-8" });
    while (response.status === 416);
    expect(response.status).toBe(202);
    expect((await finish(registry, location, digestOf("begin end"))).status).toBe(201);
    expect(await pulled(registry, digestOf("begin end"))).toBe("begin end");
    expect(registry.failures).toEqual([]);
  });

  test("a blob is mounted from a repository that has it", async () => {
    const registry = await startRegistry({ store: await store() });
    const { digest } = await registry.pushBlob(content("shared"));
    const mount = await registry.request(`/v2/team/other/blobs/uploads/?mount=${digest}&from=team/app`, {
      method: "POST",
    });
    expect(mount.status).toBe(201);
    expect(mount.headers.get("location")).toBe(`/v2/team/other/blobs/${digest}`);
    expect(await (await registry.request(`/v2/team/other/blobs/${digest}`)).text()).toBe("shared");
  });

  test("a mount of what is not there, or of what this repository has, is answered with an upload or with the blob", async () => {
    const registry = await startRegistry({ store: await store() });
    const { digest } = await registry.pushBlob(content("mine"));
    const post = (query: string) => registry.request(`blobs/uploads/?${query}`, { method: "POST" });
    expect((await post(`mount=${digest}`)).status).toBe(201);
    const missing = await post(`mount=${digestOf("absent")}&from=no/such/repository`);
    expect(missing.status).toBe(202);
    const location = missing.headers.get("location") as string;
    expect((await finish(registry, location, digestOf("absent"), content("absent"))).status).toBe(201);
    expect((await post(`mount=${digestOf("nowhere")}`)).status).toBe(202);
  });

  test("two clients that push the same blob at once both succeed", async () => {
    const registry = await startRegistry({ store: await store() });
    const bytes = content("race", 4_000_000);
    await Promise.all([1, 2, 3, 4].map(() => registry.pushBlob(bytes)));
    expect((await pulled(registry, digestOf(bytes))).length).toBe(4_000_000);
  });
});

describe("what a client gets wrong in an upload", () => {
  test.each([
    ["a digest that is none", "digest=sha256:baddigest", "DIGEST_INVALID"],
    ["no digest", "", "DIGEST_INVALID"],
    ["an algorithm that is not known", `digest=md5:${"0".repeat(32)}`, "DIGEST_INVALID"],
    ["a path instead of a digest", "digest=sha256:../../../etc/passwd", "DIGEST_INVALID"],
  ])("%s is refused with 400", async (_what, query, code) => {
    const registry = await startRegistry();
    const response = await registry.request(`${await registry.startUpload()}?${query}`, { method: "PUT", body: "x" });
    expect([response.status, await errorCode(response)]).toEqual([400, code]);
  });

  test.each(["abc", "5-3", "bytes */7", "-4"])("the Content-Range %s is refused with 400", async (range) => {
    const registry = await startRegistry();
    const response = await patch(registry, await registry.startUpload(), content("12345"), { "Content-Range": range });
    expect([response.status, await errorCode(response)]).toEqual([400, "BLOB_UPLOAD_INVALID"]);
  });

  test("a Content-Range that does not fit the body is refused with 400", async () => {
    const registry = await startRegistry();
    const response = await patch(registry, await registry.startUpload(), content("12345"), { "Content-Range": "0-9" });
    expect([response.status, await errorCode(response)]).toEqual([400, "SIZE_INVALID"]);
  });

  test("a second request for an upload that is being added to is refused with 416", async () => {
    const registry = await startRegistry();
    const location = await registry.startUpload();
    const slow = httpRequest(registry.server.url + location, { method: "PATCH" });
    slow.write("slow ");
    while ((await registry.request(location)).headers.get("range") !== "0-4");
    expect((await patch(registry, location, content("fast"))).status).toBe(416);
    await new Promise((resolve) => slow.on("response", resolve).end("end"));
    expect((await finish(registry, location, digestOf("slow end"))).status).toBe(201);
  });
});

test("uploads that were given up or refused leave nothing in the layout", async () => {
  const layout = await Layout.create(join(await temporaryDirectory(), "layout"));
  const registry = await startRegistry({ store: layoutStore(layout, { repository: "team/app" }) });
  const [cancelled, refused] = [await registry.startUpload(), await registry.startUpload()];
  for (const location of [cancelled, refused]) await patch(registry, location, content("left over", 3_000_000));
  await registry.request(cancelled, { method: "DELETE" });
  expect((await finish(registry, refused, digestOf("other"))).status).toBe(400);
  await registry.server.close();
  expect(await readdir(join(layout.path, "blobs", "sha256"))).toEqual([]);
  expect(await readdir(join(layout.path, "ingest"))).toEqual([]);
});
