import { parseJsonObject } from "../model/json.js";
import { encodeJson } from "../model/manifest.js";
import { compareText } from "../store/index-json.js";
import { checkDocumentType, parseRoot, type ReceiptRoot } from "./receipt.js";
import { parseList, parseSizedDigest, type SizedDigest, sortedDigests } from "./sized-digest.js";

/** The media type of a {@link Delta}. */
export const DELTA_TYPE = "application/vnd.stowage.delta.v1+json";

/** The name of the file of an archive that holds its {@link Delta}. */
export const DELTA_FILE = "stowage-delta.json";

/** What an archive leaves out because a base has it. It can be taken in only where that is. */
export interface Delta {
  readonly mediaType: typeof DELTA_TYPE;
  readonly schemaVersion: 1;
  /** What the base was, for people: what counts is `needs`. */
  readonly since: readonly ReceiptRoot[];
  /** Each digest once, in bytewise order. */
  readonly needs: readonly SizedDigest[];
}

/** A delta of these parts. */
export function deltaOf(since: Iterable<ReceiptRoot>, needs: Iterable<SizedDigest>): Delta {
  const roots = new Map([...since].map((root) => [`${root.name ?? ""} ${root.digest}`, root]));
  return {
    mediaType: DELTA_TYPE,
    schemaVersion: 1,
    since: [...roots].sort(([a], [b]) => compareText(a, b)).map(([, root]) => root),
    needs: sortedDigests(needs),
  };
}

/** The bytes of a delta. */
export function encodeDelta({ mediaType, schemaVersion, since, needs }: Delta): Uint8Array {
  return encodeJson({ mediaType, schemaVersion, since, needs });
}

/** Reads the bytes of a delta. Fails with `INVALID` and `UNSUPPORTED` as a receipt does. */
export function parseDelta(bytes: Uint8Array, where: string): Delta {
  const value = parseJsonObject(bytes, where);
  checkDocumentType(value, DELTA_TYPE, where);
  return deltaOf(
    parseList(value.since, `since of ${where}`, parseRoot),
    parseList(value.needs, `needs of ${where}`, parseSizedDigest),
  );
}
