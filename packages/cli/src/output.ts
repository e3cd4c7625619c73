import { Writable } from "node:stream";
import { type Descriptor, type Location, PORTABLE_MANIFEST_SIZE } from "@stowage/layout";
import type { Context } from "./command.js";
import { noticesOf } from "./notices.js";

/**
 * `value` as JSON on one line for a program, indented for a terminal. An object also tells, as `notices`, what registries said beside
 * their answers, where they said something.
 */
export function printJson(context: Context, value: unknown): void {
  const indent = (context.out as { isTTY?: boolean }).isTTY === true ? 2 : undefined;
  const notices = Array.isArray(value) ? undefined : noticesOf();
  const told = notices === undefined ? value : { ...(value as object), notices };
  context.out.write(`${JSON.stringify(told, errorsAsObjects, indent)}\n`);
}

/** Where an archive is written to stdout, that is the result; what else there is to say of it goes nowhere. */
export function besideArchive(context: Context, targets: readonly Location[]): Context {
  if (!targets.some((target) => target.kind !== "registry" && target.path === "-")) return context;
  return { ...context, out: new Writable({ write: (_chunk, _encoding, done) => done() }) };
}

/** Prints `lines` to the result. A line break in one, from somebody's name for something, does not make it two. */
export function printLines(context: Context, lines: readonly string[]): void {
  for (const line of lines) context.out.write(`${visible(line).replaceAll("\n", "\\n")}\n`);
}

/** A warning or a hint, on stderr. */
export function note(context: Pick<Context, "err">, text: string): void {
  context.err.write(`stowage: ${visible(text)}\n`);
}

/** Says of a manifest, before anything is sent, that a registry may not take it. */
export function warnOfSize(context: Pick<Context, "err">, { digest, size }: Descriptor): void {
  if (size > PORTABLE_MANIFEST_SIZE)
    note(context, `the manifest ${digest} has ${formatSize(size)}; registries rarely take more than 4 MiB`);
}

/** Columns padded to the same width, the last one as it is; no trailing blanks. */
export function table(rows: readonly (readonly string[])[]): string[] {
  const width = (at: number): number => Math.max(...rows.map((row) => row[at]?.length ?? 0));
  const widths = (rows[0] ?? []).map((_cell, at) => width(at));
  return rows.map((row) =>
    row
      .map((cell, at) => (at === row.length - 1 ? cell : cell.padEnd(widths[at] ?? 0)))
      .join("  ")
      .trimEnd(),
  );
}

/** A number of bytes for people: `512 B`, `1.5 kB`, `72.1 MB`. */
export function formatSize(bytes: number): string {
  if (bytes < 1000) return `${bytes} B`;
  const units = ["kB", "MB", "GB", "TB"];
  let value = bytes / 1000;
  let unit = 0;
  while (value >= 999.95 && unit < units.length - 1) {
    value /= 1000;
    unit++;
  }
  return `${value.toFixed(1)} ${units[unit]}`;
}

/** `1 layer`, `2 layers`. */
export function count(number: number, noun: string): string {
  return `${number} ${noun}${number === 1 ? "" : "s"}`;
}

/** Names, annotations and pieces of broken JSON come from strangers: control characters are shown, not obeyed by the terminal. */
export function visible(text: string): string {
  return text.replace(
    /[\x00-\x08\x0b-\x1f\x7f-\x9f]/g,
    (character) => `\\x${character.charCodeAt(0).toString(16).padStart(2, "0")}`,
  );
}

function errorsAsObjects(_key: string, value: unknown): unknown {
  if (!(value instanceof Error)) return value;
  const { message, code, hint } = value as Error & { code?: unknown; hint?: unknown };
  return { message, ...(code === undefined ? {} : { code }), ...(hint === undefined ? {} : { hint }) };
}
