import { type Descriptor, digestOf, type Layout, plainDescriptor, related } from "@stowage/layout";
import { describe, expect, it } from "vitest";
import { digestsFound, layoutOf, list, onDisk, other, referrer, sorted, subject, tag } from "./referrer-fixtures.js";
import { all, named, pushBytes, pushManifest } from "./support.js";

const hex = subject.descriptor.digest.slice("sha256:".length);
const v1 = named(subject.descriptor, "v1");

/** The entry of a manifest in index.json, with annotations. */
function annotated(descriptor: Descriptor, annotations: Record<string, string>): Descriptor {
  return { ...plainDescriptor(descriptor), annotations: { ...descriptor.annotations, ...annotations } };
}

/** Kind, role and digest of what goes with the subject by another convention. */
async function relatedTo(layout: Layout, of: Descriptor = subject.descriptor): Promise<unknown[]> {
  return (await related(layout, of)).map(({ kind, role, descriptor }) => [kind, role, descriptor.digest]);
}

describe("a referrer is found, and is nothing else,", () => {
  const one = referrer("one");
  const conventions: Record<string, Descriptor> = {
    "where buildx and containerd annotate its entry with the subject": annotated(one.descriptor, {
      "io.containerd.manifest.subject": subject.descriptor.digest,
    }),
    "where its entry has the annotations of a BuildKit attestation": annotated(one.descriptor, {
      "vnd.docker.reference.digest": subject.descriptor.digest,
      "vnd.docker.reference.type": "attestation-manifest",
    }),
    "where cosign save gives it the name of the image": annotated(named(one.descriptor, "v1"), {
      kind: "dev.cosignproject.cosign/atts",
    }),
    "where hauler gives it the name of the image, and its own digest as kind": annotated(named(one.descriptor, "v1"), {
      kind: `dev.hauler/referrers/${one.descriptor.digest.slice(7)}`,
      "hauler.dev/subject-digest": subject.descriptor.digest,
    }),
    "where image-spec pull request 1171 marks the referrer itself": annotated(one.descriptor, {
      "org.opencontainers.image.referrer.subject": subject.descriptor.digest,
    }),
    "where olareg's key stands on the referrer itself": annotated(one.descriptor, {
      "org.olareg.referrer.subject": subject.descriptor.digest,
    }),
    "where it stands under the tag of a list, which it is not": named(one.descriptor, tag),
    "where it stands under cosign's older tag": named(one.descriptor, `sha256-${hex}.att`),
  };
  for (const [title, entry] of Object.entries(conventions)) {
    it(title, async () => {
      const layout = await layoutOf([entry, v1], [subject, one]);
      expect(await digestsFound(layout)).toEqual(sorted(one));
      expect(await all(layout.referrers(subject.descriptor))).toEqual([
        { ...one.descriptor, artifactType: "application/spdx+json", annotations: { name: "one" } },
      ]);
      expect(await related(layout, subject.descriptor)).toEqual([]);
      expect(await layout.resolve("v1")).toEqual(subject.descriptor);
    });
  }

  it("where image-spec pull request 1171 marks a list of referrers", async () => {
    const both = list(one.descriptor, other.descriptor);
    const response = annotated(both.descriptor, {
      "org.opencontainers.image.referrer.subject": subject.descriptor.digest,
    });
    const layout = await layoutOf([v1, response], [subject, other, one, both]);
    expect(await digestsFound(layout)).toEqual(sorted(one));
    expect(await related(layout, subject.descriptor)).toEqual([]);
  });

  it("and joins the lists of image-spec pull request 1171 where index.json says that they are kept", async () => {
    const first = list(one.descriptor);
    const key = "org.opencontainers.image.referrer.subject";
    const response = annotated(first.descriptor, { [key]: subject.descriptor.digest });
    const layout = await layoutOf([v1, response], [subject, one, first], {
      annotations: { "org.opencontainers.image.referrer.convert": "true" },
    });
    const two = referrer("two");
    await layout.push({ descriptor: two.descriptor, open: () => [two.bytes] });
    const expected = list(
      ...[one, two].map(({ descriptor }) => descriptor).sort((a, b) => (a.digest < b.digest ? -1 : 1)),
    );
    const responses = (await onDisk(layout)).manifests.filter((entry) => entry.annotations?.[key] !== undefined);
    expect(responses).toHaveLength(1);
    const names = JSON.parse(await text(layout, responses[0] as Descriptor)).manifests as Descriptor[];
    expect(names.map(({ digest }) => digest)).toEqual(
      JSON.parse(new TextDecoder().decode(expected.bytes)).manifests.map(({ digest }: Descriptor) => digest),
    );
  });

  it("where it is an index that the key marks: its manifests are no referrers for that", async () => {
    const children = list(other.descriptor);
    const bytes = new TextEncoder().encode(
      JSON.stringify({
        ...JSON.parse(new TextDecoder().decode(children.bytes)),
        subject: plainDescriptor(subject.descriptor),
      }),
    );
    const index = { ...children.descriptor, digest: digestOf(bytes), size: bytes.byteLength };
    const entry = annotated(index, { "org.opencontainers.image.referrer.subject": subject.descriptor.digest });
    const layout = await layoutOf([v1, entry], [subject, other, { bytes, descriptor: index }]);
    expect(await digestsFound(layout)).toEqual([index.digest]);
    const two = referrer("two");
    await layout.push({ descriptor: two.descriptor, open: () => [two.bytes] });
    expect(await digestsFound(layout)).toEqual([index.digest, two.descriptor.digest].sort());
    const tagged = (await onDisk(layout)).manifests.find((item) => item.annotations?.[REF_NAME] === tag);
    const names = JSON.parse(await text(layout, tagged as Descriptor)).manifests as Descriptor[];
    expect(names.map(({ digest }) => digest)).toEqual([index.digest, two.descriptor.digest].sort());
  });
});

const REF_NAME = "org.opencontainers.image.ref.name";

async function text(layout: Layout, descriptor: Descriptor): Promise<string> {
  return Buffer.concat(await all(layout.fetch(descriptor))).toString();
}

describe("a manifest without a subject is no referrer, and is reported apart", () => {
  const signature = other;

  it("under cosign's tags, alone or behind the name of a repository", async () => {
    const layout = await layoutOf(
      [v1, named(signature.descriptor, `sha256-${hex}.sig`), named(signature.descriptor, `repo:sha256-${hex}.sbom`)],
      [subject, signature],
    );
    expect(await digestsFound(layout)).toEqual([]);
    const { digest } = signature.descriptor;
    expect(await relatedTo(layout)).toEqual([
      ["legacy-tag", "signature", digest],
      ["legacy-tag", "sbom", digest],
    ]);
    expect((await related(layout, subject.descriptor))[1]?.name).toBe(`repo:sha256-${hex}.sbom`);
    expect(await related(layout, signature.descriptor)).toEqual([]);
  });

  it("as cosign save leaves it: with the name of the image, or without any name", async () => {
    const kinds = {
      image: { kind: "dev.cosignproject.cosign/image" },
      sigs: { kind: "dev.cosignproject.cosign/sigs" },
    };
    for (const name of ["ghcr.io/acme/app:v1", undefined]) {
      const entry = (descriptor: Descriptor, kind: Record<string, string>): Descriptor =>
        annotated(name === undefined ? descriptor : named(descriptor, name), kind);
      const layout = await layoutOf(
        [entry(subject.descriptor, kinds.image), entry(signature.descriptor, kinds.sigs)],
        [subject, signature],
      );
      expect(await relatedTo(layout)).toEqual([["annotated", "signature", signature.descriptor.digest]]);
      expect(await digestsFound(layout)).toEqual([]);
      if (name === undefined) continue;
      expect(await all(layout.tags())).toEqual([name]);
      expect((await layout.resolve("v1")).digest).toBe(subject.descriptor.digest);
      // The name is the image's. Moving it takes nothing away from what goes with the image.
      await layout.tag(name, signature.descriptor);
      expect((await onDisk(layout)).manifests).toContainEqual(entry(signature.descriptor, kinds.sigs));
      await layout.untag(name);
      expect(await all(layout.tags())).toEqual([]);
    }
  });

  it("as hauler and containerd annotate it", async () => {
    for (const [annotations, role] of [
      [{ kind: "dev.hauler/sboms", "hauler.dev/subject-digest": subject.descriptor.digest }, "sbom"],
      [{ "io.containerd.manifest.subject": subject.descriptor.digest }, undefined],
      [{ "vnd.docker.reference.digest": subject.descriptor.digest }, undefined],
    ] as const) {
      const layout = await layoutOf([v1, annotated(signature.descriptor, annotations)], [subject, signature]);
      expect(await relatedTo(layout)).toEqual([["annotated", role, signature.descriptor.digest]]);
      expect(await digestsFound(layout)).toEqual([]);
    }
  });

  it("as a child of the same index that attests it, however deep", async () => {
    const attestation = {
      ...plainDescriptor(signature.descriptor),
      platform: { os: "unknown", architecture: "unknown" },
      annotations: {
        "vnd.docker.reference.digest": subject.descriptor.digest,
        "vnd.docker.reference.type": "attestation-manifest",
      },
    };
    const inner = list(subject.descriptor, attestation);
    const outer = list(inner.descriptor);
    const layout = await layoutOf([named(outer.descriptor, "v1")], [subject, signature, inner, outer]);
    const [found, ...rest] = await related(layout, subject.descriptor);
    expect(rest).toEqual([]);
    expect(found).toMatchObject({ kind: "attestation", role: "attestation", index: inner.descriptor.digest });
    expect(await digestsFound(layout)).toEqual([]);
  });

  it("also where its blob is missing", async () => {
    const absent = { ...signature.descriptor, digest: digestOf("absent") };
    const layout = await layoutOf([v1, named(absent, `sha256-${hex}.sig`)], [subject]);
    expect(await relatedTo(layout)).toEqual([["legacy-tag", "signature", absent.digest]]);
  });

  it("where the annotation is no digest it is not tied to anything", async () => {
    const entry = annotated(signature.descriptor, { "io.containerd.manifest.subject": "../../etc/passwd" });
    expect(await related(await layoutOf([v1, entry], [subject, signature]), subject.descriptor)).toEqual([]);
  });

  it("in a store that is no layout the legacy tags are looked up", async () => {
    const layout = await layoutOf([v1], [subject]);
    const made = await pushManifest(layout, { config: await pushBytes(layout, "{}", "a/b"), layers: [] });
    await layout.tag(`sha256-${hex}.sig`, made);
    const plain = {
      name: layout.name,
      resolve: layout.resolve.bind(layout),
      fetch: layout.fetch.bind(layout),
      referrers: layout.referrers.bind(layout),
      tags: layout.tags.bind(layout),
    };
    expect(await related(plain, subject.descriptor)).toMatchObject([
      { kind: "legacy-tag", role: "signature", descriptor: { digest: made.digest }, name: `sha256-${hex}.sig` },
    ]);
    expect(await related(plain, made)).toEqual([]);
  });
});
