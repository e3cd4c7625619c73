import {
  attach,
  copy,
  type Descriptor,
  descriptorOf,
  encodeJson,
  MemoryStore,
  mediaTypes,
  referrersTag,
} from "@stowage/layout";
import { RegistryClient, type Repository } from "@stowage/registry";
import {
  type LayerMaker,
  memoryStore,
  type RunningServer,
  type ServeOptions,
  type Store,
  serve,
} from "@stowage/server";
import { faulty } from "@stowage/server/testing";
import { afterEach, describe, expect, it } from "vitest";

const closing: (() => Promise<void>)[] = [];

afterEach(async () => {
  for (const close of closing.splice(0).reverse()) await close();
});

async function start(options: ServeOptions): Promise<RunningServer> {
  const server = await serve(options);
  closing.push(() => server.close());
  return server;
}

function connect({ port }: RunningServer): Repository {
  const client = new RegistryClient({ credentials: false, environment: {}, retryDelay: 1, tries: 2 });
  closing.push(() => client.close());
  return client.repository(`127.0.0.1:${port}/acme/app`);
}

async function all<T>(items: AsyncIterable<T>): Promise<T[]> {
  const result: T[] = [];
  for await (const item of items) result.push(item);
  return result;
}

async function text(source: Repository, descriptor: Descriptor): Promise<string> {
  return Buffer.concat(await all(source.fetch(descriptor))).toString();
}

interface Filled {
  readonly image: Descriptor;
  /** In the order of their digests. */
  readonly referrers: readonly Descriptor[];
  /** The registry with the fault, and what reached the client. */
  readonly repository: Repository;
  /** What it keeps. */
  readonly content: Store;
  readonly leaks: string[];
}

/** A registry with an image `v1` and three referrers, which has these faults from then on. */
async function filled(...faults: string[]): Promise<Filled> {
  const content = memoryStore();
  const sound = connect(await start({ store: content }));
  const store = new MemoryStore();
  const config = await put(store, encodeJson({ architecture: "amd64", os: "linux" }), mediaTypes.config);
  const manifest = { schemaVersion: 2, mediaType: mediaTypes.manifest, config, layers: [] };
  const image = await put(store, encodeJson(manifest), mediaTypes.manifest);
  for (const name of ["one", "two", "three"])
    await attach(store, image, { artifactType: `a/${name}`, annotations: { name } });
  await copy(store, sound, image, { tags: ["v1"] });
  const referrers = await all(sound.referrers(image));
  const leaks: string[] = [];
  const layers = faulty(faults, { onLeak: (leak) => leaks.push(leak) });
  return { image, referrers, content, repository: connect(await start({ store: content, layers })), leaks };
}

async function put(store: MemoryStore, bytes: Uint8Array, mediaType: string): Promise<Descriptor> {
  const descriptor = descriptorOf(bytes, mediaType);
  await store.push({ descriptor, open: () => [bytes] });
  return descriptor;
}

describe("a registry that lies", () => {
  it("about the digest of a manifest is refused, by tag and by digest", async () => {
    const { image, repository } = await filled("wrong-digest-header");
    const pulled = new MemoryStore();
    // Under the digest that is told for the tag there is nothing, or something else.
    const code = expect.stringMatching(/MISMATCH|NOT_FOUND/);
    await expect(copy(repository, pulled, "v1")).rejects.toMatchObject({ code });
    await expect(repository.resolve(image.digest)).rejects.toMatchObject({ code: "MISMATCH" });
    expect(await pulled.has(image)).toBe(false);
  });

  it("with a manifest without end is left alone after what a manifest may have", async () => {
    const { content, image } = await filled("endless-manifest");
    let taken = 0;
    const counting: LayerMaker = () => async (_exchange, next) => {
      const { body, ...answer } = await next();
      if (body === undefined || body instanceof Uint8Array)
        return { ...answer, ...(body === undefined ? {} : { body }) };
      const counted = async function* () {
        for await (const chunk of body) {
          taken += chunk.byteLength;
          yield chunk;
        }
      };
      return { ...answer, body: counted() };
    };
    const layers = [counting, ...faulty(["endless-manifest"])];
    const repository = connect(await start({ store: content, layers }));
    const code = expect.stringMatching(/LIMIT|MISMATCH/);
    await expect(repository.resolve("v1")).rejects.toMatchObject({ code });
    await expect(all(repository.fetch(image))).rejects.toMatchObject({ code });
    // A gibibyte would be on its way for each. What is in the buffers of the connection has left the server.
    expect(taken).toBeGreaterThan(0);
    expect(taken).toBeLessThan(40 * 1024 * 1024);
  });

  it("about the content of a manifest is refused", async () => {
    for (const fault of ["corrupt", "short-body", "long-body"]) {
      const { image, repository } = await filled(fault);
      await expect(all(repository.fetch(image))).rejects.toMatchObject({ code: "MISMATCH" });
      await expect(copy(repository, new MemoryStore(), image)).rejects.toMatchObject({ code: "MISMATCH" });
    }
  });

  it("about the type of a manifest is asked for the manifest itself", async () => {
    for (const fault of ["no-digest-header", "no-type", "wrong-type", "no-length"]) {
      const { image, repository } = await filled(fault);
      expect([fault, await repository.resolve("v1")]).toEqual([fault, image]);
    }
  });

  it("about having no end of pages is not read without end", async () => {
    const { image, repository } = await filled("endless-pages");
    await expect(all(repository.tags())).rejects.toMatchObject({ code: "LIMIT" });
    await expect(all(repository.referrers(image))).rejects.toMatchObject({ code: "LIMIT" });
  });

  it("about a next page ends with the page that was there", async () => {
    const { image, referrers, repository } = await filled("same-page");
    expect(await all(repository.tags())).toEqual(["v1"]);
    expect(await all(repository.referrers(image))).toEqual(referrers);
  });

  it("about where the next page is gets nothing sent elsewhere", async () => {
    const { image, repository, leaks } = await filled("foreign-pages");
    await expect(all(repository.tags())).rejects.toMatchObject({ code: "DENIED" });
    await expect(all(repository.referrers(image))).rejects.toMatchObject({ code: "DENIED" });
    expect(leaks).toEqual([]);
  });

  it("about a filter gets its list filtered here, and one in small pages is read whole", async () => {
    for (const fault of ["lying-filter", "no-filter", "empty-artifact-type", "referrers-page"]) {
      const { image, referrers, repository } = await filled(fault);
      expect([fault, await all(repository.referrers(image))]).toEqual([fault, referrers]);
      const one = referrers.filter(({ artifactType }) => artifactType === "a/one");
      expect([fault, await all(repository.referrers(image, { artifactType: "a/one" }))]).toEqual([fault, one]);
    }
  });

  it("about the referrers API is read and written by the tag instead", async () => {
    for (const fault of ["lying-subject", "no-referrers", "referrers-type", "referrers-elsewhere"]) {
      const { image, repository } = await filled(fault);
      const attached = await attach(repository, image, { artifactType: "a/four" });
      const found = await all(repository.referrers(image));
      expect([fault, found.map(({ digest }) => digest)]).toEqual([
        fault,
        expect.arrayContaining([attached.descriptor.digest]),
      ]);
      const list = JSON.parse(await text(repository, await repository.resolve(referrersTag(image.digest))));
      const entry = { digest: attached.descriptor.digest, artifactType: "a/four" };
      expect([fault, list.manifests]).toEqual([fault, expect.arrayContaining([expect.objectContaining(entry)])]);
      expect([fault, await all(repository.tags())]).toEqual([fault, ["v1"]]);
    }
  });

  it("with a web page for everything is an error, not an empty repository", async () => {
    const { image, repository } = await filled("html");
    await expect(repository.resolve("v1")).rejects.toMatchObject({ code: "INVALID" });
    await expect(all(repository.tags())).rejects.toMatchObject({ code: "INVALID" });
    await expect(all(repository.referrers(image))).rejects.toMatchObject({ code: "INVALID" });
  });
});
