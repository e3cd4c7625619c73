import { execFileSync } from "node:child_process";
import { readFile } from "node:fs/promises";
import { request as httpsRequest } from "node:https";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { memoryStore, type RequestRecord, serve } from "../src/index.js";
import { content, startRegistry, temporaryDirectory } from "./registry.js";

describe("what a server tells of itself", () => {
  test("is a record of each request, with what was moved", async () => {
    const records: RequestRecord[] = [];
    const registry = await startRegistry({ onRequest: (record) => records.push(record) });
    const blob = await registry.pushBlob(content("blob", 5000));
    await (await registry.request(`blobs/${blob.digest}`)).arrayBuffer();
    await (await registry.request("manifests/none?secret=x")).arrayBuffer();
    await registry.server.close();
    expect(records).toMatchObject([
      {
        client: "127.0.0.1",
        method: "POST",
        path: "/v2/team/app/blobs/uploads/",
        status: 201,
        received: 5000,
        complete: true,
      },
      {
        method: "GET",
        path: `/v2/team/app/blobs/${blob.digest}`,
        status: 200,
        received: 0,
        sent: 5000,
        complete: true,
      },
      { method: "GET", path: "/v2/team/app/manifests/none", status: 404, complete: true },
    ]);
    expect(JSON.stringify(records)).not.toContain("secret");
  });

  test("is counters in the format of Prometheus", async () => {
    const registry = await startRegistry();
    await registry.pushBlob(content("blob", 5000));
    await registry.startUpload();
    for (let count = 0; count < 3; count++) await (await registry.request("manifests/none")).arrayBuffer();
    await (await registry.request("/v2/", { method: "PURGE" })).arrayBuffer();
    const response = await fetch(`${registry.server.url}/metrics`);
    const text = await response.text();
    expect(response.headers.get("content-type")).toMatch(/^text\/plain; version=0\.0\.4/);
    for (const line of [
      'stowage_requests_total{method="GET",status="404"} 3',
      'stowage_requests_total{method="other",status="405"} 1',
      "stowage_received_bytes_total 5000",
      "stowage_uploads_open 1",
      "stowage_requests_running 1",
    ]) {
      expect(text.split("\n")).toContain(line);
    }
    expect(text).toMatch(/# TYPE stowage_requests_total counter/);
  });
});

describe("a server with a certificate", () => {
  test("speaks HTTPS, and says so in its URL and its challenges", async () => {
    const directory = await temporaryDirectory();
    const [certFile, keyFile] = [join(directory, "cert.pem"), join(directory, "key.pem")];
    const name = ["-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1"];
    const make = ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"];
    execFileSync("openssl", [...make, ...name, "-keyout", keyFile, "-out", certFile], { stdio: "ignore" });
    const [cert, key] = [await readFile(certFile), await readFile(keyFile)];
    const accounts = async (): Promise<boolean> => false;
    const server = await serve({ store: memoryStore(), tls: { cert, key }, accounts, tokens: true });
    try {
      expect(server.url).toMatch(/^https:/);
      const challenge = await new Promise((resolve, reject) => {
        const request = httpsRequest(`${server.url}/v2/`, { ca: cert }, (response) => {
          response.resume();
          resolve(response.headers["www-authenticate"]);
        });
        request.on("error", reject).end();
      });
      expect(challenge).toBe(`Bearer realm="${server.url}/token",service="stowage"`);
    } finally {
      await server.close();
    }
    const broken = serve({ store: memoryStore(), tls: { cert, key: "no key" } });
    await expect(broken).rejects.toMatchObject({ code: "INVALID" });
  });
});
