import { isOciError } from "@stowage/layout";
import { describe, expect, it } from "vitest";
import { unzstd } from "../src/compression/zstd.js";
import { bytesOf } from "./support.js";

/** 20,000 times "the same line again", as zstd 1.5 at level 3 has it. */
const frame = Buffer.from(
  "KLUv/QRY5AAAoHRoZSBzYW1lIGxpbmUgYWdhaW4KAQDS/y+fTEwAAAhlAQD8/zkQAkwAAAhzAQD8/zkQAkUAAAhhAQB82gMhkaa4Uw==",
  "base64",
);
const text = Buffer.from("the same line again\n".repeat(20_000));
/** A frame that readers pass over; estargz and zstd:chunked keep their tables in one. RFC 8878, section 3.1.2. */
const skippable = Buffer.from("5a2a4d1803000000616263", "hex");

describe("zstd", () => {
  it("is read in any pieces, of any number of frames, with frames to skip between them", async () => {
    const bytes = Buffer.concat([skippable, frame, skippable, frame, skippable]);
    for (const size of [1, 7, 1000]) {
      const pieces = Array.from({ length: Math.ceil(bytes.length / size) }, (_, at) =>
        bytes.subarray(at * size, (at + 1) * size),
      );
      expect((await bytesOf(unzstd(pieces, "it"))).equals(Buffer.concat([text, text]))).toBe(true);
    }
  });

  it("is refused where it is cut off, wherever that is, or followed by something else", async () => {
    for (let length = 1; length < frame.length; length++) {
      const reading = bytesOf(unzstd([frame.subarray(0, length)], "it"));
      await expect(reading, String(length)).rejects.toSatisfy((error) => isOciError(error, "INVALID"));
    }
    const more = bytesOf(unzstd([frame, Buffer.from("more")], "it"));
    await expect(more).rejects.toSatisfy((error) => isOciError(error, "INVALID"));
  });

  it("is refused where it needs a dictionary", async () => {
    const reading = bytesOf(unzstd([Buffer.from("28b52ffd01500700000000", "hex")], "it"));
    await expect(reading).rejects.toSatisfy((error) => isOciError(error, "UNSUPPORTED"));
  });

  it("is refused where a block is of a kind that there is not", async () => {
    const reading = bytesOf(unzstd([Buffer.from("28b52ffd0050070000", "hex")], "it"));
    await expect(reading).rejects.toSatisfy((error) => isOciError(error, "INVALID"));
  });
});
