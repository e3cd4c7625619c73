import { connect } from "node:net";
import { digestOf, encodeJson, mediaTypes } from "@stowage/layout";
import { describe, expect, test } from "vitest";
import { artifact, content, errorCode, pushArtifact, startRegistry } from "./registry.js";

/** What clients send along when they ask for a manifest. */
const ACCEPTS = {
  docker: [
    "application/vnd.docker.distribution.manifest.v1+prettyjws",
    "application/json",
    "application/vnd.docker.distribution.manifest.v2+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.oci.image.manifest.v1+json",
  ].join(", "),
  "containers/image": [
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
    "application/vnd.docker.distribution.manifest.v1+prettyjws",
    "application/vnd.docker.distribution.manifest.v1+json",
  ].join(","),
  "a client from before images had an index": "application/vnd.docker.distribution.manifest.v1+json",
  nobody: "",
};

const header = (name: string, response: Response) => response.headers.get(name);

describe("clients as they are", () => {
  test.each(Object.entries(ACCEPTS))("%s gets a manifest as it was pushed", async (_client, accept) => {
    const registry = await startRegistry();
    const { digest } = await pushArtifact(registry, "image", { tag: "v1" });
    const headers = accept === "" ? undefined : { Accept: accept };
    for (const method of ["HEAD", "GET"]) {
      const response = await registry.request("manifests/v1", { method, ...(headers && { headers }) });
      expect([response.status, header("docker-content-digest", response), header("content-type", response)]).toEqual([
        200,
        digest,
        mediaTypes.manifest,
      ]);
    }
  });

  test("docker asks at /v2/ first, and pushes a blob as a stream of chunks without their range", async () => {
    const registry = await startRegistry();
    for (const path of ["/v2/", "/v2"]) {
      const ping = await fetch(registry.server.url + path);
      expect([ping.status, header("docker-distribution-api-version", ping)]).toEqual([200, "registry/2.0"]);
    }
    const [layer, config] = [content("layer", 70_000), encodeJson({ os: "linux", architecture: "amd64" })];
    for (const blob of [layer, config]) {
      const digest = digestOf(blob);
      expect((await registry.request(`blobs/${digest}`, { method: "HEAD" })).status).toBe(404);
      const from = `?from=library%2Fother&mount=${digest}`;
      const opened = await registry.request(`blobs/uploads/${from}`, { method: "POST" });
      expect(opened.status).toBe(202);
      const location = header("location", opened) as string;
      const body = new Blob([blob]).stream();
      const sent = await registry.request(location, { method: "PATCH", body, duplex: "half" } as RequestInit);
      expect([sent.status, header("range", sent)]).toEqual([202, `0-${blob.byteLength - 1}`]);
      const put = `${header("location", sent)}?digest=${encodeURIComponent(digest)}`;
      expect((await registry.request(put, { method: "PUT" })).status).toBe(201);
    }
    const descriptor = (bytes: Uint8Array, mediaType: string) => ({
      mediaType,
      size: bytes.byteLength,
      digest: digestOf(bytes),
    });
    const manifest = encodeJson({
      schemaVersion: 2,
      mediaType: mediaTypes.dockerManifest,
      config: descriptor(config, mediaTypes.dockerConfig),
      layers: [descriptor(layer, mediaTypes.dockerLayerGzip)],
    });
    const pushed = await registry.putManifest("latest", manifest, mediaTypes.dockerManifest);
    expect([pushed.status, header("docker-content-digest", pushed)]).toEqual([201, digestOf(manifest)]);
    expect(header("content-type", await registry.request("manifests/latest"))).toBe(mediaTypes.dockerManifest);
  });

  test("a manifest of schema 1, which nobody should push any more, is refused and named", async () => {
    const registry = await startRegistry();
    const body = encodeJson({ schemaVersion: 1, name: "team/app", tag: "v1", fsLayers: [], history: [] });
    for (const type of ["prettyjws", "json"]) {
      const response = await registry.putManifest(
        "v1",
        body,
        `application/vnd.docker.distribution.manifest.v1+${type}`,
      );
      expect([response.status, await errorCode(response)]).toEqual([400, "MANIFEST_INVALID"]);
    }
  });

  test("containerd names the registry it means, where this one is its mirror", async () => {
    const registry = await startRegistry({}, "library/alpine");
    const { digest } = await pushArtifact(registry, "image", { tag: "latest" });
    for (const path of ["manifests/latest", `manifests/${digest}`, `referrers/${digest}`, "tags/list"])
      expect((await registry.request(`${path}?ns=docker.io`)).status).toBe(200);
  });

  test("one that waits for leave before it sends a body gets it", async () => {
    const registry = await startRegistry();
    const body = Buffer.from(artifact("x", {}));
    const digest = digestOf(body);
    const socket = connect(registry.server.port, "127.0.0.1");
    let answer = "";
    socket.setEncoding("utf8").on("data", (text: string) => {
      answer += text;
      if (/^HTTP\/1\.1 100 Continue\r\n\r\n$/.test(answer)) socket.write(body);
    });
    const closed = new Promise((resolve) => socket.once("close", resolve));
    socket.write(
      `POST /v2/team/app/blobs/uploads/?digest=${digest} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nExpect: 100-continue\r\nContent-Length: ${body.length}\r\n\r\n`,
    );
    await closed;
    expect(answer).toMatch(/^HTTP\/1\.1 100 Continue\r\n\r\nHTTP\/1\.1 201 /);
  });

  test("one that keeps a connection and asks ahead gets the answers in order", async () => {
    const registry = await startRegistry();
    await pushArtifact(registry, "image", { tag: "v1" });
    const socket = connect(registry.server.port, "127.0.0.1");
    let answer = "";
    socket.setEncoding("latin1").on("data", (text: string) => (answer += text));
    const closed = new Promise((resolve) => socket.once("close", resolve));
    const ask = (path: string, more = "") => `GET ${path} HTTP/1.1\r\nHost: x\r\n${more}\r\n`;
    socket.write(
      `${ask("/v2/")}${ask("/v2/team/app/manifests/v2")}${ask("/v2/team/app/manifests/v1", "Connection: close\r\n")}`,
    );
    await closed;
    expect([...answer.matchAll(/HTTP\/1\.1 (\d+)/g)].map(([, status]) => status)).toEqual(["200", "404", "200"]);
  });
});
