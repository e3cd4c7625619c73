import { digestOf, formatLocation, type Location, type ParseLocationOptions, parseLocation } from "@stowage/layout";
import { describe, expect, it } from "vitest";
import { failure } from "./support.js";

const digest = digestOf("x");

describe("a location", () => {
  it.each<[string, Location]>([
    ["ghcr.io/a/b:v1", { kind: "registry", reference: { host: "ghcr.io", repository: "a/b", tag: "v1" } }],
    [
      "docker://alpine",
      { kind: "registry", reference: { host: "docker.io", repository: "library/alpine", tag: "latest" } },
    ],
    ["oci:dir", { kind: "layout", path: "dir" }],
    ["oci:dir:v1", { kind: "layout", path: "dir", tag: "v1" }],
    ["oci:./a b/c:v1", { kind: "layout", path: "./a b/c", tag: "v1" }],
    ["ocidir:///abs/dir:v1", { kind: "layout", path: "/abs/dir", tag: "v1" }],
    [`oci:dir@${digest}`, { kind: "layout", path: "dir", digest }],
    [`oci:dir:v1@${digest}`, { kind: "layout", path: "dir", tag: "v1", digest }],
    ["oci:dir:ghcr.io/a/b:v1", { kind: "layout", path: "dir", tag: "ghcr.io/a/b:v1" }],
    ["oci:dir@2", { kind: "layout", path: "dir@2" }],
    ["oci:C:\\images\\x", { kind: "layout", path: "C:\\images\\x" }],
    ["oci:C:\\images\\x:v1", { kind: "layout", path: "C:\\images\\x", tag: "v1" }],
    ["oci:c:/images:v1", { kind: "layout", path: "c:/images", tag: "v1" }],
    [`oci:c:/images:v1@${digest}`, { kind: "layout", path: "c:/images", tag: "v1", digest }],
    ["oci:c:v1", { kind: "layout", path: "c", tag: "v1" }],
    ["oci-archive:x.tar:v1", { kind: "oci-archive", path: "x.tar", tag: "v1" }],
    ["oci-archive:-", { kind: "oci-archive", path: "-" }],
    ["docker-archive:x.tar:alpine:3", { kind: "docker-archive", path: "x.tar", tag: "alpine:3" }],
    ["localhost:5000/x", { kind: "registry", reference: { host: "localhost:5000", repository: "x", tag: "latest" } }],
    ["[::1]:5000/x", { kind: "registry", reference: { host: "[::1]:5000", repository: "x", tag: "latest" } }],
  ])("%s", (text, location) => {
    expect(parseLocation(text)).toEqual(location);
    expect(parseLocation(formatLocation(location))).toEqual(location);
  });

  it.each([
    "",
    "oci:",
    "oci::v1",
    "./dir",
    "../dir",
    "/abs/dir",
    "~/dir",
    "C:\\dir",
    "s3://bucket/x",
    "https://ghcr.io/a",
    "oci:dir@sha256:abc",
    `oci:dir@${digest.toUpperCase().replace("SHA256", "sha256")}`,
    "docker://",
    "docker://A/b c",
  ])("%j is refused", async (text) => {
    await failure(() => parseLocation(text), "INVALID");
  });

  it("that is a bare path is refused with the text that was probably meant", async () => {
    expect((await failure(() => parseLocation("./dir"), "INVALID")).hint).toContain("oci:./dir");
  });
});

describe("a path with colons", () => {
  const existing = (...paths: string[]): ParseLocationOptions => ({ exists: (path) => paths.includes(path) });

  it("is the longest one that exists", () => {
    const options = existing("a", "a:b");
    expect(parseLocation("oci:a:b:c", options)).toEqual({ kind: "layout", path: "a:b", tag: "c" });
    expect(parseLocation("oci:a:b", options)).toEqual({ kind: "layout", path: "a:b" });
    expect(parseLocation("oci:a:c", options)).toEqual({ kind: "layout", path: "a", tag: "c" });
  });

  it("ends at the first colon where nothing exists", () => {
    expect(parseLocation("oci:new:v1", existing())).toEqual({ kind: "layout", path: "new", tag: "v1" });
    expect(parseLocation("oci:C:/new:v1", existing())).toEqual({ kind: "layout", path: "C:/new", tag: "v1" });
  });

  it("and something like a digest at its end is a path where it exists", () => {
    const odd = "dir@sha256:abc";
    expect(parseLocation(`oci:${odd}`, existing(odd))).toEqual({ kind: "layout", path: odd });
  });

  it("and an @ before its tag is a path where it exists", () => {
    const options = existing("dir@2");
    expect(parseLocation("oci:dir@2:v1", options)).toEqual({ kind: "layout", path: "dir@2", tag: "v1" });
    expect(parseLocation(`oci:dir@2:v1@${digest}`, options)).toEqual({
      kind: "layout",
      path: "dir@2",
      tag: "v1",
      digest,
    });
  });

  it("and spaces is found with its tag and digest", () => {
    expect(parseLocation(`oci:my images: 2:v1@${digest}`, existing("my images: 2"))).toEqual({
      kind: "layout",
      path: "my images: 2",
      tag: "v1",
      digest,
    });
  });
});
