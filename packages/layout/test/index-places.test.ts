import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { entryPlaces } from "../src/store/index-places.js";

/** What stands at the places, parsed. */
function entriesIn(text: string, count: number): unknown[] | undefined {
  const bytes = Buffer.from(text);
  const places = entryPlaces(bytes, count);
  if (places === undefined) return undefined;
  return Array.from({ length: count }, (_, at) => {
    const [offset, length] = places.subarray(at * 2, at * 2 + 2) as unknown as [number, number];
    return JSON.parse(bytes.subarray(offset, offset + length).toString("utf8"));
  });
}

describe("the places of the entries in an index.json", () => {
  it("are those of the objects in manifests, whatever else there is and however it is written", () => {
    const value = fc.jsonValue({ maxDepth: 4 });
    const entry = fc.dictionary(fc.string({ unit: "binary" }), value);
    const members = fc.dictionary(fc.string({ unit: "binary" }), value);
    fc.assert(
      fc.property(members, fc.array(entry), members, fc.nat(3), (before, manifests, after, indent) => {
        const { manifests: _one, ...front } = before;
        const { manifests: _other, ...back } = after;
        const text = JSON.stringify({ ...front, manifests, ...back }, undefined, indent);
        const parsed = JSON.parse(text) as { manifests: unknown[] };
        expect(entriesIn(text, manifests.length)).toEqual(parsed.manifests);
      }),
      { numRuns: 300 },
    );
  });

  it.each([
    ["there is no such member", '{"a":[{}]}', 1],
    ["its name is written in another way", '{"\\u006danifests":[{}]}', 1],
    ["there are more than were said", '{"manifests":[{},{}]}', 1],
    ["there are fewer than were said", '{"manifests":[{}]}', 2],
    ["the text ends within a string", '{"manifests":[{"a":"', 1],
    ["the text ends", '{"manifests":[{}', 1],
    ["the member is somewhere else", '{"a":{"manifests":[{}]}}', 1],
    ["the name is a value", '{"a":"manifests","b":[{}]}', 1],
  ])("cannot be told where %s", (_what, text, count) => {
    expect(entriesIn(text, count)).toBeUndefined();
  });
});
