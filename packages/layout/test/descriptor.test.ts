import {
  type Descriptor,
  descriptorOf,
  digestOf,
  embeddedData,
  emptyBytes,
  emptyDescriptor,
  formatDescriptor,
  isMediaType,
  parseAnnotations,
  parseDescriptor,
  parseMediaType,
  plainDescriptor,
} from "@stowage/layout";
import { describe, expect, it } from "vitest";
import { failure, utf8 } from "./support.js";

const digest = digestOf("x");
const good = { mediaType: "application/octet-stream", digest, size: 1 };

describe("a descriptor from foreign JSON", () => {
  it("keeps the fields it does not know", () => {
    const value = { ...good, "com.example": { a: 1 } };
    expect(parseDescriptor(value, "it")).toBe(value);
  });

  it.each<[string, Record<string, unknown>]>([
    ["no size", { ...good, size: undefined }],
    ["a negative size", { ...good, size: -1 }],
    ["a size that JSON cannot hold exactly", { ...good, size: 2 ** 53 }],
    ["a huge size", { ...good, size: 1e308 }],
    ["an infinite size", { ...good, size: Number.POSITIVE_INFINITY }],
    ["a size with a fraction", { ...good, size: 1.5 }],
    ["a size that is a string", { ...good, size: "1" }],
    ["a size that is null", { ...good, size: null }],
    ["a size that is an array", { ...good, size: [1] }],
    ["no digest", { ...good, digest: undefined }],
    ["a path as its digest", { ...good, digest: "sha256:../../x" }],
    ["a digest that is a number", { ...good, digest: 7 }],
    ["no mediaType", { ...good, mediaType: undefined }],
    ["an empty mediaType", { ...good, mediaType: "" }],
    ["a mediaType with parameters", { ...good, mediaType: "text/plain; charset=utf-8" }],
    ["a mediaType with a newline", { ...good, mediaType: "text/plain\n" }],
    ["urls that are not strings", { ...good, urls: [1] }],
    ["annotations that are not strings", { ...good, annotations: { a: 1 } }],
    ["annotations that are an array", { ...good, annotations: ["a"] }],
    ["an object as the annotation __proto__", JSON.parse(`{"annotations":{"__proto__":{"a":"b"}}}`)],
    ["data that is not base64", { ...good, data: "%%%%" }],
    ["data in the URL alphabet", { ...good, data: "_-__" }],
    ["data without padding", { ...good, data: "eA" }],
    ["a platform without os", { ...good, platform: { architecture: "amd64" } }],
    [
      "a platform with a variant that is a number",
      { ...good, platform: { os: "linux", architecture: "arm", variant: 7 } },
    ],
    ["os.features that are no list", { ...good, platform: { os: "a", architecture: "b", "os.features": "win32k" } }],
  ])("is refused with %s", async (_what, members) => {
    const value = { ...good, ...members };
    expect((await failure(() => parseDescriptor(value, "layers[3]"), "INVALID")).message).toContain("layers[3]");
  });

  it.each([[null], [[]], ["text"], [1]])("is refused where it is %j", async (value) => {
    await failure(() => parseDescriptor(value, "it"), "INVALID");
  });

  it("may have the largest size that JSON holds exactly, and zero", () => {
    for (const size of [0, Number.MAX_SAFE_INTEGER]) expect(parseDescriptor({ ...good, size }, "it").size).toBe(size);
  });

  it("may have null where the spec allows a field to be absent", () => {
    const value = { ...good, urls: null, annotations: null, platform: null };
    expect(() => parseDescriptor(value, "it")).not.toThrow();
  });

  it("may have an algorithm that is not registered", () => {
    expect(parseDescriptor({ ...good, digest: "other:abc" }, "it").digest).toBe("other:abc");
  });
});

describe("annotations", () => {
  it("are empty where they are absent or null", () => {
    expect(parseAnnotations(undefined, "it")).toEqual({});
    expect(parseAnnotations(null, "it")).toEqual({});
  });

  it("may have the key __proto__ with a text, and it stays a key of its own", () => {
    const value = parseAnnotations(JSON.parse('{"__proto__":"text","a":""}'), "it");
    expect(Object.entries(value)).toEqual([
      ["__proto__", "text"],
      ["a", ""],
    ]);
  });
});

describe("a media type", () => {
  it.each(["application/spdx+json", "a/b", "application/vnd.oci.image.layer.v1.tar+gzip"])("is %s", (text) => {
    expect(parseMediaType(text)).toBe(text);
  });

  it.each(["", "a", "a/", "/b", "a/b/c", "a b/c", "a/b;c=d", `a/${"b".repeat(128)}`, "../a/b"])(
    "is not %j",
    async (text) => {
      expect(isMediaType(text)).toBe(false);
      await failure(() => parseMediaType(text), "INVALID");
    },
  );
});

describe("embedded data", () => {
  const content = utf8("hello");
  const data = Buffer.from(content).toString("base64");

  it("is the content where size and digest match", () => {
    expect(embeddedData({ ...descriptorOf(content, "text/plain"), data })).toEqual(Buffer.from(content));
    expect(embeddedData(emptyDescriptor)).toEqual(Buffer.from(emptyBytes));
  });

  it.each<[string, Partial<Descriptor>]>([
    ["the digest is of something else", { digest: digestOf("other") }],
    ["the size is wrong", { size: 4 }],
    ["it is not base64", { data: "hello" }],
    ["its base64 has a newline", { data: `${data}\n` }],
    ["the algorithm is unknown", { digest: "other:abc" as Descriptor["digest"] }],
  ])("does not count where %s", (_what, members) => {
    expect(embeddedData({ ...descriptorOf(content, "text/plain"), data, ...members })).toBeUndefined();
  });

  it("is absent where there is none", () => {
    expect(embeddedData(descriptorOf(content, "text/plain"))).toBeUndefined();
  });
});

describe("a descriptor of our own", () => {
  it("says what bytes are", () => {
    expect(descriptorOf(utf8("x"), "text/plain", { artifactType: "a/b" })).toEqual({
      mediaType: "text/plain",
      digest,
      size: 1,
      artifactType: "a/b",
    });
  });

  it("is plain when only what identifies content is left", () => {
    const full = { ...good, annotations: { a: "b" }, data: "eA==", artifactType: "a/b" };
    expect(plainDescriptor(full)).toEqual(good);
  });

  it("is formatted as type, digest and size", () => {
    expect(formatDescriptor(good)).toBe(`application/octet-stream ${digest} (1 bytes)`);
  });
});
