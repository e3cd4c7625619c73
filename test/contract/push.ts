import { type Bytes, descriptorOf, digestOf, isOciError, MemoryStore, mediaTypes } from "@stowage/layout";
import { describe, expect, test } from "vitest";
import { all, artifact, blob, indexOf, listed, pushAll, read, receive, type Sample } from "./content.js";
import type { Factory } from "./describe-target.js";

const LARGE = 3 * 1024 * 1024 + 7;

async function* inPieces(bytes: Uint8Array, size: number): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < bytes.byteLength; at += size) {
    yield bytes.subarray(at, at + size);
    if (at % (64 * size) === 0) yield new Uint8Array();
  }
}

/** The same descriptor over other bytes. */
const lying = (sample: Sample, bytes: Uint8Array): Sample => ({ ...sample, open: (): Bytes => [bytes] });

export function testPush(factory: Factory): void {
  describe("has", () => {
    test("is true for content that is there with the declared size, false otherwise", async () => {
      const { target } = await factory();
      for (const content of [blob("a blob"), blob("a blob", 30, "sha512"), artifact("a manifest"), blob("", 0)]) {
        await pushAll(target);
        const { descriptor } = content;
        expect(await target.has(descriptor)).toBe(false);
        await pushAll(target, content);
        expect(await target.has(descriptor)).toBe(true);
        expect(await target.has({ ...descriptor, size: descriptor.size + 1 })).toBe(false);
        if (descriptor.size > 0) expect(await target.has({ ...descriptor, size: descriptor.size - 1 })).toBe(false);
      }
    });

    test("is false where there is nothing at all", async () => {
      const { target } = await factory();
      expect(await target.has(blob("absent").descriptor)).toBe(false);
      expect(await target.has(artifact("absent").descriptor)).toBe(false);
    });
  });

  describe("push", () => {
    test("makes content present and says whether it was there before", async () => {
      const { target } = await factory();
      await pushAll(target);
      for (const content of [
        blob("a blob"),
        blob("large", LARGE),
        blob("long", 30, "sha512"),
        artifact("a manifest"),
        blob("", 0),
      ]) {
        expect(await target.push(content)).toBe("written");
        expect(await target.push(content)).toBe("present");
        expect((await read(target.fetch(content.descriptor))).equals(content.bytes)).toBe(true);
      }
    });

    test("does not call open where the content is there already", async () => {
      const { target } = await factory();
      const contents = [
        blob("a blob"),
        artifact("a manifest"),
        artifact("a referrer", { subject: artifact("x").descriptor }),
      ];
      await pushAll(target, ...contents);
      for (const content of contents) {
        const before = content.opened.count;
        await target.push(content);
        expect(content.opened.count).toBe(before);
      }
    });

    test("takes bytes in pieces of any size, from an iterable or an async iterable", async () => {
      const { target } = await factory();
      await pushAll(target);
      const [small, tiny, sync] = [blob("small", LARGE), blob("tiny", 5000), blob("sync", 5000)];
      await target.push({ ...small, open: () => inPieces(small.bytes, 4099) });
      await target.push({ ...tiny, open: () => inPieces(tiny.bytes, 1) });
      await target.push({ ...sync, open: () => [sync.bytes.subarray(0, 3), new Uint8Array(), sync.bytes.subarray(3)] });
      for (const content of [small, tiny, sync]) {
        expect((await read(target.fetch(content.descriptor))).equals(content.bytes)).toBe(true);
      }
    });

    test("leaves the bytes it is given as they are, and does not mind what becomes of them afterwards", async () => {
      const { target } = await factory();
      const content = blob("mine", 100_000);
      const copy = Buffer.from(content.bytes);
      await pushAll(target, content);
      expect(copy.equals(content.bytes)).toBe(true);
      content.bytes.fill(0);
      expect((await read(target.fetch(content.descriptor))).equals(copy)).toBe(true);
    });

    test.each([
      ["shorter than declared", (bytes: Uint8Array) => bytes.subarray(0, -1)],
      ["longer than declared", (bytes: Uint8Array) => Buffer.concat([bytes, bytes.subarray(0, 1)])],
      ["of another digest", (bytes: Uint8Array) => Buffer.concat([bytes.subarray(1), bytes.subarray(0, 1)])],
      ["none at all", () => new Uint8Array()],
    ])("fails with MISMATCH where the bytes are %s; then nothing was stored", async (_how, change) => {
      const { target } = await factory();
      await pushAll(target);
      for (const content of [
        blob("wrong", 1000),
        blob("wrong", LARGE),
        blob("wrong", 1000, "sha512"),
        artifact("wrong"),
      ]) {
        const bytes = change(content.bytes);
        await expect(target.push(lying(content, bytes))).rejects.toSatisfy((error) => isOciError(error, "MISMATCH"));
        expect(await target.has(content.descriptor)).toBe(false);
        expect(await target.has(descriptorOf(bytes, content.descriptor.mediaType))).toBe(false);
        expect(isOciError((await receive(target.fetch(content.descriptor))).error, "NOT_FOUND")).toBe(true);
        expect(await target.push(content)).toBe("written");
      }
    });

    test("fails with MISMATCH where bytes come for content that was declared as empty", async () => {
      const { target } = await factory();
      await pushAll(target);
      const empty = blob("", 0);
      await expect(target.push(lying(empty, Buffer.from("x")))).rejects.toSatisfy((error) =>
        isOciError(error, "MISMATCH"),
      );
      expect(await target.has(empty.descriptor)).toBe(false);
    });

    test("fails with the error of the bytes where they break off; then nothing was stored", async () => {
      const { target } = await factory();
      await pushAll(target);
      const broken = new Error("the source broke");
      for (const content of [blob("broken", LARGE), artifact("broken")]) {
        const open = async function* () {
          yield content.bytes.subarray(0, content.bytes.byteLength / 2);
          throw broken;
        };
        await expect(target.push({ ...content, open })).rejects.toBe(broken);
        expect(await target.has(content.descriptor)).toBe(false);
        expect(await target.push(content)).toBe("written");
      }
    });

    test("succeeds for all that push the same content at once", async () => {
      const { target } = await factory();
      await pushAll(target);
      for (const content of [blob("race", LARGE), artifact("race")]) {
        await Promise.all([1, 2, 3, 4].map(() => target.push(content)));
        expect((await read(target.fetch(content.descriptor))).equals(content.bytes)).toBe(true);
      }
    });

    test("succeeds with good bytes while the same content is pushed with bad ones", async () => {
      const { target } = await factory();
      await pushAll(target);
      const content = blob("both", LARGE);
      const bad = target.push(lying(content, content.bytes.subarray(1)));
      const [first, second] = await Promise.allSettled([bad, target.push(content)]);
      // The bad one may have found the content there already.
      if (first.status === "rejected") expect(isOciError(first.reason, "MISMATCH")).toBe(true);
      expect(second.status).toBe("fulfilled");
      expect((await read(target.fetch(content.descriptor))).equals(content.bytes)).toBe(true);
    });

    test("tells the number of bytes as they are stored, and none where the content was there", async () => {
      const { target } = await factory();
      await pushAll(target);
      for (const content of [blob("counted", LARGE), artifact("counted")]) {
        let count = 0;
        const onBytes = (more: number) => {
          count += more;
        };
        await target.push(content, { onBytes });
        expect(count).toBe(content.bytes.byteLength);
        await target.push(content, { onBytes });
        expect(count).toBe(content.bytes.byteLength);
      }
    });

    test("makes content present that says where it comes from", async () => {
      const { target } = await factory();
      const origin = new MemoryStore("origin");
      const content = blob("elsewhere", 5000);
      await origin.push(content);
      await pushAll(target, { ...content, origin });
      expect((await read(target.fetch(content.descriptor))).equals(content.bytes)).toBe(true);
    });

    test("lets a manifest with a subject be found by referrers, also when its bytes had been stored as a blob", async () => {
      const { target } = await factory();
      const image = artifact("image");
      const sbom = artifact("sbom", { subject: image.descriptor });
      const asBlob = { ...sbom, descriptor: { ...sbom.descriptor, mediaType: mediaTypes.octetStream } };
      await pushAll(target, image, asBlob, sbom);
      expect(await all(target.referrers(image.descriptor))).toEqual([listed(sbom)]);
    });

    test("keeps the bytes of a manifest exactly", async () => {
      const { target } = await factory();
      const { bytes } = artifact("spaced");
      const spaced = Buffer.from(`\n ${JSON.stringify(JSON.parse(Buffer.from(bytes).toString()), null, 7)}  \r\n`);
      const content = { descriptor: descriptorOf(spaced, mediaTypes.manifest), open: () => [spaced] };
      await pushAll(target, content);
      expect((await read(target.fetch(content.descriptor))).equals(spaced)).toBe(true);
    });
  });

  describe("closed", () => {
    test("tells whether a manifest is taken although what it points at is not there", async () => {
      const { target } = await factory();
      const hollow = indexOf([artifact("absent").descriptor]);
      const alone = artifact("alone");
      for (const manifest of [hollow, alone]) {
        const pushed = target.push(manifest).then(
          () => true,
          () => false,
        );
        expect(await pushed).toBe(!target.closed);
        expect(await target.has(manifest.descriptor)).toBe(!target.closed);
      }
    });

    test("says nothing of the subject: a manifest is taken before its subject", async () => {
      const { target } = await factory();
      const referrer = artifact("early", { subject: { ...artifact("later").descriptor, digest: digestOf("later") } });
      await pushAll(target, referrer);
      expect(await target.has(referrer.descriptor)).toBe(true);
    });
  });

  describe("name", () => {
    test("says what it is", async () => {
      const { target } = await factory();
      expect(target.name).toMatch(/\S/);
    });
  });
}
