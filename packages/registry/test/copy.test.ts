import {
  type CopyOptions,
  copy,
  type Descriptor,
  digestOf,
  encodeJson,
  MemoryStore,
  mediaTypes,
  plan,
  withReferrersFrom,
} from "@stowage/layout";
import { afterEach, describe, expect, it } from "vitest";
import { type ClientOptions, RegistryClient, type Repository } from "../src/index.js";
import { all, blobOf, emptyBlob, failure, jsonOf, manifestOf, referrerOf } from "./support/artifacts.js";
import { closeServers, sendError } from "./support/server.js";
import { type SmallRegistry, type SmallRegistryOptions, serveRegistry } from "./support/small-registry.js";
import { serveTls } from "./support/tls.js";

const clients: RegistryClient[] = [];

afterEach(async () => {
  await Promise.all(clients.splice(0).map((client) => client.close()));
  await closeServers();
});

function client(options: ClientOptions = {}): RegistryClient {
  const made = new RegistryClient({ credentials: false, environment: {}, tries: 1, ...options });
  clients.push(made);
  return made;
}

async function prepared(options: SmallRegistryOptions = {}) {
  const registry = await serveRegistry({ referrers: "works", ...options });
  const open = (name = "some/repo"): Repository => client().repository(`${registry.host}/${name}`);
  return { registry, open, repository: open() };
}

/** An index of two images that share a layer, with a referrer. */
async function sample(): Promise<{ store: MemoryStore; root: Descriptor; images: Descriptor[] }> {
  const store = new MemoryStore();
  const [shared, own] = [blobOf("shared"), blobOf("its own")];
  const images = [manifestOf([shared]), manifestOf([shared, own])];
  for (const content of [emptyBlob, shared, own, ...images]) await store.push(content);
  const index = jsonOf(
    { schemaVersion: 2, mediaType: mediaTypes.index, manifests: images.map(({ descriptor }) => descriptor) },
    mediaTypes.index,
  );
  await store.push(index);
  return { store, root: index.descriptor, images: images.map(({ descriptor }) => descriptor) };
}

const requests = (registry: SmallRegistry): string[] => {
  const lines = registry.received.map(({ method, path }) => `${method} ${path.replace("/v2/some/repo/", "")}`);
  registry.received.length = 0;
  return lines;
};

describe("a push to a registry", () => {
  it("asks once for each digest, and sends everything before what needs it, the tag last", async () => {
    const { registry, repository } = await prepared();
    const { store, root, images } = await sample();
    await copy(store, repository, root, { tags: ["v1"] });
    const lines = requests(registry);
    const heads = lines.filter((line) => line.startsWith("HEAD"));
    expect(new Set(heads).size).toBe(heads.length);
    expect(heads).toHaveLength(1 + 3 + 3);
    const at = (text: string): number => lines.findIndex((line) => line.startsWith(text));
    expect(at(`PUT manifests/${root.digest}`)).toBeGreaterThan(at(`PUT manifests/${images[0]?.digest}`));
    expect(at(`PUT manifests/${images[1]?.digest}`)).toBeGreaterThan(
      lines.findLastIndex((line) => line.includes("POST")),
    );
    expect(lines.at(-1)).toBe("PUT manifests/v1");
  });

  it("finds the referrers API also where a repository that is not there is answered 404 without a word", async () => {
    const { registry, repository } = await prepared({
      intercept: (request, response, { manifests }) => {
        if (!request.url?.includes("/referrers/") || manifests.size > 0) return false;
        response.writeHead(404).end();
        return true;
      },
    });
    const { store, root } = await sample();
    await store.push(referrerOf(root, "a note"));
    await copy(store, repository, root, { tags: ["v1"] });
    expect(await all(repository.referrers(root))).toHaveLength(1);
    expect([...registry.manifests.keys()].filter((key) => key.includes("sha256-"))).toEqual([]);
  });

  it("again takes one request where the tag is right", async () => {
    const { registry, open, repository } = await prepared();
    const { store, root } = await sample();
    await copy(store, repository, root, { tags: ["v1"] });
    requests(registry);
    const report = await copy(store, open(), root, { tags: ["v1"] });
    expect(requests(registry)).toEqual(["HEAD manifests/v1"]);
    expect(report).toMatchObject({ written: 0, bytes: 0, tagged: [{ tag: "v1", change: "unchanged" }] });
  });

  it("of what is there by its digest skips all below it, unless everything is to be looked at", async () => {
    const { registry, open, repository } = await prepared();
    const { store, root } = await sample();
    await copy(store, repository, root);
    requests(registry);
    await copy(store, open(), root);
    expect(requests(registry)).toEqual([`HEAD manifests/${root.digest}`]);
    registry.blobs.delete(`some/repo ${digestOf("shared")}`);
    const report = await copy(store, open(), root, { forceRecursive: true });
    expect(report).toMatchObject({ written: 1, present: 5 });
    expect(registry.blobs.has(`some/repo ${digestOf("shared")}`)).toBe(true);
  });

  it("does what its plan says, and the plan asks only", async () => {
    const { store, root, images } = await sample();
    await store.push(referrerOf(images[0] as Descriptor, "sbom"));
    for (const prepare of [
      async () => {},
      async (repository: Repository) => void (await copy(store, repository, images[1] as Descriptor, { tags: ["v1"] })),
      async (repository: Repository) => void (await copy(store, repository, root, { tags: ["v1", "v2"] })),
    ]) {
      const { registry, open, repository } = await prepared();
      await prepare(repository);
      requests(registry);
      const options: CopyOptions = { tags: ["v1", "v2"] };
      const { content, ...foreseen } = await plan(store, open(), root, options);
      const planned = requests(registry);
      expect(planned.every((line) => /^(HEAD|GET) /.test(line))).toBe(true);
      const before = registry.blobs.size;
      const report = await copy(store, open(), root, options);
      expect(foreseen).toEqual(report);
      const real = requests(registry);
      // The run looks for what the plan looked for, and sends what the plan announced.
      const asked = (lines: string[]) => lines.filter((line) => /^HEAD (blobs|manifests)/.test(line)).sort();
      expect(asked(real)).toEqual(asked(planned));
      const announced = content.filter(({ presence }) => presence === "written").map(({ descriptor }) => descriptor);
      const sent = real.filter((line) => /^PUT manifests\/sha256|^PUT .*digest=/.test(line));
      expect(sent).toHaveLength(announced.length);
      expect(registry.blobs.size - before).toBe(
        announced.filter(({ mediaType }) => !/manifest|index/.test(mediaType)).length,
      );
      expect(announced.reduce((sum, { size }) => sum + size, 0)).toBe(report.bytes);
    }
  });

  it("from a repository beside it is planned and made as mounts", async () => {
    const { registry } = await prepared();
    const one = client();
    const { store, root } = await sample();
    const [first, second] = ["some/repo", "other/repo"].map((name) => one.repository(`${registry.host}/${name}`));
    await copy(store, first as Repository, root, { tags: ["v1"] });
    const { content: _, ...foreseen } = await plan(first as Repository, second as Repository, root);
    expect(foreseen).toMatchObject({ mounted: 3, written: 3 });
    expect(await copy(first as Repository, second as Repository, root)).toEqual(foreseen);
  });
});

describe("content that comes through several sources", () => {
  it("is mounted all the same: chosen by platform, or with referrers from a third repository", async () => {
    const { registry } = await prepared();
    const one = client();
    const repository = (name: string): Repository => one.repository(`${registry.host}/${name}`);
    const { store, images } = await sample();
    const platforms = ["amd64", "arm64", "s390x"].map((architecture) => ({ os: "linux", architecture }));
    const manifests = platforms.map((platform, at) => ({ ...(images[at % 2] as Descriptor), platform }));
    const index = jsonOf({ schemaVersion: 2, mediaType: mediaTypes.index, manifests }, mediaTypes.index);
    await store.push(index);
    await copy(store, repository("some/repo"), index.descriptor);
    const options = { platforms: platforms.slice(0, 2), referrers: "none" } as const;
    const chosen = await copy(repository("some/repo"), repository("platforms/repo"), index.descriptor, options);
    expect(chosen).toMatchObject({ mounted: 3, written: 3 });

    const signature = blobOf("a signature");
    const referrer = manifestOf([signature], { subject: index.descriptor });
    for (const content of [emptyBlob, signature, referrer]) await repository("signatures").push(content);
    const both = withReferrersFrom(repository("some/repo"), repository("signatures"));
    const copied = await copy(both, repository("all/repo"), index.descriptor);
    expect(copied).toMatchObject({ mounted: 4, written: 4, referrers: { copied: 1 } });
  });
});

describe("referrers", () => {
  /** An image with referrers, one of which has one of its own. */
  async function signed(count: number) {
    const store = new MemoryStore();
    const image = manifestOf([blobOf("a layer")]);
    const referrers = Array.from({ length: count }, (_, at) => referrerOf(image.descriptor, `${at}`));
    const below = referrerOf((referrers[0] as (typeof referrers)[0]).descriptor, "below");
    for (const content of [emptyBlob, blobOf("a layer"), image, ...referrers, below]) await store.push(content);
    return { store, root: image.descriptor, referrers: [...referrers, below].map(({ descriptor }) => descriptor) };
  }
  const listing = ({ digest }: Descriptor): string => `GET referrers/${digest}`;

  it("that the registry lists are there: one question for each subject that has any, and nothing else", async () => {
    const { registry, repository } = await prepared();
    const { store, root, referrers } = await signed(12);
    const first = await copy(store, repository, root, { tags: ["v1"] });
    expect(first.referrers).toEqual({ found: 13, copied: 13 });
    const lines = requests(registry);
    expect(lines.filter((line) => line.startsWith("HEAD manifests/"))).toEqual([
      "HEAD manifests/v1",
      `HEAD manifests/${root.digest}`,
    ]);
    const again = await copy(store, repository, root, { tags: ["v1"] });
    expect(again).toMatchObject({ written: 0, bytes: 0, referrers: { found: 13, copied: 13 } });
    const signedOne = referrers[0] as Descriptor;
    expect(new Set(requests(registry))).toEqual(new Set(["HEAD manifests/v1", listing(root), listing(signedOne)]));
  });

  it("that the registry does not list are pushed, also where their manifests are there", async () => {
    let hidden = false;
    const { registry, repository } = await prepared({
      intercept: ({ url }, response) => {
        if (!hidden || !url?.includes("/referrers/")) return false;
        response.setHeader("content-type", mediaTypes.index).end(encodeJson({ schemaVersion: 2, manifests: [] }));
        return true;
      },
    });
    const { store, root, referrers } = await signed(2);
    await copy(store, repository, root, { tags: ["v1"] });
    requests(registry);
    hidden = true;
    const report = await copy(store, repository, root, { tags: ["v1"] });
    expect(report.referrers).toEqual({ found: 3, copied: 3 });
    const lines = requests(registry).filter((line) => line.includes("manifests/"));
    expect(new Set(lines)).toEqual(
      new Set(["HEAD manifests/v1", ...referrers.map(({ digest }) => `PUT manifests/${digest}`)]),
    );
  });

  it("that the registry lists are looked at all the same where everything is to be", async () => {
    const { registry, repository } = await prepared();
    const { store, root, referrers } = await signed(2);
    await copy(store, repository, root);
    requests(registry);
    await copy(store, repository, root, { forceRecursive: true });
    expect(requests(registry)).toEqual(
      expect.arrayContaining(referrers.map(({ digest }) => `HEAD manifests/${digest}`)),
    );
  });

  it("that a copy has already are asked for side by side, each question once, and none is read", async () => {
    const { registry, repository } = await prepared();
    const { store, root, referrers } = await signed(12);
    await copy(store, repository, root, { tags: ["v1"] });
    const pulled = new MemoryStore();
    await copy(repository, pulled, root);
    requests(registry);
    const again = client().repository(`${registry.host}/some/repo`);
    const report = await copy(again, pulled, root);
    expect(report).toMatchObject({ written: 0, referrers: { found: 13, copied: 13 } });
    expect(requests(registry).sort()).toEqual(["GET tags/list?n=1000", ...[root, ...referrers].map(listing)].sort());
  });

  it("are asked for before the image has arrived", async () => {
    let listed = false;
    const { registry, repository } = await prepared({
      // A layer is held back until the referrers' own referrers are asked for.
      intercept: async ({ method, url }) => {
        if (url?.includes(`/referrers/${below}`)) listed = true;
        if (method === "GET" && url?.includes(`/blobs/${blobOf("a layer").descriptor.digest}`))
          while (!listed) await new Promise((resolve) => setTimeout(resolve, 5));
        return false;
      },
    });
    const { store, root, referrers } = await signed(3);
    const below = referrers.at(-1)?.digest;
    await copy(store, repository, root, { tags: ["v1"] });
    requests(registry);
    const report = await copy(client().repository(`${registry.host}/some/repo`), new MemoryStore(), root);
    expect(report.referrers).toEqual({ found: 4, copied: 4 });
    const lines = requests(registry);
    expect(new Set(lines).size).toBe(lines.length);
  });
});

describe("a tag that a registry keeps", () => {
  const immutable: SmallRegistryOptions["intercept"] = (request, response, { manifests }) => {
    if (request.method !== "PUT" || !request.url?.endsWith("/v1") || !manifests.has("some/repo v1")) return false;
    request.resume();
    sendError(response, 400, "TAG_INVALID", "the tag is immutable");
    return true;
  };

  it("is no failure where it stands for the same, and CONFLICT with both digests where not", async () => {
    const { repository } = await prepared({ intercept: immutable });
    const { store, root, images } = await sample();
    await copy(store, repository, root, { tags: ["v1"] });
    await copy(store, repository, root, { tags: ["v1"] });
    const error = await failure(copy(store, repository, images[0] as Descriptor, { tags: ["v1"] }));
    expect(error.code).toBe("CONFLICT");
    for (const text of [root.digest, images[0]?.digest as string, "the tag is immutable"])
      expect(error.message).toContain(text);
  });

  it("is not asked to move where that is not wanted; nothing is sent then", async () => {
    const { registry, repository } = await prepared();
    const { store, root, images } = await sample();
    await copy(store, repository, images[0] as Descriptor, { tags: ["v1"] });
    requests(registry);
    const error = await failure(copy(store, repository, root, { tags: ["v1"], noClobber: true }));
    expect(error.code).toBe("CONFLICT");
    expect(requests(registry)).toEqual(["HEAD manifests/v1"]);
  });

  it("is looked at again before it is set, where it may not be moved", async () => {
    const other = manifestOf([], { annotations: { somebody: "else" } });
    const { registry, repository } = await prepared({
      intercept: (request, _, { manifests }) => {
        // Somebody else is quicker.
        if (request.method === "PUT" && request.url?.includes("/manifests/sha256"))
          manifests.set("some/repo v1", {
            type: mediaTypes.manifest,
            bytes: Buffer.concat(other.open() as unknown as Uint8Array[]),
          });
        return false;
      },
    });
    const { store, root } = await sample();
    const error = await failure(copy(store, repository, root, { tags: ["v1"], noClobber: true }));
    expect(error).toMatchObject({ code: "CONFLICT", message: expect.stringContaining(other.descriptor.digest) });
    expect(registry.received.some(({ method, path }) => method === "PUT" && path.endsWith("/v1"))).toBe(false);
  });
});

describe("tags of older tools", () => {
  /** An image with a signature under such a tag, which has a signature of its own. */
  async function signed() {
    const { store, root, images } = await sample();
    const name = (digest: string, ending: string): string => `${digest.replace(":", "-")}.${ending}`;
    const attestation = manifestOf([emptyBlob], { annotations: { what: "attestation" } });
    const signature = manifestOf([emptyBlob], { annotations: { what: "signature" } });
    for (const content of [attestation, signature]) await store.push(content);
    const tags = [name((images[1] as Descriptor).digest, "att"), name(attestation.descriptor.digest, "sig")] as const;
    await store.tag(tags[0], attestation.descriptor);
    await store.tag(tags[1], signature.descriptor);
    await store.tag(name(digestOf("unrelated"), "sig"), signature.descriptor);
    return { store, root, tags };
  }

  it("go along with what they are about, as referrers do, and on to the next place", async () => {
    const { store, root, tags } = await signed();
    const { repository, open } = await prepared();
    const report = await copy(store, repository, root, { tags: ["v1"] });
    expect(report.referrers).toEqual({ found: 2, copied: 2 });
    expect(report.tagged.map(({ tag, change }) => [tag, change])).toEqual(
      ["v1", ...tags].map((tag) => [tag, "created"]),
    );
    expect(await all(repository.tags())).toEqual([...tags, "v1"].sort());
    const back = new MemoryStore();
    await copy(open(), back, "v1", { tags: ["v1"] });
    for (const tag of tags) expect(await back.resolve(tag)).toMatchObject(await store.resolve(tag));
    const { content: _, ...foreseen } = await plan(store, open("third/repo"), root);
    expect(foreseen).toEqual(await copy(store, open("third/repo"), root));
  });

  it("stay where no referrers, or not these, are wanted", async () => {
    const { store, root } = await signed();
    for (const options of [
      { referrers: "none" },
      { legacyTags: false },
      { referrers: { artifactTypes: ["a/b"] } },
    ] as const) {
      const { repository } = await prepared();
      await copy(store, repository, root, options);
      expect(await all(repository.tags())).toEqual([]);
    }
  });

  it("are asked for one by one where the tags of the source cannot be listed", async () => {
    const { store, root, tags } = await signed();
    const { repository, open } = await prepared({
      intercept: (request, response) => {
        if (!request.url?.includes("/tags/list")) return false;
        sendError(response, 403, "DENIED");
        return true;
      },
    });
    await copy(store, repository, root, { tags: ["v1"] });
    const back = new MemoryStore();
    expect((await copy(open(), back, "v1")).referrers).toEqual({ found: 2, copied: 2 });
    for (const tag of tags) await back.resolve(tag);
  });

  it("that are lost on the way are failures of the report, by name", async () => {
    const { store, root, tags } = await signed();
    const { repository } = await prepared({
      intercept: (request, response) => {
        if (request.method !== "PUT" || !request.url?.endsWith(tags[0])) return false;
        request.resume();
        sendError(response, 403, "DENIED");
        return true;
      },
    });
    const report = await copy(store, repository, root);
    expect(report.failures.map(({ path }) => path.at(-1))).toContain(`tag ${tags[0]}`);
  });
});

describe("a layer that may not be distributed", () => {
  const text = "from its maker";
  const type = "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip";
  const layer = { mediaType: type, digest: digestOf(text), size: text.length };

  async function imageWith(descriptor: Descriptor): Promise<{ store: MemoryStore; root: Descriptor }> {
    const store = new MemoryStore();
    await store.push(emptyBlob);
    const value = { schemaVersion: 2, config: emptyBlob.descriptor, layers: [descriptor] };
    return { store, root: await store.write([encodeJson(value)], mediaTypes.manifest) };
  }

  it("is left out and named where it has urls, by its type and not because it has them", async () => {
    const urls = ["https://example.invalid/layer"];
    const foreign = await imageWith({ ...layer, urls });
    await foreign.store.write([Buffer.from(text)], type);
    const target = new MemoryStore();
    const report = await copy(foreign.store, target, foreign.root);
    expect(report.leftOut.external).toEqual([{ ...layer, urls }]);
    expect(await target.has(layer)).toBe(false);
    for (const kind of [{ ...layer, mediaType: mediaTypes.layer, urls }, layer]) {
      const { store, root } = await imageWith(kind);
      await store.write([Buffer.from(text)], kind.mediaType);
      const other = new MemoryStore();
      await copy(store, other, root);
      expect(await other.has(kind)).toBe(true);
    }
  });

  it("is fetched where that is asked for: from the source, or else verified and without a credential from its https urls", async () => {
    const seen: unknown[] = [];
    let body = text;
    const server = await serveTls((request, response) => {
      seen.push(request.headers.authorization);
      if (request.url === "/redirect") response.writeHead(302, { location: "/layer" }).end();
      else if (request.url === "/inside") response.writeHead(302, { location: "http://127.0.0.1/layer" }).end();
      else if (request.url === "/layer") response.end(body);
      else response.writeHead(404).end();
    });
    try {
      const { registry } = await prepared();
      const one = client({ caFile: server.caFile, credentials: { username: "alice", password: "s3cret" } });
      const repository = one.repository(`${registry.host}/some/repo`);
      const fetchFrom = async (paths: string[], external = repository.external.bind(repository)) => {
        const { store, root } = await imageWith({
          ...layer,
          urls: paths.map((path) => path.replace("HOST", server.host)),
        });
        const target = new MemoryStore();
        await copy(store, target, root, { external });
        return target.has(layer);
      };
      expect(await fetchFrom(["http://HOST/layer", "https://HOST/absent", "https://HOST/redirect"])).toBe(true);
      expect(new Set(seen)).toEqual(new Set([undefined]));
      await expect(fetchFrom(["http://HOST/layer"])).rejects.toMatchObject({ code: "NOT_FOUND" });
      await expect(fetchFrom(["https://HOST/inside"])).rejects.toMatchObject({ code: "DENIED" });
      // An image from nowhere in particular leads to public places only.
      await expect(fetchFrom(["https://HOST/layer"], one.external.bind(one))).rejects.toMatchObject({ code: "DENIED" });
      await expect(fetchFrom(["https://169.254.169.254/latest"])).rejects.toMatchObject({ code: "DENIED" });
      body = "from someone!!";
      await expect(fetchFrom(["https://HOST/layer"])).rejects.toMatchObject({ code: "MISMATCH" });
    } finally {
      await server.close();
    }
  });
});
