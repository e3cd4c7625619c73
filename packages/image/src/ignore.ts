import { OciError } from "@stowage/layout";

/**
 * What a list of patterns leaves out, with the meaning of a `.dockerignore` file: a pattern is a path relative to the
 * context, `*` and `?` stay within one part of it, `**` spans any number of parts, `[...]` is one of a set, `\` takes the
 * next character as it is; a pattern also covers everything beneath what it matches; `!` in front takes matches back in;
 * the last pattern that matches decides. Empty patterns and those that start with `#` mean nothing.
 */
export class Ignore {
  readonly #rules: readonly Rule[];
  /** True where a pattern takes something back in: then a directory that is left out must still be looked through. */
  readonly hasExceptions: boolean;

  /** Fails with `INVALID` where a pattern cannot be read. */
  constructor(patterns: readonly string[]) {
    this.#rules = patterns
      .map((pattern) => pattern.trim())
      .filter((pattern) => pattern !== "" && !pattern.startsWith("#"))
      .map((pattern) => {
        const ignored = !pattern.startsWith("!");
        return { expression: compile(ignored ? pattern : pattern.slice(1)), ignored };
      });
    this.hasExceptions = this.#rules.some((rule) => !rule.ignored);
  }

  /** True if the path, relative to the context and with `/` between its parts, is left out. */
  ignores(path: string): boolean {
    for (let at = this.#rules.length - 1; at >= 0; at--) {
      const rule = this.#rules[at] as Rule;
      if (rule.expression.test(path)) return rule.ignored;
    }
    return false;
  }
}

interface Rule {
  readonly expression: RegExp;
  readonly ignored: boolean;
}

function compile(pattern: string): RegExp {
  const parts = pattern
    .trim()
    .split("/")
    .filter((part) => part !== "" && part !== ".");
  if (parts.length === 0 || parts.includes("..")) throw refuse(pattern);
  let source = "";
  parts.forEach((part, index) => {
    const last = index === parts.length - 1;
    if (part === "**") {
      // Several in a row mean the same as one, and would make the expression slow.
      if (parts[index - 1] !== "**") source += last ? ".+" : "(?:[^/]+/)*";
      else if (last) source += ".+";
    } else {
      source += translate(part, pattern) + (last ? "" : "/");
    }
  });
  try {
    return new RegExp(`^${source}(?:/.*)?$`, "su");
  } catch (cause) {
    throw refuse(pattern, cause);
  }
}

function translate(part: string, pattern: string): string {
  let source = "";
  for (let at = 0; at < part.length; at++) {
    const character = part[at] as string;
    if (character === "*") {
      while (part[at + 1] === "*") at++;
      source += "[^/]*";
    } else if (character === "?") source += "[^/]";
    else if (character === "[") {
      const end = part.indexOf("]", at + 2);
      if (end < 0) throw refuse(pattern);
      const body = part.slice(at + 1, end).replace(/[\\[\]]/g, "\\$&");
      source += `[${body.startsWith("!") ? `^${body.slice(1)}` : body}]`;
      at = end;
    } else if (character === "\\" && at + 1 < part.length) source += literal(part[++at] as string);
    else source += literal(character);
  }
  return source;
}

function literal(character: string): string {
  return /[$()*+.?[\\\]^{|}/]/.test(character) ? `\\${character}` : character;
}

function refuse(pattern: string, cause?: unknown): OciError {
  return new OciError("INVALID", `cannot read the ignore pattern ${JSON.stringify(pattern)}`, { cause });
}
