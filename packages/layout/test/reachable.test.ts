import { join } from "node:path";
import {
  type Descriptor,
  type Digest,
  encodeJson,
  gc,
  Layout,
  type LayoutIndex,
  MemoryStore,
  mediaTypes,
  reachable,
  readGraph,
  referrersTag,
  refName,
  walk,
} from "@stowage/layout";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { filesBelow, handMadeLayout, manifestBytes, named, pushBytes, temporaryDirectory, utf8 } from "./support.js";

/** A graph as fast-check draws it: item `at` may link to earlier items only, since digests leave no other way. */
interface Drawn {
  readonly items: readonly { kind: "blob" | "image" | "index"; links: number[]; subject: number | undefined }[];
  readonly entries: readonly { at: number; tag: boolean }[];
  readonly lists: readonly { subject: number; names: number[] }[];
  readonly absent: ReadonlySet<number>;
}

const drawn: fc.Arbitrary<Drawn> = fc
  .integer({ min: 2, max: 16 })
  .chain((count) =>
    fc.record({
      items: fc.array(
        fc.record({
          kind: fc.constantFrom("blob" as const, "image" as const, "index" as const),
          links: fc.array(fc.nat(count), { maxLength: 3 }),
          subject: fc.option(fc.nat(count), { nil: undefined }),
        }),
        { minLength: count, maxLength: count },
      ),
      entries: fc.array(fc.record({ at: fc.nat(count - 1), tag: fc.boolean() }), { maxLength: 6 }),
      lists: fc.array(fc.record({ subject: fc.nat(count - 1), names: fc.array(fc.nat(count - 1), { maxLength: 3 }) }), {
        maxLength: 2,
      }),
      absent: fc.array(fc.nat(count - 1), { maxLength: 2 }).map((list) => new Set(list)),
    }),
  )
  .map(({ items, ...rest }) => ({
    ...rest,
    items: items.map(({ kind, links, subject }, at) => ({
      kind: at === 0 ? ("blob" as const) : kind,
      links: at === 0 || kind === "blob" ? [] : [...new Set(links.map((link) => link % at))],
      subject: at === 0 || kind === "blob" || subject === undefined ? undefined : subject % at,
    })),
  }));

interface Made {
  readonly descriptors: readonly Descriptor[];
  readonly bytes: readonly Uint8Array[];
  readonly index: LayoutIndex;
  readonly lists: readonly { descriptor: Descriptor; bytes: Uint8Array; subject: Digest; names: Digest[] }[];
}

async function make({ items, entries, lists }: Drawn): Promise<Made> {
  const store = new MemoryStore();
  const descriptors: Descriptor[] = [];
  const bytes: Uint8Array[] = [];
  const add = async (content: Uint8Array, mediaType: string): Promise<void> => {
    bytes.push(content);
    descriptors.push({ ...(await pushBytes(store, content, "a/b")), mediaType });
  };
  for (const [at, { kind, links, subject }] of items.entries()) {
    const common = {
      annotations: { at: String(at) },
      ...(subject === undefined ? {} : { subject: descriptors[subject] }),
    };
    const children = links.map((link) => descriptors[link]);
    const config = descriptors[0];
    if (kind === "blob") await add(utf8(`blob ${at}`), mediaTypes.layer);
    else if (kind === "image") await add(manifestBytes({ config, layers: children, ...common }), mediaTypes.manifest);
    else
      await add(
        encodeJson({ schemaVersion: 2, mediaType: mediaTypes.index, manifests: children, ...common }),
        mediaTypes.index,
      );
  }
  const digestAt = (at: number): Digest => (descriptors[at] as Descriptor).digest;
  const madeLists = lists.map(({ subject, names }) => {
    const manifests = [...new Set(names)].filter((at) => items[at]?.kind !== "blob").map((at) => descriptors[at]);
    return { subject: digestAt(subject), names: manifests.map((one) => (one as Descriptor).digest), manifests };
  });
  const manifests = entries
    .filter(({ at }) => items[at]?.kind !== "blob")
    .map(({ at, tag }, position) => {
      const descriptor = descriptors[at] as Descriptor;
      return tag ? named(descriptor, `tag-${position}`) : descriptor;
    });
  const listEntries = [];
  for (const { manifests: listed, ...list } of madeLists) {
    const content = encodeJson({ schemaVersion: 2, mediaType: mediaTypes.index, manifests: listed });
    const descriptor = { ...(await pushBytes(store, content, "a/b")), mediaType: mediaTypes.index };
    listEntries.push({ ...list, descriptor, bytes: content });
    manifests.push(named(descriptor, referrersTag(list.subject)));
  }
  return { descriptors, bytes, index: { schemaVersion: 2, manifests }, lists: listEntries };
}

/** What has to stay, worked out by repeating the rules until nothing changes. */
function model({ items, absent }: Drawn, { descriptors, index, lists }: Made): Set<Digest> {
  const at = new Map(descriptors.map(({ digest }, position) => [digest, position]));
  const item = (digest: Digest): Drawn["items"][number] | undefined => items[at.get(digest) ?? -1];
  const isThere = (digest: Digest): boolean => at.has(digest) && !absent.has(at.get(digest) as number);
  const subjectOf = (digest: Digest): Digest | undefined => {
    const subject = isThere(digest) ? item(digest)?.subject : undefined;
    return subject === undefined ? undefined : descriptors[subject]?.digest;
  };
  const isOrdinary = (list: (typeof lists)[number]): boolean =>
    list.names.some((name) => isThere(name) && subjectOf(name) === undefined);
  const live = new Set<Digest>();
  const listDigests = new Map(lists.map((list) => [list.descriptor.digest, list]));
  for (const entry of index.manifests) {
    const list = listDigests.get(entry.digest);
    if (list !== undefined && !isOrdinary(list)) continue;
    const name = entry.annotations?.["org.opencontainers.image.ref.name"];
    if (name !== undefined || subjectOf(entry.digest) === undefined) live.add(entry.digest);
  }
  const weak = [...index.manifests.map(({ digest }) => digest), ...lists.flatMap(({ names }) => names)];
  for (const digest of weak) {
    const subject = subjectOf(digest);
    if (subject !== undefined && !isThere(subject)) live.add(digest);
  }
  /** What the walk may come upon at all: what an entry leads to by links and subjects. */
  const known = new Set<Digest>(weak);
  for (let before = -1; before !== known.size + live.size; ) {
    before = known.size + live.size;
    for (const digest of [...known, ...live]) {
      const links = isThere(digest) ? (item(digest)?.links.map((link) => descriptors[link] as Descriptor) ?? []) : [];
      const isImage = item(digest)?.kind === "image";
      for (const link of listDigests.get(digest)?.names ?? []) if (live.has(digest)) live.add(link);
      for (const link of links) {
        const wanted = !isImage || item(link.digest)?.kind !== "blob";
        if (known.has(digest) && wanted) known.add(link.digest);
        if (live.has(digest)) live.add(link.digest);
      }
      if (isImage && isThere(digest) && live.has(digest)) live.add((descriptors[0] as Descriptor).digest);
      const subject = subjectOf(digest);
      if (subject === undefined) continue;
      if (known.has(digest)) known.add(subject);
      if (known.has(digest) && live.has(subject)) live.add(digest);
    }
  }
  return live;
}

async function layoutOf(graph: Drawn, made: Made): Promise<Layout> {
  const path = join(await temporaryDirectory(), "layout");
  const bytes = [...made.bytes.filter((_bytes, at) => !graph.absent.has(at)), ...made.lists.map((list) => list.bytes)];
  await handMadeLayout(path, made.index as unknown as Record<string, unknown>, bytes);
  return Layout.open(path);
}

describe("reachability", () => {
  it("agrees with the rules applied until nothing changes, on any graph", async () => {
    await fc.assert(
      fc.asyncProperty(drawn, async (graph) => {
        const made = await make(graph);
        const layout = await layoutOf(graph, made);
        const index = await layout.index();
        const { live, damaged } = reachable(await readGraph(layout, index), index);
        expect(damaged).toEqual([]);
        expect([...live.keys()].sort()).toEqual([...model(graph, made)].sort());
      }),
      { numRuns: 150 },
    );
  });

  it("is what a walk from the entries comes upon, once a collection has registered what was lost", async () => {
    await fc.assert(
      fc.asyncProperty(drawn, async (graph) => {
        const items = graph.items.map(({ subject, ...item }) => ({
          ...item,
          // Of a blob a walk asks nobody for referrers, and from what is not there it does not go on.
          subject: subject === undefined || graph.items[subject]?.kind === "blob" ? undefined : subject,
        }));
        const whole = { ...graph, items, lists: [], absent: new Set<number>() };
        const layout = await layoutOf(whole, await make(whole));
        await gc(layout, { grace: 0 });
        const index = await layout.index();
        const lists = new Set(
          index.manifests.flatMap((entry) => (refName(entry)?.startsWith("sha") ? entry.digest : [])),
        );
        const { live } = reachable(await readGraph(layout, index), index);
        const walked = new Set<Digest>();
        for await (const { descriptor } of walk(layout, index.manifests)) walked.add(descriptor.digest);
        expect([...walked].filter((digest) => !lists.has(digest)).sort()).toEqual([...live.keys()].sort());
      }),
      { numRuns: 100 },
    );
  });

  it("is what a collection keeps, and a second collection finds nothing more to do", async () => {
    await fc.assert(
      fc.asyncProperty(drawn, async (graph) => {
        const made = await make(graph);
        const layout = await layoutOf(graph, made);
        const expected = model(graph, made);
        await gc(layout, { grace: 0 });
        const files = new Set(await filesBelow(join(layout.path, "blobs", "sha256")));
        for (const [at, { digest }] of made.descriptors.entries()) {
          const isThere = files.has(digest.slice("sha256:".length));
          expect([at, digest, isThere]).toEqual([at, digest, expected.has(digest) && !graph.absent.has(at)]);
        }
        const again = await gc(layout, { grace: 0 });
        expect([again.removed, again.entries, again.lists]).toEqual([[], [], []]);
      }),
      { numRuns: 100 },
    );
  });
});
