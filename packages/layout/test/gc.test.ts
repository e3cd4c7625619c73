import { mkdir, readdir, rename, rm, symlink, utimes, writeFile } from "node:fs/promises";
import { join } from "node:path";
import {
  contentOf,
  type Descriptor,
  descriptorOf,
  gc,
  Layout,
  mediaTypes,
  parseDigest,
  referrersTag,
  verify,
  verifyLayout,
} from "@stowage/layout";
import { describe, expect, it } from "vitest";
import { Child } from "./child-process.js";
import {
  all,
  blobName,
  failure,
  filesBelow,
  handMadeLayout,
  indexBytes,
  named,
  pushBytes,
  pushImage,
  pushIndex,
  pushReferrer,
  put,
  referrerBytes,
  temporaryDirectory,
  utf8,
} from "./support.js";

const DAY = 86_400_000;

async function newLayout(): Promise<Layout> {
  return Layout.create(join(await temporaryDirectory(), "layout"));
}

async function problems(layout: Layout): Promise<readonly string[]> {
  const { manifests } = await layout.index();
  const roots = manifests.map((descriptor) => ({ name: descriptor.digest, descriptor }));
  return (await verify(layout, roots)).findings.map(({ state, path }) => `${state} ${path.join(" > ")}`);
}

async function tagged(layout: Layout, tag: string, text: string, day: number): Promise<Descriptor> {
  const created = new Date(Date.UTC(2024, 0, day)).toISOString();
  const image = await pushImage(layout, {
    layers: [text],
    annotations: { "org.opencontainers.image.created": created },
  });
  await layout.tag(tag, image);
  return image;
}

const blobsOf = (layout: Layout): Promise<string[]> => filesBelow(join(layout.path, "blobs"));
const tagsOf = (layout: Layout): Promise<string[]> => all(layout.tags());

describe("a collection", () => {
  it("removes what an untagged image needed, with its referrers, and nothing that others need", async () => {
    const layout = await newLayout();
    const kept = await pushImage(layout, { layers: ["kept", "shared"] });
    await layout.tag("kept", kept);
    const signature = await pushReferrer(layout, kept);
    const before = await blobsOf(layout);
    const gone = await pushImage(layout, { layers: ["gone", "shared"] });
    await layout.tag("gone", gone);
    const sbom = await pushReferrer(layout, gone);
    await pushReferrer(layout, sbom, "application/x-signature");
    await layout.untag("gone");
    const report = await gc(layout, { grace: 0 });
    expect(await blobsOf(layout)).toEqual(before);
    expect(report.removed).toHaveLength(7);
    expect(report.freed).toBe(report.removed.reduce((sum, { size }) => sum + size, 0));
    expect(report.entries.map(({ digest }) => digest)).toContain(sbom.digest);
    expect(report.lists.map(({ list }) => list)).toContain(referrersTag(gone.digest));
    expect((await all(layout.referrers(kept))).map(({ digest }) => digest)).toEqual([signature.digest]);
    expect(await problems(layout)).toEqual([]);
  });

  it("keeps a referrer whose subject is not there, unless told otherwise", async () => {
    const layout = await newLayout();
    const absent = descriptorOf(utf8("elsewhere"), mediaTypes.manifest);
    const signature = await pushReferrer(layout, absent);
    expect((await gc(layout, { grace: 0 })).removed).toEqual([]);
    expect((await all(layout.referrers(absent))).map(({ digest }) => digest)).toEqual([signature.digest]);
    await gc(layout, { grace: 0, keepDangling: false });
    expect(await blobsOf(layout)).toEqual([]);
    expect((await layout.index()).manifests).toEqual([]);
  });

  it("keeps a referrer that only the list of its subject names", async () => {
    const path = join(await temporaryDirectory(), "layout");
    const image = indexBytes({ manifests: [] });
    const subject = descriptorOf(image, mediaTypes.index);
    const referrer = referrerBytes(subject);
    const list = indexBytes({ manifests: [descriptorOf(referrer, mediaTypes.manifest)] });
    const entries = [named(subject, "v1"), named(descriptorOf(list, mediaTypes.index), referrersTag(subject.digest))];
    await handMadeLayout(path, { manifests: entries }, [image, referrer, list, utf8("{}")]);
    const layout = await Layout.open(path);
    expect((await gc(layout, { grace: 0 })).removed).toEqual([]);
    await layout.untag("v1");
    expect((await gc(layout, { grace: 0 })).removed).toHaveLength(4);
    expect((await layout.index()).manifests).toEqual([]);
  });

  it("writes a list anew where only a part of what it names is gone", async () => {
    const layout = await newLayout();
    const image = await pushImage(layout);
    await layout.tag("v1", image);
    const referrer = await pushReferrer(layout, image);
    const other = await pushImage(layout, { layers: ["other"] });
    const stray = await pushReferrer(layout, other, "application/x-stray");
    const list = await pushIndex(layout, [referrer, stray]);
    await layout.tag(referrersTag(image.digest), list);
    const report = await gc(layout, { grace: 0 });
    expect(report.lists.find(({ digest }) => digest === list.digest)?.replacedBy).toBeDefined();
    expect(await problems(layout)).toEqual([]);
    expect((await all(layout.referrers(image))).map(({ digest }) => digest)).toEqual([referrer.digest]);
  });

  it("keeps what goes with an image in the forms of hauler, containerd and cosign save, hand-made as these are documented", async () => {
    const layout = await newLayout();
    const image = await pushImage(layout);
    await layout.tag("v1", image);
    const forms: Record<string, string>[] = [
      { kind: "dev.hauler/sboms", "hauler.dev/subject-digest": image.digest },
      { "io.containerd.manifest.subject": image.digest },
      { "vnd.docker.reference.type": "attestation-manifest", "vnd.docker.reference.digest": image.digest },
      { kind: "dev.cosignproject.cosign/atts" },
    ];
    const others: Descriptor[] = [];
    for (const [at, annotations] of forms.entries())
      others.push({ ...(await pushImage(layout, { layers: [`form ${at}`] })), annotations });
    await layout.update((index) => ({ ...index, manifests: [...index.manifests, ...others] }));
    expect((await gc(layout, { grace: 0 })).removed).toEqual([]);
    expect(await problems(layout)).toEqual([]);
    expect((await layout.index()).manifests).toEqual(expect.arrayContaining(others));
  });

  it("registers a referrer that a writer stored and did not get to register, in the list of its subject as well", async () => {
    const layout = await newLayout();
    const image = await pushImage(layout);
    await layout.tag("v1", image);
    await pushReferrer(layout, image, "a/signature");
    const bytes = referrerBytes(image, "a/sbom");
    const sbom = await layout.write([bytes], mediaTypes.manifest);
    await pushReferrer(layout, sbom, "a/signature");
    await gc(layout, { grace: 0 });
    expect((await all(layout.referrers(image))).map(({ digest }) => digest)).toContain(sbom.digest);
    expect((await verifyLayout(layout)).filter(({ severity }) => severity !== "note")).toEqual([]);
  });

  it("keeps an index that is tagged like a list and is none", async () => {
    const layout = await newLayout();
    const index = await pushIndex(layout, [await pushImage(layout)]);
    await layout.tag(referrersTag(parseDigest(`sha256:${"0".repeat(64)}`)), index);
    await layout.tag(referrersTag(index.digest), index);
    expect((await gc(layout, { grace: 0 })).removed).toEqual([]);
  });

  it("spares what is younger than the grace time, and a referrer whose subject has no tag yet", async () => {
    const layout = await newLayout();
    const image = await pushImage(layout);
    await pushReferrer(layout, image);
    const before = await blobsOf(layout);
    const index = await layout.index();
    const report = await gc(layout);
    expect(report.removed).toEqual([]);
    expect(report.spared.length).toBeGreaterThan(0);
    expect(await blobsOf(layout)).toEqual(before);
    expect(await layout.index()).toEqual(index);
  });

  it("spares an old blob that a writer has found present", async () => {
    const layout = await newLayout();
    const blob = await pushBytes(layout, "a layer", mediaTypes.layer);
    const other = await pushBytes(layout, "another", mediaTypes.layer);
    const old = new Date(Date.now() - 30 * DAY);
    for (const { digest } of [blob, other]) await utimes(layout.blobPath(digest), old, old);
    expect(await layout.push(contentOf(utf8("a layer"), blob))).toBe("present");
    const report = await gc(layout);
    expect(report.spared.map(({ digest }) => digest)).toEqual([blob.digest]);
    expect(report.removed.map(({ digest }) => digest)).toEqual([other.digest]);
  });

  it("never touches what it cannot tell for a blob", async () => {
    const layout = await newLayout();
    const files = ["blobs/sha256/README", "blobs/sha256/ABC", "blobs/other/abc", "blobs/stray", "notes.txt"];
    for (const file of files) await put(layout.path, file, "mine");
    await mkdir(join(layout.path, "blobs", "sha256", "a".repeat(64)));
    await symlink("../../notes.txt", join(layout.path, "blobs", "sha256", "b".repeat(64)));
    const before = await filesBelow(layout.path);
    const report = await gc(layout, { grace: 0 });
    expect(await filesBelow(layout.path)).toEqual(before);
    expect(report.ignored).toHaveLength(6);
  });

  it("refuses where a manifest that stays is damaged, and removes nothing", async () => {
    const layout = await newLayout();
    const image = await pushImage(layout);
    await layout.tag("v1", image);
    await layout.tag("v2", await pushImage(layout, { layers: ["other"] }));
    await writeFile(layout.blobPath(image.digest), Buffer.alloc(image.size));
    const before = await filesBelow(layout.path);
    const error = await failure(gc(layout, { grace: 0, keepLast: 0 }), "MISMATCH");
    expect(error.message).toContain(image.digest);
    expect(await filesBelow(layout.path)).toEqual(before);
    expect(await tagsOf(layout)).toEqual(["v1", "v2"]);
  });

  it("changes nothing in a dry run, and tells what the real one does", async () => {
    const layout = await newLayout();
    for (let day = 1; day <= 4; day++) await pushReferrer(layout, await tagged(layout, `v${day}`, `${day}`, day));
    await put(layout.path, "ingest/1-2-00000000-x", "left");
    const old = new Date(Date.now() - 2 * DAY);
    await utimes(join(layout.path, "ingest/1-2-00000000-x"), old, old);
    const before = await filesBelow(layout.path);
    const index = await layout.index();
    const { dryRun: dry, ...planned } = await gc(layout, { grace: 0, keepLast: 2, dryRun: true });
    expect(await filesBelow(layout.path)).toEqual(before);
    expect(await layout.index()).toEqual(index);
    const { dryRun: real, ...done } = await gc(layout, { grace: 0, keepLast: 2 });
    expect([dry, real]).toEqual([true, false]);
    expect(planned).toEqual(done);
    expect(done.removed.length).toBeGreaterThan(0);
  });

  it.each(["the next collection", "the next change"])(
    "that was killed with a blob in its hand lets %s put it back",
    async (next) => {
      const layout = await newLayout();
      const image = await pushImage(layout);
      await layout.tag("base", image);
      const child = await Child.start("hold", layout.path);
      await child.line("holding");
      child.signal("SIGKILL");
      await child.end("SIGKILL").catch(() => {});
      const aside = `ingest/${child.process.pid}-1-0123abcd-0.sha256-${image.digest.slice("sha256:".length)}`;
      await rename(layout.blobPath(image.digest), join(layout.path, aside));
      if (next === "the next change") await layout.tag("other", await pushImage(layout, { layers: ["other"] }));
      else expect((await gc(layout, { grace: 0 })).removed).toEqual([]);
      expect(await layout.has(image)).toBe(true);
      expect(await problems(layout)).toEqual([]);
      expect(await readdir(join(layout.path, "ingest"))).toEqual([]);
    },
  );

  it("sweeps what dead processes left, and nothing of one that lives", async () => {
    const layout = await newLayout();
    const child = await Child.start("hold", layout.path);
    child.signal("SIGKILL");
    await child.end("SIGKILL").catch(() => {});
    const own = await (async () => {
      // A write that is under way while the collection runs.
      let finish = (): void => {};
      const waiting = new Promise<void>((resolve) => {
        finish = resolve;
      });
      const stream = (async function* () {
        yield Buffer.alloc(2_000_000, 1);
        await waiting;
      })();
      const writing = layout.write(stream, "a/b");
      while ((await readdir(join(layout.path, "ingest"))).length === 0)
        await new Promise((next) => setTimeout(next, 5));
      return { writing, finish };
    })();
    const [live] = await readdir(join(layout.path, "ingest"));
    const dead = (live as string).replace(/^[0-9]+/, String(child.process.pid));
    await put(layout.path, `ingest/${dead}`, "half a blob");
    await put(layout.path, `ingest/index.json.${dead}`, "half an index");
    await put(layout.path, "ingest/oras_oci_123", "of another tool");
    await put(layout.path, "ingest/young", "of another tool");
    const old = new Date(Date.now() - 2 * DAY);
    await utimes(join(layout.path, "ingest/oras_oci_123"), old, old);
    const { leftovers } = await gc(layout, { grace: 0 });
    expect(leftovers.removed.map(({ path, reason }) => [path, reason])).toEqual(
      [
        [`ingest/${dead}`, "its process has ended"],
        [`ingest/index.json.${dead}`, "its process has ended"],
        ["ingest/oras_oci_123", "older than a day"],
      ].sort((a, b) => ((a[0] as string) < (b[0] as string) ? -1 : 1)),
    );
    expect((await readdir(join(layout.path, "ingest"))).sort()).toEqual([live, "young"].sort());
    own.finish();
    expect((await own.writing).size).toBe(2_000_000);
  });
});

describe("the tags that a collection keeps", () => {
  it("are the newest of each group", async () => {
    const layout = await newLayout();
    for (let day = 1; day <= 3; day++) {
      await tagged(layout, `main-${day}`, `main ${day}`, day);
      await tagged(layout, `dev-${day}`, `dev ${day}`, day);
    }
    await tagged(layout, "release", "release", 1);
    const report = await gc(layout, { grace: 0, keepLast: 1, per: ["(.*)-[0-9]+"] });
    expect(await tagsOf(layout)).toEqual(["dev-3", "main-3", "release"]);
    expect(report.tags).toHaveLength(4);
    await tagged(layout, "main-4", "main 4", 4);
    await gc(layout, { grace: 0, keepLast: 1, per: ["main-*"] });
    expect(await tagsOf(layout)).toEqual(["dev-3", "main-4", "release"]);
    expect(await problems(layout)).toEqual([]);
    await failure(gc(layout, { keepLast: 1, per: ["(unclosed"] }), "INVALID");
  });

  it("are those that are young enough, and the newest anyway", async () => {
    const layout = await newLayout();
    for (let day = 1; day <= 3; day++) await tagged(layout, `v${day}`, `${day}`, day);
    const config = { created: new Date().toISOString() };
    await layout.tag("fresh", await pushImage(layout, { layers: ["fresh"], config }));
    // Says nothing of its age, so the time of its file counts.
    const undated = await pushImage(layout, { layers: ["undated"], config: { created: "1970-01-01T00:00:00Z" } });
    await layout.tag("undated", undated);
    await gc(layout, { grace: 0, maxAge: DAY, keepLast: 3 });
    expect(await tagsOf(layout)).toEqual(["fresh", "undated", "v3"]);
    const old = new Date(Date.now() - 2 * DAY);
    await utimes(layout.blobPath(undated.digest), old, old);
    await gc(layout, { grace: 0, maxAge: DAY });
    expect(await tagsOf(layout)).toEqual(["fresh"]);
  });

  it("take no more than the maximum size, the oldest going first", async () => {
    const layout = await newLayout();
    for (let day = 1; day <= 5; day++) await tagged(layout, `v${day}`, String(day).repeat(10_000), day);
    const report = await gc(layout, { grace: 0, maxSize: 25_000 });
    expect(await tagsOf(layout)).toEqual(["v4", "v5"]);
    expect([report.fits, report.live.bytes <= 25_000]).toEqual([true, true]);
    const floor = await gc(layout, { grace: 0, maxSize: 5_000, keepLast: 1 });
    expect(await tagsOf(layout)).toEqual(["v5"]);
    expect(floor.fits).toBe(false);
  });

  it("take cosign's tags along with the image these are named after", async () => {
    const layout = await newLayout();
    for (let day = 1; day <= 2; day++) {
      const image = await tagged(layout, `v${day}`, `${day}`, day);
      const signature = await pushImage(layout, { layers: [`signature ${day}`] });
      await layout.tag(`${referrersTag(image.digest)}.sig`, signature);
    }
    await gc(layout, { grace: 0, keepLast: 1 });
    const v2 = await layout.resolve("v2");
    expect(await tagsOf(layout)).toEqual([`${referrersTag(v2.digest)}.sig`, "v2"].sort());
  });
});

describe("a collection beside others", () => {
  it("loses nothing of a writer that is at work", async () => {
    const layout = await newLayout();
    const writers = await Promise.all(["a", "b"].map((prefix) => Child.start("write", layout.path, prefix)));
    const collector = await Child.start("gc", layout.path, "60000");
    await writers[0]?.line("a-25");
    for (const child of [...writers, collector]) child.signal("SIGKILL");
    for (const child of [...writers, collector]) await child.end("SIGKILL");
    expect(collector.lines.length).toBeGreaterThan(1);
    const opened = await Layout.open(layout.path);
    const tags = new Set(await tagsOf(opened));
    for (const child of writers) for (const tag of child.lines) expect([tag, tags.has(tag)]).toEqual([tag, true]);
    expect(await problems(opened)).toEqual([]);
    for (const tag of tags) expect(await all(opened.referrers(await opened.resolve(tag)))).toHaveLength(1);
  });

  it("takes no blob that a writer finds present and needs, round after round", async () => {
    const [rounds, count] = [8, 40];
    const layout = await newLayout();
    const writers = await Promise.all(["a", "b"].map((prefix) => Child.start("claim", layout.path, prefix)));
    const collector = await Child.start("gc", layout.path, "60000");
    for (const child of writers) await child.line("ready");
    const old = new Date(Date.now() - 30 * DAY);
    for (let round = 0; round < rounds; round++) {
      // What nobody has needed for long, and both writers are about to need.
      for (let at = 0; at < count; at++) {
        const layer = descriptorOf(utf8(`layer ${at} of round ${round}`), mediaTypes.octetStream);
        await put(layout.path, blobName(layer), `layer ${at} of round ${round}`);
        await utimes(layout.blobPath(layer.digest), old, old);
      }
      for (const child of writers) child.send(`${round} ${count}`);
      for (const child of writers) await child.line(`done ${round}`);
    }
    for (const child of writers) child.process.stdin?.end();
    for (const child of writers) await child.end();
    collector.signal("SIGKILL");
    await collector.end("SIGKILL");
    const said = writers.flatMap(({ lines }) => lines);
    const taken = collector.lines.reduce((sum, line) => sum + Number(line.split(" ")[1]), 0);
    expect(taken).toBeGreaterThan(0);
    expect(said.filter((line) => line === "present").length).toBeGreaterThan(0);
    const tags = said.filter((line) => line.startsWith("tagged ")).map((line) => line.slice("tagged ".length));
    expect(tags).toHaveLength(2 * rounds * count);
    const opened = await Layout.open(layout.path);
    expect(await tagsOf(opened)).toEqual(tags.sort());
    expect(await problems(opened)).toEqual([]);
  });

  it("leaves a layout that is whole, wherever it is killed", async () => {
    const layout = await newLayout();
    let day = 0;
    for (let round = 0; round < 12; round++) {
      for (let count = 0; count < 6; count++) {
        await pushReferrer(layout, await tagged(layout, `v${++day}`, `${day}`.repeat(1000), day));
      }
      const child = await Child.start("gc", layout.path, "0", "2");
      const started = child.process.pid;
      expect(started).toBeGreaterThan(0);
      if (round % 3 === 0) await child.line("collected");
      else await new Promise((resolve) => setTimeout(resolve, 100 + round * 15));
      child.signal("SIGKILL");
      await child.end("SIGKILL");
      expect(await problems(await Layout.open(layout.path))).toEqual([]);
    }
    await gc(layout, { grace: 0, keepLast: 2 });
    expect((await tagsOf(layout)).sort()).toEqual([`v${day - 1}`, `v${day}`].sort());
    expect(await readdir(join(layout.path, "ingest"))).toEqual([]);
    const { removed } = await gc(layout, { grace: 0 });
    expect(removed).toEqual([]);
    await rm(layout.path, { recursive: true });
  });
});
