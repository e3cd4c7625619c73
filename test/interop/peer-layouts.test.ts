import { readdir } from "node:fs/promises";
import { join } from "node:path";
import { type GcReport, isAttestation, type TreeNode, type VerifyReport } from "@stowage/layout";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type Served, startServe, stowageJson } from "../cli/stowage.js";
import { attach, smallImage } from "./images.js";
import { type LayoutWriter, layoutWriters, type Place, type Written } from "./layout-writers.js";
import { needs } from "./peers.js";

let served: Served;

beforeAll(async () => {
  served = await startServe(["--memory"]);
});
afterAll(() => served?.stop());

/** A directory of its own for a test, and its image in the registry. */
async function newPlace(): Promise<Place> {
  const { directory } = await smallImage();
  const registry = `${served.host}/${directory.replace(/^.*-/, "").toLowerCase()}`;
  await stowageJson(["push", "oci:out:v1", `${registry}/app:v1`], { cwd: directory });
  return { directory, registry };
}

/** The image and all that refers to it, or goes with it, as we find it in the layout. */
async function weSee({ directory }: Place, layout: string, { reference }: Written): Promise<readonly string[]> {
  const root = await stowageJson<TreeNode>(["tree", `oci:${layout}${reference}`], { cwd: directory });
  const below = (node: TreeNode): string[] => [
    node.descriptor.digest,
    ...node.referrers.flatMap(below),
    ...(node.related ?? []).map((one) => one.descriptor.digest),
    ...node.children.filter(({ descriptor }) => isAttestation(descriptor)).flatMap(below),
  ];
  return below(root).sort();
}

const all = ({ digest, referrers, related = [] }: Written, ...more: readonly string[]): readonly string[] =>
  [digest, ...referrers, ...related, ...more].sort();

/** Everything has its digest and its right form; nothing but notes is told of the layout as a whole. */
async function expectClean({ directory: cwd }: Place, layout: string): Promise<void> {
  const { findings } = await stowageJson<VerifyReport>(["verify", `oci:${layout}`, "--full"], { cwd });
  expect(findings.filter(({ severity }) => severity === "error")).toEqual([]);
}

function collect({ directory: cwd }: Place, layout: string, ...options: string[]): Promise<GcReport> {
  return stowageJson<GcReport>(["gc", layout, "--grace", "0", ...options], { cwd });
}

async function blobs({ directory }: Place, layout: string): Promise<string[]> {
  return (await readdir(join(directory, layout, "blobs", "sha256"))).map((name) => `sha256:${name}`).sort();
}

const attachNote = ({ directory }: Place, layout: string, { reference }: Written, note: string): Promise<string> =>
  attach(directory, `oci:${layout}${reference}`, "sbom.spdx.json", "--annotation", `note=${note}`);

describe.each(Object.entries<LayoutWriter>(layoutWriters))("a layout that %s made", (name, writer) => {
  const followsReferrers = ["oras", "regctl", "olareg"].includes(name);

  it("is read whole, verified, and collected without a loss; the tool still finds all of it", async (context) => {
    needs(context, ...writer.tools);
    const place = await newPlace();
    const written = await writer.write(place, "made", "v1");
    expect(await weSee(place, "made", written)).toEqual(all(written));
    await expectClean(place, "made");
    const seen = await writer.sees(place, "made", written);
    const before = await blobs(place, "made");
    const planned = await collect(place, "made", "--dry-run");
    expect(await blobs(place, "made")).toEqual(before);
    const report = await collect(place, "made");
    expect(report.removed).toEqual(planned.removed);
    const gone = new Set(report.removed.map(({ digest }) => digest as string));
    expect(await blobs(place, "made")).toEqual(before.filter((digest) => !gone.has(digest)));
    expect([report.tags, report.entries]).toEqual([[], []]);
    expect(seen.filter((digest) => gone.has(digest))).toEqual([]);
    expect(await writer.sees(place, "made", written)).toEqual(seen);
    expect(await weSee(place, "made", written)).toEqual(all(written));
    await expectClean(place, "made");
    expect((await collect(place, "made")).removed).toEqual([]);
  });

  it("and that we attached to then is read by both, also after a collection", async (context) => {
    needs(context, ...writer.tools);
    const place = await newPlace();
    const written = await writer.write(place, "made", "v1");
    const note = await attachNote(place, "made", written, "ours");
    const expected = all(written, note);
    const theirs = followsReferrers ? expected : await writer.sees(place, "made", written);
    for (const when of ["before", "after"]) {
      expect(await weSee(place, "made", written), when).toEqual(expected);
      expect(await writer.sees(place, "made", written), when).toEqual(theirs);
      await expectClean(place, "made");
      await collect(place, "made");
    }
  });
});

const adding = Object.entries<LayoutWriter>(layoutWriters).filter(([, { adds }]) => adds);

describe.each(adding)("a layout that %s adds to", (_name, { tools, write, sees }) => {
  it("first, then we, then it again, holds what each of us wrote", async (context) => {
    needs(context, ...tools);
    const place = await newPlace();
    const written = await write(place, "made", "v1");
    const note = await attachNote(place, "made", written, "ours");
    const second = await write(place, "made", "v2");
    const isSame = second.digest === written.digest;
    const expected = [...new Set(all(written, note, ...(isSame ? second.referrers : [])))].sort();
    expect(await weSee(place, "made", written)).toEqual(expected);
    await collect(place, "made");
    expect(await weSee(place, "made", written)).toEqual(expected);
    if (!isSame) expect(await weSee(place, "made", second)).toEqual(all(second));
    await expectClean(place, "made");
  });

  it("in one that we had begun keeps what we had attached, and is read by both", async (context) => {
    needs(context, ...tools);
    const place = await newPlace();
    const image = await stowageJson<TreeNode>(["tree", "oci:out:v1"], { cwd: place.directory });
    const ours: Written = { reference: ":ours", digest: image.descriptor.digest, referrers: [] };
    await stowageJson(["copy", "oci:out:v1", "oci:made:ours"], { cwd: place.directory });
    const note = await attachNote(place, "made", ours, "ours");
    const written = await write(place, "made", "theirs");
    const isSame = written.digest === ours.digest;
    const expected = all(ours, note, ...(isSame ? written.referrers : []));
    for (const when of ["before", "after"]) {
      expect(await weSee(place, "made", ours), when).toEqual(expected);
      if (!isSame) expect(await weSee(place, "made", written), when).toEqual(all(written));
      const seen = await sees(place, "made", written);
      expect(seen).toEqual(expect.arrayContaining(all(written) as string[]));
      await expectClean(place, "made");
      await collect(place, "made");
    }
  });
});

describe("a layout that cosign saves to", () => {
  it("loses the entries that others made, as cosign writes a new index.json, and keeps their blobs for the grace time", async (context) => {
    needs(context, "cosign");
    const place = await newPlace();
    await stowageJson(["copy", "oci:out:v1", "oci:made:ours"], { cwd: place.directory });
    await attachNote(place, "made", { reference: ":ours", digest: "", referrers: [] }, "ours");
    const before = await blobs(place, "made");
    const written = await layoutWriters.cosign.write(place, "made", "v1");
    expect(await weSee(place, "made", written)).toEqual(all(written));
    const { removed } = await stowageJson<GcReport>(["gc", "made"], { cwd: place.directory });
    expect(removed).toEqual([]);
    expect(await blobs(place, "made")).toEqual(expect.arrayContaining(before));
  });
});
