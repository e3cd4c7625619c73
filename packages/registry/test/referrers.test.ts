import { mkdtemp, rm } from "node:fs/promises";
import type { IncomingMessage, ServerResponse } from "node:http";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import {
  type Content,
  copy,
  type Descriptor,
  digestOf,
  Layout,
  MemoryStore,
  mediaTypes,
  referrersTag,
} from "@stowage/layout";
import { afterEach, describe, expect, it } from "vitest";
import { RegistryClient, type Repository } from "../src/index.js";
import { all, blobOf, emptyBlob, failure, jsonOf, manifestOf, referrerOf } from "./support/artifacts.js";
import { closeServers, sendError, sendJson, serve } from "./support/server.js";
import { type SmallRegistry, type SmallRegistryOptions, serveRegistry } from "./support/small-registry.js";

const clients: RegistryClient[] = [];
const directories: string[] = [];

afterEach(async () => {
  for (const directory of directories.splice(0)) await rm(directory, { recursive: true, force: true });
  await Promise.all(clients.splice(0).map((client) => client.close()));
  await closeServers();
});

function connect(registry: { host: string }): Repository {
  const client = new RegistryClient({ credentials: false, environment: {}, tries: 1 });
  clients.push(client);
  return client.repository(`${registry.host}/some/repo`);
}

const image = manifestOf([blobOf("layer")]);
const subject = image.descriptor;
const tag = referrersTag(subject.digest);
const notes = ["one", "two", "three", "four", "five"].map((name) => referrerOf(subject, name));
const digests = (items: readonly (Content | Descriptor)[]) =>
  items.map((item) => ("descriptor" in item ? item.descriptor : item).digest).sort();

async function repositoryWith(
  options: SmallRegistryOptions = {},
): Promise<{ registry: SmallRegistry; repository: Repository }> {
  const registry = await serveRegistry(options);
  const repository = connect(registry);
  for (const content of [emptyBlob, blobOf("layer"), image]) await repository.push(content);
  registry.received.length = 0;
  return { registry, repository };
}

const list = (manifests: readonly unknown[], extra: Record<string, unknown> = {}) =>
  jsonOf({ schemaVersion: 2, mediaType: mediaTypes.index, manifests, ...extra }, mediaTypes.index);
/** Puts content under a tag behind the client's back. */
const plant = (registry: SmallRegistry, name: string, content: Content) => {
  const stored = {
    type: content.descriptor.mediaType,
    bytes: Buffer.from([...(content.open() as Iterable<Uint8Array>)][0] as Uint8Array),
  };
  registry.manifests.set(`some/repo ${name}`, stored);
  registry.manifests.set(`some/repo ${content.descriptor.digest}`, stored);
};
/** Says that a manifest was stored, as a registry does when somebody else's takes its place at once. */
const swallow = async (request: IncomingMessage, response: ServerResponse) => {
  const chunks: Buffer[] = [];
  for await (const chunk of request) chunks.push(chunk as Buffer);
  response.writeHead(201, { "docker-content-digest": digestOf(Buffer.concat(chunks)) }).end();
};
const planted = (registry: SmallRegistry) =>
  JSON.parse(registry.manifests.get(`some/repo ${tag}`)?.bytes.toString() ?? "null");

describe("a registry with the referrers API", () => {
  it("is trusted to list what is pushed; no tag is written", async () => {
    const { registry, repository } = await repositoryWith({ referrers: "works" });
    for (const note of notes) await repository.push(note);
    const found = await all(repository.referrers(subject));
    expect(found.map(({ digest }) => digest)).toEqual(digests(notes));
    expect(planted(registry)).toBeNull();
    expect(registry.received.filter(({ path }) => path.includes("/referrers/sha256:000"))).toHaveLength(1);
  });

  it("that says no OCI-Subject is believed where it lists the referrer, and gets a tag where it does not", async () => {
    for (const listed of [true, false]) {
      const { registry, repository } = await repositoryWith({
        intercept: (request, response) => {
          if (!request.url?.includes("/referrers/")) return false;
          const manifests = listed && request.url.endsWith(subject.digest) ? [notes[0]?.descriptor] : [];
          sendJson(response, 200, { schemaVersion: 2, manifests }, { "content-type": mediaTypes.index });
          return true;
        },
      });
      await repository.push(notes[0] as Content);
      expect([listed, planted(registry)?.manifests.length]).toEqual([listed, listed ? undefined : 1]);
    }
  });

  it("need not fill in type and annotations: the manifests have them", async () => {
    const { repository } = await repositoryWith({ referrers: "works" });
    await repository.push(notes[0] as Content);
    expect(await all(repository.referrers(subject))).toEqual([
      {
        ...notes[0]?.descriptor,
        artifactType: "application/vnd.example.note",
        annotations: { "com.example.name": "one" },
      },
    ]);
  });

  it("need not filter either", async () => {
    const { repository } = await repositoryWith({ referrers: "works" });
    const other = referrerOf(subject, "x", "application/vnd.example.other");
    for (const note of [...notes, other]) await repository.push(note);
    expect(
      digests(await all(repository.referrers(subject, { artifactType: "application/vnd.example.other" }))),
    ).toEqual(digests([other]));
  });

  it("is read page by page, on its own origin", async () => {
    const pages = await serve((request, response) => {
      const url = new URL(request.url ?? "", "http://x");
      const byDigest = notes.find(({ descriptor }) => url.pathname.endsWith(descriptor.digest));
      if (byDigest !== undefined)
        return response
          .writeHead(200, { "content-type": mediaTypes.manifest })
          .end(Buffer.concat([...(byDigest.open() as Iterable<Uint8Array>)]));
      const page = Number(url.searchParams.get("page") ?? "0");
      const next: Record<string, string> = page < 4 ? { link: `<${url.pathname}?page=${page + 1}>; rel=next` } : {};
      const entries = [notes[page]?.descriptor, notes[0]?.descriptor];
      return sendJson(
        response,
        200,
        { schemaVersion: 2, manifests: entries },
        { "content-type": `${mediaTypes.index}; charset=utf-8`, ...next },
      );
    });
    const found = await all(connect(pages).referrers(subject));
    expect(found.map(({ digest }) => digest)).toEqual(digests(notes));
  });

  it("that sends pages without end is not read without end", async () => {
    let count = 0;
    const server = await serve((_, response) =>
      sendJson(
        response,
        200,
        { schemaVersion: 2, manifests: [] },
        { "content-type": mediaTypes.index, link: `<?page=${++count}>; rel="next"` },
      ),
    );
    await expect(all(connect(server).referrers(subject))).rejects.toMatchObject({ code: "LIMIT" });
    expect(count).toBeLessThanOrEqual(1001);
  });

  it("that leads to another host for the next page is refused, and that host is not asked", async () => {
    const elsewhere = await serve((_, response) =>
      sendJson(response, 200, { schemaVersion: 2, manifests: [] }, { "content-type": mediaTypes.index }),
    );
    const server = await serve((_, response) =>
      sendJson(
        response,
        200,
        { schemaVersion: 2, manifests: [] },
        { "content-type": mediaTypes.index, link: `<${elsewhere.url}/next>; rel="next"` },
      ),
    );
    await expect(all(connect(server).referrers(subject))).rejects.toMatchObject({ code: "DENIED" });
    expect(elsewhere.received).toEqual([]);
  });

  it("whose descriptors bring the referrers along is asked for none of them, and data that is wrong is not believed", async () => {
    const data = (note: Content): string =>
      Buffer.from([...(note.open() as Iterable<Uint8Array>)][0] ?? []).toString("base64");
    const other = referrerOf(blobOf("other").descriptor, "one");
    const { registry, repository } = await repositoryWith({
      intercept: (request, response) => {
        if (!request.url?.includes(`/referrers/${subject.digest}`)) return false;
        const manifests = notes.map((note, at) => ({ ...note.descriptor, data: data(at === 0 ? other : note) }));
        sendJson(response, 200, { schemaVersion: 2, manifests }, { "content-type": mediaTypes.index });
        return true;
      },
    });
    for (const note of notes) plant(registry, "x", note);
    const found = await all(repository.referrers(subject));
    expect(digests(found)).toEqual(digests(notes));
    expect(found.every((referrer) => !("data" in referrer) && referrer.annotations !== undefined)).toBe(true);
    for (const referrer of found) await all(repository.fetch(referrer));
    const fetched = registry.received.filter(({ path }) => path.includes("/manifests/")).map(({ path }) => path);
    expect(fetched).toEqual([`/v2/some/repo/manifests/${notes[0]?.descriptor.digest}`]);
  });

  it("whose list holds strangers, ghosts and plain blobs is believed in the rest", async () => {
    const stranger = referrerOf(blobOf("other").descriptor, "stranger");
    const ghost = referrerOf(subject, "ghost");
    const { registry, repository } = await repositoryWith({
      intercept: (request, response) => {
        if (!request.url?.includes(`/referrers/${subject.digest}`)) return false;
        const manifests = [stranger, ghost, notes[0] as Content, blobOf("plain")].map(({ descriptor }) => ({
          ...descriptor,
          artifactType: "",
        }));
        sendJson(response, 200, { schemaVersion: 2, manifests }, { "content-type": mediaTypes.index });
        return true;
      },
    });
    plant(registry, "stranger", stranger);
    plant(registry, "note", notes[0] as Content);
    expect(digests(await all(repository.referrers(subject)))).toEqual(digests([notes[0] as Content]));
    // Who leaves out the check has what the list says, of manifests; a copy checks for itself.
    expect(digests(await all(repository.referrers(subject, { unchecked: true })))).toEqual(
      digests([stranger, ghost, notes[0] as Content]),
    );
    const target = new MemoryStore();
    const report = await copy(repository, target, subject);
    expect(report).toMatchObject({ referrers: { found: 1, copied: 1 }, failures: [] });
    expect(await target.has(stranger.descriptor)).toBe(false);
  });

  it("is not asked for referrers that the target of a copy has: it only lists them", async () => {
    const { registry, repository } = await repositoryWith({ referrers: "works" });
    for (const note of notes) await repository.push(note);
    await repository.tag("v1", subject);
    const layout = await Layout.create(join(await mkdtemp(join(tmpdir(), "stowage-registry-")), "layout"));
    directories.push(dirname(layout.path));
    const again = connect(registry);
    expect(await copy(again, layout, "v1", { tags: ["v1"] })).toMatchObject({ referrers: { found: 5, copied: 5 } });
    registry.received.length = 0;
    const report = await copy(connect(registry), layout, "v1", { tags: ["v1"] });
    expect(report).toMatchObject({ referrers: { found: 5, copied: 5 }, written: 0 });
    const asked = registry.received.map(({ method, path }) => `${method} ${path.replace(/sha256:.*/, "")}`);
    expect(asked.filter((line) => !line.includes("/referrers/") && !line.includes("/tags/"))).toEqual([
      "HEAD /v2/some/repo/manifests/v1",
    ]);
  });

  it("whose answer is damaged is an error, not an empty list", async () => {
    for (const manifests of ["x", [{ mediaType: "a/b", digest: "sha256:../../x", size: 1 }], [null]]) {
      const server = await serve((_, response) =>
        sendJson(response, 200, { schemaVersion: 2, manifests }, { "content-type": mediaTypes.index }),
      );
      await expect(all(connect(server).referrers(subject))).rejects.toMatchObject({ code: "INVALID" });
    }
  });

  it("that answers 403 or 500 is an error, not a registry without it", async () => {
    for (const status of [403, 500]) {
      const server = await serve((_, response) => response.writeHead(status).end());
      await expect(all(connect(server).referrers(subject))).rejects.toMatchObject({ status });
      expect(server.received).toHaveLength(1);
    }
  });
});

describe("a registry without the referrers API", () => {
  it("is recognised by whatever it answers, and the tag is read instead", async () => {
    const elsewhere = await serve((_, response) =>
      sendJson(response, 200, { schemaVersion: 2, manifests: [] }, { "content-type": mediaTypes.index }),
    );
    const answers: [number, Record<string, string>, string][] = [
      [404, { "content-type": "text/plain" }, "404 page not found"],
      [400, {}, ""],
      [405, {}, ""],
      [406, {}, ""],
      [200, { "content-type": "text/html" }, "<html></html>"],
      [200, { "content-type": "application/json" }, '{"schemaVersion":2,"manifests":[]}'],
      [303, { location: `${elsewhere.url}/login` }, ""],
      [302, {}, ""],
    ];
    for (const [status, headers, body] of answers) {
      const { registry, repository } = await repositoryWith({
        intercept: (request, response) => {
          if (!request.url?.includes("/referrers/")) return false;
          response.writeHead(status, headers).end(body);
          return true;
        },
      });
      await repository.push(notes[0] as Content);
      expect([status, planted(registry)?.manifests.length]).toEqual([status, 1]);
      expect([status, digests(await all(repository.referrers(subject)))]).toEqual([
        status,
        digests([notes[0] as Content]),
      ]);
    }
    expect(elsewhere.received).toEqual([]);
  });

  it("that only says OCI-Subject is not believed", async () => {
    const { registry, repository } = await repositoryWith({ referrers: "lies" });
    await repository.push(notes[0] as Content);
    expect(planted(registry)?.manifests).toEqual([
      {
        ...notes[0]?.descriptor,
        artifactType: "application/vnd.example.note",
        annotations: { "com.example.name": "one" },
      },
    ]);
  });

  it("is asked for the API once", async () => {
    const { registry, repository } = await repositoryWith();
    for (const note of notes) await repository.push(note);
    for (let count = 0; count < 3; count++) await all(repository.referrers(subject));
    expect(registry.received.filter(({ path }) => path.includes("/referrers/"))).toHaveLength(1);
  });

  it("keeps all of many referrers pushed at once, also by two clients of one process", async () => {
    const { registry, repository } = await repositoryWith();
    const second = connect(registry);
    await Promise.all(notes.map((note, index) => (index % 2 === 0 ? repository : second).push(note)));
    expect(digests(planted(registry).manifests)).toEqual(digests(notes));
    expect(await all(repository.tags())).toEqual([]);
  });

  it("has what somebody else wrote meanwhile merged, by If-Match or by reading again", async () => {
    for (const etags of [true, false]) {
      let intrusions = 3;
      const intruders = ["a", "b", "c"].map((name) => referrerOf(subject, name));
      const { registry, repository } = await repositoryWith({
        etags,
        intercept: async (request, response, registry) => {
          if (request.method !== "PUT" || !request.url?.endsWith(tag) || intrusions === 0) return false;
          intrusions--;
          const others = list(intruders.slice(intrusions).map(({ descriptor }) => descriptor));
          // With If-Match somebody else's list arrives just before ours, otherwise just after it.
          if (!etags) await swallow(request, response);
          plant(registry, tag, others);
          return !etags;
        },
      });
      for (const intruder of intruders) plant(registry, "x", intruder);
      plant(registry, tag, list([]));
      await repository.push(notes[0] as Content);
      const expected = digests([...intruders, notes[0] as Content]);
      expect([etags, digests(planted(registry).manifests)]).toEqual([etags, expected]);
    }
  });

  it("is written a few times for fifty referrers that are copied together", async () => {
    const { registry, repository } = await repositoryWith();
    const store = new MemoryStore();
    const many = Array.from({ length: 50 }, (_, number) => referrerOf(subject, `many-${number}`));
    for (const content of [emptyBlob, blobOf("layer"), image, ...many]) await store.push(content);
    const report = await copy(store, repository, subject, { tags: ["v1"] });
    expect(report).toMatchObject({ referrers: { found: 50, copied: 50 }, failures: [] });
    expect(digests(planted(registry).manifests)).toEqual(digests(many));
    const puts = registry.received.filter(({ method }) => method === "PUT").map(({ path }) => path);
    expect(puts.filter((path) => path.endsWith(tag)).length).toBeLessThan(10);
    // The list is complete before there is a name under which somebody could look for it.
    expect(puts.at(-1)).toMatch(/v1$/);
  });

  it("that fails to take the list makes each copied referrer a failure, and no other part", async () => {
    const { registry, repository } = await repositoryWith({
      intercept: (request, response) => {
        if (request.method !== "PUT" || !request.url?.endsWith(tag)) return false;
        sendError(response, 403, "DENIED", "no such tags here");
        return true;
      },
    });
    const store = new MemoryStore();
    for (const content of [emptyBlob, blobOf("layer"), image, ...notes]) await store.push(content);
    const report = await copy(store, repository, subject, { tags: ["v1"] });
    expect(report.referrers).toEqual({ found: 5, copied: 0 });
    expect(digests(report.failures.map(({ descriptor }) => descriptor))).toEqual(digests(notes));
    for (const { error } of report.failures) expect(error).toMatchObject({ code: "DENIED" });
    expect(registry.manifests.has("some/repo v1")).toBe(true);
  });

  it("gets back what was seen on the list and lost by somebody else's overwriting, while anybody is there who saw it", async () => {
    const stranger = referrerOf(subject, "of somebody who has ended");
    let overwritten = 0;
    const { registry, repository } = await repositoryWith({
      intercept: (request, _response, registry) => {
        if (request.method !== "GET" || !request.url?.endsWith(tag)) return false;
        // Between our writing and our reading again: a list that was read before either of us wrote.
        if (planted(registry)?.manifests.length === 2 && overwritten++ === 0)
          plant(registry, tag, list([notes[1]?.descriptor]));
        return false;
      },
    });
    for (const content of [stranger, notes[1] as Content]) plant(registry, "x", content);
    plant(registry, tag, list([stranger.descriptor]));
    await repository.push(notes[0] as Content);
    expect(overwritten).toBeGreaterThan(0);
    expect(digests(planted(registry).manifests)).toEqual(digests([stranger, notes[0] as Content, notes[1] as Content]));
  });

  it("has its list read anew before it is sent again", async () => {
    const late = referrerOf(subject, "late");
    let failures = 1;
    const { registry } = await repositoryWith({
      intercept: (request, response, registry) => {
        if (request.method !== "PUT" || !request.url?.endsWith(tag) || failures-- <= 0) return false;
        plant(registry, tag, list([late.descriptor]));
        sendError(response, 503, "UNAVAILABLE");
        return true;
      },
    });
    plant(registry, "x", late);
    const client = new RegistryClient({ credentials: false, environment: {}, retryDelay: 1 });
    clients.push(client);
    await client.repository(`${registry.host}/some/repo`).push(notes[0] as Content);
    const sent = registry.received.filter(({ path }) => path.endsWith(tag)).map(({ method }) => method);
    expect(sent.slice(0, 4)).toEqual(["GET", "PUT", "GET", "PUT"]);
    expect(digests(planted(registry).manifests)).toEqual(digests([late, notes[0] as Content]));
  });

  it("stops waiting for the list where the caller gives up, and serves the next caller", async () => {
    let held: (() => void) | undefined;
    const holding = new Promise<void>((resolve) => {
      held = resolve;
    });
    let hold = true;
    const { registry, repository } = await repositoryWith({
      intercept: async (request) => {
        if (request.method !== "PUT" || !request.url?.endsWith(tag) || !hold) return false;
        held?.();
        await new Promise((resolve) => request.socket.once("close", resolve));
        return true;
      },
    });
    const giveUp = new AbortController();
    const pushed = repository.push(notes[0] as Content, { signal: giveUp.signal });
    await holding;
    hold = false;
    giveUp.abort(new Error("enough"));
    await expect(pushed).rejects.toThrow("enough");
    await repository.push(notes[1] as Content);
    expect(digests(planted(registry).manifests)).toContain(notes[1]?.descriptor.digest);
  });

  it("gives up where somebody else never stops", async () => {
    const { repository } = await repositoryWith({
      intercept: async (request, response) => {
        if (request.method !== "PUT" || !request.url?.endsWith(tag)) return false;
        await swallow(request, response);
        return true;
      },
    });
    await expect(repository.push(notes[0] as Content)).rejects.toMatchObject({ code: "CONFLICT" });
  });

  it("keeps what it does not know on the list, and puts nothing there twice", async () => {
    const { registry, repository } = await repositoryWith();
    const entry = { ...notes[1]?.descriptor, "x-odd": [1] };
    plant(registry, "x", notes[1] as Content);
    plant(registry, tag, list([entry], { annotations: { kept: "yes" } }));
    await repository.push(notes[0] as Content);
    expect(planted(registry)).toMatchObject({
      annotations: { kept: "yes" },
      manifests: [entry, { digest: notes[0]?.descriptor.digest }],
    });
    await connect(registry).push(notes[0] as Content);
    expect(planted(registry).manifests).toHaveLength(2);
  });

  it("gets a referrer on the list that was pushed before and never got there", async () => {
    const { registry, repository } = await repositoryWith();
    plant(registry, "x", notes[0] as Content);
    const unreadable = {
      ...(notes[0] as Content),
      open: () => {
        throw new Error("read");
      },
    };
    expect(await repository.push(unreadable)).toBe("present");
    expect(digests(planted(registry).manifests)).toEqual(digests([notes[0] as Content]));
  });

  it("does not have something else under the tag overwritten", async () => {
    const dockerList = jsonOf({ schemaVersion: 2, manifests: [] }, mediaTypes.dockerManifestList);
    const cases = [manifestOf([]), image, dockerList, list([])] as const;
    for (const [index, content] of cases.entries()) {
      const { registry, repository } = await repositoryWith();
      plant(registry, tag, content);
      const before = registry.manifests.get(`some/repo ${tag}`);
      const result = await repository.push(notes[0] as Content).catch((error) => error);
      if (index < 3) {
        expect(result).toMatchObject({ code: "CONFLICT" });
        expect(registry.manifests.get(`some/repo ${tag}`)).toBe(before);
        expect(await all(repository.referrers(subject))).toEqual([]);
      } else expect(result).toBe("written");
    }
  });

  it("does not take the subject itself for its list", async () => {
    const index = list([subject]);
    const own = referrersTag(index.descriptor.digest);
    const { registry, repository } = await repositoryWith();
    plant(registry, own, index);
    expect(await all(repository.referrers(index.descriptor))).toEqual([]);
    const error = await failure(repository.push(referrerOf(index.descriptor, "note")));
    expect(error).toMatchObject({ code: "CONFLICT", hint: expect.any(String) });
  });

  it("that refuses a list with ghosts gets one without them", async () => {
    const ghost = referrerOf(subject, "ghost");
    const { registry, repository } = await repositoryWith({
      intercept: async (request, response, registry) => {
        if (request.method !== "PUT" || !request.url?.endsWith(tag)) return false;
        const chunks: Buffer[] = [];
        for await (const chunk of request) chunks.push(chunk as Buffer);
        const bytes = Buffer.concat(chunks);
        const { manifests } = JSON.parse(bytes.toString()) as { manifests: Descriptor[] };
        if (manifests.some(({ digest }) => !registry.manifests.has(`some/repo ${digest}`)))
          sendError(response, 400, "MANIFEST_BLOB_UNKNOWN");
        else {
          registry.manifests.set(`some/repo ${tag}`, { type: mediaTypes.index, bytes });
          response.writeHead(201, { "docker-content-digest": digestOf(bytes) }).end();
        }
        return true;
      },
    });
    plant(registry, "x", notes[1] as Content);
    plant(registry, tag, list([ghost.descriptor, notes[1]?.descriptor]));
    await repository.push(notes[0] as Content);
    expect(digests(planted(registry).manifests)).toEqual(digests([notes[0] as Content, notes[1] as Content]));
  });

  it("is read with entries of other clients: without type, without annotations, of another subject, twice", async () => {
    const { registry, repository } = await repositoryWith();
    const stranger = referrerOf(blobOf("other").descriptor, "stranger");
    for (const content of [...notes, stranger]) plant(registry, "x", content);
    const { mediaType: _, ...untyped } = (notes[1] as Content).descriptor;
    plant(registry, tag, list([notes[0]?.descriptor, untyped, stranger.descriptor, notes[0]?.descriptor]));
    const found = await all(repository.referrers(subject));
    expect(digests(found)).toEqual(digests([notes[0] as Content, notes[1] as Content]));
    expect(
      found.every(({ artifactType, annotations }) => artifactType !== undefined && annotations !== undefined),
    ).toBe(true);
  });

  it("whose repository is not there yet may still have the API later", async () => {
    let exists = false;
    const server = await serve((_, response) =>
      exists
        ? sendJson(response, 200, { schemaVersion: 2, manifests: [] }, { "content-type": mediaTypes.index })
        : sendError(response, 404, "NAME_UNKNOWN"),
    );
    const repository = connect(server);
    expect(await all(repository.referrers(subject))).toEqual([]);
    exists = true;
    server.received.length = 0;
    expect(await all(repository.referrers(subject))).toEqual([]);
    expect(server.received.map(({ path }) => path)).toEqual([`/v2/some/repo/referrers/${subject.digest}`]);
  });
});
