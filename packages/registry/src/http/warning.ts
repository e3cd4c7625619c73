/** The longest text of a warning. distribution-spec v1.1.1, "Warnings" bounds all of them in one answer to 4096 bytes. */
const MAXIMUM_LENGTH = 4096;

/**
 * The texts of Warning headers with the code 299 and the agent `-`; others do not count. Each value may hold several. Control
 * characters become blanks, and what is longer than 4096 characters is cut. distribution-spec v1.1.1, "Warnings".
 */
export function parseWarnings(values: readonly string[]): readonly string[] {
  return values.flatMap((value) =>
    [...value.slice(0, MAXIMUM_LENGTH).matchAll(/(?:^|,)\s*(\d{3})\s+(\S+)\s+"((?:[^"\\]|\\.)*)"/g)]
      .filter(([, code, agent]) => code === "299" && agent === "-")
      .map(([, , , text = ""]) => printable(text.replace(/\\(.)/gs, "$1"), MAXIMUM_LENGTH).trim())
      .filter((text) => text !== ""),
  );
}

/** Foreign text for a terminal: control characters and marks that turn its direction become blanks, and it is cut to length. */
export function printable(text: string, length: number): string {
  return text.replace(/[\p{Cc}\u200e\u200f\u202a-\u202e\u2066-\u2069]+/gu, " ").slice(0, length);
}
