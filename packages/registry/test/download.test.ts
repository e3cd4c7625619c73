import { mkdtemp, readdir, rm } from "node:fs/promises";
import type { IncomingMessage, ServerResponse } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { copy, type Descriptor, digestOf, encodeJson, Layout, mediaTypes } from "@stowage/layout";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { type ClientOptions, RegistryClient, type Repository } from "../src/index.js";
import { blobOf, failure } from "./support/artifacts.js";
import { closeServers, serve, type TestServer } from "./support/server.js";

const MEBIBYTE = 1024 * 1024;
const clients: RegistryClient[] = [];
let directory: string;

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), "stowage-download-"));
});

afterEach(async () => {
  await Promise.all(clients.splice(0).map((client) => client.close()));
  await closeServers();
  await rm(directory, { recursive: true, force: true });
});

function numbered(size: number): Buffer {
  return Buffer.from(Uint32Array.from({ length: size / 4 }, (_, at) => at).buffer);
}

/** Answers a request for the layer: with all from `from` on, unless it does something else. */
type Fault = (request: IncomingMessage, response: ServerResponse, from: number) => boolean | undefined;

/** A registry with one image, whose layer is served as `fault` wants it. */
async function imageWith(layer: Buffer, fault: Fault, declared: Descriptor = blobOf(layer).descriptor) {
  const config = Buffer.from("{}");
  const parts = [blobOf(config, mediaTypes.config).descriptor, declared];
  const manifest = encodeJson({
    schemaVersion: 2,
    mediaType: mediaTypes.manifest,
    config: parts[0],
    layers: parts.slice(1),
  });
  const ranges: number[] = [];
  const server = await serve((request, response) => {
    const path = request.url ?? "";
    if (path.includes("/manifests/")) {
      const length = String(manifest.byteLength);
      response.writeHead(200, { "content-type": mediaTypes.manifest, "content-length": length });
      response.end(request.method === "HEAD" ? undefined : manifest);
    } else if (path.includes(parts[0]?.digest as string)) response.end(config);
    else if (path.includes(declared.digest)) {
      const from = Number(/^bytes=(\d+)-$/.exec(request.headers.range ?? "")?.[1] ?? "0");
      ranges.push(from);
      if (fault(request, response, from) !== true) sendFrom(response, layer, from);
    } else response.writeHead(404).end();
  });
  return { server, ranges, digest: digestOf(manifest) };
}

function headersFrom(layer: Buffer, from: number): Record<string, string> {
  return {
    "content-length": String(layer.byteLength - from),
    ...(from === 0 ? {} : { "content-range": `bytes ${from}-${layer.byteLength - 1}/${layer.byteLength}` }),
  };
}

function sendFrom(response: ServerResponse, layer: Buffer, from: number): void {
  response.writeHead(from === 0 ? 200 : 206, headersFrom(layer, from)).end(layer.subarray(from));
}

/** Sends some of it and breaks the connection. */
function cut(response: ServerResponse, layer: Buffer, from: number, count: number): true {
  response.writeHead(from === 0 ? 200 : 206, headersFrom(layer, from));
  response.write(layer.subarray(from, from + count), () => setTimeout(() => response.destroy(), 20));
  return true;
}

function repositoryOf(server: TestServer, options: ClientOptions = {}): Repository {
  const client = new RegistryClient({ credentials: false, environment: {}, retryDelay: 1, tries: 2, ...options });
  clients.push(client);
  return client.repository(`${server.host}/some/repo`);
}

const pull = async (repository: Repository, digest: string, name = "layout") =>
  copy(repository, await Layout.create(join(directory, name)), digest, { referrers: "none" });

describe("an image that is pulled over a line that is cut every 20 MB", () => {
  it("arrives, however few tries there are", async () => {
    const layer = numbered(100 * MEBIBYTE);
    const { server, ranges, digest } = await imageWith(
      layer,
      (_, response, from) => from + 20e6 < layer.byteLength && cut(response, layer, from, 20e6),
    );
    const report = await pull(repositoryOf(server), digest);
    expect(report.written).toBe(3);
    expect(ranges.length).toBeGreaterThanOrEqual(5);
    expect(ranges).toEqual([...ranges].sort((a, b) => a - b));
  });
});

describe("an image that cannot be pulled whole", () => {
  it("is gone on with by the next run where the last one gave up", async () => {
    const layer = numbered(12 * MEBIBYTE);
    let dead = true;
    const { server, ranges, digest } = await imageWith(layer, (request, response, from) => {
      if (!dead) return false;
      if (from === 0) return cut(response, layer, 0, 7 * MEBIBYTE);
      request.socket.destroy();
      return true;
    });
    await expect(pull(repositoryOf(server), digest)).rejects.toMatchObject({ code: "REGISTRY" });
    dead = false;
    ranges.length = 0;
    await pull(repositoryOf(server), digest);
    expect(ranges).toHaveLength(1);
    expect(7 * MEBIBYTE - (ranges[0] as number)).toBeLessThan(MEBIBYTE);
    expect(await readdir(join(directory, "layout", "ingest"))).toEqual([]);
  });

  it("is shown a new token where the old one is refused on the way, and asks only for the rest", async () => {
    const layer = numbered(12 * MEBIBYTE);
    let tokens = 0;
    const { server, ranges, digest } = await imageWith(layer, (request, response, from) => {
      const wanted = from === 0 ? 1 : 2;
      if (request.headers.authorization === `Bearer t${wanted}`)
        return from === 0 ? cut(response, layer, 0, 5 * MEBIBYTE) : false;
      const realm = `Bearer realm="http://${tokenServer.host}/token",service="x"`;
      response.writeHead(401, { "www-authenticate": realm }).end();
      return true;
    });
    const tokenServer = await serve((_, response) => response.end(JSON.stringify({ token: `t${++tokens}` })));
    const credentials = { username: "alice", password: "s3cret" };
    await pull(repositoryOf(server, { credentials, trustedRealms: [tokenServer.host] }), digest);
    expect(tokens).toBe(2);
    expect(new Set(ranges).size).toBe(2);
    expect(Math.max(...ranges)).toBeGreaterThan(0);
  });

  it("is refused with MISMATCH where its layer is too short, too long or something else, also behind a cut; nothing stays", async () => {
    const layer = numbered(4 * MEBIBYTE);
    const { descriptor } = blobOf(layer);
    const wrong = Buffer.from(layer);
    wrong[3 * MEBIBYTE] = 77;
    for (const [name, sent] of [
      ["short", layer.subarray(0, -4)],
      ["long", Buffer.concat([layer, Buffer.from("more")])],
      ["wrong", wrong],
    ] as const)
      for (const broken of [false, true]) {
        const { server, digest } = await imageWith(
          sent,
          (_, response, from) => broken && from === 0 && cut(response, sent, 0, 2 * MEBIBYTE),
          descriptor,
        );
        const error = await failure(pull(repositoryOf(server), digest, `${name}-${broken}`));
        expect([name, broken, error.code]).toEqual([name, broken, "MISMATCH"]);
        expect(await readdir(join(directory, `${name}-${broken}`, "ingest"))).toEqual([]);
        await server.close();
      }
  });

  it("is refused where the registry then has less than it sent before, or sends other bytes than were asked for", async () => {
    const layer = numbered(4 * MEBIBYTE);
    for (const [code, answer] of [
      ["MISMATCH", (response: ServerResponse) => response.writeHead(416).end()],
      [
        "REGISTRY",
        (response: ServerResponse) =>
          response.writeHead(206, { "content-range": `bytes 5-9/${layer.byteLength}` }).end("abcde"),
      ],
    ] as const) {
      const { server, digest } = await imageWith(layer, (_, response, from) => {
        if (from === 0) return cut(response, layer, 0, 2 * MEBIBYTE);
        answer(response);
        return true;
      });
      await expect(pull(repositoryOf(server), digest, code)).rejects.toMatchObject({ code });
    }
  });

  it("is fetched from another host without a credential where it is redirected there, and the rest as well", async () => {
    const layer = numbered(4 * MEBIBYTE);
    let first = true;
    const elsewhere = await serve((request, response) => {
      const from = Number(/\d+/.exec(request.headers.range ?? "0")?.[0]);
      if (first) cut(response, layer, from, 2 * MEBIBYTE);
      else sendFrom(response, layer, from);
      first = false;
    });
    const { server, ranges, digest } = await imageWith(layer, (_, response) => {
      response.writeHead(307, { location: `${elsewhere.url}/signed?x=1` }).end();
      return true;
    });
    await pull(repositoryOf(server, { credentials: { username: "alice", password: "s3cret" } }), digest);
    expect(ranges).toHaveLength(2);
    expect(elsewhere.received.map(({ headers }) => headers.authorization)).toEqual([undefined, undefined]);
    expect(elsewhere.received[1]?.headers.range).toMatch(/^bytes=[1-9]\d*-$/);
  });
});

describe("an image that is there already", () => {
  it("takes three requests to be pulled again: its tag, its referrers and the tags of older tools", async () => {
    const { server } = await imageWith(numbered(MEBIBYTE), () => false);
    const layout = await Layout.create(join(directory, "layout"));
    await copy(repositoryOf(server), layout, "v1", { tags: ["v1"] });
    const again = repositoryOf(server);
    const referrers = { referrersListed: 0 };
    server.received.length = 0;
    await copy(again, layout, "v1", { tags: ["v1"] });
    for (const { path } of server.received) if (path.includes("/referrers/")) referrers.referrersListed++;
    expect(referrers.referrersListed).toBe(1);
    expect(server.received.some(({ path }) => path.includes("/blobs/"))).toBe(false);
    expect(
      server.received.filter(({ method, path }) => method === "GET" && path.includes("/manifests/sha256:")),
    ).toEqual([]);
  });
});
