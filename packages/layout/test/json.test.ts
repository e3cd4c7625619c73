import { isJsonObject, parseJson, parseJsonObject } from "@stowage/layout";
import { describe, expect, it } from "vitest";
import { failure, utf8 } from "./support.js";

const parse = (text: string): unknown => parseJson(utf8(text), "the text");

describe("what is accepted as JSON", () => {
  it.each([
    ["null", null],
    ["0", 0],
    [' {"a" : [ 1 , "x" , {"b":true} ] }\n', { a: [1, "x", { b: true }] }],
    ['{"a":{"x":1},"b":{"x":1}}', { a: { x: 1 }, b: { x: 1 } }],
    ['[{"x":1},{"x":1}]', [{ x: 1 }, { x: 1 }]],
    ['{"a":"a","b":"a"}', { a: "a", b: "a" }],
    ['{"a":["a","a"],"b":1}', { a: ["a", "a"], b: 1 }],
    ['{"a":"\\"b\\":1,","b":2}', { a: '"b":1,', b: 2 }],
    ['{"a":"{","b":"}"}', { a: "{", b: "}" }],
    ['{"\u00e9":1,"e\u0301":2}', { "\u00e9": 1, "e\u0301": 2 }],
  ])("%s", (text, value) => {
    expect(parse(text)).toEqual(value);
  });

  it("nests up to 100 levels", () => {
    expect(() => parse("[".repeat(100) + "]".repeat(100))).not.toThrow();
  });

  it("__proto__ and constructor are names like any other and change no prototype", () => {
    const value = parse('{"__proto__":{"polluted":true},"constructor":1,"a":{"__proto__":null}}') as object;
    expect(Object.getPrototypeOf(value)).toBe(Object.prototype);
    expect(Object.keys(value)).toEqual(["__proto__", "constructor", "a"]);
    expect("polluted" in {}).toBe(false);
    expect((value as { polluted?: unknown }).polluted).toBeUndefined();
  });
});

describe("what is refused as JSON", () => {
  it.each([
    ["nothing", ""],
    ["blanks", "  \n"],
    ["a byte order mark", '\ufeff{"a":1}'],
    ["something behind the value", '{"a":1} x'],
    ["a second value", '{"a":1}{"b":2}'],
    ["a NUL behind the value", '{"a":1}\0'],
    ["an object that does not end", '{"a":1'],
    ["a string that does not end", '{"a":"b'],
    ["a trailing comma", '{"a":1,}'],
    ["a comment", '{"a":1 /* one */}'],
    ["single quotes", "{'a':1}"],
    ["NaN", '{"size":NaN}'],
    ["a number with a leading zero", '{"size":01}'],
    ["a control character in a string", '{"a":"\n"}'],
    ["brackets that do not match", '{"a":[1}'],
    ["a duplicate name", '{"a":1,"b":2,"a":3}'],
    ["a duplicate name in an inner object", '[{"x":{"a":1,"a":1}}]'],
    ["a duplicate name behind an inner object", '{"a":{"b":[]},"c":[{}],"a":1}'],
    ["a duplicate name that is escaped once", '{"size":1,"s\\u0069ze":2}'],
    ["a duplicate name that is escaped differently", '{"\\u00e9":1,"\\u00E9":2}'],
    ["a duplicate name with an escaped slash", '{"a/b":1,"a\\/b":2}'],
    ["a duplicate empty name", '{"":1,"":2}'],
    ["a duplicate __proto__", '{"__proto__":1,"__proto__":2}'],
    ["a duplicate name with blanks around it", '{"a" :1,\n "a"\t:2}'],
    ["101 nested arrays", "[".repeat(101) + "]".repeat(101)],
    ["200000 nested arrays", "[".repeat(200_000) + "]".repeat(200_000)],
    ["200000 nested arrays that do not end", "[".repeat(200_000)],
    ["200000 nested objects", '{"a":'.repeat(200_000) + 1 + "}".repeat(200_000)],
  ])("%s", async (_what, text) => {
    await failure(() => parse(text), "INVALID");
  });

  it.each([
    ["bytes that are not UTF-8", [0x22, 0xff, 0x22]],
    ["an overlong form", [0x22, 0xc0, 0xaf, 0x22]],
    ["a surrogate in UTF-8", [0x22, 0xed, 0xa0, 0x80, 0x22]],
    ["half a character", [0x22, 0xe2, 0x82, 0x22]],
    ["UTF-16", [0xff, 0xfe, 0x7b, 0x00, 0x7d, 0x00]],
  ])("%s", async (_what, bytes) => {
    await failure(() => parseJson(Uint8Array.from(bytes), "the text"), "INVALID");
  });

  it("the message names the text", async () => {
    expect((await failure(() => parseJson(utf8("{"), "index.json of here"), "INVALID")).message).toContain(
      "index.json of here",
    );
  });
});

describe("an object", () => {
  it.each(["[]", "null", '"x"', "1", "true"])("is not %s", async (text) => {
    await failure(() => parseJsonObject(utf8(text), "the text"), "INVALID");
    expect(isJsonObject(JSON.parse(text))).toBe(false);
  });
});
