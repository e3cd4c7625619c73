import { mkdir, readFile, rm, stat, symlink, unlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import {
  type Descriptor,
  type Digest,
  descriptorOf,
  emptyBytes,
  emptyDescriptor,
  Layout,
  mediaTypes,
  referrersTag,
} from "@stowage/layout";
import { beforeEach, describe, expect, it } from "vitest";
import { parseManifest } from "../src/model/manifest.js";
import { derive, type IndexBytes } from "../src/store/derive.js";
import { type Derived, DerivedIndex } from "../src/store/derived-index.js";
import type { LayoutIndex } from "../src/store/index-json.js";
import { Child } from "./child-process.js";
import {
  all,
  blobName,
  bytesOf,
  handMadeLayout,
  indexBytes,
  manifestBytes,
  named,
  pushReferrer,
  put,
  referrerBytes,
  temporaryDirectory,
} from "./support.js";

const NAME = ".stowage-index";
const SUBJECTS = 20;

let path: string;
let subjects: Descriptor[];
/** A referrer of the second subject whose blob is not there yet. */
let late: Uint8Array;

/** 20 images with three names each, 15 referrers of each, one inside an index, one that only a list names, one that is absent. */
beforeEach(async () => {
  path = await temporaryDirectory();
  const blobs: Uint8Array[] = [emptyBytes];
  const keep = (bytes: Uint8Array, mediaType: string): Descriptor => {
    blobs.push(bytes);
    return descriptorOf(bytes, mediaType);
  };
  const image = (at: number): Uint8Array =>
    manifestBytes({ config: emptyDescriptor, layers: [], annotations: { at: String(at) } });
  subjects = Array.from({ length: SUBJECTS }, (_, at) => keep(image(at), mediaTypes.manifest));
  const entries = subjects.flatMap((subject, at) => [
    named(subject, `v${at}`),
    named(subject, `example.com/app:w${at}`),
    named(subject, `localhost:5000/app:x${at}`),
    ...Array.from({ length: 15 }, (_, n) =>
      keep(referrerBytes(subject, "application/vnd.example", { n: String(n) }), mediaTypes.manifest),
    ),
  ]);
  const [first, second, third] = subjects as [Descriptor, Descriptor, Descriptor];
  const inside = keep(referrerBytes(first, "application/vnd.inside"), mediaTypes.manifest);
  entries.push(keep(indexBytes({ manifests: [inside] }), mediaTypes.index));
  const listed = keep(referrerBytes(third, "application/vnd.listed"), mediaTypes.manifest);
  entries.push(named(keep(indexBytes({ manifests: [listed] }), mediaTypes.index), `app:${referrersTag(third.digest)}`));
  late = referrerBytes(second, "application/vnd.late");
  entries.push(descriptorOf(late, mediaTypes.manifest));
  await handMadeLayout(path, { manifests: entries, annotations: { "com.example": "kept" } }, blobs);
});

/** Everything a reader can ask of the layout, as a new process would. */
async function answers(): Promise<unknown> {
  const layout = await Layout.open(path);
  const referrers = await Promise.all(subjects.map((subject) => all(layout.referrers(subject))));
  const tags = await all(layout.tags());
  const resolved = await Promise.all(
    [...tags, "w3", "x4", ...subjects.map(({ digest }) => digest)].map((one) => layout.resolve(one)),
  );
  const refused = await layout.resolve("nothing").catch((error: Error) => error.message);
  return { referrers, tags, resolved, refused };
}

/** The answers where nothing was derived. A directory in its place keeps the file from being written. */
async function answersWithout(): Promise<unknown> {
  await rm(join(path, NAME), { recursive: true, force: true });
  return answers();
}

const exists = (name: string): Promise<boolean> =>
  stat(join(path, name)).then(
    () => true,
    () => false,
  );

describe("the derived index of a large layout", () => {
  it("is made by the first search for referrers, and answers as index.json does", async () => {
    const layout = await Layout.open(path);
    expect(await exists(NAME)).toBe(false);
    const [first, , third] = subjects as [Descriptor, Descriptor, Descriptor];
    expect((await all(layout.referrers(first))).map(({ artifactType }) => artifactType)).toContain(
      "application/vnd.inside",
    );
    expect((await all(layout.referrers(third))).map(({ artifactType }) => artifactType)).toContain(
      "application/vnd.listed",
    );
    expect(await exists(NAME)).toBe(true);
    const derived = await answers();
    expect(derived).toEqual(await answersWithout());
    expect((derived as { referrers: Descriptor[][] }).referrers.map((found) => found.length)).toEqual(
      subjects.map((_, at) => (at === 0 || at === 2 ? 16 : 15)),
    );
  });

  it("is not made for a small one", async () => {
    const small = await temporaryDirectory();
    const layout = await Layout.create(small);
    await all(layout.referrers(subjects[0] as Descriptor));
    await expect(stat(join(small, NAME))).rejects.toThrow("ENOENT");
  });

  it("does not count once index.json is another one, whoever wrote it", async () => {
    const before = (await answers()) as { tags: string[] };
    const layout = await Layout.open(path);
    await pushReferrer(layout, subjects[5] as Descriptor, "application/vnd.new");
    await layout.tag("new", subjects[5] as Descriptor);
    await layout.untag("v7");
    const after = (await answers()) as { tags: string[]; referrers: Descriptor[][] };
    expect(after.tags.filter((tag) => !before.tags.includes(tag))).toEqual(["new"]);
    expect(before.tags.filter((tag) => !after.tags.includes(tag))).toEqual(["v7"]);
    expect(after.referrers[5]?.map(({ artifactType }) => artifactType)).toContain("application/vnd.new");
    expect(after).toEqual(await answersWithout());
    const index = JSON.parse(await readFile(join(path, "index.json"), "utf8")) as { manifests: Descriptor[] };
    await writeFile(join(path, "index.json"), JSON.stringify({ ...index, manifests: index.manifests.slice(0, 300) }));
    expect(await answers()).toEqual(await answersWithout());
  });

  it("finds a referrer whose blob arrives later, and not one whose blob is gone, without a change of index.json", async () => {
    const types = async (): Promise<(string | undefined)[]> =>
      (await all((await Layout.open(path)).referrers(subjects[1] as Descriptor))).map(
        ({ artifactType }) => artifactType,
      );
    expect(await types()).not.toContain("application/vnd.late");
    await put(path, blobName(descriptorOf(late, mediaTypes.manifest)), late);
    expect(await types()).toContain("application/vnd.late");
    await unlink(join(path, blobName(descriptorOf(late, mediaTypes.manifest))));
    expect(await types()).not.toContain("application/vnd.late");
  });

  it("does not count where a single byte of it is another", async () => {
    const right = await answers();
    const bytes = await readFile(join(path, NAME));
    for (let at = 0; at < 20; at++) {
      const damaged = Buffer.from(bytes);
      const place = Math.floor((at * (bytes.length - 1)) / 19);
      damaged[place] = (damaged[place] as number) ^ 1;
      await writeFile(join(path, NAME), damaged);
      const layout = await Layout.open(path);
      const subject = subjects[at % SUBJECTS] as Descriptor;
      expect(await all(layout.referrers(subject)), `byte ${place}`).toEqual(
        (right as { referrers: unknown[] }).referrers[at % SUBJECTS],
      );
    }
    // The search has put it right.
    expect(await readFile(join(path, NAME))).toEqual(bytes);
  });

  it.each<[string, () => Promise<void>]>([
    ["is empty", () => writeFile(join(path, NAME), "")],
    ["is cut off", async () => writeFile(join(path, NAME), (await readFile(join(path, NAME))).subarray(0, 5000))],
    [
      "is of another version",
      () => writeFile(join(path, NAME), "stowage-index 9\nand so on, who knows how, but for a while"),
    ],
    [
      "claims a head of four gigabytes",
      () => writeFile(join(path, NAME), `stowage-index 2\n\xff\xff\xff\xff${"x".repeat(99)}`),
    ],
    ["is a directory", () => mkdir(join(path, NAME))],
    ["is a symbolic link", () => symlink("/dev/zero", join(path, NAME))],
  ])("does no harm where it %s", async (_what, damage) => {
    const right = await answers();
    if (_what !== "is cut off") await rm(join(path, NAME));
    await damage();
    expect(await answers()).toEqual(right);
    expect(await answers()).toEqual(right);
  });

  it("is kept in memory where it cannot be written", async () => {
    await mkdir(join(path, NAME));
    const layout = await Layout.open(path);
    const right = await all(layout.referrers(subjects[4] as Descriptor));
    expect(right).toHaveLength(15);
    expect(await all(layout.referrers(subjects[4] as Descriptor))).toEqual(right);
    await layout.tag("again", subjects[4] as Descriptor);
    await pushReferrer(layout, subjects[4] as Descriptor, "application/vnd.new");
    expect(await all(layout.referrers(subjects[4] as Descriptor))).toHaveLength(16);
  });

  it("may be made by several at once, and leaves nothing else behind", async () => {
    const layouts = await Promise.all(Array.from({ length: 8 }, () => Layout.open(path)));
    const subject = subjects[3] as Descriptor;
    const found = await Promise.all(layouts.map((layout) => all(layout.referrers(subject))));
    for (const one of found) expect(one).toEqual(found[0]);
    expect(found[0]).toHaveLength(15);
    await expect(stat(join(path, NAME))).resolves.toBeDefined();
    const { readdir } = await import("node:fs/promises");
    expect(await readdir(join(path, "ingest"))).toEqual([]);
  });

  it("misleads none of several processes that change the layout and search it at once", {
    timeout: 120_000,
  }, async () => {
    const children = await Promise.all(
      Array.from({ length: 6 }, (_, at) => Child.start("search", path, String(at), "12")),
    );
    await Promise.all(children.map((child) => child.line("ready")));
    for (const child of children) child.send("go");
    await Promise.all(children.map((child) => child.end()));
    for (const child of children) expect(child.lines).toEqual(["ready", "done"]);
    const after = (await answers()) as { tags: string[]; referrers: Descriptor[][] };
    expect(after.tags).toHaveLength(3 * SUBJECTS + 6 * 12);
    expect(after.referrers.map((found) => found.length)).toEqual(
      subjects.map((_, at) => (at === 0 || at === 2 ? 16 : 15) + (at < 6 ? 12 : 0)),
    );
    expect(after).toEqual(await answersWithout());
  });

  it("lies beside a layout that others read: the bytes of index.json stay", async () => {
    const before = await readFile(join(path, "index.json"));
    await answers();
    expect(await readFile(join(path, "index.json"))).toEqual(before);
  });
});

/** An index with the bytes that it has in a file. */
function inFile(index: LayoutIndex): IndexBytes {
  return { index, bytes: Buffer.from(JSON.stringify(index)) };
}

describe("deriving", () => {
  it("reads only the manifests that are new", async () => {
    const layout = await Layout.open(path);
    let reads = 0;
    const read = async (descriptor: Descriptor) => {
      reads++;
      try {
        return parseManifest(await bytesOf(layout.fetch(descriptor)), descriptor.mediaType, descriptor.digest);
      } catch {
        return undefined;
      }
    };
    const first = await derive(inFile(await layout.index()), { origin: "" }, read);
    expect(reads).toBeGreaterThan(SUBJECTS * 16);
    await pushReferrer(layout, subjects[5] as Descriptor, "application/vnd.new");
    reads = 0;
    const now = inFile(await layout.index());
    const second = await derive(now, { origin: "", known: first?.subjects }, read);
    // The new one, and the one that is absent.
    expect(reads).toBe(2);
    expect(second).toEqual(await derive(now, { origin: "" }, read));
  });

  it("reads none where there are more to read than are wanted, and tells that nobody has looked at them", async () => {
    const { index, bytes } = inFile(await (await Layout.open(path)).index());
    const failing = async () => Promise.reject(new Error("read"));
    const found = (await derive({ index, bytes }, { origin: "", maximumReads: 10 }, failing)) as Derived;
    const derived = new DerivedIndex(found, async (at, length) => Buffer.from(bytes.subarray(at, at + length)));
    expect(derived.isSearched).toBe(false);
    expect((await derived.about("v3")).manifests).toEqual([named(subjects[3] as Descriptor, "v3")]);
  });

  it("tells digests apart that begin alike, whatever order they come in", async () => {
    const alike = [7, 3, 9, 3, 1].map((digit, at) =>
      named(
        { mediaType: mediaTypes.octetStream, digest: `sha256:aaaaaaaa${String(digit).repeat(56)}` as Digest, size: at },
        `n${at}`,
      ),
    );
    const { index, bytes } = inFile({ schemaVersion: 2, manifests: alike });
    const found = (await derive({ index, bytes }, { origin: "" }, async () => undefined)) as Derived;
    const derived = new DerivedIndex(found, async (at, length) => Buffer.from(bytes.subarray(at, at + length)));
    for (const entry of alike) {
      const same = alike.filter(({ digest }) => digest === entry.digest);
      expect((await derived.about(entry.digest)).manifests).toEqual(same);
    }
    expect((await derived.named()).manifests).toEqual(alike);
    expect((await derived.about(`sha256:${"a".repeat(64)}`)).manifests).toEqual([]);
  });

  it("gives up where a name has more colons than anybody uses", async () => {
    const layout = await Layout.open(path);
    const { manifests, ...index } = await layout.index();
    const odd = { ...index, manifests: [...manifests, named(subjects[0] as Descriptor, "a:".repeat(500))] };
    expect(await derive(inFile(odd), { origin: "" }, async () => undefined)).toBeUndefined();
  });
});
