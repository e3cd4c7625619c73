import { isOciError } from "@stowage/layout";
import { describe, expect, it } from "vitest";
import { Ignore } from "../src/ignore.js";

const ignored = (patterns: readonly string[], paths: readonly string[]): readonly string[] => {
  const ignore = new Ignore(patterns);
  return paths.filter((path) => ignore.ignores(path));
};
const paths = [
  "a.log",
  "src/a.log",
  "src/deep/er/b.log",
  "node_modules",
  "node_modules/x/y.js",
  "src/node_modules/z",
  "README.md",
  ".git/config",
];

describe("patterns to ignore", () => {
  it("are paths from the context and cover what is beneath", () => {
    expect(ignored(["node_modules"], paths)).toEqual(["node_modules", "node_modules/x/y.js"]);
    expect(ignored(["/src/deep/"], paths)).toEqual(["src/deep/er/b.log"]);
  });

  it("stay within one part with *, and span parts with **", () => {
    expect(ignored(["*.log"], paths)).toEqual(["a.log"]);
    expect(ignored(["*/*.log"], paths)).toEqual(["src/a.log"]);
    expect(ignored(["**/*.log"], paths)).toEqual(["a.log", "src/a.log", "src/deep/er/b.log"]);
    expect(ignored(["**/node_modules"], paths)).toEqual(["node_modules", "node_modules/x/y.js", "src/node_modules/z"]);
    expect(ignored(["src/**"], paths)).toEqual(["src/a.log", "src/deep/er/b.log", "src/node_modules/z"]);
    expect(ignored(["src/**/b.log"], ["src/b.log", "src/x/y/b.log", "b.log"])).toEqual(["src/b.log", "src/x/y/b.log"]);
  });

  it("know ?, sets and escapes, and take every other character as it is", () => {
    expect(
      ignored(
        ["?.txt", "[x-z]1", "[!a]2", "\\*3", "(4)+"],
        ["a.txt", "ab.txt", "y1", "a1", "b2", "a2", "*3", "x3", "(4)+", "44"],
      ),
    ).toEqual(["a.txt", "y1", "b2", "*3", "(4)+"]);
  });

  it("take back in with !, and the last one decides", () => {
    expect(ignored(["**", "!src/a.log", "src/a.*"], paths)).toEqual(paths);
    expect(ignored(["**", "!src/a.log"], paths)).not.toContain("src/a.log");
    expect(new Ignore(["a", "!a/b"]).hasExceptions).toBe(true);
  });

  it("may be empty lines and comments", () => {
    expect(ignored(["", "  ", "# *"], paths)).toEqual([]);
  });

  it("are refused where they mean nothing", () => {
    for (const pattern of ["..", "a/../b", "[", "[z-a]", "!", "/"]) {
      expect(() => new Ignore([pattern]), pattern).toSatisfy((act: () => void) => {
        try {
          act();
        } catch (error) {
          return isOciError(error, "INVALID");
        }
        return false;
      });
    }
  });

  it("are matched without backtracking for ever", () => {
    expect(ignored([`${"**/".repeat(30)}x`], [`${"a/".repeat(500)}y`])).toEqual([]);
  });
});
