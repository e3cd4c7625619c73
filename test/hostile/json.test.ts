import { isOciError, parseJson } from "@stowage/layout";
import { describe, expect, it } from "vitest";

/** Each group in the manner of JSONTestSuite: texts a strict reader of RFC 8259 and RFC 7493 refuses. */
const refused: Readonly<Record<string, readonly string[]>> = {
  "arrays that are none": [
    "[1 true]",
    "[,]",
    "[1,]",
    "[1,,2]",
    '["",]',
    "[",
    "]",
    "[1",
    '["a"',
    "[1,\n1\n,1",
    "[*]",
    "[3[4]]",
    '["x"]]',
    "[:]",
    '[a"]',
  ],
  "objects that are none": [
    "{",
    "}",
    '{"a"',
    '{"a"}',
    '{"a":}',
    '{"a":1,}',
    '{"a":1,,"b":2}',
    "{a:1}",
    "{1:1}",
    "{'a':0}",
    '{"a" "b"}',
    '{"a"::1}',
    '{:"b"}',
    '{"a":"b"}#',
    '{"a":/*x*/1}',
    '{"x":1,"x":2}',
    '{"a":1"b":2}',
    "{[]:1}",
    "{null:1}",
    '{"a":1}}',
    "[{]}",
  ],
  "numbers that are none": [
    "+1",
    "-",
    "-01",
    "01",
    "1.",
    ".5",
    "-.5",
    "1e",
    "1e+",
    "1.e1",
    "0x10",
    "1_000",
    "1 000",
    "Infinity",
    "-Infinity",
    "NaN",
    "--1",
    "1+2",
    "1eE2",
    "0.1.2",
    "-1x",
    "２",
  ],
  "strings that are none": [
    '"',
    "'a'",
    '"a',
    '"\\',
    '"\\x41"',
    '"\\u12"',
    '"\\uZZZZ"',
    '"\\a"',
    '"\t"',
    '"\n"',
    '"\u0000"',
    '"\\\u00e9"',
    "abc",
    '"a" "b"',
    '"\\u00A"',
  ],
  "literals that are none": ["nul", "True", "TRUE", "undefined", "fals", "nullx", "true false"],
  "structures that are none": [
    "",
    " ",
    "\ufeff{}",
    "{} {}",
    "{}x",
    "\u00a0{}",
    "\u2028{}",
    "\u000b{}",
    "\f{}",
    "<null>",
    "// x\n{}",
    "[]\u0000",
    "[\u2060]",
    "{}\ufeff",
    "//",
  ],
};

/** What a strict reader takes, however odd it looks. */
const accepted: readonly string[] = [
  "[]",
  "{}",
  "-0",
  "1E-2",
  "0e+1",
  '"\\u0000"',
  '"\\ud83d\\ude00"',
  '""',
  '{"":0}',
  '[" "]',
  '"\u007f"',
  '"\u2028"',
  " [] ",
  "\n{}\r\t",
  '{"a":{"a":{"a":1}}}',
  '"\\/\\"\\\\\\b\\f\\n\\r\\t"',
  "123.456e78",
  "[[],[[]]]",
  "null",
];

const parse = (bytes: Uint8Array): unknown => parseJson(bytes, "the text");
const isRefused = (bytes: Uint8Array): boolean => {
  try {
    parse(bytes);
    return false;
  } catch (error) {
    return isOciError(error, "INVALID");
  }
};

describe("refused are", () => {
  it.each(Object.entries(refused))("%s", (_group, texts) => {
    expect(texts.filter((text) => !isRefused(new TextEncoder().encode(text)))).toEqual([]);
  });

  it("bytes that are no UTF-8, wherever they stand", () => {
    const broken = [
      [0xff],
      [0xc0, 0x80],
      [0xe0, 0x80, 0x80],
      [0xed, 0xa0, 0x80],
      [0xf4, 0x90, 0x80, 0x80],
      [0xe2, 0x82],
      [0x80],
      [0xf8, 0x88, 0x80, 0x80, 0x80],
    ];
    const texts = broken.flatMap((bytes) => [
      [0x22, ...bytes, 0x22],
      [0x7b, ...bytes, 0x7d],
      [...bytes, 0x7b, 0x7d],
      [0x7b, 0x7d, ...bytes],
    ]);
    expect(texts.filter((bytes) => !isRefused(Uint8Array.from(bytes)))).toEqual([]);
  });

  it("every prefix of a document", () => {
    const whole = new TextEncoder().encode('{"a":[1,-2.5e3,"x\\n\\u00e9é",{"b":null,"c":[true,false]}],"d":{}}');
    expect(isRefused(whole)).toBe(false);
    for (let length = 0; length < whole.length; length++)
      expect(isRefused(whole.subarray(0, length)), String(length)).toBe(true);
  });

  it("at once, however they are made to be slow", () => {
    const long = 300_000;
    const texts = [
      '{"a":'.repeat(long),
      "[".repeat(long),
      `"${"\\".repeat(long)}`,
      `[${"1,".repeat(long)}`,
      `{${'"a":1,'.repeat(long)}`,
      "-".repeat(long),
      `"${"\\u".repeat(long)}"`,
      `[${" ".repeat(long)}`,
      "9".repeat(long).concat("x"),
    ];
    for (const text of texts) expect(isRefused(new TextEncoder().encode(text))).toBe(true);
  });
});

it("what a strict reader takes is taken, with the value it has", () => {
  for (const text of accepted) expect(parse(new TextEncoder().encode(text)), text).toEqual(JSON.parse(text));
});
