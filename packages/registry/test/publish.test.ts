import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { copy, MemoryStore, parseLocation, parseReference } from "@stowage/layout";
import { afterEach, describe, expect, it } from "vitest";
import { openSource, openTarget, publish, RegistryClient } from "../src/index.js";
import { all, blobOf, emptyBlob, manifestOf, referrerOf } from "./support/artifacts.js";
import { closeServers, sendError } from "./support/server.js";
import { serveRegistry } from "./support/small-registry.js";

const clients: RegistryClient[] = [];

afterEach(async () => {
  await Promise.all(clients.splice(0).map((client) => client.close()));
  await closeServers();
});

function makeClient(): RegistryClient {
  const client = new RegistryClient({ credentials: false, environment: {}, tries: 1 });
  clients.push(client);
  return client;
}

const layer = blobOf("layer");
const image = manifestOf([layer]);
const note = referrerOf(image.descriptor, "note");

async function filledStore(): Promise<MemoryStore> {
  const store = new MemoryStore();
  for (const content of [emptyBlob, layer, image, note]) await store.push(content);
  return store;
}

describe("publish", () => {
  it("brings an image and its referrers to all destinations, the tags of one repository in one copy", async () => {
    const [one, two] = [await serveRegistry(), await serveRegistry({ referrers: "works" })];
    const client = makeClient();
    const references = [`${one.host}/a/b:v1`, `${one.host}/a/b:latest`, `${two.host}/c/d:v1`];
    const report = await publish(await filledStore(), image.descriptor, references.map(parseReference), { client });
    expect(report.targets.map(({ reference, error }) => [reference, error])).toEqual(
      references.map((reference) => [reference, undefined]),
    );
    expect(report.targets.map(({ report }) => report?.tags)).toEqual([["v1"], ["latest"], ["v1"]]);
    for (const reference of references) {
      const repository = client.repository(reference);
      expect(await repository.resolve(parseReference(reference).tag as string)).toEqual(image.descriptor);
      expect((await all(repository.referrers(image.descriptor))).map(({ digest }) => digest)).toEqual([
        note.descriptor.digest,
      ]);
    }
    expect(one.received.filter(({ method, path }) => method === "PUT" && path.includes("/uploads/"))).toHaveLength(2);
  });

  it("goes on with the others where one destination, or one tag, fails", async () => {
    const good = await serveRegistry({
      intercept: (request, response) => {
        if (request.method !== "PUT" || !request.url?.endsWith("/locked")) return false;
        sendError(response, 403, "DENIED", "the tag is locked");
        return true;
      },
    });
    const bad = await serveRegistry({
      intercept: (_, response) => {
        sendError(response, 403, "DENIED");
        return true;
      },
    });
    const references = [
      `${bad.host}/a/b:v1`,
      `${good.host}/a/b:locked`,
      `${good.host}/a/b:v1`,
      `${good.host}/a/b@${note.descriptor.digest}`,
    ];
    const report = await publish(await filledStore(), image.descriptor, references.map(parseReference), {
      client: makeClient(),
    });
    expect(report.targets.map(({ error }) => (error as { code?: string } | undefined)?.code)).toEqual([
      "DENIED",
      "DENIED",
      undefined,
      "INVALID",
    ]);
    expect(await makeClient().repository(`${good.host}/a/b`).resolve("v1")).toEqual(image.descriptor);
  });

  it("fails with the signal's reason", async () => {
    const registry = await serveRegistry();
    const signal = AbortSignal.abort(new Error("enough"));
    await expect(
      publish(await filledStore(), image.descriptor, [parseReference(`${registry.host}/a/b:v1`)], {
        client: makeClient(),
        signal,
      }),
    ).rejects.toThrow("enough");
  });
});

describe("openSource and openTarget", () => {
  it("open registries and layouts by their locations, and copy between them", async () => {
    const registry = await serveRegistry();
    const folder = await mkdtemp(join(tmpdir(), "stowage-open-"));
    const options = { client: makeClient() };
    const inRegistry = parseLocation(`${registry.host}/a/b:v1`);
    const inLayout = parseLocation(`oci:${join(folder, "layout")}:v1`);
    const first = await openTarget(inRegistry, options);
    await copy(await filledStore(), first.target, image.descriptor, { tags: ["v1"] });
    await first.close();
    const [source, target] = [await openSource(inRegistry, options), await openTarget(inLayout, options)];
    await copy(source.source, target.target, "v1", { tags: ["v1"] });
    await Promise.all([source.close(), target.close()]);
    const again = await openSource(inLayout);
    expect((await again.source.resolve("v1")).digest).toBe(image.descriptor.digest);
    expect(await all(again.source.referrers(image.descriptor))).toHaveLength(1);
    await again.close();
    await rm(folder, { recursive: true });
  });

  it("close the client they made themselves, and no other", async () => {
    const registry = await serveRegistry();
    const location = parseLocation(`${registry.host}/a/b:v1`);
    const own = await openSource(location);
    await own.close();
    await expect(own.source.resolve("v1")).rejects.toThrow(TypeError);
    const client = makeClient();
    const shared = await openSource(location, { client });
    await shared.close();
    await expect(shared.source.resolve("v1")).rejects.toMatchObject({ code: "NOT_FOUND" });
  });
});
