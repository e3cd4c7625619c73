import { describe, expect, it } from "vitest";
import { sourceDateEpoch } from "../src/created.js";

describe("SOURCE_DATE_EPOCH", () => {
  it("is a number of seconds, or not set", () => {
    expect(sourceDateEpoch({})).toBeUndefined();
    expect(sourceDateEpoch({ SOURCE_DATE_EPOCH: "" })).toBeUndefined();
    expect(sourceDateEpoch({ SOURCE_DATE_EPOCH: "0" })).toBe(0);
    expect(sourceDateEpoch({ SOURCE_DATE_EPOCH: "1700000000" })).toBe(1_700_000_000);
  });

  it("is refused where it is anything else", () => {
    for (const text of ["-1", "1.5", " 1", "0x10", "253402300800", "999999999999999999999"]) {
      expect(() => sourceDateEpoch({ SOURCE_DATE_EPOCH: text }), text).toThrow(/not a number of seconds/);
    }
  });
});
