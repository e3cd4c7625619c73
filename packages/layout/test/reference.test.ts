import {
  type Digest,
  digestOf,
  formatReference,
  isReferrersTag,
  isRepository,
  isTag,
  parseReference,
  type Reference,
  referrersTag,
  splitReference,
} from "@stowage/layout";
import { describe, expect, it } from "vitest";
import { failure } from "./support.js";

const digest = digestOf("x");

describe("a reference", () => {
  it.each<[string, Reference]>([
    ["alpine", { host: "docker.io", repository: "library/alpine", tag: "latest" }],
    ["alpine:3.20", { host: "docker.io", repository: "library/alpine", tag: "3.20" }],
    ["docker.io/alpine", { host: "docker.io", repository: "library/alpine", tag: "latest" }],
    ["index.docker.io/alpine", { host: "docker.io", repository: "library/alpine", tag: "latest" }],
    ["registry-1.docker.io/library/alpine", { host: "docker.io", repository: "library/alpine", tag: "latest" }],
    ["docker.io/library/alpine:3", { host: "docker.io", repository: "library/alpine", tag: "3" }],
    ["bitnami/redis", { host: "docker.io", repository: "bitnami/redis", tag: "latest" }],
    ["localhost/x", { host: "localhost", repository: "x", tag: "latest" }],
    ["localhost:5000/x/y:v1", { host: "localhost:5000", repository: "x/y", tag: "v1" }],
    ["ghcr.io/a/b", { host: "ghcr.io", repository: "a/b", tag: "latest" }],
    ["host:443/a", { host: "host:443", repository: "a", tag: "latest" }],
    ["Host/a", { host: "Host", repository: "a", tag: "latest" }],
    ["[::1]:5000/a/b:t", { host: "[::1]:5000", repository: "a/b", tag: "t" }],
    ["[fd00::2]/a", { host: "[fd00::2]", repository: "a", tag: "latest" }],
    ["127.0.0.1:5000/a", { host: "127.0.0.1:5000", repository: "a", tag: "latest" }],
    [`a/b@${digest}`, { host: "docker.io", repository: "a/b", digest }],
    [`ghcr.io/a/b:v1@${digest}`, { host: "ghcr.io", repository: "a/b", tag: "v1", digest }],
    [`[::1]:5000/a@${digest}`, { host: "[::1]:5000", repository: "a", digest }],
    ["a.b/c__d/e---f/g.h_i", { host: "a.b", repository: "c__d/e---f/g.h_i", tag: "latest" }],
    ["localhost:5000", { host: "docker.io", repository: "library/localhost", tag: "5000" }],
  ])("%s", (text, reference) => {
    expect(parseReference(text)).toEqual(reference);
    expect(parseReference(formatReference(reference))).toEqual(reference);
  });

  it.each([
    "",
    ":tag",
    "/a",
    "a/",
    "a//b",
    "ghcr.io/",
    "ghcr.io/A/b",
    "ghcr.io/a..b",
    "ghcr.io/a/../b",
    "ghcr.io/a___b",
    "ghcr.io/-a",
    "ghcr.io/a:",
    "ghcr.io/a:-tag",
    `ghcr.io/a:${"t".repeat(129)}`,
    `ghcr.io/${"a".repeat(256)}`,
    "ghcr.io/a@",
    "ghcr.io/a@sha256:abc",
    `ghcr.io/a@${digest.toUpperCase()}`,
    `ghcr.io/a@${digest}:tag`,
    `ghcr.io/a@${digest}@${digest}`,
    "user:password@ghcr.io/a",
    "https://ghcr.io/a",
    "ghcr.io/a b",
    "ghcr.io/a\n",
    "-host.io/a",
    "host.io:123456/a",
    "host.io:x/a",
    "[::1/a",
    "::1/a",
    "ghcr.io/a?x=y",
    "ghcr.io/a#x",
    "ghcr.io\\@evil.io/a",
  ])("%j is refused", async (text) => {
    await failure(() => parseReference(text), "INVALID");
  });

  it("with capitals in the repository is refused with a hint", async () => {
    expect((await failure(() => parseReference("ghcr.io/Foo/bar"), "INVALID")).hint).toContain("lower case");
  });

  it("is split without judging the name", () => {
    expect(splitReference(`anything at:all:v1@${digest}`)).toEqual({ name: "anything at:all", tag: "v1", digest });
    expect(splitReference("host:5000/x")).toEqual({ name: "host:5000/x" });
  });
});

describe("a tag", () => {
  it.each(["latest", "_x", "1.0", "a-b", "A", "0", "a__b", "a..b", "a.", "x".repeat(128)])("is %s", (text) => {
    expect(isTag(text)).toBe(true);
  });

  it.each(["", ".a", "-a", "a b", "a/b", "a:b", "é", "a+b", "x".repeat(129), "a\n"])("is not %j", (text) => {
    expect(isTag(text)).toBe(false);
  });
});

it("a repository has at most 255 characters", () => {
  expect(isRepository("a".repeat(255))).toBe(true);
  expect(isRepository("a".repeat(256))).toBe(false);
});

it("a name of a hundred thousand characters is judged at once", () => {
  for (const text of ["a-".repeat(50_000), "a/".repeat(50_000), "a.".repeat(50_000), `a${"-".repeat(100_000)}`]) {
    expect(isRepository(text)).toBe(false);
    expect(() => parseReference(`${text}!/x!`)).toThrow();
  }
});

describe("the tag of a list of referrers", () => {
  it.each<[string, string]>([
    [
      "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a",
      "sha256-44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a",
    ],
    [`sha512:${"0123456789abcdef".repeat(8)}`, `sha512-${"0123456789abcdef".repeat(4)}`],
    [
      "test+algorithm+using+algorithm+separators+and+lots+of+characters+to+excercise+overall+truncation:alsoSome=InTheEncodedSectionToShowHyphenReplacementAndLotsAndLotsOfCharactersToExcerciseEncodedTruncation",
      "test-algorithm-using-algorithm-s-alsoSome-InTheEncodedSectionToShowHyphenReplacementAndLotsAndLot",
    ],
  ])("of %s", (text, tag) => {
    expect(referrersTag(text as Digest)).toBe(tag);
    expect(isTag(tag)).toBe(true);
  });

  it("is told from other tags", () => {
    expect(isReferrersTag(referrersTag(digest))).toBe(true);
    expect(isReferrersTag(referrersTag(digestOf("x", "sha512")))).toBe(true);
    // As oras makes it, which does not cut it off.
    expect(isReferrersTag(digestOf("x", "sha512").replace(":", "-"))).toBe(true);
    for (const tag of [
      `${referrersTag(digest)}.sig`,
      `${referrersTag(digest)}${"0".repeat(64)}`,
      "sha256-abc",
      `x${referrersTag(digest)}`,
      "latest",
    ])
      expect(isReferrersTag(tag)).toBe(false);
  });
});
