import { connect } from "node:net";
import { digestOf, encodeJson, mediaTypes } from "@stowage/layout";
import { describe, expect, test } from "vitest";
import { memoryStore, serve } from "../src/index.js";
import { artifact, content, errorCode, pushArtifact, startRegistry } from "./registry.js";

/** Sends bytes as they are and returns what comes back until the server closes the connection. */
function exchangeRaw(port: number, ...parts: (string | Uint8Array)[]): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = connect(port, "127.0.0.1");
    let answer = "";
    socket.on("data", (chunk) => {
      answer += chunk;
    });
    socket.on("close", () => resolve(answer));
    socket.on("error", (error) => (answer === "" ? reject(error) : resolve(answer)));
    for (const part of parts) socket.write(part);
  });
}

describe("the server", () => {
  test("says at /v2/ that it is a registry", async () => {
    const registry = await startRegistry();
    const response = await registry.request("/v2/");
    expect([response.status, response.headers.get("docker-distribution-api-version")]).toEqual([200, "registry/2.0"]);
  });

  test("listens on the loopback address on a port of its own and says where", async () => {
    const { server } = await startRegistry();
    expect(server.host).toBe("127.0.0.1");
    expect(server.url).toBe(`http://127.0.0.1:${server.port}`);
    const six = await serve({ store: memoryStore(), host: "::1" });
    expect(six.url).toBe(`http://[::1]:${six.port}`);
    expect((await fetch(`${six.url}/v2/`)).status).toBe(200);
    await six.close();
  });

  test("fails when the port is taken", async () => {
    const { server } = await startRegistry();
    await expect(serve({ store: memoryStore(), port: server.port })).rejects.toMatchObject({ code: "REGISTRY" });
  });

  test("answers 404 where there is nothing and 405 where a method is not possible", async () => {
    const registry = await startRegistry();
    for (const path of ["/v2/team/app", "/v2/team/app/tags", "/v2/team/app/blobs", "/v2/team/app/other/x"]) {
      expect((await registry.request(path)).status).toBe(404);
    }
    const response = await registry.request("tags/list", { method: "POST" });
    expect([response.status, response.headers.get("allow"), await errorCode(response)]).toEqual([
      405,
      "GET, HEAD",
      "UNSUPPORTED",
    ]);
  });

  test.each(["UPPER/case", "a b", "-a", "a/", "a..b", "a".repeat(256), "a/%00"])(
    "refuses the repository name %s",
    async (name) => {
      const registry = await startRegistry();
      const response = await registry.request(`/v2/${name}/tags/list`);
      expect([response.status, await errorCode(response)]).toEqual([400, "NAME_INVALID"]);
      expect((await registry.request(`/v2/${name}/blobs/uploads/`, { method: "POST" })).status).toBe(400);
    },
  );

  test("takes a repository whose name holds the words of the API", async () => {
    const registry = await startRegistry({}, "blobs/uploads/manifests/tags/list/referrers");
    const { digest } = await pushArtifact(registry, "image", { tag: "v1" });
    expect((await registry.request("manifests/v1")).headers.get("docker-content-digest")).toBe(digest);
    expect(await (await registry.request("tags/list")).json()).toMatchObject({ tags: ["v1"] });
  });

  test("takes a digest whose colon is encoded", async () => {
    const registry = await startRegistry();
    const { digest } = await registry.pushBlob(content("colon"));
    expect((await registry.request(`blobs/${encodeURIComponent(digest)}`)).status).toBe(200);
  });

  test("refuses a path that is not encoded as a URL", async () => {
    const registry = await startRegistry();
    const answer = await exchangeRaw(
      registry.server.port,
      "GET /v2/%zz/tags/list HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
    );
    expect(answer).toMatch(/^HTTP\/1\.1 400 /);
  });

  test("that is read-only answers every change with 405 and still serves what it has", async () => {
    const store = memoryStore();
    const writer = await startRegistry({ store });
    const { digest } = await pushArtifact(writer, "image", { tag: "v1" });
    const reader = await startRegistry({ store, readonly: true });
    const changes: [string, string][] = [
      ["POST", "blobs/uploads/"],
      ["POST", `blobs/uploads/?digest=${digestOf("x")}`],
      ["POST", `blobs/uploads/?mount=${digest}&from=team/app`],
      ["PUT", "manifests/v2"],
      ["DELETE", "manifests/v1"],
    ];
    for (const [method, path] of changes) {
      const response = await reader.request(path, { method, ...(method === "DELETE" ? {} : { body: "x" }) });
      expect([response.status, response.headers.get("allow")?.match(/PUT|POST|PATCH|DELETE/) ?? null]).toEqual([
        405,
        null,
      ]);
    }
    expect((await reader.request("manifests/v1")).status).toBe(200);
    expect(await (await reader.request("tags/list")).json()).toMatchObject({ tags: ["v1"] });
  });

  test("names nothing of this machine when it fails itself, and tells its owner", async () => {
    const failing = { ...memoryStore(), repository: () => Promise.reject(new Error("cannot read /secret/path")) };
    const registry = await startRegistry({ store: failing });
    const response = await registry.request("tags/list");
    expect(response.status).toBe(500);
    expect(await response.text()).not.toContain("secret");
    expect(String(registry.failures[0])).toContain("/secret/path");
  });
});

describe("the limits", () => {
  test("a manifest over the limit is refused with 413, whether its length is announced or not", async () => {
    const registry = await startRegistry({ limits: { manifestSize: 1000 }, sparse: true });
    expect((await registry.putManifest("small", artifact("x"))).status).toBe(201);
    const large = artifact("x".repeat(1000));
    expect((await registry.putManifest("large", large)).status).toBe(413);
    const body = new Blob([large]).stream();
    const headers = { "Content-Type": mediaTypes.manifest };
    const streamed = await registry.request("manifests/large", {
      method: "PUT",
      body,
      headers,
      duplex: "half",
    } as RequestInit);
    expect([streamed.status, await errorCode(streamed)]).toEqual([413, "SIZE_INVALID"]);
    expect((await registry.request("manifests/large")).status).toBe(404);
  });

  test("a client that sends far too much gets the answer nevertheless", async () => {
    const registry = await startRegistry({ limits: { manifestSize: 1000 } });
    const response = await registry.request("manifests/v1", {
      method: "PUT",
      body: content("x", 20_000_000),
      headers: { "Content-Type": mediaTypes.manifest },
    });
    expect(response.status).toBe(413);
  });

  test("a manifest of four million bytes is taken by default", async () => {
    const registry = await startRegistry({ sparse: true });
    const body = encodeJson({
      ...JSON.parse(Buffer.from(artifact("x")).toString()),
      annotations: { large: "x".repeat(4_000_000) },
    });
    expect((await registry.putManifest("v1", body)).status).toBe(201);
    expect((await (await registry.request("manifests/v1")).arrayBuffer()).byteLength).toBe(body.byteLength);
  });

  test("a blob over the limit is refused with 413, however it comes", async () => {
    const registry = await startRegistry({ limits: { blobSize: 1000 } });
    const bytes = content("x", 1001);
    const digest = digestOf(bytes);
    expect((await registry.request(`blobs/uploads/?digest=${digest}`, { method: "POST", body: bytes })).status).toBe(
      413,
    );
    const location = await registry.startUpload();
    expect((await registry.request(location, { method: "PATCH", body: bytes.subarray(0, 600) })).status).toBe(202);
    expect((await registry.request(location, { method: "PATCH", body: bytes.subarray(0, 600) })).status).toBe(413);
    const body = new Blob([bytes]).stream();
    const streamed = await registry.request(await registry.startUpload(), {
      method: "PATCH",
      body,
      duplex: "half",
    } as RequestInit);
    expect(streamed.status).toBe(413);
  });

  test("more uploads than allowed are answered with 429 until one has ended", async () => {
    const registry = await startRegistry({ limits: { uploads: 2 } });
    const [first] = [await registry.startUpload(), await registry.startUpload()];
    const refused = await registry.request("blobs/uploads/", { method: "POST" });
    expect([refused.status, await errorCode(refused)]).toEqual([429, "TOOMANYREQUESTS"]);
    expect(refused.headers.get("retry-after")).toMatch(/^[0-9]+$/);
    await registry.request(`${first}?digest=${digestOf("x")}`, { method: "PUT", body: "x" });
    expect((await registry.request("blobs/uploads/", { method: "POST" })).status).toBe(202);
  });

  test("an upload that nobody adds to is given up", async () => {
    const registry = await startRegistry({ limits: { uploadIdle: 40 } });
    const location = await registry.startUpload();
    let response: Response;
    do response = await registry.request(location);
    while (response.status === 204);
    expect(await errorCode(response)).toBe("BLOB_UPLOAD_UNKNOWN");
  });

  test("a list is cut into pages of the allowed length", async () => {
    const registry = await startRegistry({ limits: { listLength: 2 } });
    for (const tag of ["a", "b", "c"]) await pushArtifact(registry, "image", { tag });
    const response = await registry.request("tags/list?n=100");
    expect([await response.json(), response.headers.get("link")]).toEqual([
      { name: "team/app", tags: ["a", "b"] },
      '</v2/team/app/tags/list?n=2&last=b>; rel="next"',
    ]);
  });

  test("headers over the limit are refused with 431", async () => {
    const registry = await startRegistry({ limits: { headerSize: 8192 } });
    const answer = await exchangeRaw(
      registry.server.port,
      `GET /v2/ HTTP/1.1\r\nHost: x\r\nX: ${"x".repeat(9000)}\r\n\r\n`,
    );
    expect(answer).toMatch(/^HTTP\/1\.1 431 /);
  });

  test("a client that stops sending headers or body, or reading, is cut off", async () => {
    const registry = await startRegistry({ limits: { stall: 100 } });
    const { port } = registry.server;
    await exchangeRaw(port, "GET /v2/ HTTP/1.1\r\nHo");
    await exchangeRaw(port, "PUT /v2/a/manifests/v1 HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nhalf");
    const location = await registry.startUpload();
    await exchangeRaw(port, `PATCH ${location} HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nhalf`);
    const { digest } = await registry.pushBlob(content("x", 60_000_000));
    const reader = connect(port, "127.0.0.1");
    reader.pause();
    reader.write(`GET /v2/team/app/blobs/${digest} HTTP/1.1\r\nHost: x\r\n\r\n`);
    // Nothing was read: the server closes, and what is read then is not the whole blob.
    await new Promise((resolve) => setTimeout(resolve, 1000));
    let size = 0;
    reader.on("data", (chunk) => {
      size += chunk.byteLength;
    });
    const closed = new Promise((resolve) => reader.on("close", resolve).on("error", resolve));
    reader.resume();
    await closed;
    expect(size).toBeLessThan(60_000_000);
  });

  test("that are no positive integers are refused with a TypeError", async () => {
    for (const stall of [0, -1, 1.5, Number.NaN]) {
      await expect(serve({ store: memoryStore(), limits: { stall } })).rejects.toThrow(TypeError);
    }
  });
});

describe("closing", () => {
  test("lets a running upload and a running download finish, and takes no new connection", async () => {
    const registry = await startRegistry();
    const large = await registry.pushBlob(content("large", 50_000_000));
    const digest = digestOf("slow body");
    const upload = connect(registry.server.port, "127.0.0.1");
    upload.write(
      `POST /v2/team/app/blobs/uploads/?digest=${digest} HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nslow `,
    );
    const download = await registry.request(`blobs/${large.digest}`);
    const closing = registry.server.close();
    await expect(fetch(`${registry.server.url}/v2/`)).rejects.toThrow();
    const answer = new Promise<string>((resolve) => {
      let text = "";
      upload.on("data", (chunk) => {
        text += chunk;
      });
      upload.on("close", () => resolve(text));
    });
    upload.write("body");
    expect(await answer).toMatch(/^HTTP\/1\.1 201 /);
    expect((await download.arrayBuffer()).byteLength).toBe(50_000_000);
    await closing;
  });

  test("twice is the same as once", async () => {
    const registry = await startRegistry();
    await Promise.all([registry.server.close(), registry.server.close()]);
    await registry.server.close();
  });
});
