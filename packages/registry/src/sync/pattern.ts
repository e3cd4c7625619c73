import { OciError } from "@stowage/layout";
import { RE2JS } from "re2js";

/** The longest pattern, in characters. Together with names of bounded length this bounds the work of a match. */
export const MAXIMUM_PATTERN = 500;

/** What a name is compared with: as a whole, in time that grows with its length only, whatever the pattern. */
export interface Pattern {
  matches(name: string): boolean;
}

/**
 * A regular expression in the syntax of RE2, which has neither look-around nor back-references and does not backtrack. It
 * is anchored at both ends. Fails with `INVALID`, saying what cannot be read.
 */
export function regexPattern(source: string): Pattern {
  const expression = compile(source);
  return { matches: (name) => expression.matches(name) };
}

/** A glob: `*` is anything but a slash, `**` anything, `?` one character but a slash. */
export function globPattern(glob: string): Pattern {
  const source = glob.replace(/\*\*|[*?]|[^*?]+/g, (part) => {
    if (part === "**") return "(?s:.*)";
    if (part === "*") return "[^/]*";
    return part === "?" ? "[^/]" : RE2JS.quote(part);
  });
  const expression = RE2JS.compile(source);
  return { matches: (name) => expression.matches(name) };
}

/** True where a text of the file is a glob, as against a name. */
export function isGlob(text: string): boolean {
  return /[*?]/.test(text);
}

/** Turns names of one form into names of another. */
export interface RenameRule {
  /** The new name, or undefined where the rule is about other names. */
  apply(name: string): string | undefined;
  /** What stands before the first slash of the new names: of references, their registry. */
  readonly host: string;
}

/**
 * A rule: names that `from`, a regular expression, matches as a whole become `to`, where `$1` to `$9` are what its groups
 * matched and `$$` is a dollar sign. Fails with `INVALID` where either cannot be read or `to` names a group that is not there.
 */
export function renameRule(from: string, to: string): RenameRule {
  const expression = compile(from);
  const groups = expression.groupCount();
  for (const [, named] of to.matchAll(/\$(.?)/g)) {
    if (named === "$") continue;
    if (named === undefined || !/^[1-9]$/.test(named))
      throw new OciError(
        "INVALID",
        `${JSON.stringify(to)} has a $ that names no group; write $1 to $9, or $$ for a dollar sign`,
      );
    if (Number(named) > groups)
      throw new OciError(
        "INVALID",
        `${JSON.stringify(to)} names $${named}, and ${JSON.stringify(from)} has ${groups} groups; write parentheses around what $${named} shall be`,
      );
  }
  return {
    host: to.split("/", 1)[0] as string,
    apply(name) {
      const matcher = expression.matcher(name);
      if (!matcher.matches()) return undefined;
      return to.replace(/\$(.)/g, (_all, which: string) =>
        which === "$" ? "$" : (matcher.group(Number(which)) ?? ""),
      );
    },
  };
}

function compile(source: string): RE2JS {
  if (source.length > MAXIMUM_PATTERN)
    throw new OciError("INVALID", `the regular expression is longer than ${MAXIMUM_PATTERN} characters`);
  try {
    return RE2JS.compile(source);
  } catch (cause) {
    const problem = cause instanceof Error ? cause.message.replace("error parsing regexp: ", "") : String(cause);
    throw new OciError(
      "INVALID",
      `${JSON.stringify(source)} is no regular expression of RE2: ${problem}; there is neither look-around nor \\1, write except: for what shall be left out`,
      { cause },
    );
  }
}
