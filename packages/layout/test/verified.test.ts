import {
  collect,
  contentOf,
  type Descriptor,
  descriptorOf,
  digestOf,
  MAXIMUM_MANIFEST_SIZE,
  MemoryStore,
  mediaTypes,
  OciError,
  readBytes,
  readManifest,
  verified,
} from "@stowage/layout";
import { describe, expect, it } from "vitest";
import { all, bytesOf, failure, indexBytes, pushBytes, pushIndex, streamOf, utf8 } from "./support.js";

const text = "one two three";
const descriptor = descriptorOf(utf8(text), "text/plain");

/** Reads to the end or to the failure, and returns both. */
async function received(stream: AsyncIterable<Uint8Array>): Promise<{ text: string; error: OciError | undefined }> {
  const chunks: Uint8Array[] = [];
  try {
    for await (const chunk of stream) chunks.push(chunk);
  } catch (error) {
    expect(error).toBeInstanceOf(OciError);
    return { text: Buffer.concat(chunks).toString(), error: error as OciError };
  }
  return { text: Buffer.concat(chunks).toString(), error: undefined };
}

describe("a verified stream", () => {
  it("yields all bytes where size and digest match, however they are cut", async () => {
    for (const chunks of [[text], ["one ", "two ", "three"], ["", "one", "", " two three", ""], [...text]]) {
      expect(await received(verified(streamOf(...chunks), descriptor))).toEqual({ text, error: undefined });
    }
    expect((await bytesOf(verified([utf8(text)], descriptor))).toString()).toBe(text);
  });

  it("of nothing yields nothing", async () => {
    const empty = descriptorOf(new Uint8Array(), "text/plain");
    expect(await all(verified([], empty))).toEqual([]);
    expect((await received(verified(streamOf("x"), empty))).error?.code).toBe("MISMATCH");
  });

  it("withholds the last chunk of content with the wrong digest", async () => {
    const { text: got, error } = await received(verified(streamOf("one ", "two ", "THREE"), descriptor));
    expect(got).toBe("one two ");
    expect(error?.code).toBe("MISMATCH");
    expect(error?.message).toContain(digestOf("one two THREE"));
  });

  it("withholds the last chunk of content that ends too early", async () => {
    const { text: got, error } = await received(verified(streamOf("one ", "two "), descriptor));
    expect(got).toBe("one ");
    expect(error).toMatchObject({ code: "MISMATCH", message: expect.stringContaining("ended after 8 bytes") });
  });

  it("stops at the first byte too many and asks for no more", async () => {
    let asked = 0;
    async function* endless(): AsyncGenerator<Uint8Array> {
      for (;;) {
        asked++;
        yield utf8(text);
      }
    }
    const { text: got, error } = await received(verified(endless(), descriptor));
    expect(got).toBe("");
    expect(error?.code).toBe("MISMATCH");
    expect(asked).toBe(2);
  });

  it("lets go of its source when the reader stops", async () => {
    let ended = false;
    async function* source(): AsyncGenerator<Uint8Array> {
      try {
        yield* [utf8("one "), utf8("two "), utf8("three")];
      } finally {
        ended = true;
      }
    }
    for await (const _chunk of verified(source(), descriptor)) break;
    expect(ended).toBe(true);
  });

  it("passes on what its source fails with", async () => {
    // biome-ignore lint/correctness/useYield: it fails before it yields
    async function* broken(): AsyncGenerator<Uint8Array> {
      throw new RangeError("broken");
    }
    await expect(all(verified(broken(), descriptor))).rejects.toThrow(RangeError);
  });

  it("with an algorithm that is not known here is UNSUPPORTED before a byte is read", async () => {
    const unknown = { ...descriptor, digest: "other:abc" } as Descriptor;
    // biome-ignore lint/correctness/useYield: it fails before it yields
    async function* source(): AsyncGenerator<Uint8Array> {
      throw new Error("was read");
    }
    expect((await received(verified(source(), unknown))).error?.code).toBe("UNSUPPORTED");
  });
});

describe("collecting a stream", () => {
  it("stops with LIMIT at the first byte too many", async () => {
    expect(Buffer.from(await collect(streamOf("ab", "cd"), 4)).toString()).toBe("abcd");
    await failure(collect(streamOf("ab", "cd"), 3), "LIMIT");
  });
});

describe("reading small content", () => {
  it("refuses by the declared size before anything is fetched", async () => {
    const untouched = {
      fetch: (): never => {
        throw new Error("was fetched");
      },
    };
    await failure(readBytes(untouched, { ...descriptor, size: MAXIMUM_MANIFEST_SIZE + 1 }), "LIMIT");
    await failure(readBytes(untouched, descriptor, { limit: descriptor.size - 1 }), "LIMIT");
  });

  it("takes embedded data that is right, and fetches where it is wrong", async () => {
    const store = new MemoryStore();
    const data = Buffer.from(text).toString("base64");
    expect(Buffer.from(await readBytes(store, { ...descriptor, data })).toString()).toBe(text);
    const wrong = { ...descriptor, data: Buffer.from("one two THREE").toString("base64") };
    await failure(readBytes(store, wrong), "NOT_FOUND");
    await store.push(contentOf(utf8(text), descriptor));
    expect(Buffer.from(await readBytes(store, wrong)).toString()).toBe(text);
  });
});

describe("reading a manifest", () => {
  it("gives the bytes as they are stored, and what they say", async () => {
    const store = new MemoryStore();
    const bytes = utf8(`{ "schemaVersion": 2,\n  "manifests": [] , "x": 1.0 }\n`);
    const found = await pushBytes(store, bytes, mediaTypes.index);
    const read = await readManifest(store, found);
    expect(Buffer.from(read.bytes)).toEqual(Buffer.from(bytes));
    expect(read.manifest).toMatchObject({ kind: "index", manifests: [] });
  });

  it("refuses one whose own mediaType is another than the descriptor's", async () => {
    const store = new MemoryStore();
    const index = await pushIndex(store, []);
    await failure(readManifest(store, { ...index, mediaType: mediaTypes.manifest }), "INVALID");
  });

  it("takes one that is exactly as large as is allowed", async () => {
    const padding = (length: number): Uint8Array => indexBytes({ manifests: [], x: "x".repeat(length) });
    const largest = padding(MAXIMUM_MANIFEST_SIZE - padding(0).length);
    const store = new MemoryStore();
    const found = await pushBytes(store, largest, mediaTypes.index);
    expect(found.size).toBe(MAXIMUM_MANIFEST_SIZE);
    expect((await readManifest(store, found)).manifest.kind).toBe("index");
    const tooLarge = utf8(`${Buffer.from(largest).toString()} `);
    await failure(store.push(contentOf(tooLarge, descriptorOf(tooLarge, mediaTypes.index))), "LIMIT");
  });
});
