import { descriptorOf, digestOf, emptyDescriptor, encodeJson, mediaTypes, plainDescriptor } from "@stowage/layout";
import { describe, expect, test } from "vitest";
import { all, artifact, indexOf, listed, pushAll, sample } from "./content.js";
import type { Factory } from "./describe-target.js";

export function testReferrers(factory: Factory): void {
  describe("referrers", () => {
    test("gives each manifest whose subject is the given one, sorted by digest, with artifactType and annotations", async () => {
      const { target } = await factory();
      const image = artifact("image");
      const other = artifact("other");
      const subject = image.descriptor;
      const referrers = ["a", "b", "c", "d", "e"].map((text) =>
        artifact(text, { subject, artifactType: `application/${text}` }),
      );
      await pushAll(target, image, other, ...referrers, artifact("elsewhere", { subject: other.descriptor }));
      const expected = referrers.map(listed).sort((a, b) => (a.digest < b.digest ? -1 : 1));
      expect(await all(target.referrers(subject))).toEqual(expected);
    });

    test("gives a manifest once, however often it was pushed and tagged", async () => {
      const { target } = await factory();
      const image = artifact("image");
      const sbom = artifact("sbom", { subject: image.descriptor });
      await pushAll(target, image, sbom, sbom);
      await target.tag("sbom", sbom.descriptor);
      await target.tag("sbom-2", sbom.descriptor);
      await pushAll(target, sbom);
      expect(await all(target.referrers(image.descriptor))).toEqual([listed(sbom)]);
    });

    test("gives nothing where there is none, and where the subject is not there", async () => {
      const { target } = await factory();
      const subject = artifact("absent").descriptor;
      expect(await all(target.referrers(subject))).toEqual([]);
      const image = artifact("image");
      await pushAll(target, image);
      expect(await all(target.referrers(image.descriptor))).toEqual([]);
      expect(await all(target.referrers(subject))).toEqual([]);
    });

    test("gives the referrers of a subject that is not there", async () => {
      const { target } = await factory();
      const subject = artifact("later").descriptor;
      const sbom = artifact("sbom", { subject });
      await pushAll(target, sbom);
      expect(await all(target.referrers(subject))).toEqual([listed(sbom)]);
      await pushAll(target, artifact("later"));
      expect(await all(target.referrers(subject))).toEqual([listed(sbom)]);
    });

    test("gives only those of the artifactType asked for", async () => {
      const { target } = await factory();
      const { descriptor: subject } = artifact("image");
      const sbom = artifact("sbom", { subject, artifactType: "application/spdx+json" });
      const signature = artifact("signature", { subject, artifactType: "application/signature" });
      await pushAll(target, artifact("image"), sbom, signature);
      expect(await all(target.referrers(subject, { artifactType: "application/spdx+json" }))).toEqual([listed(sbom)]);
      expect(await all(target.referrers(subject, { artifactType: "application/none" }))).toEqual([]);
      expect(await all(target.referrers(subject, { artifactType: undefined }))).toHaveLength(2);
    });

    test("fills in the type of the config where a manifest has no artifactType, and nothing for such an index", async () => {
      const { target } = await factory();
      const image = artifact("image");
      const subject = plainDescriptor(image.descriptor);
      const config = sample(encodeJson({ some: "config" }), "application/vnd.example.config+json");
      const manifest = sample(
        encodeJson({
          schemaVersion: 2,
          mediaType: mediaTypes.manifest,
          config: config.descriptor,
          layers: [],
          subject,
        }),
        mediaTypes.manifest,
      );
      const index = indexOf([image.descriptor], { subject, annotations: { kind: "index" } });
      await pushAll(target, image, config, manifest, index);
      const found = await all(target.referrers(subject));
      expect(found.find(({ digest }) => digest === manifest.descriptor.digest)).toEqual({
        ...manifest.descriptor,
        artifactType: "application/vnd.example.config+json",
      });
      expect(found.find(({ digest }) => digest === index.descriptor.digest)).toEqual({
        ...index.descriptor,
        annotations: { kind: "index" },
      });
      expect(found).toHaveLength(2);
    });

    test("gives the referrers of a referrer, and of a manifest in an index", async () => {
      const { target } = await factory();
      const child = artifact("child");
      const index = indexOf([child.descriptor]);
      const sbom = artifact("sbom", { subject: child.descriptor });
      const signature = artifact("signature", { subject: sbom.descriptor });
      await pushAll(target, child, index, sbom, signature);
      expect(await all(target.referrers(child.descriptor))).toEqual([listed(sbom)]);
      expect(await all(target.referrers(sbom.descriptor))).toEqual([listed(signature)]);
      expect(await all(target.referrers(index.descriptor))).toEqual([]);
    });

    test("gives the referrers of a subject with a sha512 digest, and of no other that shares its beginning", async () => {
      const { target } = await factory();
      const image = artifact("image", { algorithm: "sha512" });
      const { digest } = image.descriptor;
      const twin = { ...image.descriptor, digest: `${digest.slice(0, 71)}${"0".repeat(64)}` as typeof digest };
      const sbom = artifact("sbom", { subject: image.descriptor });
      const stray = artifact("stray", { subject: twin });
      await pushAll(target, image, sbom, stray);
      expect(await all(target.referrers(image.descriptor))).toEqual([listed(sbom)]);
      expect(await all(target.referrers(twin))).toEqual([listed(stray)]);
    });

    test("gives a referrer whose annotations have unusual names", async () => {
      const { target } = await factory();
      const image = artifact("image");
      const text = `{"schemaVersion":2,"mediaType":"${mediaTypes.manifest}","artifactType":"application/odd","config":${JSON.stringify(
        emptyDescriptor,
      )},"layers":[],"subject":${JSON.stringify(image.descriptor)},"annotations":{"__proto__":"p","":"e","org.opencontainers.image.ref.name":"no-tag"}}`;
      const odd = sample(Buffer.from(text), mediaTypes.manifest);
      await pushAll(target, image, odd);
      const [found] = await all(target.referrers(image.descriptor));
      expect(Object.entries(found?.annotations ?? {}).sort()).toEqual([
        ["", "e"],
        ["__proto__", "p"],
        ["org.opencontainers.image.ref.name", "no-tag"],
      ]);
      expect(await all(target.tags())).toEqual([]);
    });

    test("gives a referrer that was pushed in the midst of many others", async () => {
      const { target } = await factory();
      const image = artifact("image");
      await pushAll(target, image);
      const referrers = Array.from({ length: 12 }, (_, at) => artifact(`${at}`, { subject: image.descriptor }));
      await Promise.all(referrers.map((referrer) => target.push(referrer)));
      const found = await all(target.referrers(image.descriptor));
      expect(found.map(({ digest }) => digest)).toEqual(referrers.map(({ descriptor }) => descriptor.digest).sort());
    });

    test("compares the subject's digest, whatever the type and size it is asked with", async () => {
      const { target } = await factory();
      const image = artifact("image");
      const sbom = artifact("sbom", { subject: image.descriptor });
      await pushAll(target, image, sbom);
      const asked = { ...descriptorOf(new Uint8Array(), mediaTypes.octetStream), digest: image.descriptor.digest };
      expect(await all(target.referrers(asked))).toEqual([listed(sbom)]);
      expect(await all(target.referrers({ ...asked, digest: digestOf("other") }))).toEqual([]);
    });
  });
}
