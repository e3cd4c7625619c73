import { mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import type { IncomingMessage, ServerResponse } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { copy, MemoryStore, mediaTypes, parseReference } from "@stowage/layout";
import { afterEach, describe, expect, it } from "vitest";
import { capabilityNames, type ProbeReport, publish, RegistryClient, type Repository } from "../src/index.js";
import { blobOf, emptyBlob, jsonOf, manifestOf, referrerOf } from "./support/artifacts.js";
import { closeServers, sendError, sendJson } from "./support/server.js";
import { type SmallRegistry, type SmallRegistryOptions, serveRegistry } from "./support/small-registry.js";

const clients: RegistryClient[] = [];
const directories: string[] = [];

afterEach(async () => {
  await Promise.all(clients.splice(0).map((client) => client.close()));
  await closeServers();
  for (const directory of directories.splice(0)) await rm(directory, { recursive: true });
});

async function cacheDirectory(): Promise<string> {
  const directory = await mkdtemp(join(tmpdir(), "stowage-probe-"));
  directories.push(directory);
  return directory;
}

function connect(): RegistryClient {
  const client = new RegistryClient({ credentials: false, environment: {}, tries: 1 });
  clients.push(client);
  return client;
}

const repositoryOf = (registry: SmallRegistry): Repository => connect().repository(`${registry.host}/some/repo`);

/** Deletes blobs as well. */
const deletesBlobs = (request: IncomingMessage, response: ServerResponse, registry: SmallRegistry): boolean => {
  const digest = /\/blobs\/(sha\d+:[0-9a-f]+)$/.exec(request.url ?? "")?.[1];
  if (request.method !== "DELETE" || digest === undefined) return false;
  registry.blobs.delete(`some/repo ${digest}`);
  response.writeHead(202).end();
  return true;
};

const serveDeleting = (intercept?: SmallRegistryOptions["intercept"], options: SmallRegistryOptions = {}) =>
  serveRegistry({
    ...options,
    intercept: async (request, response, registry) =>
      deletesBlobs(request, response, registry) || ((await intercept?.(request, response, registry)) ?? false),
  });

const supports = ({ capabilities }: ProbeReport): Record<string, string> =>
  Object.fromEntries(capabilityNames.map((name) => [name, capabilities[name].support]));

/** Refuses manifests that the condition holds for, with 400 as GitLab does. */
const refusing =
  (condition: (manifest: Record<string, unknown>) => boolean): SmallRegistryOptions["intercept"] =>
  async (request, response, registry) => {
    if (request.method !== "PUT" || !request.url?.includes("/manifests/")) return false;
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk as Buffer);
    const bytes = Buffer.concat(chunks);
    if (condition(JSON.parse(bytes.toString()))) sendError(response, 400, "MANIFEST_INVALID", "unknown media type");
    else {
      const reference = request.url.slice(request.url.lastIndexOf("/") + 1);
      const stored = { type: mediaTypes.manifest, bytes };
      const digest = blobOf(bytes).descriptor.digest;
      for (const name of [reference, digest]) registry.manifests.set(`some/repo ${name}`, stored);
      response.writeHead(201, { "docker-content-digest": digest }).end();
    }
    return true;
  };

describe("probe", () => {
  it("without writing stores nothing, and opens and cancels one upload", async () => {
    const registry = await serveRegistry({ referrers: "works" });
    const report = await repositoryOf(registry).probe({ cache: false });
    expect(supports(report)).toMatchObject({ push: "yes", cancel: "yes", referrers: "yes", emptyConfig: "unknown" });
    expect(report).toMatchObject({ wrote: false, leftBehind: [] });
    expect([registry.blobs.size, registry.manifests.size, registry.uploads.size]).toEqual([0, 0, 0]);
    expect(registry.received.length).toBeLessThan(6);
  });

  it("with writing tells what is accepted, and leaves nothing behind", async () => {
    const registry = await serveDeleting(undefined, { referrers: "works" });
    const repository = repositoryOf(registry);
    for (const content of [emptyBlob, manifestOf([])]) await repository.push(content);
    const before = [[...registry.blobs.keys()], [...registry.manifests.keys()]];
    const report = await repository.probe({ write: true, cache: false });
    expect(supports(report)).toMatchObject({
      push: "yes",
      referrers: "yes",
      subject: "yes",
      artifactType: "yes",
      emptyConfig: "yes",
      sha512: "no",
      mount: "yes",
      manifestSize: "yes",
      deleteManifests: "yes",
      deleteTags: "yes",
      deleteBlobs: "yes",
      immutableTags: "no",
    });
    expect(report).toMatchObject({ wrote: true, leftBehind: [], manifestSize: 4 * 1024 * 1024 });
    expect([[...registry.blobs.keys()], [...registry.manifests.keys()]]).toEqual(before);
    expect(registry.uploads.size).toBe(0);
  });

  it("names the chunks the registry wants, and what it says against what it refuses", async () => {
    const registry = await serveDeleting(async (request, response, server) => {
      if (request.method === "POST" && !request.url?.includes("mount="))
        response.setHeader("oci-chunk-min-length", "65536");
      return refusing(
        (manifest) =>
          (manifest.config as { mediaType: string }).mediaType === mediaTypes.empty || "subject" in manifest,
      )?.(request, response, server);
    });
    const report = await repositoryOf(registry).probe({ write: true, cache: false });
    expect(report.chunkMinimum).toBe(65_536);
    expect(report.capabilities.emptyConfig).toEqual({
      support: "no",
      detail: "400 MANIFEST_INVALID: unknown media type",
    });
    expect(supports(report)).toMatchObject({ subject: "no", artifactType: "yes", referrers: "no" });
    // The empty blob may be somebody's by then.
    expect(report.leftBehind).toEqual([expect.stringContaining("the empty blob")]);
    expect([...registry.blobs.keys()]).toEqual([`some/repo ${emptyBlob.descriptor.digest}`]);
  });

  it("says what it could not remove, and then sets no tag and sends no large manifest", async () => {
    const registry = await serveRegistry({
      intercept: (request, response) => {
        if (request.method !== "DELETE" || request.url?.includes("/uploads/")) return false;
        sendError(response, 405, "UNSUPPORTED", "nothing is deleted here");
        return true;
      },
    });
    const report = await repositoryOf(registry).probe({ write: true, cache: false });
    expect(supports(report)).toMatchObject({
      deleteManifests: "no",
      deleteBlobs: "no",
      deleteTags: "unknown",
      manifestSize: "unknown",
      immutableTags: "unknown",
      artifactType: "yes",
    });
    const digests = [...registry.manifests.keys(), ...registry.blobs.keys()].map((key) => key.split(" ")[1] as string);
    for (const digest of digests) expect(report.leftBehind.join()).toContain(digest);
    expect(report.leftBehind).toHaveLength(digests.length);
    expect(digests.filter((name) => !/^sha(?:256|512):/.test(name))).toEqual([]);
  });

  it("finds an API that answers and does not list what was pushed", async () => {
    const registry = await serveDeleting((request, response) => {
      if (!request.url?.includes("/referrers/")) return false;
      sendJson(response, 200, { schemaVersion: 2, manifests: [] }, { "content-type": mediaTypes.index });
      return true;
    });
    const { capabilities } = await repositoryOf(registry).probe({ write: true, cache: false });
    expect(capabilities.referrers).toEqual({ support: "no", detail: expect.stringContaining("does not list") });
  });

  it("finds tags that cannot be moved, and a limit of manifests", async () => {
    const registry = await serveDeleting((request, response, server) => {
      const tag = /\/manifests\/(stowage-probe-[0-9a-f]+)$/.exec(request.url ?? "")?.[1];
      const refused = request.method === "PUT" && tag !== undefined && server.manifests.has(`some/repo ${tag}`);
      if (refused) sendError(response, 409, "DENIED", "the tag is immutable");
      const large = request.method === "PUT" && Number(request.headers["content-length"]) > 2_000_000;
      if (large) sendError(response, 413, "SIZE_INVALID");
      return refused || large;
    });
    const report = await repositoryOf(registry).probe({ write: true, cache: false });
    expect(report.capabilities.immutableTags).toEqual({ support: "yes", detail: "409 DENIED: the tag is immutable" });
    expect(report).toMatchObject({ manifestSize: 1024 * 1024, manifestTooLarge: 4 * 1024 * 1024, leftBehind: [] });
  });

  it("of a repository that one may not push to says why, and stores nothing", async () => {
    const registry = await serveRegistry({
      intercept: (request, response) => {
        if (request.method !== "POST") return false;
        sendError(response, 403, "DENIED", "read only");
        return true;
      },
    });
    const report = await repositoryOf(registry).probe({ write: true, cache: false });
    expect(report.capabilities.push).toEqual({ support: "no", detail: "403 DENIED: read only" });
    expect(report.wrote).toBe(false);
  });

  it("removes what it stored also where it is given up", async () => {
    const giveUp = new AbortController();
    const registry = await serveDeleting((request) => {
      if (request.method === "POST" && request.url?.includes("mount=")) giveUp.abort(new Error("enough"));
      return false;
    });
    await expect(repositoryOf(registry).probe({ write: true, cache: false, signal: giveUp.signal })).rejects.toThrow(
      "enough",
    );
    expect([registry.blobs.size, registry.manifests.size]).toEqual([0, 0]);
  });
});

describe("what a probe remembers", () => {
  it("is used for a day, but where more is asked or it is asked anew", async () => {
    const registry = await serveDeleting();
    const cache = await cacheDirectory();
    const first = await repositoryOf(registry).probe({ cache });
    registry.received.length = 0;
    expect(await repositoryOf(registry).probe({ cache })).toEqual(first);
    expect(registry.received).toEqual([]);
    const written = await repositoryOf(registry).probe({ cache, write: true });
    expect(written.wrote).toBe(true);
    registry.received.length = 0;
    expect(await repositoryOf(registry).probe({ cache })).toEqual(written);
    expect(registry.received).toEqual([]);
    await repositoryOf(registry).probe({ cache, refresh: true });
    expect(registry.received).not.toEqual([]);
  });

  it("is asked again where it is a day old, damaged, or of another repository", async () => {
    const registry = await serveRegistry();
    const cache = await cacheDirectory();
    const report = await repositoryOf(registry).probe({ cache });
    const [file = ""] = await readdir(cache);
    const bad = [
      "",
      "{",
      "null",
      JSON.stringify({ ...report, probed: new Date(Date.now() - 25 * 3600_000).toISOString() }),
      JSON.stringify({ ...report, probed: "2999-01-01T00:00:00Z" }),
      JSON.stringify({ ...report, repository: "elsewhere.example/x" }),
      JSON.stringify({ ...report, capabilities: {} }),
    ];
    for (const text of bad) {
      await writeFile(join(cache, file), text);
      registry.received.length = 0;
      await repositoryOf(registry).probe({ cache });
      expect([text, registry.received.length > 0]).toEqual([text, true]);
    }
  });

  it("holds no credential, in its name or in it, and a cache that cannot be written is none", async () => {
    const registry = await serveRegistry();
    const cache = await cacheDirectory();
    const client = new RegistryClient({ credentials: { username: "alice", password: "s3cret" }, environment: {} });
    clients.push(client);
    await client.repository(`${registry.host}/some/repo`).probe({ cache });
    const [file = "", ...others] = await readdir(cache);
    expect(others).toEqual([]);
    expect(`${file}${await readFile(join(cache, file), "utf8")}`).not.toMatch(/alice|s3cret/);
    const report = await repositoryOf(registry).probe({ cache: join(cache, file, "beneath-a-file") });
    expect(report.capabilities.push.support).toBe("yes");
  });
});

const layer = blobOf("layer");
const image = manifestOf([layer]);
const note = referrerOf(image.descriptor, "note");

async function filledStore(...more: ReturnType<typeof blobOf>[]): Promise<MemoryStore> {
  const store = new MemoryStore();
  for (const content of [emptyBlob, layer, image, note, ...more]) await store.push(content);
  return store;
}

const sentBlobs = (registry: SmallRegistry): string[] =>
  registry.received
    .filter(({ method, path }) => (method === "PUT" || method === "PATCH") && path.includes("/blobs/"))
    .map(({ path }) => path);

describe("publish", () => {
  it("sends no blob to a repository that may not be pushed to, and goes on with the others", async () => {
    const refused = await serveRegistry({
      intercept: (request, response) => {
        if (request.method !== "POST") return false;
        sendError(response, 403, "DENIED", "permission_denied: write_package");
        return true;
      },
    });
    const good = await serveRegistry();
    const references = [refused, good].map(({ host }) => parseReference(`${host}/some/repo:v1`));
    const client = connect();
    const report = await publish(await filledStore(), image.descriptor, references, { client, probeCache: false });
    expect(report.targets[0]?.error).toMatchObject({
      code: "DENIED",
      message: expect.stringContaining("nothing may be pushed to"),
    });
    expect(report.targets[1]?.error).toBeUndefined();
    expect(sentBlobs(refused)).toEqual([]);
    expect(good.manifests.has("some/repo v1")).toBe(true);
  });

  it("names the permission a job on GitHub lacks", async () => {
    // A proxy is what ghcr.io can be reached through without leaving this machine.
    const registry = await serveRegistry({
      intercept: (request, response) => {
        if (request.method !== "POST") return false;
        sendError(response, 403, "DENIED", "permission_denied: write_package");
        return true;
      },
    });
    const client = new RegistryClient({
      credentials: false,
      plainHttp: ["ghcr.io"],
      environment: { http_proxy: registry.url },
      tries: 1,
    });
    clients.push(client);
    const reference = parseReference("ghcr.io/acme/app:v1");
    const options = { client, probeCache: false } as const;
    const { targets } = await publish(await filledStore(), image.descriptor, [reference], options);
    expect(targets[0]?.error).toMatchObject({
      code: "DENIED",
      message: expect.stringMatching(/nothing may be pushed to ghcr\.io\/acme\/app: .*write_package/),
      hint: expect.stringContaining("packages: write"),
    });
    expect(sentBlobs(registry)).toEqual([]);
  });

  it("sends no blob where a probe found that such a manifest is refused", async () => {
    const registry = await serveDeleting(refusing((manifest) => manifest.artifactType !== undefined));
    const cache = await cacheDirectory();
    await repositoryOf(registry).probe({ write: true, cache });
    registry.received.length = 0;
    const reference = parseReference(`${registry.host}/some/repo:v1`);
    const options = { client: connect(), probeCache: cache };
    const { targets } = await publish(await filledStore(), image.descriptor, [reference], options);
    expect(targets[0]?.error).toMatchObject({
      code: "UNSUPPORTED",
      message: expect.stringContaining("artifactType (400 MANIFEST_INVALID: unknown media type)"),
      hint: expect.stringContaining("--refresh"),
    });
    expect(registry.received.filter(({ method }) => method !== "HEAD")).toEqual([]);
  });

  it("sends no blob where a manifest is larger than a probe found possible", async () => {
    const registry = await serveDeleting((request, response) => {
      const large = request.method === "PUT" && Number(request.headers["content-length"]) > 2_000_000;
      if (large) sendError(response, 413, "SIZE_INVALID");
      return large;
    });
    const cache = await cacheDirectory();
    await repositoryOf(registry).probe({ write: true, cache });
    registry.received.length = 0;
    const large = manifestOf([layer], { annotations: { filling: "x".repeat(5_000_000) } });
    const index = jsonOf(
      { schemaVersion: 2, mediaType: mediaTypes.index, manifests: [large.descriptor] },
      mediaTypes.index,
    );
    const reference = parseReference(`${registry.host}/some/repo:v1`);
    const options = { client: connect(), probeCache: cache };
    const { targets } = await publish(await filledStore(large, index), index.descriptor, [reference], options);
    expect(targets[0]?.error).toMatchObject({ code: "LIMIT", message: expect.stringContaining("manifests[0]") });
    expect(registry.received.filter(({ method }) => method !== "HEAD")).toEqual([]);
  });

  it("asks nothing of that where the image is there already", async () => {
    const registry = await serveRegistry();
    const client = connect();
    const source = await filledStore();
    await copy(source, client.repository(`${registry.host}/some/repo`), image.descriptor);
    registry.received.length = 0;
    const reference = parseReference(`${registry.host}/some/repo:v1`);
    await publish(source, image.descriptor, [reference], { client, probeCache: false });
    expect(registry.received.filter(({ method }) => method === "POST")).toEqual([]);
  });
});
