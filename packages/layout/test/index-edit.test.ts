import { createHash } from "node:crypto";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import {
  contentOf,
  type Descriptor,
  descriptorOf,
  emptyBytes,
  emptyDescriptor,
  Layout,
  MemoryStore,
  mediaTypes,
  referrersTag,
  type Target,
} from "@stowage/layout";
import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { parseManifest } from "../src/model/manifest.js";
import { BlobDirectory } from "../src/store/blobs.js";
import { derive } from "../src/store/derive.js";
import { DerivedFile } from "../src/store/derived-file.js";
import { type LayoutIndex, refName } from "../src/store/index-json.js";
import type { IndexedTarget } from "../src/store/indexed-target.js";
import { encodeList } from "../src/store/referrer-forms.js";
import {
  all,
  bytesOf,
  failure,
  handMadeLayout,
  manifestBytes,
  named,
  pushBytes,
  pushManifest,
  pushReferrer,
  referrerBytes,
} from "./support.js";

const SUBJECTS = 12;

let path: string;
let blobs: Uint8Array[];
let subjects: Descriptor[];
let entries: Descriptor[];

/** Twelve images with three names each, and 25 referrers of each: first as Stowage would have written them. */
beforeAll(async () => {
  path = await mkdtemp(join(tmpdir(), "stowage-layout-"));
  blobs = [emptyBytes];
  const keep = (bytes: Uint8Array, mediaType: string): Descriptor => {
    blobs.push(bytes);
    return descriptorOf(bytes, mediaType);
  };
  const image = (at: number): Uint8Array =>
    manifestBytes({ config: emptyDescriptor, layers: [], annotations: { at: `${at}, "é" \\ [{` } });
  subjects = Array.from({ length: SUBJECTS }, (_, at) => keep(image(at), mediaTypes.manifest));
  const referrers = subjects.map((subject) =>
    Array.from({ length: 25 }, (_, n) => {
      const annotations = { n: String(n) };
      const bytes = referrerBytes(subject, "application/vnd.example", annotations);
      return { ...keep(bytes, mediaTypes.manifest), artifactType: "application/vnd.example", annotations };
    }),
  );
  const lists = subjects.slice(0, 6).map((subject, at) => {
    const list = keep(encodeList(referrers[at] as Descriptor[]).bytes, mediaTypes.index);
    return named(list, referrersTag(subject.digest));
  });
  entries = [
    ...subjects.flatMap((subject, at) => [
      named(subject, `a${at}`),
      named(subject, `example.com/app:b${at}`),
      named(subject, `z${at}`),
    ]),
    ...lists,
    ...referrers.flat().map(({ annotations: _annotations, ...entry }) => entry),
  ].sort((a, b) => {
    const [nameA, nameB] = [refName(a) ?? "~", refName(b) ?? "~"];
    return nameA === nameB ? (a.digest < b.digest ? -1 : 1) : nameA < nameB ? -1 : 1;
  });
  await handMadeLayout(path, { manifests: entries }, blobs);
});

afterAll(() => rm(path, { recursive: true, force: true }));

/** Forms in which an index.json may stand on the disk. */
const forms: Readonly<Record<string, () => string>> = {
  "as Stowage writes it": () => JSON.stringify({ schemaVersion: 2, mediaType: mediaTypes.index, manifests: entries }),
  "indented, with members nobody knows": () =>
    `${JSON.stringify(
      {
        "com.example": { manifests: ["]", { a: '\\"[' }] },
        schemaVersion: 2,
        manifests: entries.map((entry, at) => ({ "com.example.at": [at, "}]"], ...entry })),
        annotations: { last: 'é"]}' },
      },
      undefined,
      2,
    )}\n`,
  "in no order, for olareg as well": () =>
    JSON.stringify({
      schemaVersion: 2,
      mediaType: mediaTypes.index,
      annotations: { "org.olareg.referrer.convert": "true" },
      manifests: [...entries].sort((a, b) => (shuffled(a) < shuffled(b) ? -1 : 1)),
    }),
};

function shuffled(entry: Descriptor): string {
  return createHash("sha256").update(JSON.stringify(entry)).digest("hex");
}

interface Both {
  readonly layout: Layout;
  /** Changes its index whole, always. */
  readonly model: MemoryStore;
}

async function openBoth(form: string): Promise<Both> {
  await rm(join(path, ".stowage-index"), { force: true });
  await writeFile(join(path, "index.json"), (forms[form] as () => string)());
  const layout = await Layout.open(path);
  const model = new MemoryStore();
  for (const bytes of blobs) await model.write([bytes], mediaTypes.octetStream);
  const index = await layout.index();
  await model.update(() => index);
  // Something has to be derived first.
  await all(layout.referrers(subjects[0] as Descriptor));
  return { layout, model };
}

const subjectOf = (at: number): Descriptor => subjects[at % SUBJECTS] as Descriptor;

/** What may be done to an index, by a number that says to which part of it. */
const actions: Readonly<Record<string, (target: IndexedTarget, number: number) => Promise<unknown>>> = {
  tag: (target, number) => target.tag(`m${number}`, subjectOf(number)),
  move: (target, number) => target.tag(`a${number % SUBJECTS}`, subjectOf(number + 1)),
  "tag a full name": (target, number) => target.tag(`example.com/new:b${number}`, subjectOf(number)),
  untag: (target, number) => target.untag(`z${number % SUBJECTS}`),
  "untag behind a full name": (target, number) => target.untag(`b${number % SUBJECTS}`),
  attach: (target, number) =>
    pushReferrer(target, subjectOf(number), "application/vnd.new", { number: String(number) }),
  "attach to what is new": async (target, number) => {
    const image = await pushManifest(target, {
      config: emptyDescriptor,
      layers: [],
      annotations: { new: `${number}` },
    });
    await pushReferrer(target, image, undefined, { number: `${number} "\\u" é` });
  },
  "tag a referrer": async (target, number) => {
    const referrer = await pushReferrer(target, subjectOf(number), "application/vnd.tagged");
    await target.tag(`a${number % SUBJECTS}`, referrer);
  },
  "add an entry": (target, number) => target.addEntry(subjectOf(number)),
  "attach it again": (target, number) => pushReferrer(target, subjectOf(number), "application/vnd.example", { n: "3" }),
};

/** Does it, and tells how it failed where it did. */
async function outcome(work: Promise<unknown>): Promise<string> {
  return work.then(
    () => "done",
    (error: Error) => error.name + (error as Error & { code?: string }).code,
  );
}

/** What was derived is what deriving all anew from the bytes of index.json makes. */
async function expectDerived(layout: Layout): Promise<void> {
  const bytes = await readFile(join(path, "index.json"));
  const file = new DerivedFile(path, new BlobDirectory(path), async () => undefined);
  const found = await file.whole();
  expect(found, "it was not derived from these bytes").toBeDefined();
  const index: LayoutIndex = await layout.index();
  const origin = createHash("sha256").update(bytes).digest("hex");
  const anew = await derive({ bytes, index }, { origin }, async (descriptor) =>
    parseManifest(await bytesOf(layout.fetch(descriptor)), descriptor.mediaType, descriptor.digest),
  );
  const { subjects: known, ...derived } = found?.index.derived ?? { subjects: new Uint32Array() };
  const { subjects: expected, head, ...parts } = anew as NonNullable<typeof anew>;
  // More may be known than is in the index by now.
  expect(known.length).toBeGreaterThanOrEqual(expected.length);
  expect(derived).toEqual({ ...parts, head: { ...head, subjects: known.length / 6 } });
}

describe("a change of a large index.json that touches few entries", () => {
  it.each(Object.keys(forms))("leaves what changing all of it leaves, where it stands %s", async (form) => {
    const step = fc.tuple(fc.constantFrom(...Object.keys(actions)), fc.nat(20));
    await fc.assert(
      fc.asyncProperty(fc.array(step, { minLength: 1, maxLength: 8 }), async (steps) => {
        const { layout, model } = await openBoth(form);
        for (const [name, number] of steps) {
          const action = actions[name] as (target: Target, number: number) => Promise<unknown>;
          expect(await outcome(action(layout, number)), name).toBe(await outcome(action(model, number)));
          expect((await layout.index()).manifests, name).toEqual((await model.index()).manifests);
        }
        expect(await layout.index()).toEqual(await model.index());
        await expectDerived(layout);
      }),
      { numRuns: 25 },
    );
  });

  it("leaves the bytes of all other entries as they are", async () => {
    const form = "indented, with members nobody knows";
    const { layout } = await openBoth(form);
    const before = (forms[form] as () => string)();
    await layout.tag("zz", subjectOf(0));
    const after = await readFile(join(path, "index.json"), "utf8");
    const [left, right, ...more] = after.split(`,${JSON.stringify(named(subjectOf(0), "zz"))},`);
    expect(more).toEqual([]);
    expect(before.startsWith(left as string)).toBe(true);
    expect(before.endsWith(right as string)).toBe(true);
    expect(before.slice((left as string).length, -(right as string).length)).toMatch(/^,\s*$/);
  });

  it("takes many changes of one process in one replacement, and refuses only those that fail", async () => {
    const { layout, model } = await openBoth("as Stowage writes it");
    const work = (target: IndexedTarget): Promise<unknown>[] => [
      ...Array.from({ length: 20 }, (_, at) => target.tag(`together${at}`, subjectOf(at))),
      ...Array.from({ length: 20 }, (_, at) =>
        pushReferrer(target, subjectOf(3), "application/vnd.new", { at: `${at}` }),
      ),
      target.untag("nothing"),
      target.untag("a4"),
    ];
    expect(await Promise.all(work(layout).map(outcome))).toEqual(await Promise.all(work(model).map(outcome)));
    expect(new Set((await layout.index()).manifests.map((entry) => JSON.stringify(entry)))).toEqual(
      new Set((await model.index()).manifests.map((entry) => JSON.stringify(entry))),
    );
    await expectDerived(layout);
  });

  it("sees what another tool wrote in between, and keeps it", async () => {
    const { layout } = await openBoth("as Stowage writes it");
    const index = JSON.parse(await readFile(join(path, "index.json"), "utf8")) as LayoutIndex;
    const foreign = { ...index, manifests: [named(subjectOf(2), "foreign"), ...index.manifests.slice(3)] };
    await writeFile(join(path, "index.json"), JSON.stringify(foreign));
    await layout.tag("ours", subjectOf(1));
    await layout.tag("ours-too", subjectOf(1));
    expect(await layout.resolve("foreign")).toEqual(subjectOf(2));
    expect((await layout.index()).manifests).toHaveLength(entries.length);
    expect(await all(layout.referrers(subjectOf(0)))).toHaveLength(25);
    await expectDerived(layout);
  });

  it("fails as any other where the index is broken, and leaves it alone", async () => {
    const { layout } = await openBoth("as Stowage writes it");
    const bytes = await readFile(join(path, "index.json"));
    await writeFile(join(path, "index.json"), bytes.subarray(0, bytes.length - 3));
    await failure(layout.tag("new", subjectOf(1)), "INVALID");
    expect(await readFile(join(path, "index.json"))).toEqual(bytes.subarray(0, bytes.length - 3));
  });
});

describe("a list of referrers that is full", () => {
  it("stays as it is, and the referrer is found all the same", async () => {
    const store = new MemoryStore();
    const image = await pushManifest(store, { config: emptyDescriptor, layers: [] });
    const long = { filler: "x".repeat(3_000_000) };
    const first = [await pushReferrer(store, image, "a/1", long), await pushReferrer(store, image, "a/2", long)];
    const list = await store.resolve(referrersTag(image.digest));
    const third = await pushReferrer(store, image, "a/3", long);
    expect(await store.resolve(referrersTag(image.digest))).toEqual(list);
    expect((await all(store.referrers(image))).map(({ digest }) => digest).sort()).toEqual(
      [...first, third].map(({ digest }) => digest).sort(),
    );
    await store.push(contentOf(emptyBytes, emptyDescriptor));
    await pushBytes(store, referrerBytes(image, "a/3", long), mediaTypes.manifest);
    expect(await store.resolve(referrersTag(image.digest))).toEqual(list);
  });
});
