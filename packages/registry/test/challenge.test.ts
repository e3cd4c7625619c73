import { describe, expect, it } from "vitest";
import { parseChallenges } from "../src/auth/challenge.js";

const read = (...values: string[]) =>
  parseChallenges(values).map(({ scheme, parameters }) => [scheme, Object.fromEntries(parameters)]);

describe("parseChallenges", () => {
  it("reads what registries send", () => {
    expect(
      read('Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:a/b:pull,push"'),
    ).toEqual([
      [
        "bearer",
        { realm: "https://auth.docker.io/token", service: "registry.docker.io", scope: "repository:a/b:pull,push" },
      ],
    ]);
    expect(read('Basic realm="Registry Realm"')).toEqual([["basic", { realm: "Registry Realm" }]]);
    expect(read("Basic realm=plain")).toEqual([["basic", { realm: "plain" }]]);
  });

  it("reads several challenges in one value and in several", () => {
    expect(read('Negotiate, Basic realm="a", Bearer realm="b" , service="c"')).toEqual([
      ["negotiate", {}],
      ["basic", { realm: "a" }],
      ["bearer", { realm: "b", service: "c" }],
    ]);
    expect(read('Bearer realm="b"', "Basic realm=a")).toEqual([
      ["bearer", { realm: "b" }],
      ["basic", { realm: "a" }],
    ]);
    expect(read("Negotiate YWJj==, Basic realm=x")).toEqual([
      ["negotiate", {}],
      ["basic", { realm: "x" }],
    ]);
  });

  it("takes names in any case, spaces around the sign, escapes in quotes, empty values", () => {
    expect(read('BEARER Realm = "a\\"b\\\\c" , Service=""')).toEqual([["bearer", { realm: 'a"b\\c', service: "" }]]);
  });

  it("does not let a quoted value make a second challenge", () => {
    expect(read('Bearer realm="x, Basic realm=\\"y\\"",service=z')).toEqual([
      ["bearer", { realm: 'x, Basic realm="y"', service: "z" }],
    ]);
  });

  it("keeps the first of two equal names", () => {
    expect(read('Bearer realm="a",realm="b"')).toEqual([["bearer", { realm: "a" }]]);
  });

  it("ends at what cannot be read", () => {
    expect(read('Basic realm="a", Bearer realm="b')).toEqual([
      ["basic", { realm: "a" }],
      ["bearer", {}],
    ]);
    expect(read("")).toEqual([]);
    expect(read('"')).toEqual([]);
  });

  it("does not read a value that is too long to be one", () => {
    expect(read(`Bearer ${"a=b,".repeat(2000)}`)).toEqual([["bearer", { a: "b" }]]);
    expect(read(`Bearer ${"a=b,".repeat(100_000)}`, "Basic realm=x")).toEqual([["basic", { realm: "x" }]]);
  });
});
