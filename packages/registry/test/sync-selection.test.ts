import { describe, expect, it } from "vitest";
import { globPattern, regexPattern, renameRule } from "../src/sync/pattern.js";
import { exactNames, type SelectionRule, select, versionOf, versionRange } from "../src/sync/selection.js";

const rule = (own: Partial<SelectionRule>): SelectionRule => ({
  patterns: [],
  except: [],
  prerelease: false,
  ...own,
});
const undated = async (): Promise<number> => 0;

describe("a glob", () => {
  it.each([
    ["3.*", ["3.20", "3."], ["13.20", "3x"]],
    ["*", ["latest"], ["library/alpine"]],
    ["**", ["latest", "library/alpine", ""], []],
    ["library/*", ["library/alpine"], ["library/a/b", "library", "xlibrary/a"]],
    ["v?", ["v1"], ["v", "v10", "v/"]],
    ["a+b(c)$", ["a+b(c)$"], ["aab(c)$"]],
  ])("%s", (glob, matching, others) => {
    const pattern = globPattern(glob);
    for (const name of matching) expect(`${name} ${pattern.matches(name)}`).toBe(`${name} true`);
    for (const name of others) expect(`${name} ${pattern.matches(name)}`).toBe(`${name} false`);
  });
});

describe("a regular expression", () => {
  it("has to match the whole name", () => {
    const pattern = regexPattern("3\\.\\d+");
    expect(["3.20", "3.20-rc1", "13.2", "3.2\n"].map((name) => pattern.matches(name))).toEqual([
      true,
      false,
      false,
      false,
    ]);
  });

  it("that backtracks for longer than anybody waits elsewhere answers, for the longest name there is", () => {
    for (const source of ["(a+)+$", "(a|a)*b", "(.*)*(.*)*(.*)*x", "([a-z]+)*[0-9]{1,50}"])
      expect(regexPattern(source).matches(`${"a".repeat(1023)}!`)).toBe(false);
  });

  it.each(["(?=a)", "(a)\\1", "(", "[b-a]", "a{1001}{1001}", "x".repeat(501)])("%s is refused", (source) => {
    expect(() => regexPattern(source)).toThrow(expect.objectContaining({ code: "INVALID" }));
  });
});

describe("a rule that renames", () => {
  it("puts what the groups matched where $1 to $9 stand", () => {
    const moved = renameRule("docker.io/(.*)", "mirror.local/hub/$1");
    expect(moved.apply("docker.io/library/alpine")).toBe("mirror.local/hub/library/alpine");
    expect(moved.apply("quay.io/docker.io/x")).toBeUndefined();
    expect(renameRule("(a)(b)?(.*)", "$3-$2-$1-$$1").apply("acd")).toBe("cd--a-$1");
  });

  it.each([
    ["(.*)", "x/$2"],
    ["(.*)", "x/$name"],
    ["(.*)", "x/$"],
    ["(.*)", "x/$0"],
  ])("from %s to %s is refused", (from, to) => {
    expect(() => renameRule(from, to)).toThrow(expect.objectContaining({ code: "INVALID" }));
  });
});

describe("a version in a tag", () => {
  it.each([
    ["1.2.3", "1.2.3"],
    ["v1.2.3", "1.2.3"],
    ["3.20", "3.20.0"],
    ["24.04", "24.4.0"],
    ["7", "7.0.0"],
    ["1.2.3-rc.1", "1.2.3-rc.1"],
    ["3.20-alpine", "3.20.0-alpine"],
    ["1.0-01", "1.0.0-1"],
    ["latest", undefined],
    ["1.2.3.4", undefined],
    ["", undefined],
    ["9".repeat(100), undefined],
  ])("%s is %s", (tag, version) => {
    expect(versionOf(tag)?.version).toBe(version);
  });
});

describe("a selection", () => {
  const tags = ["latest", "3.9", "3.18", "3.19", "3.20", "3.20-rc1", "edge", "4.0"];

  it("has the names that any rule selects, and those it names outright whether they are listed or not", async () => {
    const rules = [
      rule({ exact: "5.0" }),
      rule({ patterns: [globPattern("e*")] }),
      rule({ patterns: [globPattern("3.1*")] }),
    ];
    expect(await select(rules, tags, undated)).toEqual(["3.18", "3.19", "5.0", "edge"]);
  });

  it("takes all that a rule says together", async () => {
    const both = rule({ patterns: [globPattern("3.*"), regexPattern(".*[089]")], except: [globPattern("*9")] });
    expect(await select([both], tags, undated)).toEqual(["3.18", "3.20"]);
  });

  it("takes versions in a range, pre-releases only where they are asked for", async () => {
    const range = (prerelease: boolean): SelectionRule =>
      rule({ range: versionRange(">=3.19 <4", prerelease), prerelease });
    expect(await select([range(false)], tags, undated)).toEqual(["3.19", "3.20"]);
    expect(await select([range(true)], tags, undated)).toEqual(["3.19", "3.20", "3.20-rc1"]);
  });

  it("takes the newest by version, not by letter", async () => {
    expect(await select([rule({ newest: { count: 3, by: "version" } })], tags, undated)).toEqual([
      "3.19",
      "3.20",
      "4.0",
    ]);
  });

  it("takes the newest by creation, of the same age the one that sorts last", async () => {
    const ages: Record<string, number> = { latest: 9, edge: 9, "3.9": 8 };
    const newest = (count: number): SelectionRule => rule({ newest: { count, by: "created" } });
    const created = async (tag: string): Promise<number> => ages[tag] ?? 1;
    expect(await select([newest(1)], tags, created)).toEqual(["latest"]);
    expect(await select([newest(3)], tags, created)).toEqual(["3.9", "edge", "latest"]);
  });

  it("does not date more than a thousand tags", async () => {
    const many = Array.from({ length: 1001 }, (_none, at) => `t${at}`);
    const dated = select([rule({ newest: { count: 1, by: "created" } })], many, undated);
    await expect(dated).rejects.toMatchObject({ code: "LIMIT" });
  });

  it("is exact where each rule is a name", () => {
    expect(exactNames([rule({ exact: "a" }), rule({ exact: "b" }), rule({ exact: "a" })])).toEqual(["a", "b"]);
    expect(exactNames([rule({ exact: "a" }), rule({})])).toBeUndefined();
  });
});
