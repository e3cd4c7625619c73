import { readFile, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { descriptorOf, Layout, type LayoutIndex, type Layout as LayoutType, mediaTypes } from "@stowage/layout";
import { describe, expect, it } from "vitest";
import {
  all,
  failure,
  handMadeLayout,
  manifestBytes,
  named,
  pushImage,
  REF_NAME,
  temporaryDirectory,
  utf8,
} from "./support.js";

const config = descriptorOf(utf8("{}"), mediaTypes.config);
const [a, b, c] = ["a", "b", "c"].map((text) => manifestBytes({ config, layers: [], annotations: { text } })) as [
  Uint8Array,
  Uint8Array,
  Uint8Array,
];
const [A, B, C] = [a, b, c].map((bytes) => descriptorOf(bytes, mediaTypes.manifest)) as [
  ReturnType<typeof descriptorOf>,
  ReturnType<typeof descriptorOf>,
  ReturnType<typeof descriptorOf>,
];

async function layoutWith(index: Record<string, unknown> | string): Promise<LayoutType> {
  const path = await temporaryDirectory();
  await handMadeLayout(path, index, [a, b, c]);
  return Layout.open(path);
}

async function onDisk(layout: LayoutType): Promise<LayoutIndex> {
  return JSON.parse(await readFile(join(layout.path, "index.json"), "utf8")) as LayoutIndex;
}

const names = (index: LayoutIndex): (string | undefined)[] =>
  index.manifests.map((entry) => entry.annotations?.[REF_NAME]);

describe("what index.json may hold", () => {
  it("null for manifests reads as empty, and is an array after the next change", async () => {
    const layout = await layoutWith({ manifests: null });
    expect(await all(layout.tags())).toEqual([]);
    await layout.tag("v1", A);
    expect((await onDisk(layout)).manifests).toEqual([named(A, "v1")]);
  });

  it("entries of types nobody knows, digests of algorithms nobody knows, and indexes", async () => {
    const entries = [
      named({ ...A, mediaType: "application/xml" }, "xml"),
      { mediaType: "application/x", digest: "other:abc", size: 3 },
      { ...B, platform: { os: "linux", architecture: "amd64" }, "com.example": [1] },
    ];
    const layout = await layoutWith({ manifests: entries });
    expect((await layout.resolve("xml")).mediaType).toBe("application/xml");
    expect((await layout.index()).manifests).toEqual(entries);
  });

  it.each<[string, Record<string, unknown> | string]>([
    ["schemaVersion 1", { schemaVersion: 1, manifests: [] }],
    ["no manifests", {}],
    ["manifests that are an object", { manifests: {} }],
    ["Manifests in the wrong case", { Manifests: [] }],
    ["layers too", { manifests: [], layers: [] }],
    ["a path in place of a digest", { manifests: [{ ...A, digest: "sha256:../../../../etc/passwd" }] }],
    ["a negative size", { manifests: [{ ...A, size: -1 }] }],
    ["a huge size", { manifests: [{ ...A, size: 1e300 }] }],
    ["an entry that is null", { manifests: [null] }],
    ["annotations that are numbers", { manifests: [], annotations: { a: 1 } }],
    ["annotations of an entry that are numbers", { manifests: [{ ...A, annotations: { [REF_NAME]: 1 } }] }],
    ["an array", "[]"],
    ["a name twice", '{"schemaVersion":2,"manifests":[],"manifests":[]}'],
    ["a byte order mark", '\ufeff{"schemaVersion":2,"manifests":[]}'],
    ["something behind it", '{"schemaVersion":2,"manifests":[]}]'],
    ["200000 nested arrays", `{"schemaVersion":2,"manifests":${"[".repeat(200_000)}`],
  ])("not %s: INVALID", async (_what, index) => {
    await failure(layoutWith(index), "INVALID");
  });

  it("not half of it: INVALID", async () => {
    const text = JSON.stringify({ schemaVersion: 2, manifests: [named(A, "v1")] });
    await failure(layoutWith(text.slice(0, text.length / 2)), "INVALID");
    await failure(layoutWith(""), "INVALID");
  });
});

describe("index.json that another tool writes in place", () => {
  const text = (name: string): string => JSON.stringify({ schemaVersion: 2, manifests: [named(A, name)] });

  it("is read whole though it was half written at first", async () => {
    const layout = await layoutWith({ manifests: [] });
    const path = join(layout.path, "index.json");
    await writeFile(path, text("v1").slice(0, 60));
    const reading = layout.resolve("v1");
    await new Promise((resolve) => setTimeout(resolve, 15));
    await writeFile(path, text("v1"));
    expect((await reading).digest).toBe(A.digest);
  });

  it("is read as it is at that moment, also where it changed twice in the same tick without changing its size", async () => {
    const layout = await layoutWith({ manifests: [] });
    const path = join(layout.path, "index.json");
    for (let round = 0; round < 200; round++) {
      for (const name of [`a${round % 10}`, `b${round % 10}`]) {
        await writeFile(path, text(name));
        expect(names(await layout.index())).toEqual([name]);
      }
    }
  });

  it("loses nothing to a change of ours that comes right after it", async () => {
    const layout = await layoutWith({ manifests: [] });
    const path = join(layout.path, "index.json");
    for (let round = 0; round < 50; round++) {
      await writeFile(path, text(`a${round % 10}`));
      await layout.index();
      await writeFile(path, text(`b${round % 10}`));
      await layout.tag("ours", B);
      expect(names(await onDisk(layout))).toEqual([`b${round % 10}`, "ours"]);
    }
  });
});

describe("a change of index.json", () => {
  it("keeps members, annotations and fields of entries that nobody here knows, and __proto__ as a name", async () => {
    const text = `{"schemaVersion":2,"annotations":{"org.olareg.history":"[1]","__proto__":"x"},"org.olareg":{"a":[1.5,null]},
      "manifests":[{"mediaType":"${mediaTypes.manifest}","digest":"${A.digest}","size":${A.size},"com.example":{"x":1}}]}`;
    const layout = await layoutWith(text);
    await layout.tag("v1", B);
    const written = await readFile(join(layout.path, "index.json"), "utf8");
    expect(JSON.parse(written)).toEqual({
      ...JSON.parse(text),
      manifests: [named(B, "v1"), { ...A, "com.example": { x: 1 } }],
    });
    expect(written).toContain('"__proto__":"x"');
  });

  it("leaves the order of the entries that others wrote", async () => {
    const layout = await layoutWith({ manifests: [named(A, "z"), B, named(C, "m"), named(A, "b")] });
    await layout.tag("c", B);
    const after = names(await onDisk(layout));
    expect(after.filter((name) => name !== "c")).toEqual(["z", undefined, "m", "b"]);
  });

  it("sorts what only we wrote, whatever came first", async () => {
    const orders = [
      ["v1", "v10", "v2", "B", "a"],
      ["a", "B", "v2", "v10", "v1"],
    ];
    const texts: string[] = [];
    for (const order of orders) {
      const layout = await layoutWith({ manifests: [] });
      for (const name of order) await layout.tag(name, A);
      texts.push(await readFile(join(layout.path, "index.json"), "utf8"));
    }
    expect(texts[0]).toBe(texts[1]);
    expect(names(JSON.parse(texts[0] as string))).toEqual(["B", "a", "v1", "v10", "v2"]);
  });

  it("that is none leaves the file alone", async () => {
    const layout = await layoutWith({ manifests: [named(A, "v1")] });
    const before = await stat(join(layout.path, "index.json"), { bigint: true });
    await layout.update((index) => index);
    await layout.tag("v1", A);
    expect(await stat(join(layout.path, "index.json"), { bigint: true })).toMatchObject({
      ino: before.ino,
      ctimeNs: before.ctimeNs,
    });
  });

  it("that fails leaves the file alone, and those beside it go through", async () => {
    const layout = await layoutWith({ manifests: [] });
    const results = await Promise.allSettled([
      layout.tag("v1", A),
      layout.update(() => {
        throw new RangeError("no");
      }),
      layout.tag("v2", B),
    ]);
    expect(results.map(({ status }) => status)).toEqual(["fulfilled", "rejected", "fulfilled"]);
    expect((results[1] as PromiseRejectedResult).reason).toBeInstanceOf(RangeError);
    expect(names(await onDisk(layout))).toEqual(["v1", "v2"]);
  });

  it.each<[string, unknown]>([
    ["undefined", undefined],
    ["null", null],
    ["an index without manifests", { schemaVersion: 2 }],
    ["an entry with a path for a digest", { schemaVersion: 2, manifests: [{ ...A, digest: "sha256:../x" }] }],
  ])("to something that could not be read again, %s, is INVALID and leaves the file alone", async (_what, value) => {
    const layout = await layoutWith({ manifests: [named(A, "v1")] });
    await failure(
      layout.update(() => value as LayoutIndex),
      "INVALID",
    );
    expect(await all((await Layout.open(layout.path)).tags())).toEqual(["v1"]);
  });

  it("may take its time; others wait for it and see what it made", async () => {
    const layout = await layoutWith({ manifests: [] });
    const slow = layout.update(async (index) => {
      await new Promise((resolve) => setTimeout(resolve, 50));
      return { ...index, manifests: [named(A, "slow")] };
    });
    const other = await Layout.open(layout.path);
    await other.tag("quick", B);
    expect(names(await slow)).toEqual(["slow"]);
    expect(names(await onDisk(layout))).toEqual(["quick", "slow"]);
  });
});

describe("a name in index.json", () => {
  const alpine = "docker.io/library/alpine:3";

  it("that is a full image name is found by it and by its tag, and listed whole", async () => {
    const layout = await layoutWith({ manifests: [named(A, alpine)] });
    expect((await layout.resolve(alpine)).digest).toBe(A.digest);
    expect((await layout.resolve("3")).digest).toBe(A.digest);
    expect(await all(layout.tags())).toEqual([alpine]);
    await failure(layout.resolve("alpine"), "NOT_FOUND");
    await failure(layout.resolve("library/alpine:3"), "NOT_FOUND");
  });

  it("that looks like a digest of an algorithm nobody knows is found as the name it is", async () => {
    const layout = await layoutWith({ manifests: [named(A, "alpine:3"), { ...B, digest: "other:abc" }] });
    expect((await layout.resolve("alpine:3")).digest).toBe(A.digest);
    expect((await layout.resolve("3")).digest).toBe(A.digest);
    expect((await layout.resolve("other:abc")).digest).toBe("other:abc");
    await layout.tag("alpine:3", C);
    expect((await layout.resolve("alpine:3")).digest).toBe(C.digest);
    await layout.untag("alpine:3");
    await failure(layout.resolve("alpine:3"), "NOT_FOUND");
  });

  it("counts exactly before it counts as the tag of a full name", async () => {
    const layout = await layoutWith({ manifests: [named(A, alpine), named(B, "3")] });
    expect((await layout.resolve("3")).digest).toBe(B.digest);
    await layout.untag("3");
    expect((await layout.resolve("3")).digest).toBe(A.digest);
    await layout.untag("3");
    expect((await onDisk(layout)).manifests).toEqual([]);
  });

  it("that stands for two manifests is a CONFLICT that names both, and one digest twice is none", async () => {
    const layout = await layoutWith({
      manifests: [named(A, "x/y:1"), named(B, "z:1"), named(C, "v"), named(C, "v"), named(A, "w"), named(B, "w")],
    });
    for (const name of ["1", "w"]) {
      const error = await failure(layout.resolve(name), "CONFLICT");
      expect(error.message).toContain(A.digest);
      expect(error.message).toContain(B.digest);
    }
    expect((await layout.resolve("v")).digest).toBe(C.digest);
    expect(await all(layout.tags())).toEqual(["v", "w", "x/y:1", "z:1"]);
  });

  it("that stood for two manifests stands for one after it is set", async () => {
    const layout = await layoutWith({ manifests: [named(A, "w"), named(B, "w"), C] });
    await layout.tag("w", B);
    expect((await layout.resolve("w")).digest).toBe(B.digest);
    expect((await onDisk(layout)).manifests).toEqual([named(B, "w"), C]);
  });

  it("is set beside the other names of the same digest, and keeps no other annotation of olareg", async () => {
    const layout = await layoutWith({ manifests: [named(A, "one"), A] });
    await layout.tag("two", { ...named(A, "one"), data: "AAAA" });
    const { manifests } = await onDisk(layout);
    expect(manifests).toEqual([named(A, "one"), named(A, "two"), A]);
    expect(await all(layout.tags())).toEqual(["one", "two"]);
  });

  it("that only carries a list of referrers is no tag", async () => {
    const list = `sha256-${A.digest.slice(7)}`;
    const layout = await layoutWith({ manifests: [named(A, "v1"), named(B, list), named(C, `repo:${list}`)] });
    expect(await all(layout.tags())).toEqual(["v1"]);
  });
});

it("a change of a layout whose index was written by us and pushed images keeps every tag", async () => {
  const layout = await layoutWith({ manifests: [] });
  for (let count = 0; count < 20; count++)
    await layout.tag(`t${count}`, await pushImage(layout, { layers: [`layer ${count}`] }));
  expect(await all(layout.tags())).toHaveLength(20);
});
