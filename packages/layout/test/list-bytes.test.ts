import { type Descriptor, descriptorOf, emptyBytes, encodeJson, mediaTypes } from "@stowage/layout";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { withItem } from "../src/store/list-bytes.js";
import { encodeList } from "../src/store/referrer-forms.js";
import { utf8 } from "./support.js";

/** A referrer as a list names it. */
const item = fc
  .record({
    content: fc.string(),
    artifactType: fc.option(fc.string({ unit: "binary" }), { nil: undefined }),
    annotations: fc.option(fc.dictionary(fc.string({ unit: "binary" }), fc.string({ unit: "binary" })), {
      nil: undefined,
    }),
  })
  .map(
    ({ content, artifactType, annotations }): Descriptor => ({
      ...descriptorOf(utf8(content), mediaTypes.manifest),
      ...(artifactType === undefined ? {} : { artifactType }),
      ...(annotations === undefined ? {} : { annotations: { ...annotations } }),
    }),
  );

const byDigest = { selector: ({ digest }: Descriptor) => digest };
const one: Descriptor = { ...descriptorOf(utf8("one"), mediaTypes.manifest), annotations: { key: "value" } };
const two: Descriptor = descriptorOf(utf8("two"), mediaTypes.manifest);
const other: Descriptor = descriptorOf(utf8("other"), mediaTypes.manifest);

describe("one more item in the bytes of a list of referrers", () => {
  it("makes the list that all of them make, whatever is in their annotations", () => {
    fc.assert(
      fc.property(fc.uniqueArray(item, { ...byDigest, minLength: 1, maxLength: 8 }), ([added, ...listed]) => {
        const made = withItem(encodeList(listed).bytes, added as Descriptor);
        expect(Buffer.from(made as Uint8Array)).toEqual(
          Buffer.from(encodeList([...listed, added as Descriptor]).bytes),
        );
      }),
    );
  });

  it.each<[string, Uint8Array]>([
    ["has the item", encodeList([one, other]).bytes],
    ["is no list", emptyBytes],
    ["is empty", new Uint8Array()],
    ["has more members", encodeJson({ ...JSON.parse(text(encodeList([one]).bytes)), annotations: { a: "b" } })],
    [
      "has the members in another order",
      encodeJson({ mediaType: mediaTypes.index, schemaVersion: 2, manifests: [one] }),
    ],
    ["is indented", utf8(JSON.stringify(JSON.parse(text(encodeList([one]).bytes)), undefined, 2))],
    ["is not sorted", unsorted()],
    ["names one twice", raw([one, one])],
    ["has items with other members", raw([{ ...one, platform: { os: "linux", architecture: "amd64" } }])],
    [
      "has an item of another algorithm",
      raw([{ ...one, digest: `sha512:${"a".repeat(128)}` as Descriptor["digest"] }]),
    ],
    ["has an item with an annotation that is no text", raw([{ ...one, annotations: { a: 1 as unknown as string } }])],
    ["ends within an item", utf8(`${text(encodeList([one]).bytes).slice(0, -5)}]}`)],
    ["is no UTF-8", Buffer.from(text(encodeList([one]).bytes).replace("value", "\xff"), "latin1")],
  ])("is not attempted where it %s", (_what, bytes) => {
    expect(withItem(bytes, other)).toBeUndefined();
  });
});

function text(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString("utf8");
}

/** A list that `encodeList` would not have made so. */
function raw(manifests: readonly Descriptor[]): Uint8Array {
  return encodeJson({ schemaVersion: 2, mediaType: mediaTypes.index, manifests });
}

function unsorted(): Uint8Array {
  return raw([one, two].sort((a, b) => (a.digest < b.digest ? 1 : -1)));
}
