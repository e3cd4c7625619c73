import { parseConfig } from "@stowage/image";
import {
  formatLocation,
  formatPlatform,
  formatReference,
  mediaTypes,
  OciError,
  parseDescriptor,
  parseDigest,
  parseJson,
  parseLocation,
  parseManifest,
  parseMediaType,
  parsePlatform,
  parseReference,
  splitReference,
} from "@stowage/layout";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { checkIndex } from "../../packages/layout/src/store/index-json.js";
import { oddities } from "../../packages/layout/src/store/oddities.js";
import { configBytes, imageBytes } from "./hostile-layout.js";

const runs = { numRuns: 3000 };
const hex = (length: number) =>
  fc.array(fc.constantFrom(..."0123456789abcdef"), { minLength: length, maxLength: length }).map((all) => all.join(""));
const digest = fc.oneof(
  hex(64).map((text) => `sha256:${text}`),
  hex(128).map((text) => `sha512:${text}`),
);
const name = fc.stringMatching(/^[a-z0-9]{1,8}$/);
const tag = fc.stringMatching(/^[a-zA-Z0-9_][a-zA-Z0-9._-]{0,20}$/);

/** Text of all kinds: any characters, and those that mean something here in any order. */
const pieces = [
  "oci:",
  "ocidir://",
  "docker://",
  "oci-archive:",
  "docker.io",
  "localhost",
  "/",
  ":",
  "@",
  "sha256:",
  "a",
  "A",
  "0",
  ".",
  "..",
  "-",
  "_",
  "[::1]",
  " ",
  "\0",
  "\n",
  "é",
  "linux",
  "amd64",
  "%",
  "\\",
  "C:\\",
  "~",
  "v8",
];
const text = fc.oneof(
  fc.string({ unit: "binary", maxLength: 60 }),
  fc.array(fc.oneof(fc.constantFrom(...pieces), digest, name, tag), { maxLength: 12 }).map((all) => all.join("")),
  fc.string({ maxLength: 3000 }),
);

/** What it gives, or undefined where it fails as it should. */
function attempt<Value>(parse: () => Value): Value | undefined {
  try {
    return parse();
  } catch (error) {
    expect(error).toBeInstanceOf(OciError);
    expect((error as OciError).code).toMatch(/^(?:INVALID|UNSUPPORTED|LIMIT)$/);
    return undefined;
  }
}

describe("any text at all is read or fails with an OciError, and what was read is written so that it reads the same", () => {
  const forms: readonly [string, (text: string) => unknown, (value: never) => string][] = [
    ["a reference", parseReference, formatReference],
    ["a location", parseLocation, formatLocation],
    ["a platform", parsePlatform, formatPlatform],
    ["a digest", parseDigest, String],
    ["a media type", parseMediaType, String],
  ];
  it.each(forms)("%s", (_what, parse, format) => {
    fc.assert(
      fc.property(text, (input) => {
        const value = attempt(() => parse(input));
        if (value !== undefined) expect(parse(format(value as never))).toEqual(value);
      }),
      runs,
    );
  });

  it("the parts of a reference, which stand in it as they are", () => {
    fc.assert(
      fc.property(text, (input) => {
        const parts = attempt(() => splitReference(input));
        if (parts !== undefined)
          expect(
            `${parts.name}${parts.tag === undefined ? "" : `:${parts.tag}`}${parts.digest === undefined ? "" : `@${parts.digest}`}`,
          ).toBe(input);
      }),
      runs,
    );
  });

  it("a location whatever exists on the disk", () => {
    fc.assert(
      fc.property(text, fc.func(fc.boolean()), (input, exists) => {
        attempt(() => parseLocation(input, { exists }));
      }),
      runs,
    );
  });
});

describe("what is well formed is read as what it was made of", () => {
  it("a reference", () => {
    const parts = fc.record({
      host: fc.constantFrom("ghcr.io", "localhost", "localhost:5000", "127.0.0.1:80", "[::1]:5000", "Example.COM"),
      repository: fc.array(name, { minLength: 1, maxLength: 4 }).map((all) => all.join("/")),
      tag: fc.option(tag, { nil: undefined }),
      digest: fc.option(digest, { nil: undefined }),
    });
    fc.assert(
      fc.property(parts, ({ host, repository, ...rest }) => {
        const written = `${host}/${repository}${rest.tag === undefined ? "" : `:${rest.tag}`}${rest.digest === undefined ? "" : `@${rest.digest}`}`;
        const expected = rest.tag === undefined && rest.digest === undefined ? { tag: "latest" } : rest;
        expect(parseReference(written)).toEqual({ host, repository, ...expected });
        expect(parseLocation(`docker://${written}`)).toEqual({ kind: "registry", reference: parseReference(written) });
      }),
      runs,
    );
  });

  it("a location of a directory or file", () => {
    const path = fc
      .array(fc.constantFrom("a", "b c", ".", "/", "é", "-"), { minLength: 1, maxLength: 6 })
      .map((all) => all.join(""));
    fc.assert(
      fc.property(
        path,
        fc.option(tag, { nil: undefined }),
        fc.option(digest, { nil: undefined }),
        (where, name, content) => {
          const written = `oci:${where}${name === undefined ? "" : `:${name}`}${content === undefined ? "" : `@${content}`}`;
          expect(parseLocation(written)).toEqual({ kind: "layout", path: where, tag: name, digest: content });
        },
      ),
      runs,
    );
  });
});

describe("any bytes at all are read or fail with an OciError", () => {
  const documents = [imageBytes, configBytes, new TextEncoder().encode('{"schemaVersion":2,"manifests":[]}')];
  /** A document with some bytes changed, cut out or put in. */
  const damaged = fc
    .tuple(
      fc.constantFrom(...documents),
      fc.array(fc.tuple(fc.nat(), fc.nat(3), fc.uint8Array({ maxLength: 4 })), { minLength: 1, maxLength: 4 }),
    )
    .map(([document, changes]) => {
      let bytes = Buffer.from(document);
      for (const [at, removed, put] of changes) {
        const start = at % (bytes.length + 1);
        bytes = Buffer.concat([bytes.subarray(0, start), put, bytes.subarray(start + removed)]);
      }
      return new Uint8Array(bytes);
    });
  const bytes = fc.oneof(
    damaged,
    fc.uint8Array({ maxLength: 200 }),
    fc.json().map((json) => new TextEncoder().encode(json)),
  );

  it("as JSON, as a manifest of each type and as a configuration", () => {
    fc.assert(
      fc.property(bytes, (input) => {
        const value = attempt(() => parseJson(input, "it"));
        for (const type of Object.values(mediaTypes)) attempt(() => parseManifest(input, type, "it"));
        attempt(() => parseConfig(input, "it"));
        expect(oddities(value).every(({ code, message }) => code !== undefined && message !== "")).toBe(true);
      }),
      runs,
    );
  });

  it("and so is any value as a descriptor, or as an index, which then reads the same again", () => {
    const members = [
      "schemaVersion",
      "mediaType",
      "digest",
      "size",
      "annotations",
      "platform",
      "urls",
      "data",
      "manifests",
      "__proto__",
    ];
    const leaf = fc.oneof(
      fc.constantFrom<unknown>(null, 2, -1, "", "a/b", `sha256:${"a".repeat(64)}`, mediaTypes.index, [], {}),
      fc.jsonValue({ maxDepth: 2 }),
    );
    const object = fc.dictionary(fc.constantFrom(...members), leaf);
    const index = fc
      .record({
        schemaVersion: fc.constant(2),
        manifests: fc.oneof(fc.array(fc.oneof(object, leaf), { maxLength: 4 }), leaf),
      })
      .chain((base) => object.map((more) => ({ ...more, ...base })));
    fc.assert(
      fc.property(fc.oneof(object, index), (value) => {
        attempt(() => parseDescriptor(value, "it"));
        const read = attempt(() => checkIndex(value, "it"));
        if (read !== undefined) expect(checkIndex(JSON.parse(JSON.stringify(read)), "it")).toEqual(read);
        oddities(value);
      }),
      { ...runs, examples: [[{ schemaVersion: 2, manifests: [{ digest: { toString: 0 } }, {}] }]] },
    );
  });
});
