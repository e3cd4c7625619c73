import { createHash } from "node:crypto";
import { digestOf } from "@stowage/layout";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import {
  decodeNix32,
  encodeNix32,
  formatNixHash,
  parseNixHash,
  parseStorePath,
  sourceStorePath,
  textStorePath,
} from "../src/index.js";
import { fixture } from "./fixtures.js";

describe("base 32 as Nix writes it", () => {
  it("is the text that Nix has for a hash", () => {
    const narHash = createHash("sha256").update(fixture("nar/app.nar")).digest();
    expect(encodeNix32(narHash)).toBe("00j42rn544bnmgw9i13nrnd5k9zwgz8j7k93f2bwg1caw70d2xbv");
  });

  it("gives back the bytes it was made from, whatever their number", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 64 }), (bytes) => {
        expect(Buffer.from(decodeNix32(encodeNix32(bytes)))).toEqual(Buffer.from(bytes));
      }),
    );
  });

  it.each(["e", "0000000000000000000000000000000000000000000000000000e", "z", "0U", "000"])("refuses %s", (text) => {
    expect(() => decodeNix32(text)).toThrow("not base 32");
  });

  it("refuses bits that stand for no byte", () => {
    expect(() => decodeNix32(`z${"0".repeat(51)}`)).toThrow("not base 32");
  });
});

describe("a hash of Nix", () => {
  const digest = digestOf("x");
  const bytes = Buffer.from(digest.slice(7), "hex");

  it.each([
    `sha256-${bytes.toString("base64")}`,
    `sha256:${encodeNix32(bytes)}`,
    `sha256:${bytes.toString("hex")}`,
    `sha256:${bytes.toString("base64")}`,
    bytes.toString("hex"),
    encodeNix32(bytes),
    { algorithm: "sha256", format: "base64", hash: bytes.toString("base64") },
  ])("is read from %s", (text) => {
    expect(parseNixHash(text)).toBe(digest);
    expect(formatNixHash(parseNixHash(text))).toBe(`sha256:${encodeNix32(bytes)}`);
  });

  it.each(["", "sha256:", "sha256:zz", `sha256-${"A".repeat(43)}`, 7, null, { hash: 1 }])(
    "is not read from %s",
    (text) => {
      expect(() => parseNixHash(text)).toThrow("is no sha256");
    },
  );

  it("of another algorithm is told apart", () => {
    expect(() => parseNixHash(`sha512:${"a".repeat(128)}`)).toThrow("only sha256 is read");
  });
});

describe("a store path", () => {
  it("of text is the one that builtins.toFile gives", () => {
    expect(textStorePath("app.conf", digestOf("greeting = hi\n"), [])).toBe(
      "/nix/store/ad2s95dw4109i8i619vxq229crk6zdlv-app.conf",
    );
  });

  it("of a tree is the one that nix-store --add gives", () => {
    // A file with the content "hello\n".
    const narHash = parseNixHash("sha256:04zwf782yjwnh3q6hz5izfd6jyip8kgw6g6yj43fiqhbyhdd0dqw");
    expect(sourceStorePath("hello.txt", narHash, [])).toBe("/nix/store/i9pmrzmpshapij2kin22pff6fc2adavx-hello.txt");
  });

  it("has its parts, in whatever store directory", () => {
    expect(parseStorePath("/gnu/store/bqy3xcn2d64va92hx2zw78cbp7bpvdbi-run-app")).toEqual({
      storeDirectory: "/gnu/store",
      baseName: "bqy3xcn2d64va92hx2zw78cbp7bpvdbi-run-app",
      hashPart: "bqy3xcn2d64va92hx2zw78cbp7bpvdbi",
      name: "run-app",
    });
  });

  const hash = "bqy3xcn2d64va92hx2zw78cbp7bpvdbi";
  it.each([
    `/nix/store/${hash}`,
    `/nix/store/${hash}-`,
    `/nix/store/${hash}-..`,
    `/nix/store/${hash}-.`,
    `/nix/store/${hash}-.-x`,
    `/nix/store/${hash}-..-x`,
    `/nix/store/${hash}-a/b`,
    `/nix/store/${hash}-${"a".repeat(212)}`,
    `/nix/../store/${hash}-a`,
    `nix/store/${hash}-a`,
    `/${hash}-a`,
    `/nix//store/${hash}-a`,
    `/nix/store/e${hash.slice(1)}-a`,
    `/nix/store/${hash}-a b`,
    `/nix/store/${hash}-a\n`,
  ])("is not %s", (text) => {
    expect(() => parseStorePath(text)).toThrow(/is no store path|is in no store directory/);
  });
});
