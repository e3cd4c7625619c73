import { unlink } from "node:fs/promises";
import { join } from "node:path";
import { type Digest, digestOf, Layout, mediaTypes, plainDescriptor, referrersTag } from "@stowage/layout";
import { describe, expect, it } from "vitest";
import {
  digestsFound,
  layoutOf,
  list,
  listed,
  OLAREG_CONVERT,
  OLAREG_SUBJECT,
  onDisk,
  other,
  referrer,
  sorted,
  subject,
  tag,
} from "./referrer-fixtures.js";
import { all, failure, named, pushImage, pushIndex, put, temporaryDirectory } from "./support.js";

describe("a referrer that another tool wrote is found", () => {
  const [one, two] = [referrer("one"), referrer("two", subject.descriptor, "application/vnd.cyclonedx+json")];
  const both = list(one.descriptor, two.descriptor);
  const v1 = named(subject.descriptor, "v1");

  it("where only a tagged list names it (regclient)", async () => {
    const layout = await layoutOf([v1, named(both.descriptor, tag)], [subject, one, two, both]);
    expect(await digestsFound(layout)).toEqual(sorted(one, two));
    expect(await all(layout.tags())).toEqual(["v1"]);
  });

  it("where it is an untagged entry (oras), with what its manifest says filled in", async () => {
    const layout = await layoutOf([two.descriptor, v1, one.descriptor], [subject, one, two]);
    expect(await digestsFound(layout)).toEqual(sorted(one, two));
    const found = await all(layout.referrers(subject.descriptor, { artifactType: "application/vnd.cyclonedx+json" }));
    expect(found).toEqual([
      { ...two.descriptor, artifactType: "application/vnd.cyclonedx+json", annotations: { name: "two" } },
    ]);
  });

  it("where only a response names it (olareg)", async () => {
    const response = { ...both.descriptor, annotations: { [OLAREG_SUBJECT]: subject.descriptor.digest } };
    const layout = await layoutOf([v1, response], [subject, one, two, both], {
      annotations: { [OLAREG_CONVERT]: "true" },
    });
    expect(await digestsFound(layout)).toEqual(sorted(one, two));
    expect(await all(layout.tags())).toEqual(["v1"]);
  });

  it("once, where all forms name it", async () => {
    const response = { ...both.descriptor, annotations: { [OLAREG_SUBJECT]: subject.descriptor.digest } };
    const layout = await layoutOf(
      [v1, one.descriptor, two.descriptor, named(both.descriptor, tag), response],
      [subject, one, two, both],
    );
    expect(await digestsFound(layout)).toEqual(sorted(one, two));
  });

  it("where the list of a sha512 digest has a tag that is not cut off (oras)", async () => {
    const uncut = digestOf(subject.bytes, "sha512").replace(":", "-");
    const layout = await layoutOf([v1, named(both.descriptor, uncut)], [subject, one, two, both]);
    expect(await digestsFound(layout)).toEqual(sorted(one, two));
    expect(await all(layout.tags())).toEqual(["v1"]);
  });

  it("where it is a child of an index, however deep", async () => {
    const inner = list(one.descriptor);
    const outer = list(subject.descriptor, inner.descriptor);
    const layout = await layoutOf([named(outer.descriptor, "v1")], [subject, one, inner, outer]);
    expect(await digestsFound(layout)).toEqual(sorted(one));
  });

  it("where it is tagged", async () => {
    const layout = await layoutOf([v1, named(one.descriptor, "sbom")], [subject, one]);
    expect(await digestsFound(layout)).toEqual(sorted(one));
  });

  it("where the list is tagged with a full name, also with one in each of two repositories", async () => {
    const [first, second] = [list(one.descriptor), list(two.descriptor)];
    const entries = [named(first.descriptor, `repo:${tag}`), named(second.descriptor, `other/repo:${tag}`)];
    for (const manifests of [entries.slice(0, 1), entries]) {
      const layout = await layoutOf([v1, ...manifests], [subject, one, two, first, second]);
      expect(await digestsFound(layout)).toEqual(manifests.length === 1 ? sorted(one) : sorted(one, two));
      expect(await all(layout.tags())).toEqual(["v1"]);
      const third = referrer("third");
      await layout.push({ descriptor: third.descriptor, open: () => [third.bytes] });
      expect(await digestsFound(layout)).toHaveLength(manifests.length + 1);
    }
  });

  it("where the same tag stands on two lists", async () => {
    const [first, second] = [list(one.descriptor), list(two.descriptor)];
    const layout = await layoutOf(
      [named(first.descriptor, tag), named(second.descriptor, tag)],
      [one, two, first, second],
    );
    expect(await digestsFound(layout)).toEqual(sorted(one, two));
  });

  it("though the subject itself is absent", async () => {
    const layout = await layoutOf([one.descriptor], [one]);
    expect(await digestsFound(layout)).toEqual(sorted(one));
    await failure(layout.resolve(subject.descriptor.digest), "NOT_FOUND");
  });

  it("though another referrer's blob is missing or damaged", async () => {
    const layout = await layoutOf([v1, named(both.descriptor, tag)], [subject, one, two, both]);
    await unlink(layout.blobPath(one.descriptor.digest));
    expect(await digestsFound(layout)).toEqual(sorted(two));
    await put(layout.path, `blobs/sha256/${one.descriptor.digest.slice(7)}`, Buffer.alloc(one.descriptor.size));
    expect(await digestsFound(await Layout.open(layout.path))).toEqual(sorted(two));
  });

  it("though a list is missing, damaged, or no index at all", async () => {
    for (const bad of [
      named({ ...both.descriptor, digest: digestOf("absent") }, tag),
      named({ ...both.descriptor, size: both.descriptor.size + 1 }, tag),
      named(other.descriptor, tag),
      named({ ...subject.descriptor, mediaType: mediaTypes.index }, tag),
    ]) {
      const layout = await layoutOf([v1, bad, one.descriptor], [subject, other, one, both]);
      expect(await digestsFound(layout)).toEqual(sorted(one));
      await layout.push({ descriptor: two.descriptor, open: () => [two.bytes] });
      expect(await digestsFound(layout)).toEqual(sorted(one, two));
    }
  });
});

describe("a list of referrers is not believed", () => {
  const [one, foreign] = [referrer("one"), referrer("foreign", other.descriptor)];

  it("where it names a manifest whose subject is another, or that has none", async () => {
    const stale = list(one.descriptor, foreign.descriptor, other.descriptor);
    const layout = await layoutOf([named(stale.descriptor, tag)], [subject, other, one, foreign, stale]);
    expect(await digestsFound(layout)).toEqual(sorted(one));
    expect(await digestsFound(layout, other.descriptor)).toEqual([]);
  });

  it("where it says more of a referrer than the manifest does", async () => {
    const lying = list({ ...one.descriptor, artifactType: "x/y", annotations: { signed: "yes" } });
    const layout = await layoutOf([named(lying.descriptor, tag)], [one, lying]);
    expect(await all(layout.referrers(subject.descriptor))).toEqual([
      { ...one.descriptor, artifactType: "application/spdx+json", annotations: { name: "one" } },
    ]);
  });

  it("where its tag stands for the subject itself", async () => {
    const index = list(other.descriptor);
    const own = referrersTag(index.descriptor.digest);
    const layout = await layoutOf([named(index.descriptor, own)], [index, other]);
    expect(await digestsFound(layout, index.descriptor)).toEqual([]);
    const late = referrer("late", index.descriptor);
    await layout.push({ descriptor: late.descriptor, open: () => [late.bytes] });
    expect(await digestsFound(layout, index.descriptor)).toEqual(sorted(late));
    const entry = (await onDisk(layout)).manifests[0];
    expect((await listed(layout, entry)).map(({ digest }) => digest)).toEqual(sorted(late));
  });

  it("where two sha512 subjects share the 64 digits that make the tag", async () => {
    const digest = digestOf("s", "sha512");
    const twin = `${digest.slice(0, 80)}${"0".repeat(55)}` as Digest;
    const [a, b] = [
      { ...subject.descriptor, digest },
      { ...subject.descriptor, digest: twin },
    ];
    expect(referrersTag(a.digest)).toBe(referrersTag(b.digest));
    const [ofA, ofB] = [referrer("a", a), referrer("b", b)];
    const shared = list(ofA.descriptor, ofB.descriptor);
    const layout = await layoutOf([named(shared.descriptor, referrersTag(digest))], [ofA, ofB, shared]);
    expect(await digestsFound(layout, a)).toEqual(sorted(ofA));
    expect(await digestsFound(layout, b)).toEqual(sorted(ofB));
    const another = referrer("another", a);
    await layout.push({ descriptor: another.descriptor, open: () => [another.bytes] });
    expect(await digestsFound(layout, a)).toEqual(sorted(ofA, another));
    expect(await digestsFound(layout, b)).toEqual(sorted(ofB));
  });

  it("where an index has its own child for a subject: it is a referrer of the child, and the search ends", async () => {
    const layout = await Layout.create(join(await temporaryDirectory(), "layout"));
    const child = await pushImage(layout);
    const index = await pushIndex(layout, [child], { subject: plainDescriptor(child) });
    await layout.tag("v1", index);
    expect((await all(layout.referrers(child))).map(({ digest }) => digest)).toEqual([index.digest]);
    expect(await all(layout.referrers(index))).toEqual([]);
  });
});
