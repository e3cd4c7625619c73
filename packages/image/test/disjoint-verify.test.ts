import { createHash } from "node:crypto";
import { gzipSync } from "node:zlib";
import { annotationKeys, digestOf, MemoryStore } from "@stowage/layout";
import { describe, expect, it } from "vitest";
import { type TarMember, tarOf } from "../../layout/test/tar.js";
import { OwnedPaths } from "../src/disjoint/owned-paths.js";
import { verifyDisjoint } from "../src/disjoint/verify.js";
import type { DisjointRule, Violation } from "../src/disjoint/violation.js";
import type { LayerProfile } from "../src/index.js";
import { above, type DeclaringLayer, disjointImage, owns, packageLayer } from "./disjoint-image.js";
import { directory, file, hardlink, symlink } from "./image-of.js";

async function violations(layers: readonly DeclaringLayer[]): Promise<readonly Violation[]> {
  const { store, descriptor } = await disjointImage(layers);
  return (await verifyDisjoint(store, descriptor)).violations;
}

/** The path of the hostile layer, which is the second one. */
const b = "nix/store/b";
const hostile = (...more: readonly TarMember[]): DeclaringLayer => packageLayer("b", more);
const pipe = (name: string): TarMember => ({ name, type: "6" });

describe("layers that keep to what they declare", () => {
  it("are accepted, and what they declare is reported", async () => {
    const { store, descriptor } = await disjointImage([
      packageLayer("a", [symlink("nix/store/a/link", "/etc/passwd"), hardlink("nix/store/a/hard", "nix/store/a/file")]),
      packageLayer("b", [], { [annotationKeys.disjointReadonly]: "true" }),
      { layer: [...above, file("nix/store/single", "x")], annotations: owns(["/nix/store/single"]) },
      { layer: [...above, symlink("nix/store/to-a", "a")], annotations: owns(["/nix/store/to-a"]) },
      { layer: [directory("./opt"), directory("./opt/x"), file("/top")], annotations: owns(["/opt/x", "/top"]) },
      { layer: [], annotations: owns([]) },
    ]);
    const report = await verifyDisjoint(store, descriptor);
    expect(report).toMatchObject({ descriptor: { digest: descriptor.digest }, disjoint: 6, violations: [], more: 0 });
    expect(report.layers[1]).toMatchObject({ paths: ["/nix/store/b"], readonly: true });
  });

  it("are accepted beside ordinary layers that stay away", async () => {
    const base = [
      directory("etc"),
      symlink("lib", "usr/lib"),
      directory("nix"),
      file("nix/other", "x"),
      symlink("s", "nix"),
    ];
    const top = [
      file("etc/.wh.gone"),
      file("lib/a", "x"),
      file("nix/.wh.other"),
      hardlink("h", "etc/x"),
      file("s/y", "x"),
    ];
    expect(await violations([{ layer: base }, packageLayer("a"), { layer: top }, packageLayer("b")])).toEqual([]);
  });
});

describe("a layer that breaks a rule is refused, and the layer and the entry are named:", () => {
  it.each<[what: string, rule: DisjointRule, entry: string | undefined, problem: RegExp, layer: DeclaringLayer]>([
    ["an entry outside", "V2", "/etc/passwd", /none of the paths/, hostile(directory("etc"), file("etc/passwd", "x"))],
    [
      "an entry of another layer",
      "V2",
      "/nix/store/a/x",
      /but of layer 1 \(sha256:/,
      hostile(directory("nix/store/a"), file("nix/store/a/x")),
    ],
    [
      "a path that only begins the same",
      "V2",
      "/nix/store/bc",
      /none of the paths/,
      hostile(file("nix/store/bc", "x")),
    ],
    ["a whiteout", "V3", undefined, /\.wh\.file.*whiteout/, hostile(file(`${b}/.wh.file`))],
    ["a whiteout beside", "V3", undefined, /\.wh\.a.*whiteout/, hostile(file("nix/store/.wh.a"))],
    ["an opaque directory", "V3", undefined, /whiteout/, hostile(file("nix/store/.wh..wh..opq"))],
    ["something below a whiteout", "V3", undefined, /whiteout/, hostile(file(`${b}/.wh.x/y`))],
    ["an entry twice", "V3", `/${b}/file`, /twice/, hostile(file(`${b}/file`, "other"))],
    ["a directory twice", "V3", `/${b}`, /twice/, hostile(directory(b, { mode: 0o777 }))],
    ["a name with ..", "V3", undefined, /shortest form/, hostile(file(`${b}/../a/file`, "x"))],
    ["a name with .", "V3", undefined, /shortest form/, hostile(file(`${b}/./x`, "x"))],
    ["a name with an empty part", "V3", undefined, /shortest form/, hostile(file(`${b}//x`, "x"))],
    ["an absolute name of another root", "V3", undefined, /shortest form/, hostile(file(`//${b}/x`, "x"))],
    ["a device", "V3", `/${b}/null`, /character-device/, hostile({ name: `${b}/null`, type: "3", device: [1, 3] })],
    ["a FIFO", "V3", `/${b}/pipe`, /fifo/, hostile(pipe(`${b}/pipe`))],
    ["an unknown kind", "V3", `/${b}/odd`, /not known/, hostile({ name: `${b}/odd`, type: "V" })],
    [
      "a write through a link",
      "V4",
      `/${b}/out/x`,
      /symlink and no directory/,
      hostile(symlink(`${b}/out`, "/etc"), file(`${b}/out/x`, "x")),
    ],
    ["a parent that is a file", "V4", `/${b}/file/x`, /file and no directory/, hostile(file(`${b}/file/x`, "x"))],
    ["a parent without an entry", "V4", `/${b}/d/x`, /no entry before/, hostile(file(`${b}/d/x`, "x"))],
    [
      "a parent that comes late",
      "V4",
      `/${b}/d/x`,
      /no entry before/,
      hostile(file(`${b}/d/x`, "x"), directory(`${b}/d`)),
    ],
    ["a hard link out", "V4", `/${b}/h`, /same declared path/, hostile(hardlink(`${b}/h`, "nix/store/a/file"))],
    ["a hard link to the host", "V4", `/${b}/h`, /same declared path/, hostile(hardlink(`${b}/h`, "/etc/shadow"))],
    ["a hard link upwards", "V3", `/${b}/h`, /shortest form/, hostile(hardlink(`${b}/h`, `${b}/../a/file`))],
    [
      "a hard link to what comes later",
      "V4",
      `/${b}/h`,
      /no file before/,
      hostile(hardlink(`${b}/h`, `${b}/z`), file(`${b}/z`)),
    ],
    ["a hard link to itself", "V4", `/${b}/h`, /no file before/, hostile(hardlink(`${b}/h`, `${b}/h`))],
    ["a hard link to a directory", "V4", `/${b}/h`, /no file before/, hostile(hardlink(`${b}/h`, b))],
    [
      "a parent with another mode",
      "V2",
      "/nix/store",
      /mode 01777, which is 0755 in layer 1/,
      {
        layer: [directory("nix"), directory("nix/store", { mode: 0o1777 }), directory(b)],
        annotations: owns([`/${b}`]),
      },
    ],
    [
      "a parent with another time",
      "V2",
      "/nix",
      /time 5, which is 0/,
      { layer: [directory("nix", { mtime: 5 }), directory("nix/store"), directory(b)], annotations: owns([`/${b}`]) },
    ],
    [
      "a parent of somebody else",
      "V2",
      "/nix",
      /belongs to 7:0/,
      { layer: [directory("nix", { uid: 7 }), directory("nix/store"), directory(b)], annotations: owns([`/${b}`]) },
    ],
    [
      "a parent with extended attributes",
      "V2",
      "/nix",
      /extended attributes/,
      {
        layer: [directory("nix", { pax: { "SCHILY.xattr.user.x": "1" } }), directory("nix/store"), directory(b)],
        annotations: owns([`/${b}`]),
      },
    ],
    [
      "a parent that is a link",
      "V2",
      "/nix/store",
      /symlink, and declared paths are below/,
      { layer: [directory("nix"), symlink("nix/store", "/tmp"), directory(b)], annotations: owns([`/${b}`]) },
    ],
    [
      "a declared path that is missing",
      "V5",
      "/nix/store/b",
      /no entry for it/,
      { layer: above, annotations: owns([`/${b}`]) },
    ],
    ["a root that is a file", "V2", "/", /file, and declared paths are below/, hostile(file("./", "x", { name: "." }))],
  ])("%s", async (_what, rule, entry, problem, layer) => {
    const found = await violations([packageLayer("a"), layer]);
    const named = found.find((violation) => violation.rule === rule && violation.entry === entry);
    expect(found.map(({ layer: { number } }) => number)).toEqual(found.map(() => 2));
    expect(`${found.map(({ rule: broken, entry: at, problem: text }) => `${broken} ${at} ${text}`)}`).toMatch(problem);
    expect(named).toBeDefined();
  });

  it("all violations are listed, not only the first", async () => {
    const found = await violations([hostile(file("etc/x"), pipe(`${b}/p`)), packageLayer("b")]);
    expect(found.map(({ rule }) => rule).sort()).toEqual(["V1", "V2", "V3", "V4"]);
  });

  it("of thousands the first are listed and all are counted", async () => {
    const many = Array.from({ length: 1500 }, (_, at) => file(`out${at}`));
    const { store, descriptor } = await disjointImage([packageLayer("a", many)]);
    const report = await verifyDisjoint(store, descriptor);
    expect([report.violations.length, report.more]).toEqual([1000, 500]);
  });

  it("a layer that is cut off is a violation, one with other bytes a failure", async () => {
    const tar = tarOf([...above, directory(b)]);
    const cut = tar.subarray(0, 700);
    const broken = { layer: { bytes: gzipSync(cut), tar: cut }, annotations: owns([`/${b}`]) };
    expect(await violations([broken])).toMatchObject([
      { rule: "V3", problem: expect.stringContaining("ends too early") },
    ]);
    const lying = { layer: { bytes: gzipSync(tar), tar: cut }, annotations: owns([`/${b}`]) };
    await expect(violations([lying])).rejects.toMatchObject({ code: "MISMATCH" });
  });
});

describe("what is declared must be true between layers", () => {
  it.each([
    ["the same path", ["/x"], ["/x"], /declares the same/],
    ["a path below another", ["/x"], ["/x/y"], /declares \/x$/],
    ["a path above another", ["/x/y/z"], ["/x"], /declares \/x$/],
  ])("%s in two layers names both", async (_what, one, other, problem) => {
    const found = (
      await violations([
        { layer: [], annotations: owns(one) },
        { layer: [], annotations: owns(other) },
      ])
    ).filter(({ rule }) => rule === "V1");
    expect(found).toMatchObject([{ other: {}, problem: expect.stringMatching(/layer \d \(sha256:/) }]);
    expect(found[0]?.problem).toMatch(problem);
    expect(new Set([found[0]?.layer.number, found[0]?.other?.number])).toEqual(new Set([1, 2]));
  });

  it("a path that begins another as a text only is no conflict", async () => {
    const layers = ["/x", "/xy", "/x-y", "/x.y"].map((path) => ({
      layer: [directory(path.slice(1))],
      annotations: owns([path]),
    }));
    expect(await violations(layers)).toEqual([]);
  });

  it.each([
    ["no JSON", "/x", /JSON/],
    ["no array", '{"/x":1}', /not an array/],
    ["no strings", "[1]", /not a string/],
    ["a relative path", '["x"]', /not absolute/],
    ["the root", '["/"]', /root/],
    ["a slash at the end", '["/x/"]', /shortest form/],
    ["..", '["/x/../y"]', /shortest form/],
    ["two in the wrong order", '["/y","/x"]', /out of order/],
    ["one twice", '["/x","/x"]', /twice/],
    ["a whiteout", '["/.wh.x"]', /whiteout/],
    ["half a character", '["/\\udcff"]', /Unicode/],
    ["a path that is too long", JSON.stringify([`/${"x".repeat(5000)}`]), /longer/],
  ])("a declaration with %s is refused", async (_what, text, problem) => {
    const [violation] = await violations([{ layer: [], annotations: { [annotationKeys.disjointPaths]: text } }]);
    expect(violation).toMatchObject({ rule: "V1", layer: { number: 1 }, problem: expect.stringMatching(problem) });
  });

  it("a flag without paths, and one that is neither true nor false, are refused", async () => {
    const flag = { [annotationKeys.disjointReadonly]: "yes" };
    expect(await violations([{ layer: [], annotations: flag }])).toMatchObject([{ rule: "V1" }]);
    expect(await violations([{ layer: [], annotations: owns([], flag) }])).toMatchObject([{ rule: "V1" }]);
  });
});

describe("an ordinary layer may not touch what another owns:", () => {
  const at = "nix/store/a";
  it.each<[what: string, members: readonly TarMember[], entry: string]>([
    ["a file in it", [file(`${at}/evil`, "x")], "/nix/store/a/evil"],
    ["another in its place", [symlink(at, "/tmp")], "/nix/store/a"],
    ["the same directory", [directory(at, { mode: 0o555 })], "/nix/store/a"],
    ["a whiteout of it", [file("nix/store/.wh.a")], "/nix/store/a"],
    ["a whiteout of something in it", [file(`${at}/.wh.file`)], "/nix/store/a/file"],
    ["a whiteout above it", [file(".wh.nix")], "/nix"],
    ["an opaque directory above it", [file("nix/.wh..wh..opq")], "/nix"],
    ["an opaque root", [file(".wh..wh..opq")], "/"],
    ["a link above it", [symlink("nix", "/tmp")], "/nix"],
    ["a parent with another mode", [directory("nix", { mode: 0o700 })], "/nix"],
    ["a write through a link", [symlink("l", "nix/store"), file("l/a/evil", "x")], "/nix/store/a"],
    ["a write through two links", [symlink("l", "m"), symlink("m", `/${at}`), file("l/evil", "x")], "/nix/store/a"],
    ["a way through it and up", [symlink("l", `${at}/..`), file("l/b", "x")], "/nix/store/a"],
    ["a hard link to it", [hardlink("h", `${at}/file`)], "/h"],
    ["a hard link through a link", [symlink("l", "nix/store"), hardlink("h", "l/a/file")], "/h"],
    ["an opaque directory through a link", [symlink("l", "nix"), file("l/.wh..wh..opq")], "/nix"],
  ])("%s", async (_what, members, entry) => {
    for (const layers of [
      [packageLayer("a"), { layer: members }],
      [{ layer: members }, packageLayer("a")],
    ]) {
      const found = await violations(layers);
      expect(found).toMatchObject([{ rule: "V7", entry, layer: { digest: expect.stringMatching(/^sha256:/) } }]);
    }
  });
});

describe("members of a layer that was put together from others", () => {
  const tars = (name: string): Buffer =>
    tarOf([directory(`nix/store/${name}`), file(`nix/store/${name}/f`, name)]).subarray(0, -1024);
  const head = gzipSync(tarOf(above).subarray(0, -1024));
  const tail = gzipSync(Buffer.alloc(1024));
  const parts = ["a", "b"].map((name) => ({ name, bytes: gzipSync(tars(name)) }));
  const tar = Buffer.concat([tarOf(above).subarray(0, -1024), tars("a"), tars("b"), Buffer.alloc(1024)]);
  const bytes = Buffer.concat([head, ...parts.map((part) => part.bytes), tail]);
  const members = parts.map(({ name, bytes: own }, at) => ({
    path: `/nix/store/${name}`,
    offset: head.length + (at === 0 ? 0 : (parts[0]?.bytes.length as number)),
    size: own.length,
    digest: digestOf(own),
    layer: digestOf(Buffer.concat([head, own, tail])),
  }));
  const image = (list: readonly object[]): Promise<readonly Violation[]> =>
    violations([
      {
        layer: { bytes, tar },
        annotations: owns(["/nix/store/a", "/nix/store/b"], { [annotationKeys.disjointMembers]: JSON.stringify(list) }),
      },
    ]);

  it("are accepted where each gives the layer that is named", async () => {
    expect(await image(members)).toEqual([]);
  });

  it.each<[what: string, change: (list: typeof members) => readonly object[], problem: RegExp]>([
    ["another digest", ([one, two]) => [{ ...one, digest: digestOf("x") }, two as object], /with the digest/],
    ["another layer", ([one, two]) => [{ ...one, layer: digestOf("x") }, two as object], /gives the layer/],
    [
      "paths the other way round",
      ([one, two]) => [
        { ...one, path: two?.path },
        { ...two, path: one?.path },
      ],
      /has the entry/,
    ],
    ["a gap", ([one, two]) => [{ ...one, size: (one?.size as number) - 1 }, two as object], /belong to none/],
    ["one missing", ([one]) => [one as object], /no member for/],
    ["one twice", ([one]) => [one as object, one as object], /two members/],
    ["an overlap", ([one, two]) => [one as object, { ...two, offset: 3 }], /no place behind/],
    ["one beyond the end", ([one, two]) => [one as object, { ...two, size: 10 ** 6 }], /beyond its end/],
    ["a path that is not declared", ([one, two]) => [{ ...one, path: "/x" }, two as object], /does not declare/],
    ["no numbers", ([one, two]) => [{ ...one, offset: "0" }, two as object], /no place/],
    ["no digest", ([one, two]) => [{ ...one, digest: "x" }, two as object], /lacks a digest/],
  ])("are refused with %s", async (_what, change, problem) => {
    expect(JSON.stringify(await image(change(members)))).toMatch(problem);
  });
});

it("a profile sees every entry and byte of the layers it is for, and what it reports is a violation (V6)", async () => {
  const digests: string[] = [];
  const profile: LayerProfile = {
    check: (layer) => {
      if (!layer.declaration.paths.includes("/nix/store/b")) return undefined;
      const hash = createHash("sha256");
      return {
        entry: ({ name }) => void hash.update(name),
        data: (chunk) => void hash.update(chunk),
        end: () => {
          digests.push(hash.digest("hex"));
          layer.report("is not signed", "/nix/store/b");
        },
      };
    },
  };
  const { store, descriptor } = await disjointImage([packageLayer("a"), packageLayer("b")]);
  const { violations: found } = await verifyDisjoint(store, descriptor, { profiles: [profile] });
  expect(found).toMatchObject([{ rule: "V6", layer: { number: 2 }, entry: "/nix/store/b", problem: "is not signed" }]);
  expect(digests).toEqual([createHash("sha256").update("nix/nix/store/nix/store/b/nix/store/b/fileb\n").digest("hex")]);
});

it("a hundred thousand layers with a path each, and one with as many, are compared at once", () => {
  const name = (number: number) => ({ number, digest: digestOf(String(number)) });
  const owners = Array.from({ length: 100_000 }, (_, at) => ({
    layer: name(at),
    paths: [`/nix/store/${"x".repeat(at % 7)}${at}/deep/er`],
  }));
  const found: Violation[] = [];
  const owned = new OwnedPaths(owners, (violation) => found.push(violation));
  expect(found).toEqual([]);
  expect(owners.every(({ layer, paths }) => owned.find(`${paths[0]}/file`)?.owner.layer === layer)).toBe(true);
  new OwnedPaths(
    [{ layer: name(0), paths: owners.flatMap(({ paths }) => paths) }, ...owners.slice(0, 5000)],
    (violation) => found.push(violation),
  );
  expect(found).toHaveLength(5000);
}, 30_000);

it("an image without a declaration has none, and nothing is wrong with that", async () => {
  const { store, descriptor } = await disjointImage([{ layer: [file("x")] }]);
  expect(store).toBeInstanceOf(MemoryStore);
  expect(await verifyDisjoint(store, descriptor)).toMatchObject({ disjoint: 0, violations: [] });
});
