import { type Descriptor, encodeJson, mediaTypes } from "@stowage/layout";
import { afterEach, describe, expect, it } from "vitest";
import { RegistryClient, type Repository } from "../src/index.js";
import { all, emptyBlob, failure, manifestOf, referrerOf } from "./support/artifacts.js";
import { closeServers, sendError } from "./support/server.js";
import { type SmallRegistryOptions, serveRegistry } from "./support/small-registry.js";

const clients: RegistryClient[] = [];

afterEach(async () => {
  await Promise.all(clients.splice(0).map((client) => client.close()));
  await closeServers();
});

const image = manifestOf([emptyBlob]);
const referrers = Array.from({ length: 12 }, (_, at) => referrerOf(image.descriptor, `${at}`));
const digests = referrers.map(({ descriptor }) => descriptor.digest).sort();

async function prepared(options: SmallRegistryOptions = {}) {
  const puts: { readonly digest: string; readonly socket: unknown }[] = [];
  const registry = await serveRegistry({
    referrers: "works",
    ...options,
    intercept: (request, response, self) => {
      const digest = /manifests\/(.*)$/.exec(request.url ?? "")?.[1];
      if (request.method === "PUT" && digest !== undefined) puts.push({ digest, socket: request.socket });
      return options.intercept?.(request, response, self);
    },
  });
  const client = new RegistryClient({ credentials: false, environment: {}, tries: 1 });
  clients.push(client);
  const repository = client.repository(`${registry.host}/some/repo`);
  for (const content of [emptyBlob, image]) await repository.push(content);
  puts.length = 0;
  return { registry, repository, puts };
}

const pushAll = (repository: Repository) =>
  Promise.allSettled(referrers.map((one) => repository.push(one, { found: false })));

const listed = async (repository: Repository): Promise<string[]> =>
  (await all<Descriptor>(repository.referrers(image.descriptor))).map(({ digest }) => digest);

describe("referrers of one subject that are pushed at the same time", () => {
  it("go over one connection, and are asked for once afterwards", async () => {
    const { registry, repository, puts } = await prepared();
    registry.received.length = 0;
    const results = await pushAll(repository);
    expect(results.every(({ status }) => status === "fulfilled")).toBe(true);
    expect(puts.map(({ digest }) => digest).sort()).toEqual(digests);
    expect(new Set(puts.map(({ socket }) => socket)).size).toBe(1);
    const questions = registry.received.filter(({ path }) => path.endsWith(`referrers/${image.descriptor.digest}`));
    expect(questions).toHaveLength(1);
  });

  it("do not wait for the answers between them", async () => {
    let [come, release] = [0, () => {}];
    const all = new Promise<void>((resolve) => {
      release = resolve;
    });
    const { repository } = await prepared({
      // None is answered before all have come.
      intercept: async ({ method, url }) => {
        if (method !== "PUT" || !digests.some((digest) => url?.endsWith(digest))) return false;
        if (++come === digests.length) release();
        await all;
        return false;
      },
    });
    await pushAll(repository);
    expect(await listed(repository)).toEqual(digests);
  });

  it("are sent again, one by one, where the registry has taken them and does not list them", async () => {
    const lost = new Set(digests.slice(0, 5));
    const { repository, puts } = await prepared({
      intercept: (request, response, { manifests }) => {
        if (!request.url?.includes("/referrers/")) return false;
        if (request.url.includes("0".repeat(64))) return false;
        const entries = [...manifests].flatMap(([key, { bytes }]) => {
          const digest = key.slice(key.indexOf(" ") + 1);
          const again = puts.filter((put) => put.digest === digest).length > 1;
          const hidden = !digests.includes(digest as never) || (lost.has(digest as never) && !again);
          return hidden ? [] : [{ mediaType: mediaTypes.manifest, digest, size: bytes.length }];
        });
        const index = { schemaVersion: 2, mediaType: mediaTypes.index, manifests: entries };
        response.setHeader("content-type", mediaTypes.index).end(encodeJson(index));
        return true;
      },
    });
    await pushAll(repository);
    expect(puts).toHaveLength(digests.length + lost.size);
    expect(await listed(repository)).toEqual(digests);
  });

  it("arrive where the connection ends after each answer", async () => {
    const { repository } = await prepared({
      intercept: (request, response) => {
        if (request.method === "PUT") response.setHeader("connection", "close");
        return false;
      },
    });
    const results = await pushAll(repository);
    expect(results.every(({ status }) => status === "fulfilled")).toBe(true);
    expect(await listed(repository)).toEqual(digests);
  });

  it("fail by themselves, with what the registry says", async () => {
    const refused = digests[3] as string;
    const { repository } = await prepared({
      intercept: (request, response) => {
        if (request.method !== "PUT" || !request.url?.endsWith(refused)) return false;
        request.resume();
        sendError(response, 403, "DENIED", "not this one");
        return true;
      },
    });
    const results = await pushAll(repository);
    expect(results.filter(({ status }) => status === "rejected")).toHaveLength(1);
    const error = await failure(repository.push(referrers.find((one) => one.descriptor.digest === refused) as never));
    expect(error).toMatchObject({ code: "DENIED", message: expect.stringContaining("not this one") });
    expect(await listed(repository)).toEqual(digests.filter((digest) => digest !== refused));
  });

  it("that are given up leave the others alone", async () => {
    const abort = new AbortController();
    const { repository } = await prepared({
      intercept: ({ method, url }) => {
        if (method === "PUT" && url?.endsWith(digests[0] as string)) abort.abort(new Error("enough"));
        return false;
      },
    });
    const results = await Promise.allSettled(
      referrers.map((one, at) =>
        repository.push(one, at === 7 ? { found: false, signal: abort.signal } : { found: false }),
      ),
    );
    const failed = results.filter(({ status }) => status === "rejected");
    expect(failed.length).toBeLessThanOrEqual(1);
    expect(await listed(repository)).toEqual(expect.arrayContaining(digests.filter((_, at) => at !== indexOf(7))));
  });
});

function indexOf(at: number): number {
  return digests.indexOf((referrers[at] as (typeof referrers)[0]).descriptor.digest);
}
