import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { type Descriptor, descriptorOf, Layout, mediaTypes, plainDescriptor, referrersTag } from "@stowage/layout";
import { describe, expect, it } from "vitest";
import {
  config,
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
import {
  all,
  bytesOf,
  indexBytes,
  named,
  pushImage,
  pushIndex,
  pushManifest,
  pushReferrer,
  temporaryDirectory,
} from "./support.js";

describe("a referrer that is pushed", () => {
  it("stands as an untagged entry, as oras has it, and in a tagged list, as regclient has it", async () => {
    const layout = await Layout.create(join(await temporaryDirectory(), "layout"));
    const image = await pushImage(layout);
    await layout.tag("v1", image);
    const pushed = await pushReferrer(layout, image, "application/spdx+json", { "com.example": "x" });
    const full = { ...pushed, artifactType: "application/spdx+json", annotations: { "com.example": "x" } };
    expect(await all(layout.referrers(image))).toEqual([full]);

    const bytes = indexBytes({
      manifests: [{ ...pushed, artifactType: full.artifactType, annotations: full.annotations }],
    });
    const expected = descriptorOf(bytes, mediaTypes.index);
    const index = await onDisk(layout);
    expect(index.manifests).toEqual([
      named(expected, referrersTag(image.digest)),
      named(image, "v1"),
      { ...pushed, artifactType: "application/spdx+json" },
    ]);
    expect(await bytesOf(layout.fetch(expected))).toEqual(Buffer.from(bytes));
    expect(await all(layout.tags())).toEqual(["v1"]);
  });

  it("again changes nothing", async () => {
    const layout = await Layout.create(join(await temporaryDirectory(), "layout"));
    const image = await pushImage(layout);
    await pushReferrer(layout, image);
    const before = await readFile(join(layout.path, "index.json"), "utf8");
    await pushReferrer(layout, image);
    await pushReferrer(await Layout.open(layout.path), image);
    expect(await readFile(join(layout.path, "index.json"), "utf8")).toBe(before);
  });

  it("is found whatever order subject and referrers come in, and many at once are all found", async () => {
    const layout = await Layout.create(join(await temporaryDirectory(), "layout"));
    const those = Array.from({ length: 30 }, (_, at) => referrer(`r${at}`));
    await Promise.all(those.map(({ bytes, descriptor }) => layout.push({ descriptor, open: () => [bytes] })));
    expect(await digestsFound(layout)).toEqual(sorted(...those));
    await layout.push({ descriptor: subject.descriptor, open: () => [subject.bytes] });
    expect(await digestsFound(layout)).toEqual(sorted(...those));
    const index = await onDisk(layout);
    expect(index.manifests).toHaveLength(31);
    const found = await listed(
      layout,
      index.manifests.find((entry) => entry.mediaType === mediaTypes.index),
    );
    expect(found.map(({ digest }) => digest)).toEqual(sorted(...those));
  });

  it("whose artifactType is not a media type is found, and the layout can still be opened", async () => {
    const layout = await Layout.create(join(await temporaryDirectory(), "layout"));
    const image = await pushImage(layout);
    const odd = await pushReferrer(layout, image, "sbom");
    const opened = await Layout.open(layout.path);
    expect(await all(opened.referrers(image))).toEqual([{ ...odd, artifactType: "sbom" }]);
    expect((await all(opened.referrers(image, { artifactType: "sbom" }))).length).toBe(1);
  });

  it("may be an index, which has no artifactType but its own, or an image, which is listed by its config", async () => {
    const layout = await Layout.create(join(await temporaryDirectory(), "layout"));
    const image = await pushImage(layout);
    const member = { subject: plainDescriptor(image) };
    const index = await pushIndex(layout, [], member);
    const typed = await pushIndex(layout, [], { ...member, artifactType: "a/b" });
    const plain = await pushManifest(layout, { config: { ...config, mediaType: "c/d" }, layers: [], ...member });
    const found = new Map((await all(layout.referrers(image))).map((item) => [item.digest, item]));
    expect(found.get(index.digest)).toEqual(index);
    expect(found.get(typed.digest)).toEqual({ ...typed, artifactType: "a/b" });
    expect(found.get(plain.digest)).toEqual({ ...plain, artifactType: "c/d" });
    expect((await all(layout.referrers(image, { artifactType: "c/d" }))).map(({ digest }) => digest)).toEqual([
      plain.digest,
    ]);
  });

  it("joins the ones in the list that regclient keeps", async () => {
    const first = referrer("first");
    const theirs = list(first.descriptor);
    const layout = await layoutOf(
      [named(subject.descriptor, "v1"), named(theirs.descriptor, tag)],
      [subject, first, theirs],
    );
    const second = referrer("second");
    await layout.push({ descriptor: second.descriptor, open: () => [second.bytes] });
    expect(await digestsFound(layout)).toEqual(sorted(first, second));
    const entry = (await onDisk(layout)).manifests.find(
      (item) => item.annotations?.["org.opencontainers.image.ref.name"] === tag,
    );
    expect((await listed(layout, entry)).map(({ digest }) => digest)).toEqual(sorted(first, second));
  });

  it("goes into olareg's response as well, where olareg has taken over, beside those that only olareg lists", async () => {
    const first = referrer("first");
    const theirs = list(first.descriptor);
    const response = { ...theirs.descriptor, annotations: { [OLAREG_SUBJECT]: subject.descriptor.digest } };
    const elsewhere = {
      ...list(other.descriptor).descriptor,
      annotations: { [OLAREG_SUBJECT]: other.descriptor.digest },
    };
    const layout = await layoutOf([named(subject.descriptor, "v1"), response, elsewhere], [subject, first, theirs], {
      annotations: { [OLAREG_CONVERT]: "true", "org.olareg.history": "x" },
    });
    const second = referrer("second");
    await layout.push({ descriptor: second.descriptor, open: () => [second.bytes] });
    expect(await digestsFound(layout)).toEqual(sorted(first, second));

    const index = await onDisk(layout);
    expect(index.annotations).toEqual({ [OLAREG_CONVERT]: "true", "org.olareg.history": "x" });
    const responses = index.manifests.filter(
      (entry) => entry.annotations?.[OLAREG_SUBJECT] === subject.descriptor.digest,
    );
    expect(responses).toHaveLength(1);
    expect((await listed(layout, responses[0])).map(({ digest }) => digest)).toEqual(sorted(first, second));
    expect(index.manifests).toContainEqual(elsewhere);
  });

  it("that lacks one form gets it when it is pushed again", async () => {
    const one = referrer("one");
    const theirs = list(one.descriptor);
    const entries = [named(theirs.descriptor, tag), one.descriptor];
    const forms: [Descriptor[], object][] = [
      [[one.descriptor], {}],
      [[named(theirs.descriptor, tag)], {}],
      [entries, { annotations: { [OLAREG_CONVERT]: "true" } }],
    ];
    for (const [manifests, members] of forms) {
      const layout = await layoutOf(manifests, [one, theirs], members);
      await layout.push({ descriptor: one.descriptor, open: () => [one.bytes] });
      const index = await onDisk(layout);
      expect(index.manifests.some((entry) => entry.digest === one.descriptor.digest)).toBe(true);
      expect(index.manifests.some((entry) => entry.annotations?.["org.opencontainers.image.ref.name"] === tag)).toBe(
        true,
      );
      expect(index.manifests.some((entry) => entry.annotations?.[OLAREG_SUBJECT] === subject.descriptor.digest)).toBe(
        members !== forms[0]?.[1] && "annotations" in members,
      );
    }
  });
});
