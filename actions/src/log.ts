import * as core from "@actions/core";

/** Writes one line to the log of the step. */
export function info(text: string): void {
  core.info(visible(text));
}

/** Writes one line that is shown only when the workflow runs with debug logging. */
export function debug(text: string): void {
  core.debug(visible(text));
}

/**
 * The text on one line and without a command: names and annotations come from strangers, and the runner obeys a line that
 * starts with `::` and, anywhere in a line, `##[`.
 */
export function visible(text: string): string {
  return text
    .replace(
      /[\p{Cc}\u2028-\u202e\u2066-\u2069]/gu,
      (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, "0")}`,
    )
    .replaceAll("##[", "# #[")
    .replace(/^(\s*):(?=:)/u, "$1: ");
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
