import { copy, MemoryStore, mediaTypes, referrersTag } from "@stowage/layout";
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import { RegistryClient } from "../src/index.js";
import { all, blobOf, emptyBlob, failure, manifestOf, referrerOf, text } from "./support/artifacts.js";
import { missing, type RealRegistry, startDockerRegistry, startOlareg } from "./support/real-registry.js";

const account = { username: "alice", password: "s3cret" };

interface Kind {
  readonly name: string;
  readonly program: string;
  readonly start: () => Promise<RealRegistry>;
  readonly credentials: typeof account | false;
  readonly referrersApi: boolean;
}

const kinds: readonly Kind[] = [
  {
    name: "docker-registry",
    program: "docker-registry",
    start: () => startDockerRegistry(),
    credentials: false,
    referrersApi: false,
  },
  {
    name: "docker-registry with htpasswd",
    program: "docker-registry",
    start: () => startDockerRegistry(account),
    credentials: account,
    referrersApi: false,
  },
  { name: "olareg", program: "olareg", start: startOlareg, credentials: false, referrersApi: true },
];

for (const kind of kinds) {
  describe.skipIf(missing(kind.program))(`a repository on ${kind.name}`, () => {
    let registry: RealRegistry;
    let client: RegistryClient;
    const layer = blobOf("a layer");
    const image = manifestOf([layer]);

    beforeAll(async () => {
      registry = await kind.start();
    });
    afterAll(() => registry.close());
    afterEach(() => client.close());

    const repository = (name: string) => {
      client = new RegistryClient({ credentials: kind.credentials });
      return client.repository(`${registry.host}/${name}`);
    };

    it("gives back what was pushed, by digest and by tag", async () => {
      const target = repository("round/trip");
      for (const blob of [emptyBlob, layer]) expect(await target.push(blob)).toBe("written");
      expect(await target.push(layer)).toBe("present");
      expect(await target.has(image.descriptor)).toBe(false);
      expect(await target.push(image)).toBe("written");
      expect(await target.push(image)).toBe("present");
      await target.tag("v1", image.descriptor);
      const resolved = await target.resolve("v1");
      expect(resolved).toEqual(image.descriptor);
      expect(await target.resolve(image.descriptor.digest)).toEqual(image.descriptor);
      expect(await text(target.fetch(layer.descriptor))).toBe("a layer");
      expect(await text(target.fetch(layer.descriptor, { from: 2 }))).toBe("layer");
      expect(await target.has(layer.descriptor)).toBe(true);
      expect(await all(target.tags())).toEqual(["v1"]);
    });

    it("sends a blob of many chunks whole", async () => {
      const target = repository("large/blob");
      const large = blobOf(Buffer.alloc(5_000_000, "0123456789abcdef"));
      let counted = 0;
      expect(await target.push(large, { onBytes: (count) => (counted += count) })).toBe("written");
      expect(counted).toBe(5_000_000);
      expect(Buffer.concat(await all(target.fetch(large.descriptor))).byteLength).toBe(5_000_000);
    });

    it("stores a blob of no bytes", async () => {
      const target = repository("zero/blob");
      const zero = blobOf("");
      await target.push(zero);
      expect(await text(target.fetch(zero.descriptor))).toBe("");
    });

    it("mounts a blob from another repository of the same registry", async () => {
      const source = repository("mount/source");
      await source.push(layer);
      const target = client.repository(`${registry.host}/mount/target`);
      const opened: string[] = [];
      const presence = await target.push({
        ...layer,
        open: () => {
          opened.push("opened");
          return layer.open();
        },
        origin: source,
      });
      expect(presence).toBe("mounted");
      expect(opened).toEqual([]);
      expect(await text(target.fetch(layer.descriptor))).toBe("a layer");
    });

    it("lists referrers that were pushed, and keeps their tag out of sight", async () => {
      const target = repository("with/referrers");
      for (const blob of [emptyBlob, layer, image]) await target.push(blob);
      await target.tag("v1", image.descriptor);
      const notes = ["one", "two", "three"].map((name) => referrerOf(image.descriptor, name));
      const other = referrerOf(image.descriptor, "four", "application/vnd.example.other");
      await Promise.all([...notes, other].map((note) => target.push(note)));
      const found = await all(target.referrers(image.descriptor));
      expect(found.map(({ digest }) => digest)).toEqual(
        [...notes, other].map(({ descriptor }) => descriptor.digest).sort(),
      );
      expect(found.map(({ annotations }) => annotations?.["com.example.name"]).sort()).toEqual([
        "four",
        "one",
        "three",
        "two",
      ]);
      const filtered = await all(target.referrers(image.descriptor, { artifactType: "application/vnd.example.other" }));
      expect(filtered.map(({ digest }) => digest)).toEqual([other.descriptor.digest]);
      expect(await all(target.tags())).toEqual(["v1"]);
      const list = await target.resolve(referrersTag(image.descriptor.digest)).catch(() => undefined);
      expect(list === undefined).toBe(kind.referrersApi);
    });

    it("yields no referrers where the subject or the repository is not there", async () => {
      expect(await all(repository("nobody/here").referrers(image.descriptor))).toEqual([]);
    });

    it("copies a graph from a store and back with its referrers", async () => {
      const store = new MemoryStore();
      const note = referrerOf(image.descriptor, "note");
      for (const content of [emptyBlob, layer, image, note]) await store.push(content);
      const target = repository("copied/graph");
      const there = await copy(store, target, image.descriptor, { tags: ["v1"] });
      expect(there).toMatchObject({ written: 4, referrers: { found: 1, copied: 1 }, failures: [] });
      const back = new MemoryStore();
      await copy(target, back, "v1", { tags: ["v1"] });
      expect((await all(back.referrers(image.descriptor))).map(({ digest }) => digest)).toEqual([
        note.descriptor.digest,
      ]);
      const mounted = await copy(target, client.repository(`${registry.host}/copied/again`), "v1");
      expect(mounted).toMatchObject({ mounted: 2, failures: [] });
    });

    it("says that a tag is not there", async () => {
      const error = await failure(repository("round/trip").resolve("absent"));
      expect(error).toMatchObject({ code: "NOT_FOUND", status: 404 });
      expect(error.message).toContain(`${registry.host}/round/trip:absent`);
    });

    it("fails with the registry's own words where a part of a manifest is missing", async () => {
      const error = await failure(repository("parts/missing").push(manifestOf([blobOf("nobody pushed this")])));
      expect(error).toMatchObject({
        diagnostics: expect.arrayContaining([expect.objectContaining({ code: "MANIFEST_BLOB_UNKNOWN" })]),
      });
    });

    it("deletes a tag without its manifest, or says that it cannot", async () => {
      const target = repository("delete/tag");
      for (const content of [emptyBlob, layer, image]) await target.push(content);
      await target.tag("gone", image.descriptor);
      const error = await target.untag("gone").catch((error) => error);
      if (error === undefined) await expect(target.resolve("gone")).rejects.toMatchObject({ code: "NOT_FOUND" });
      else expect(error).toMatchObject({ code: "UNSUPPORTED" });
      expect(await target.has(image.descriptor)).toBe(true);
    });

    it("stores nothing of a blob whose bytes are wrong", async () => {
      const target = repository("wrong/bytes");
      const right = blobOf(Buffer.alloc(300_000, "x"));
      const wrong = Buffer.alloc(300_000, "y");
      await expect(
        target.push({ ...right, open: () => [wrong.subarray(0, 200_000), wrong.subarray(200_000)] }),
      ).rejects.toMatchObject({ code: "MISMATCH" });
      expect(await target.has(right.descriptor)).toBe(false);
      expect(await target.has(blobOf(wrong).descriptor)).toBe(false);
    });

    if (kind.credentials)
      it("refuses a wrong password, and says what to do without one", async () => {
        const wrong = new RegistryClient({ credentials: { username: "alice", password: "wrong" } });
        const error = await failure(wrong.repository(`${registry.host}/round/trip`).resolve("v1"));
        expect(error).toMatchObject({ code: "UNAUTHORIZED", status: 401 });
        expect(error.hint).toContain("refused");
        await wrong.close();
        const nobody = new RegistryClient({ credentials: false });
        const second = await failure(nobody.repository(`${registry.host}/round/trip`).push(layer));
        expect(second).toMatchObject({ code: "UNAUTHORIZED", hint: `Log in with: stowage login ${registry.host}` });
        await nobody.close();
      });

    it("takes an index of manifests", async () => {
      const target = repository("an/index");
      for (const content of [emptyBlob, layer, image]) await target.push(content);
      const index = blobOf(
        JSON.stringify({ schemaVersion: 2, mediaType: mediaTypes.index, manifests: [image.descriptor] }),
        mediaTypes.index,
      );
      await target.push(index);
      await target.tag("all", index.descriptor);
      expect(await target.resolve("all")).toEqual(index.descriptor);
    });
  });
}
