import { afterEach, describe, expect, it } from "vitest";
import { type ClientOptions, RegistryClient } from "../src/index.js";
import { blobOf, emptyBlob, manifestOf, text } from "./support/artifacts.js";
import { closeServers, serve } from "./support/server.js";
import { serveRegistry } from "./support/small-registry.js";

const clients: RegistryClient[] = [];
afterEach(async () => {
  await Promise.all(clients.splice(0).map((client) => client.close()));
  await closeServers();
});

function client(options: ClientOptions): RegistryClient {
  const made = new RegistryClient({ credentials: false, environment: {}, retryDelay: 1, tries: 3, ...options });
  clients.push(made);
  return made;
}

const content = blobOf("content");
const manifest = manifestOf([content]);

/** A registry that holds an image, and how often each thing was read from it. */
async function upstream() {
  const registry = await serveRegistry();
  const target = client({}).repository(`${registry.host}/acme/app`);
  for (const part of [emptyBlob, content, manifest]) await target.push(part);
  await target.tag("v1", manifest.descriptor);
  registry.received.splice(0);
  return registry;
}

describe("a mirror", () => {
  it("gives what is asked for by its digest, and is told whose it is", async () => {
    const registry = await upstream();
    const mirror = await serve((request, response) => {
      const bytes = request.url?.includes("/manifests/") ? manifest.open() : content.open();
      response.writeHead(200, {
        "content-type": request.url?.includes("/manifests/") ? manifest.descriptor.mediaType : "",
      });
      for (const chunk of bytes as Iterable<Uint8Array>) response.write(chunk);
      response.end();
    });
    const source = client({ mirrors: { [registry.host]: mirror.host } }).repository(`${registry.host}/acme/app`);
    const descriptor = await source.resolve("v1");
    expect(await text(source.fetch(descriptor))).toContain("schemaVersion");
    expect(await text(source.fetch(content.descriptor))).toBe("content");
    const ns = encodeURIComponent(registry.host);
    expect(mirror.received.map(({ path }) => path)).toContain(
      `/v2/acme/app/blobs/${content.descriptor.digest}?ns=${ns}`,
    );
    expect(mirror.received.every(({ path, method }) => path.endsWith(`?ns=${ns}`) && method === "GET")).toBe(true);
    // What a tag stands for, only the registry itself can say.
    expect(registry.received.some(({ path }) => path.endsWith("/manifests/v1"))).toBe(true);
    expect(registry.received.some(({ path }) => path.includes("/blobs/"))).toBe(false);
  });

  it("that has not got it, fails, or is not there, is passed by", async () => {
    const registry = await upstream();
    const faults = [404, 500, 401].map((status) => serve((_, response) => response.writeHead(status).end()));
    const hosts = (await Promise.all(faults)).map(({ host }) => host);
    const gone = await serve(() => {});
    await gone.close();
    for (const host of [...hosts, gone.host]) {
      const source = client({ mirrors: { [registry.host]: host } }).repository(`${registry.host}/acme/app`);
      expect(await text(source.fetch(content.descriptor))).toBe("content");
    }
  });

  it("that sends something else is found out", async () => {
    const registry = await upstream();
    const mirror = await serve((_, response) => response.end("CONTENT"));
    const source = client({ mirrors: { [registry.host]: mirror.host } }).repository(`${registry.host}/acme/app`);
    await expect(text(source.fetch(content.descriptor))).rejects.toMatchObject({ code: "MISMATCH" });
  });

  it("gets its own credentials and never those of the registry, and does not decide what is there", async () => {
    const registry = await upstream();
    const mirror = await serve((request, response) => {
      if (request.headers.authorization === undefined)
        response.writeHead(401, { "www-authenticate": 'Basic realm="r"' }).end();
      else response.end("content");
    });
    const asked: string[] = [];
    const credentials = async (host: string) => {
      asked.push(host);
      return { username: "user", password: host };
    };
    const source = client({ credentials, mirrors: { [registry.host]: mirror.host } }).repository(
      `${registry.host}/acme/app`,
    );
    expect(await text(source.fetch(content.descriptor))).toBe("content");
    const sent = mirror.received.map(({ headers }) => headers.authorization).filter((value) => value !== undefined);
    expect(sent).toEqual([`Basic ${Buffer.from(`user:${mirror.host}`).toString("base64")}`]);
    expect(asked).toEqual([mirror.host]);
    const stranger = client({
      credentials: { username: "u", password: "p" },
      mirrors: { [registry.host]: mirror.host },
    });
    expect(await text(stranger.repository(`${registry.host}/acme/app`).fetch(content.descriptor))).toBe("content");
    expect(mirror.received.filter(({ headers }) => headers.authorization !== undefined)).toHaveLength(1);
    const before = mirror.received.length;
    expect(await source.has(content.descriptor)).toBe(true);
    expect(await source.has(blobOf("other").descriptor)).toBe(false);
    expect(mirror.received).toHaveLength(before);
  });
});
