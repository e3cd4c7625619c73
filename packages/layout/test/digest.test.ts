import { createHash } from "node:crypto";
import { digestAlgorithm, digestEncoded, digestOf, Hasher, isDigest, isVerifiable, parseDigest } from "@stowage/layout";
import { describe, expect, it } from "vitest";
import { failure, utf8 } from "./support.js";

const HEX = "0123456789abcdef".repeat(4);

describe("the grammar of a digest", () => {
  it.each([
    `sha256:${HEX}`,
    `sha512:${HEX}${HEX}`,
    `blake3:${HEX}`,
    "multihash+base58:QmRZxt2b1FVZPNqd8hsiykDL3TdBDeTSPX9Kv46HmX4Gx8",
    "sha256+b64u:LCa0a2j_xo_5m0U8HTBBNBNCLXBkg7-g-YpeiGJm564",
    "a_b.c-d+e9:=_-",
    "md5:d41d8cd98f00b204e9800998ecf8427e",
  ])("accepts %s", (text) => {
    expect(isDigest(text)).toBe(true);
    expect(parseDigest(text)).toBe(text);
  });

  it.each([
    ["nothing", ""],
    ["no colon", HEX],
    ["no algorithm", `:${HEX}`],
    ["no encoded part", "sha256:"],
    ["an upper-case algorithm", `SHA256:${HEX}`],
    ["upper-case hex", `sha256:${HEX.toUpperCase()}`],
    ["upper-case hex in one place", `sha256:${HEX.slice(1)}A`],
    ["one digit too few", `sha256:${HEX.slice(1)}`],
    ["one digit too many", `sha256:${HEX}0`],
    ["a sha512 of half the length", `sha512:${HEX}`],
    ["a blake3 that is not hex", `blake3:${"z".repeat(64)}`],
    ["a letter that is not hex", `sha256:${HEX.slice(1)}g`],
    ["a path", "sha256:../../../etc/passwd"],
    ["a path of the right length", `sha256:${"../".repeat(21)}a`],
    ["a path in the algorithm", `../sha256:${HEX}`],
    ["an absolute path", `sha256:/etc/${"a".repeat(59)}`],
    ["a backslash", "other:..\\..\\windows"],
    ["a dot as the encoded part", "other:."],
    ["two dots as the encoded part", "other:.."],
    ["a NUL", `sha256:${HEX}\0`],
    ["a newline behind it", `sha256:${HEX}\n`],
    ["a newline before it", `\nsha256:${HEX}`],
    ["a blank", `sha256: ${HEX}`],
    ["two colons", `sha256:${HEX}:${HEX}`],
    ["a separator at the start of the algorithm", `+sha256:${HEX}`],
    ["two separators in a row", `sha256++b64:${HEX}`],
    ["full-width digits", `sha256:${"０".repeat(64)}`],
  ])("refuses %s", async (_what, text) => {
    expect(isDigest(text)).toBe(false);
    await failure(() => parseDigest(text), "INVALID");
  });

  it("refuses a digest that is longer than a file name may be, without repeating it whole in the message", async () => {
    const long = `other:${"a".repeat(1_000_000)}`;
    expect(isDigest(`other:${"a".repeat(249)}`)).toBe(true);
    expect(isDigest(`other:${"a".repeat(250)}`)).toBe(false);
    expect((await failure(() => parseDigest(long), "INVALID")).message.length).toBeLessThan(400);
  });

  it.each([[undefined], [null], [42], [{}], [["sha256:", HEX]]])("refuses %j, which is no string", async (value) => {
    await failure(() => parseDigest(value), "INVALID");
  });

  it("splits into algorithm and encoded part at the first colon", () => {
    const digest = parseDigest(`sha256:${HEX}`);
    expect([digestAlgorithm(digest), digestEncoded(digest)]).toEqual(["sha256", HEX]);
  });
});

describe("computing a digest", () => {
  it("agrees with the vectors of the empty descriptor", () => {
    expect(digestOf("{}")).toBe("sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a");
    expect(digestOf("{}", "sha512")).toBe(
      "sha512:27c74670adb75075fad058d5ceaf7b20c4e7786c83bae8a32f626f9782af34c9a33c2046ef60fd2a7878d378e29fec851806bbd9a67878f3a9f1cda4830763fd",
    );
  });

  it("gives the same digest in one piece and in many", () => {
    const hasher = new Hasher("sha512");
    for (const piece of ["a", "", "bc"]) hasher.update(utf8(piece));
    expect(hasher.digest()).toBe(digestOf("abc", "sha512"));
    expect(digestOf("abc")).toBe(`sha256:${createHash("sha256").update("abc").digest("hex")}`);
  });

  it("is possible for sha256 and sha512 only, and says so of any other algorithm", async () => {
    expect(isVerifiable(digestOf("x"))).toBe(true);
    expect(isVerifiable(digestOf("x", "sha512"))).toBe(true);
    const other = parseDigest(`blake3:${HEX}`);
    expect(isVerifiable(other)).toBe(false);
    expect((await failure(() => Hasher.for(other), "UNSUPPORTED")).message).toContain("blake3");
  });
});
