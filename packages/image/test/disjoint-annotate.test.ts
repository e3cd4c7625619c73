import { annotationKeys, type Descriptor, MemoryStore, readManifest } from "@stowage/layout";
import { describe, expect, it } from "vitest";
import { pushReferrer } from "../../layout/test/support.js";
import type { TarMember } from "../../layout/test/tar.js";
import { type AnnotateDisjointOptions, type AnnotateReport, annotateDisjoint } from "../src/disjoint/annotate.js";
import { verifyDisjoint } from "../src/disjoint/verify.js";
import { above, type DeclaringLayer, disjointImage, owns, packageLayer } from "./disjoint-image.js";
import { directory, file, hardlink, symlink } from "./image-of.js";

interface Annotated {
  readonly target: MemoryStore;
  readonly report: AnnotateReport;
  /** What each layer declares now. */
  readonly paths: readonly (readonly string[] | undefined)[];
  /** Why it declares nothing. */
  readonly reasons: readonly (string | undefined)[];
  readonly layers: readonly Descriptor[];
}

async function annotated(layers: readonly DeclaringLayer[], options: AnnotateDisjointOptions = {}): Promise<Annotated> {
  const { store, descriptor } = await disjointImage(layers);
  const target = new MemoryStore();
  const report = await annotateDisjoint(store, target, descriptor, options);
  const { manifest } = await readManifest(target, report.descriptor);
  const written = manifest.kind === "image" ? manifest.layers : [];
  return {
    target,
    report,
    paths: written.map(({ annotations = {} }) => {
      const text = annotations[annotationKeys.disjointPaths];
      return text === undefined ? undefined : JSON.parse(text);
    }),
    reasons: report.derived[0]?.layers.map(({ reason }) => reason) ?? [],
    layers: written,
  };
}

const plain = (members: readonly TarMember[]): DeclaringLayer => ({ layer: members });
const bare = (name: string, more: readonly TarMember[] = []): DeclaringLayer =>
  plain(packageLayer(name, more).layer as TarMember[]);

describe("what a layer alone has, it declares:", () => {
  it("a store path each", async () => {
    const { paths, report, target, layers } = await annotated([bare("b"), bare("a"), bare("bc")]);
    expect(paths).toEqual([["/nix/store/b"], ["/nix/store/a"], ["/nix/store/bc"]]);
    expect(await verifyDisjoint(target, report.descriptor)).toMatchObject({ disjoint: 3, violations: [] });
    expect(report.before.digest).not.toBe(report.descriptor.digest);
    expect(layers[0]?.annotations).not.toHaveProperty([annotationKeys.disjointReadonly]);
    const { manifest } = await readManifest(target, report.descriptor);
    expect(manifest.annotations).toMatchObject({ [annotationKeys.disjointVersion]: "1" });
  });

  it("the topmost of packages of any language", async () => {
    const node = [directory("app"), directory("app/node_modules")];
    const python = ["usr", "usr/lib", "usr/lib/python3", "usr/lib/python3/site-packages"].map((name) =>
      directory(name),
    );
    const spack = ["opt", "opt/spack", "opt/spack/linux-x86_64", "opt/spack/linux-x86_64/gcc-12"].map((name) =>
      directory(name),
    );
    const { paths } = await annotated([
      plain([...node, directory("app/node_modules/a"), file("app/node_modules/a/index.js", "1")]),
      plain([...node, directory("app/node_modules/@x"), directory("app/node_modules/@x/b")]),
      plain([...python, directory("usr/lib/python3/site-packages/six"), file("usr/lib/python3/site-packages/six.py")]),
      plain([...python, directory("usr/lib/python3/site-packages/yaml")]),
      plain([...spack, directory("opt/spack/linux-x86_64/gcc-12/zlib-1.3-abc")]),
      plain([...spack, directory("opt/spack/linux-x86_64/gcc-12/gcc-12-def")]),
      plain([directory("gnu"), directory("gnu/store"), directory("gnu/store/x-hello")]),
      plain([]),
    ]);
    expect(paths).toEqual([
      ["/app/node_modules/a"],
      ["/app/node_modules/@x"],
      ["/usr/lib/python3/site-packages/six", "/usr/lib/python3/site-packages/six.py"],
      ["/usr/lib/python3/site-packages/yaml"],
      ["/opt/spack/linux-x86_64/gcc-12/zlib-1.3-abc"],
      ["/opt/spack/linux-x86_64/gcc-12/gcc-12-def"],
      ["/gnu"],
      [],
    ]);
  });

  it("one by one below a directory that is to belong to nobody", async () => {
    const layer = plain([...above, directory("nix/store/a"), directory("nix/store/b"), directory("bin")]);
    expect((await annotated([layer])).paths).toEqual([["/bin", "/nix"]]);
    const { paths } = await annotated([layer], { below: ["/nix/store"] });
    expect(paths).toEqual([["/bin", "/nix/store/a", "/nix/store/b"]]);
    await expect(annotated([layer], { below: ["nix"] })).rejects.toMatchObject({ code: "INVALID" });
  });

  it("and that it is not to be changed, where that is asked for", async () => {
    const { layers } = await annotated([bare("a")], { readonly: true });
    expect(layers[0]?.annotations).toMatchObject({ [annotationKeys.disjointReadonly]: "true" });
  });

  it("nothing is changed where it says so already", async () => {
    const { report } = await annotated([bare("a"), bare("b")], { readonly: true });
    const first = await annotated([bare("a"), bare("b")], { readonly: true });
    const again = await annotateDisjoint(first.target, new MemoryStore(), first.report.descriptor);
    expect(again.descriptor.digest).toBe(report.descriptor.digest);
    expect(again.images).toEqual([]);
  });

  it("instead of what it said before, where that is not true", async () => {
    const { paths, layers } = await annotated([
      { ...bare("a"), annotations: { ...owns(["/nix"]), "org.example.kept": "1" } },
      { ...plain([file(".wh.x")]), annotations: owns(["/x"]) },
    ]);
    expect(paths).toEqual([["/nix"], undefined]);
    expect(layers[0]?.annotations).toMatchObject({ "org.example.kept": "1" });
    expect(layers[1]).not.toHaveProperty("annotations");
  });
});

describe("a layer stays an ordinary one, and the reason is told, where", () => {
  const other = bare("other");
  it.each<[what: string, layers: readonly DeclaringLayer[], expected: readonly boolean[], reason: RegExp]>([
    ["it takes something away", [other, bare("x", [file("nix/store/.wh.gone")])], [true, false], /whiteout/],
    [
      "it takes away what another has",
      [other, plain([...above, file("nix/store/.wh.other")])],
      [false, false],
      /whiteout/,
    ],
    [
      "it hides what is below",
      [other, plain([directory("nix"), file("nix/.wh..wh..opq")])],
      [false, false],
      /whiteout/,
    ],
    [
      "it has a device",
      [other, bare("x", [{ name: "nix/store/x/null", type: "3", device: [1, 3] }])],
      [true, false],
      /character-device/,
    ],
    ["it lacks a parent", [other, plain([file("var/x", "x")])], [true, false], /no entry/],
    [
      "it writes through its own link",
      [other, bare("x", [symlink("nix/store/x/l", "/"), file("nix/store/x/l/y")])],
      [true, false],
      /symlink/,
    ],
    [
      "it links to what it does not own",
      [other, bare("x", [hardlink("h", "nix/store/x/file")])],
      [true, false],
      /hard link/,
    ],
    ["another has the same file", [bare("same"), bare("same")], [false, false], /the same file in both/],
    [
      "another has other content",
      [plain([directory("d"), file("d/f", "1")]), plain([directory("d"), file("d/f", "2")])],
      [false, false],
      /\/d\/f is a file with other content/,
    ],
    [
      "another has another mode",
      [plain([directory("d"), file("d/a")]), plain([directory("d", { mode: 0o700 }), file("d/b")]), other],
      [false, false, true],
      /\/d has the mode 0700, which is 0755/,
    ],
    [
      "what leads to it is somebody's",
      [plain([directory("home", { uid: 7 }), file("home/a")]), plain([directory("home", { uid: 7 }), file("home/b")])],
      [false, false],
      /\/home belongs to 7:0/,
    ],
    [
      "a link leads to it",
      [plain([symlink("l", "nix/store")]), plain([directory("l"), file("l/other/x")]), other],
      [false, false, true],
      /\/l is a symlink in one of them and a directory/,
    ],
    [
      "something is written into it through a link",
      [plain([symlink("l", "nix/store")]), plain([file("l/owns everything/x")]), other],
      [false, false, false],
      /owns everything/,
    ],
  ])("%s", async (_what, layers, expected, reason) => {
    const { paths, reasons, report, target } = await annotated(layers);
    expect(paths.map((each) => each !== undefined)).toEqual(expected);
    expect(reasons.filter((each) => each !== undefined).join("\n")).toMatch(reason);
    const { violations } = await verifyDisjoint(target, report.descriptor);
    expect(violations).toEqual([]);
  });

  it("two are at odds, and both are named with the path", async () => {
    const { report } = await annotated([plain([file("etc", "a")]), other, plain([file("etc", "b")])]);
    expect(report.derived[0]?.conflicts).toMatchObject([
      { path: "/etc", layers: [{ number: 1 }, { number: 3 }], problem: "is a file with other content in each of them" },
    ]);
  });
});

it("what refers to the image keeps referring to what it was, and is listed", async () => {
  const { store, descriptor } = await disjointImage([bare("a")]);
  const referrer = await pushReferrer(store, descriptor);
  const report = await annotateDisjoint(store, new MemoryStore(), descriptor);
  expect(report.left.map(({ digest }) => digest)).toEqual([referrer.digest]);
  expect(report.images).toMatchObject([{ before: { digest: descriptor.digest } }]);
});
