import { join } from "node:path";
import {
  ArchiveSource,
  ArchiveTarget,
  type Base,
  type CopyOptions,
  contentOf,
  copy,
  type Descriptor,
  descriptorOf,
  digestOf,
  type IndexedSource,
  imageBase,
  Layout,
  MemoryStore,
  mediaTypes,
  type Presence,
  parseDelta,
  plan,
  RECEIPT_TYPE,
  receiptBase,
  receiptOf,
  sourceBase,
  verify,
} from "@stowage/layout";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { failure, filesBelow, pushImage, pushIndex, pushReferrer, temporaryDirectory, utf8 } from "./support.js";

/** Two versions of an image that share the layer `base`, the second with an attached statement. */
async function versions(): Promise<MemoryStore> {
  const source = new MemoryStore("made");
  await source.tag("v1", await pushImage(source, { layers: ["base", "app 1"] }));
  const second = await pushImage(source, { layers: ["base", "app 2"] });
  await source.tag("v2", second);
  await pushReferrer(source, second);
  return source;
}

const sizes = (descriptors: readonly Pick<Descriptor, "digest">[] | undefined): string[] =>
  (descriptors ?? []).map(({ digest }) => digest).sort();

/** Writes an archive of `tag`, and opens it. */
async function archived(source: IndexedSource, tag: string, options: CopyOptions): Promise<ArchiveSource> {
  const path = join(await temporaryDirectory(), "delta.tar");
  const target = await ArchiveTarget.create(path);
  await copy(source, target, tag, { tags: [tag], ...options });
  await target.close();
  return ArchiveSource.open(path);
}

async function layoutWith(source: IndexedSource, ...tags: string[]): Promise<Layout> {
  const layout = await Layout.create(join(await temporaryDirectory(), "layout"));
  for (const tag of tags) await copy(source, layout, tag, { tags: [tag] });
  return layout;
}

/** A store that takes a manifest only when it has what it points at, and says what it is asked for. */
class Closed extends MemoryStore {
  readonly pushed: string[] = [];

  constructor(name: string) {
    super(name);
    Object.defineProperty(this, "closed", { value: true });
  }

  override async push(...[content, options]: Parameters<MemoryStore["push"]>): Promise<Presence> {
    this.pushed.push(content.descriptor.digest);
    return super.push(content, options);
  }
}

describe("copy since a base", () => {
  it("writes into an archive what the base lacks, all manifests, and what it needs", async () => {
    const source = await versions();
    const base = await imageBase(source, await source.resolve("v1"), "v1");
    const archive = await archived(source, "v2", { since: [base] });
    expect(sizes(archive.delta?.needs)).toEqual(sizes([{ digest: digestOf("base") }]));
    expect(archive.delta?.since.map(({ name }) => name)).toEqual(["v1"]);
    expect(await archive.size(digestOf("base"))).toBeUndefined();
    expect(await archive.size(digestOf("app 2"))).toBe(5);
    await archive.close();
  });

  it("says what was left out, and a rehearsal says the same and what would move", async () => {
    const source = await versions();
    const since = [await imageBase(source, await source.resolve("v1"), "v1")];
    const report = await copy(source, new MemoryStore(), "v2", { since });
    expect(sizes(report.leftOut.since)).toEqual([digestOf("base")]);
    const planned = await plan(source, new MemoryStore(), "v2", { since });
    expect({ ...planned, content: undefined }).toEqual({ ...report, content: undefined });
    expect(planned.content.map(({ descriptor }) => descriptor.digest)).not.toContain(digestOf("base"));
    const whole = await copy(source, new MemoryStore(), "v2");
    expect(whole.leftOut.since).toBeUndefined();
    expect(whole.bytes - report.bytes).toBe(4);
  });

  it("is the same bytes whether the base is a receipt, a layout, an archive or an image in any of them", async () => {
    const source = await versions();
    const layout = await layoutWith(source, "v1");
    const whole = await archived(source, "v1", {});
    const root = await source.resolve("v1");
    const bases: Base[] = [
      receiptBase(await receiptOf(layout), "receipt"),
      await sourceBase(layout),
      await sourceBase(whole),
      await imageBase(source, root, "v1"),
      await imageBase(layout, root, "v1"),
    ];
    const deltas = [];
    for (const base of bases) {
      const archive = await archived(source, "v2", { since: [base] });
      deltas.push(archive.delta);
      await archive.close();
    }
    await whole.close();
    for (const delta of deltas) expect(delta).toEqual(deltas[0]);
  });

  it("makes a sparse layout, which is known as one and becomes whole where the base is, and nowhere else", async () => {
    const source = await versions();
    const made = await layoutWith(source);
    await copy(source, made, "v2", { tags: ["v2"], since: [await sourceBase(await layoutWith(source, "v1"))] });
    expect(sizes(made.delta?.needs)).toEqual([digestOf("base")]);
    const sparse = await Layout.open(made.path);
    expect(sparse.delta).toEqual(made.delta);
    expect(await sparse.oddities()).toEqual([]);
    const roots = [{ name: "v2", descriptor: await sparse.resolve("v2") }];
    const [note, ...others] = (await verify(sparse, roots)).findings;
    expect(others).toEqual([]);
    expect(note).toMatchObject({ severity: "note", state: "missing", descriptor: { digest: digestOf("base") } });
    const elsewhere = await layoutWith(source);
    const before = await filesBelow(elsewhere.path);
    expect((await failure(copy(sparse, elsewhere, "v2"), "NOT_FOUND")).message).toContain(digestOf("base"));
    expect(await filesBelow(elsewhere.path)).toEqual(before);
    const whole = await layoutWith(source, "v1");
    await copy(sparse, whole, "v2", { tags: ["v2"] });
    expect((await verify(whole, roots)).findings).toEqual([]);
    await copy(source, sparse, "v1", { since: [] });
    expect((await verify(sparse, roots)).findings).toEqual([]);
    expect((await filesBelow(sparse.path)).filter((name) => name.includes("delta"))).toEqual([]);
  });

  it("sends nothing where a registry lacks what would be left out, and names it; then all but that where it has it", async () => {
    const source = await versions();
    const target = new Closed("registry");
    const since = [await imageBase(source, await source.resolve("v1"), "v1")];
    const error = await failure(copy(source, target, "v2", { tags: ["v2"], since }), "NOT_FOUND");
    expect(error.message).toContain(`${digestOf("base")} (4 bytes)`);
    await failure(plan(source, target, "v2", { tags: ["v2"], since }), "NOT_FOUND");
    expect(target.pushed).toEqual([]);
    await target.push(contentOf(utf8("base"), descriptorOf(utf8("base"), mediaTypes.layer)));
    target.pushed.length = 0;
    await copy(source, target, "v2", { tags: ["v2"], since });
    expect(target.pushed).not.toContain(digestOf("base"));
    expect(target.pushed).toContain(digestOf("app 2"));
  });

  it("counts a delta for a base of what it holds and of what it needs, and several bases as one", async () => {
    const source = await versions();
    const third = await pushImage(source, { layers: ["base", "app 2", "app 3"] });
    await source.tag("v3", third);
    const second = await archived(source, "v2", { since: [await imageBase(source, await source.resolve("v1"), "v1")] });
    const archive = await archived(source, "v3", { since: [await sourceBase(second)] });
    expect(sizes(archive.delta?.needs)).toEqual(sizes([{ digest: digestOf("base") }, { digest: digestOf("app 2") }]));
    const first = receiptBase(await receiptOf(await layoutWith(source, "v1")), "first");
    const own: Base = { name: "own", roots: [], has: async ({ digest }) => digest === digestOf("app 2") };
    const both = await archived(source, "v3", { since: [first, own] });
    expect(both.delta?.needs).toEqual(archive.delta?.needs);
    for (const one of [second, archive, both]) await one.close();
  });

  it("does not count what a sparse layout lacks", async () => {
    const source = await versions();
    const sparse = await layoutWith(source);
    await copy(source, sparse, "v2", { tags: ["v2"], since: [await sourceBase(await layoutWith(source, "v1"))] });
    const root = await sparse.resolve("v2");
    for (const base of [
      await sourceBase(sparse),
      await imageBase(sparse, root, "v2"),
      receiptBase(await receiptOf(sparse), "receipt"),
    ]) {
      const report = await copy(source, new MemoryStore(), "v1", { since: [base] });
      expect(report.leftOut.since, base.name).toEqual([]);
    }
  });
});

describe("a delta is taken in", () => {
  it("where its base is, with the digests it had", async () => {
    const source = await versions();
    const archive = await archived(source, "v2", {
      since: [await imageBase(source, await source.resolve("v1"), "v1")],
    });
    const target = await layoutWith(source, "v1");
    const report = await copy(archive, target, "v2", { tags: ["v2"] });
    expect(report.referrers).toEqual({ found: 1, copied: 1 });
    const roots = [{ name: "v2", descriptor: await source.resolve("v2") }];
    expect((await verify(target, roots)).findings).toEqual([]);
    await archive.close();
  });

  it("nowhere else: what is missing and what the base was are named, and nothing is changed", async () => {
    const source = await versions();
    const archive = await archived(source, "v2", {
      since: [await imageBase(source, await source.resolve("v1"), "v1")],
    });
    const other = await pushImage(source, { layers: ["unrelated"] });
    await source.tag("other", other);
    const target = await layoutWith(source, "other");
    const before = await filesBelow(target.path);
    for (const attempt of [copy, plan]) {
      const error = await failure(attempt(archive, target, "v2", { tags: ["v2"] }), "NOT_FOUND");
      expect(error.message).toContain(`${target.name} is not the base that ${archive.name} needs: it lacks a blob`);
      expect(error.message).toContain(`${digestOf("base")} (4 bytes)`);
      expect(error.hint).toBe(`The base held v1 (${(await source.resolve("v1")).digest}). Bring that first.`);
    }
    expect(await filesBelow(target.path)).toEqual(before);
    const registry = new Closed("registry");
    await failure(copy(archive, registry, "v2", { tags: ["v2"] }), "NOT_FOUND");
    expect(registry.pushed).toEqual([]);
    await archive.close();
  });

  it("where the base is at hand beside the target", async () => {
    const source = await versions();
    const archive = await archived(source, "v2", {
      since: [await imageBase(source, await source.resolve("v1"), "v1")],
    });
    const target = await layoutWith(source);
    const have = [await sourceBase(await layoutWith(source, "v1"))];
    await copy(archive, target, "v2", { tags: ["v2"], have });
    const roots = [{ name: "v2", descriptor: await source.resolve("v2") }];
    expect((await verify(target, roots)).findings).toEqual([]);
    await archive.close();
  });

  it("as far as what is asked for needs the base: a platform that is whole goes anywhere", async () => {
    const source = new MemoryStore("made");
    const shared = await pushImage(source, { layers: ["base"], platform: { os: "linux", architecture: "amd64" } });
    const own = await pushImage(source, { layers: ["own"], platform: { os: "linux", architecture: "arm64" } });
    const platforms = [
      { ...shared, platform: { os: "linux", architecture: "amd64" } },
      { ...own, platform: { os: "linux", architecture: "arm64" } },
    ];
    await source.tag("all", await pushIndex(source, platforms));
    const archive = await archived(source, "all", { since: [await imageBase(source, shared)] });
    await failure(copy(archive, await layoutWith(source), "all"), "NOT_FOUND");
    const report = await copy(archive, await layoutWith(source), "all", {
      platforms: [{ os: "linux", architecture: "arm64" }],
    });
    expect(report.descriptor.digest).toBe(own.digest);
    await archive.close();
  });

  it("made since a receipt that lies is refused where the receipt was wrong", async () => {
    const source = await versions();
    const lie = {
      mediaType: RECEIPT_TYPE,
      schemaVersion: 1,
      roots: [],
      content: [{ digest: digestOf("app 2"), size: 5 }],
    } as const;
    const archive = await archived(source, "v2", { since: [receiptBase(lie, "a lie")] });
    const target = await layoutWith(source, "v1");
    expect((await failure(copy(archive, target, "v2"), "NOT_FOUND")).message).toContain(digestOf("app 2"));
    await archive.close();
  });

  it("that says of itself what cannot be is refused", async () => {
    const type = "application/vnd.stowage.delta.v1+json";
    const value = { mediaType: type, schemaVersion: 1, since: [], needs: [] };
    for (const change of [
      { mediaType: "text/plain" },
      { needs: [{ digest: "sha256:../x", size: 1 }] },
      { needs: null },
      { since: [{}] },
    ])
      await failure(() => parseDelta(utf8(JSON.stringify({ ...value, ...change })), "x"), "INVALID");
  });
});

describe("copy with what is at hand", () => {
  it("takes it from there, and from the source only what is not there", async () => {
    const source = await versions();
    const near = await layoutWith(source, "v1");
    const target = await Layout.create(join(await temporaryDirectory(), "new"), { hardlink: true });
    const read: string[] = [];
    const watched = new Proxy(source, {
      get: (store, key) =>
        key === "fetch"
          ? (descriptor: Descriptor, options: object) => {
              read.push(descriptor.digest);
              return store.fetch(descriptor, options);
            }
          : typeof Reflect.get(store, key) === "function"
            ? Reflect.get(store, key).bind(store)
            : Reflect.get(store, key),
    });
    const report = await copy(watched, target, "v2", { tags: ["v2"], have: [await sourceBase(near)] });
    expect(report.taken?.count).toBe(1);
    expect(report.taken?.bytes).toBe(4);
    expect(report.linked).toBe(1);
    expect(read).not.toContain(digestOf("base"));
    expect(read).toContain(digestOf("app 2"));
    expect((await verify(target, [{ name: "v2", descriptor: report.descriptor }])).findings).toEqual([]);
  });

  it("takes from the source what is damaged there", async () => {
    const source = await versions();
    const wrong = new MemoryStore("near");
    const base: Base = {
      name: "near",
      roots: [],
      has: async () => true,
      source: Object.assign(wrong, {
        fetch: async function* () {
          yield utf8("nonsense");
        },
      }),
    };
    const target = new MemoryStore("target");
    const report = await copy(source, target, "v2", { have: [base] });
    expect(report.taken).toEqual({ count: 0, bytes: 0 });
    expect(await target.size(digestOf("base"))).toBe(4);
  });
});

describe("since a base and that base", () => {
  it("are the whole, for any images and any base", async () => {
    const layer = fc.constantFrom("a", "b", "c", "d", "e", "f");
    const image = fc.record({ layers: fc.uniqueArray(layer, { maxLength: 4 }), signed: fc.boolean() });
    const images = fc.array(image, { minLength: 1, maxLength: 4 });
    await fc.assert(
      fc.asyncProperty(images, fc.array(fc.nat(), { maxLength: 3 }), fc.boolean(), async (all, chosen, nested) => {
        const source = new MemoryStore("made");
        const roots: Descriptor[] = [];
        for (const { layers, signed } of all) {
          const root = await pushImage(source, { layers });
          if (signed) await pushReferrer(source, await pushReferrer(source, root));
          roots.push(root);
        }
        const whole = await pushIndex(source, nested ? [await pushIndex(source, roots)] : roots);
        await source.tag("whole", whole);
        const base = new MemoryStore("base");
        for (const at of chosen) await copy(source, base, roots[at % roots.length] as Descriptor);
        const archive = await archived(source, "whole", { since: [receiptBase(await receiptOf(base), "base")] });
        const inArchive = await receiptOf(archive);
        // Nothing travels that the base has, but for manifests.
        for (const { digest } of archive.needs) expect(await archive.size(digest)).toBeUndefined();
        await copy(archive, base, "whole", { tags: ["whole"] });
        await archive.close();
        const expected = new MemoryStore("expected");
        await copy(source, expected, "whole", { tags: ["whole"] });
        expect(inArchive.content).toEqual((await receiptOf(expected)).content);
        const arrived = new Set((await receiptOf(base)).content.map(({ digest }) => digest));
        for (const { digest } of (await receiptOf(expected)).content) {
          const isList = !(await source.size(digest));
          expect(isList || arrived.has(digest)).toBe(true);
        }
        expect(
          (await verify(base, [{ name: "whole", descriptor: whole }])).findings.filter(
            ({ state }) => state !== "invalid",
          ),
        ).toEqual([]);
      }),
      { numRuns: 25 },
    );
  });
});
