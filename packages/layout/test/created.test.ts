import { createdAt } from "@stowage/layout";
import { describe, expect, it } from "vitest";
import { failure } from "./support.js";

describe("the time of creation", () => {
  it("is none where nothing is said, and where SOURCE_DATE_EPOCH is empty", () => {
    expect(createdAt(undefined, {})).toBeUndefined();
    expect(createdAt(undefined, { SOURCE_DATE_EPOCH: "" })).toBeUndefined();
  });

  it.each([
    ["0", "1970-01-01T00:00:00Z"],
    ["1700000000", "2023-11-14T22:13:20Z"],
    ["253402300799", "9999-12-31T23:59:59Z"],
  ])("is what SOURCE_DATE_EPOCH says: %s", (epoch, time) => {
    expect(createdAt(undefined, { SOURCE_DATE_EPOCH: epoch })).toBe(time);
    expect(createdAt(epoch, {})).toBe(time);
  });

  it.each([
    ["2023-11-14T22:13:20Z", "2023-11-14T22:13:20Z"],
    ["2023-11-14T23:13:20+01:00", "2023-11-14T22:13:20Z"],
    ["2023-11-14T22:13:20.5Z", "2023-11-14T22:13:20.500Z"],
    ["2024-02-29T00:00:00Z", "2024-02-29T00:00:00Z"],
  ])("is what is given: %s", (text, time) => {
    expect(createdAt(text, { SOURCE_DATE_EPOCH: "1" })).toBe(time);
  });

  it("is asked of the clock where the text is now, and only there", () => {
    const before = Math.floor(Date.now() / 1000) * 1000;
    const time = createdAt("now", { SOURCE_DATE_EPOCH: "1" }) as string;
    expect(Date.parse(time)).toBeGreaterThanOrEqual(before);
    expect(time).toMatch(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{3})?Z$/);
  });

  it.each([
    "",
    "yesterday",
    "-1",
    "1.5",
    "2023-11-14",
    "2023-11-14T22:13:20",
    "2023-11-14 22:13:20Z",
    "2023-13-01T00:00:00Z",
    "2023-02-30T00:00:00Z",
    "2023-11-14T25:00:00Z",
    "2023-11-14T22:13:20+99:00",
    "253402300800",
    "999999999999999",
  ])("%j is refused", async (text) => {
    await failure(() => createdAt(text, {}), "INVALID");
  });

  it.each(["2023-11-14T22:13:20Z", "now", "1e9", " 1", "253402300800"])(
    "%j is refused as SOURCE_DATE_EPOCH, which has to be a number of seconds",
    async (epoch) => {
      const error = await failure(() => createdAt(undefined, { SOURCE_DATE_EPOCH: epoch }), "INVALID");
      expect(error.message).toContain("SOURCE_DATE_EPOCH");
    },
  );
});
