import { isUtf8 } from "node:buffer";
import type { Descriptor } from "../model/descriptor.js";
import { mediaTypes } from "../model/media-types.js";
import { compareText } from "./index-json.js";

const HEAD = `{"schemaVersion":2,"mediaType":"${mediaTypes.index}","manifests":[`;
const TAIL = "]}";

/** A JSON text without what has no place in one. */
const TEXT = String.raw`"(?:[^"\\\x00-\x1f]|\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4}))*"`;
const ITEM = new RegExp(
  [
    String.raw`\{"mediaType":"[A-Za-z0-9!#$&^_.+/-]+","digest":"(sha256:[0-9a-f]{64})","size":(?:0|[1-9][0-9]{0,14})`,
    `(?:,"artifactType":${TEXT})?`,
    String.raw`(?:,"annotations":\{(?:${TEXT}:${TEXT}(?:,${TEXT}:${TEXT})*)?\})?\}`,
  ].join(""),
  "y",
);

/**
 * The bytes of a list of referrers with one more of them, as `encodeList` would make them, without reading all items as
 * JSON: a list may have tens of thousands. Undefined where the list is not one that `encodeList` made, or has the item.
 */
export function withItem(list: Uint8Array, item: Descriptor): Uint8Array | undefined {
  const bytes = Buffer.from(list.buffer, list.byteOffset, list.byteLength);
  if (!isUtf8(bytes)) return undefined;
  // Each byte is a character, so that a place in the text is one in the bytes.
  const text = bytes.toString("latin1");
  if (!text.startsWith(HEAD) || !text.endsWith(TAIL)) return undefined;
  const end = text.length - TAIL.length;
  let place: number | undefined;
  let last = "";
  for (let at = HEAD.length; at < end; at++) {
    ITEM.lastIndex = at;
    const digest = ITEM.exec(text)?.[1];
    if (digest === undefined || digest === item.digest || compareText(last, digest) >= 0) return undefined;
    if (place === undefined && digest > item.digest) place = at;
    last = digest;
    at = ITEM.lastIndex;
    if (at < end && text[at] !== ",") return undefined;
  }
  const json = JSON.stringify(item);
  const before = place ?? end;
  const comma = last === "" ? "" : ",";
  const inserted = Buffer.from(place === undefined ? `${comma}${json}` : `${json}${comma}`);
  return Buffer.concat([bytes.subarray(0, before), inserted, bytes.subarray(before)]);
}
