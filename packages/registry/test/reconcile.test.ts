import type { ServerResponse } from "node:http";
import { type Content, type Digest, mediaTypes, referrersTag } from "@stowage/layout";
import { afterEach, describe, expect, it } from "vitest";
import { RegistryClient, type Repository } from "../src/index.js";
import { all, blobOf, emptyBlob, jsonOf, manifestOf, referrerOf } from "./support/artifacts.js";
import { closeServers, sendError, sendJson } from "./support/server.js";
import { type SmallRegistry, type SmallRegistryOptions, serveRegistry } from "./support/small-registry.js";

const clients: RegistryClient[] = [];

afterEach(async () => {
  await Promise.all(clients.splice(0).map((client) => client.close()));
  await closeServers();
});

const image = manifestOf([blobOf("layer")]);
const subject = image.descriptor;
const tag = referrersTag(subject.digest);
const notes = ["one", "two", "three"].map((name) => referrerOf(subject, name));
const digestsOf = (contents: readonly Content[]): Digest[] =>
  contents.map(({ descriptor }) => descriptor.digest).sort();

/** A registry that is to get the referrers API; then it knows the subjects of what is pushed from that time on. */
interface Upgrading {
  readonly registry: SmallRegistry;
  /** A client that has asked it nothing yet. */
  connect(): Repository;
  upgrade(): void;
}

async function upgrading(intercept?: SmallRegistryOptions["intercept"]): Promise<Upgrading> {
  const known = new Map<string, Content["descriptor"][]>();
  let upgraded = false;
  const registry = await serveRegistry({
    intercept: async (request, response, server) => {
      if ((await intercept?.(request, response, server)) === true) return true;
      if (!upgraded) return false;
      const [, of] = /\/referrers\/(.*)$/.exec(request.url ?? "") ?? [];
      if (of !== undefined) return list(response, known.get(of) ?? []);
      const pushed = /\/manifests\/(.*)$/.exec(request.url ?? "")?.[1];
      if (request.method === "PUT" && pushed !== undefined) {
        const note = notes.find(({ descriptor }) => descriptor.digest === pushed)?.descriptor;
        if (note !== undefined) known.set(subject.digest, [...(known.get(subject.digest) ?? []), note]);
      }
      return false;
    },
  });
  return {
    registry,
    connect: () => {
      const client = new RegistryClient({ credentials: false, environment: {}, tries: 1 });
      clients.push(client);
      return client.repository(`${registry.host}/some/repo`);
    },
    upgrade: () => {
      upgraded = true;
    },
  };
}

function list(response: ServerResponse, manifests: readonly unknown[]): true {
  sendJson(response, 200, { schemaVersion: 2, manifests }, { "content-type": mediaTypes.index });
  return true;
}

async function withReferrers(repository: Repository, referrers: readonly Content[]): Promise<void> {
  for (const content of [emptyBlob, blobOf("layer"), image]) await repository.push(content);
  await Promise.all(referrers.map((note) => repository.push(note)));
  await repository.tag("v1", subject);
}

const found = async (repository: Repository): Promise<string[]> =>
  (await all(repository.referrers(subject))).map(({ digest }) => digest);

describe("a registry that has got the referrers API", () => {
  it("lists, when reconciled, what was attached before; tags go only where that is asked for", async () => {
    const { registry, connect, upgrade } = await upgrading();
    await withReferrers(connect(), notes);
    expect(await found(connect())).toEqual(digestsOf(notes));
    upgrade();
    expect(await found(connect())).toEqual([]);

    const tried = await connect().reconcile({ dryRun: true, prune: true });
    expect(tried).toMatchObject({ dryRun: true, lists: [{ tag, pruned: true, failures: [], listed: [] }] });
    expect([...(tried.lists[0]?.moved ?? [])].sort()).toEqual(digestsOf(notes));
    expect(await found(connect())).toEqual([]);
    expect(registry.manifests.has(`some/repo ${tag}`)).toBe(true);

    const moved = await connect().reconcile();
    expect([...(moved.lists[0]?.moved ?? [])].sort()).toEqual(digestsOf(notes));
    expect(await found(connect())).toEqual(digestsOf(notes));
    expect(registry.manifests.has(`some/repo ${tag}`)).toBe(true);

    const pruned = await connect().reconcile({ prune: true });
    expect(pruned.lists).toMatchObject([{ tag, moved: [], failures: [], pruned: true }]);
    expect([...(pruned.lists[0]?.listed ?? [])].sort()).toEqual(digestsOf(notes));
    expect(registry.manifests.has(`some/repo ${tag}`)).toBe(false);
    expect(await found(connect())).toEqual(digestsOf(notes));
    expect((await connect().resolve("v1")).digest).toBe(subject.digest);
    expect(await connect().reconcile({ prune: true })).toMatchObject({ lists: [] });
  });

  it("and had nothing attached has nothing to move, and gets no tag any more", async () => {
    const { registry, connect, upgrade } = await upgrading();
    await withReferrers(connect(), []);
    upgrade();
    expect(await connect().reconcile({ prune: true })).toMatchObject({ lists: [] });
    await connect().push(notes[0] as Content);
    expect(await found(connect())).toEqual(digestsOf(notes.slice(0, 1)));
    expect(registry.manifests.has(`some/repo ${tag}`)).toBe(false);
  });

  it("keeps the tag where it does not list what was pushed again, which is told", async () => {
    const stubborn = notes[1]?.descriptor.digest as Digest;
    const { registry, connect, upgrade } = await upgrading((request, response) => {
      if (request.method !== "PUT" || !request.url?.endsWith(stubborn) || !refusing) return false;
      sendError(response, 400, "MANIFEST_INVALID", "no");
      return true;
    });
    let refusing = false;
    await withReferrers(connect(), notes);
    upgrade();
    refusing = true;
    const { lists } = await connect().reconcile({ prune: true });
    expect(lists).toMatchObject([{ pruned: false, failures: [{ digest: stubborn, error: { code: "INVALID" } }] }]);
    expect(lists[0]?.moved).toHaveLength(2);
    expect(registry.manifests.has(`some/repo ${tag}`)).toBe(true);
  });

  it("keeps the tag where somebody adds to its list meanwhile, and where tags cannot be deleted", async () => {
    let reads = 0;
    const { registry, connect, upgrade } = await upgrading((request, response, server) => {
      if (request.method === "DELETE") {
        sendError(response, 405, "UNSUPPORTED");
        return true;
      }
      if (request.method === "GET" && request.url?.endsWith(tag) && after && ++reads === 2) {
        const entries = notes.map(({ descriptor }) => descriptor);
        const more = jsonOf({ schemaVersion: 2, mediaType: mediaTypes.index, manifests: entries }, mediaTypes.index);
        const bytes = Buffer.from([...(more.open() as Iterable<Uint8Array>)][0] as Uint8Array);
        server.manifests.set(`some/repo ${tag}`, { type: mediaTypes.index, bytes });
      }
      return false;
    });
    let after = false;
    await withReferrers(connect(), notes.slice(0, 2));
    upgrade();
    after = true;
    const [changed] = (await connect().reconcile({ prune: true })).lists;
    expect(changed).toMatchObject({ pruned: false, error: { code: "CONFLICT" } });
    const [kept] = (await connect().reconcile({ prune: true })).lists;
    expect(kept).toMatchObject({ pruned: false, error: { code: "UNSUPPORTED" } });
    expect(registry.manifests.has(`some/repo ${tag}`)).toBe(true);
  });

  it("is told of entries that are gone or refer to something else, and of nothing that is no list", async () => {
    const { registry, connect, upgrade } = await upgrading();
    await withReferrers(connect(), notes.slice(0, 1));
    const stranger = referrerOf(blobOf("other").descriptor, "stranger");
    const ghost = referrerOf(subject, "ghost");
    const entries = [notes[0] as Content, stranger, ghost].map(({ descriptor }) => descriptor);
    const plant = (name: string, content: Content): void => {
      const bytes = Buffer.from([...(content.open() as Iterable<Uint8Array>)][0] as Uint8Array);
      registry.manifests.set(`some/repo ${name}`, { type: content.descriptor.mediaType, bytes });
    };
    plant(stranger.descriptor.digest, stranger);
    plant(tag, jsonOf({ schemaVersion: 2, mediaType: mediaTypes.index, manifests: entries }, mediaTypes.index));
    plant(`sha256-${"1".repeat(64)}`, image);
    upgrade();
    const { lists } = await connect().reconcile({ prune: true });
    expect(lists).toHaveLength(1);
    expect([...(lists[0]?.stale ?? [])].sort()).toEqual(digestsOf([stranger, ghost]));
    expect(lists[0]).toMatchObject({ moved: digestsOf(notes.slice(0, 1)), pruned: true });
  });
});

describe("a registry without the referrers API", () => {
  it("has nothing to reconcile with", async () => {
    const { connect } = await upgrading();
    await withReferrers(connect(), notes);
    await expect(connect().reconcile()).rejects.toMatchObject({ code: "UNSUPPORTED", hint: expect.any(String) });
  });
});
