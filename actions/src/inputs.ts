import * as core from "@actions/core";
import { type LeveledAnnotation, parseLeveledAnnotation } from "@stowage/image";
import { isTag, OciError, type OciErrorOptions, parseJson } from "@stowage/layout";

/** What a workflow gave as an input is wrong. */
export class InputError extends OciError {
  constructor(input: string, problem: string, options?: OciErrorOptions) {
    super("INVALID", `input ${input}: ${problem}`, options);
  }
}

/** What a workflow may write for an input. */
const EXAMPLES: Readonly<Record<string, string>> = {
  annotations: "org.example.key=value",
  base: "node:24-slim",
  created: "2026-01-31T12:00:00Z",
  directory: "cache",
  files: "dist:/app",
  from: "store",
  name: "ghcr.io/OWNER/NAME:v1",
  parts: "|\n  oci:amd64:v1\n  oci:arm64:v1",
  platform: "linux/amd64",
  proxy: "docker.io",
  ref: "v1",
  references: "ghcr.io/OWNER/NAME:v1",
  source: "oci:out:v1",
  subject: "oci:out:v1",
  tag: "v1",
  tags: "v1",
  target: "oci:out:v1",
  to: "oci:out:v1",
};

/** The text of an input without blanks around it; undefined where the workflow does not give it. */
export function text(name: string): string | undefined {
  return core.getInput(name) || undefined;
}

/** Like {@link text}. Fails with an {@link InputError} where the workflow does not give it: the runner does not check that. */
export function required(name: string): string {
  const value = text(name);
  if (value === undefined) throw new InputError(name, "it is required", { hint: whatToWrite(name) });
  return value;
}

/** The lines of an input without blanks around them; lines that are blank are left out. */
export function lines(name: string): string[] {
  return items(core.getInput(name), /[\r\n]/);
}

/** Like {@link lines}, and commas separate as well. For names that cannot hold one. */
export function names(name: string): string[] {
  return items(core.getInput(name), /[\r\n,]/);
}

function items(value: string, separator: RegExp): string[] {
  return value
    .split(separator)
    .map((item) => item.trim())
    .filter((item) => item !== "");
}

/** A list that must not be empty. */
export function atLeastOne(name: string, values: readonly string[]): readonly [string, ...string[]] {
  if (values.length === 0) throw new InputError(name, "it is required", { hint: whatToWrite(name) });
  return values as [string, ...string[]];
}

/** `KEY=VALUE` lines as an object. */
export function pairs(name: string): Record<string, string> {
  return toPairs(name, lines(name));
}

/** The levels that docker/metadata-action writes before an annotation. */
const LEVELS = /^((?:(?:manifest|index)(?:-descriptor)?)(?:,(?:manifest|index)(?:-descriptor)?)*):/;

/**
 * `KEY=VALUE` lines as an object, as docker/metadata-action writes its output `annotations`: a line may start with the levels
 * it is for. Those that are not for this level are left out, and without levels it is for either.
 */
export function annotations(name: string, level: "manifest" | "index" = "manifest"): Record<string, string> {
  const own = lines(name).flatMap((line) => {
    const levels = LEVELS.exec(line)?.[1];
    if (levels === undefined) return [line];
    return levels.split(",").includes(level) ? [line.slice(levels.length + 1)] : [];
  });
  return toPairs(name, own);
}

/** Like {@link annotations}, each with its level. */
export function leveledAnnotations(name: string): readonly LeveledAnnotation[] {
  return lines(name).flatMap((line) => parsed(name, () => parseLeveledAnnotation(line)));
}

/** A whole number. */
export function whole(name: string): number | undefined {
  const value = text(name);
  if (value === undefined || /^[0-9]{1,9}$/.test(value)) return value === undefined ? undefined : Number(value);
  throw new InputError(name, `${JSON.stringify(value)} is no number`);
}

function toPairs(name: string, texts: readonly string[]): Record<string, string> {
  return Object.fromEntries(
    texts.map((line) => {
      const equals = line.indexOf("=");
      if (equals < 1)
        throw new InputError(name, `${JSON.stringify(line)} is not KEY=VALUE`, {
          hint: "Write each pair on a line of its own; a value goes to the end of its line.",
        });
      return [line.slice(0, equals), line.slice(equals + 1)];
    }),
  );
}

/** True or false, as YAML 1.2 writes them. */
export function flag(name: string, fallback: boolean): boolean {
  const value = text(name);
  if (value === undefined) return fallback;
  if (/^(true|True|TRUE)$/.test(value)) return true;
  if (/^(false|False|FALSE)$/.test(value)) return false;
  throw new InputError(name, `${JSON.stringify(value)} is neither true nor false`, {
    hint: `Write ${name}: true or ${name}: false.`,
  });
}

/** A whole number from 1 on. Undefined where the workflow does not give it. */
export function wholeNumber(name: string): number | undefined {
  const value = text(name);
  if (value === undefined || /^[1-9][0-9]{0,3}$/.test(value)) return value === undefined ? undefined : Number(value);
  throw new InputError(name, `${JSON.stringify(value)} is no number from 1 to 9999`);
}

function whatToWrite(name: string): string {
  return `Write it below "with:", as\n${name}: ${EXAMPLES[name] ?? "..."}`;
}

/** `HOST[:PORT]`, one a line. */
export function hosts(name: string): string[] {
  const found = lines(name);
  const wrong = found.find(
    (host) => !/^[A-Za-z0-9._-]+(?::[0-9]{1,5})?$|^\[[0-9A-Fa-f:.]+\](?::[0-9]{1,5})?$/.test(host),
  );
  if (wrong === undefined) return found;
  throw new InputError(name, `${JSON.stringify(wrong)} is no HOST[:PORT]`, {
    hint: `For example ${name}: registry.local:5000, without http:// and without a path.`,
  });
}

/** The name of a tag. */
export function tagName(input: string, value: string): string {
  if (isTag(value)) return value;
  throw new InputError(input, `${JSON.stringify(value)} is no tag`, {
    hint: "A tag has letters, digits, dots, hyphens and underscores, as v1.2-rc.1.",
  });
}

/** One of the words; the first where the workflow does not give the input. */
export function choice<const T extends string>(name: string, words: readonly [T, ...T[]] | readonly T[]): T {
  const value = text(name) ?? words[0];
  const found = words.find((word) => word === value);
  if (found === undefined) throw new InputError(name, `${JSON.stringify(value)} is none of ${words.join(", ")}`);
  return found;
}

/** A command: one argument a line, or a JSON array of strings. Undefined where the workflow does not give it. */
export function argv(name: string): readonly string[] | undefined {
  const value = text(name);
  if (value?.startsWith("[") !== true) return value === undefined ? undefined : lines(name);
  const array = parsed(name, () => parseJson(Buffer.from(value), "it"));
  if (Array.isArray(array) && array.every((item) => typeof item === "string")) return array;
  throw new InputError(name, `${JSON.stringify(value)} is not a JSON array of strings`);
}

/** Calls `parse`; what it finds wrong with its text is what the workflow gave as this input. */
export function parsed<T>(name: string, parse: () => T): T {
  try {
    return parse();
  } catch (error) {
    if (error instanceof OciError && !(error instanceof InputError)) {
      const example = EXAMPLES[name] === undefined ? undefined : `For example ${name}: ${EXAMPLES[name]}`;
      throw new InputError(name, error.message, { hint: error.hint ?? example, cause: error });
    }
    throw error;
  }
}
