/** Text that is HTML already: only {@link html} makes it. */
export class Html {
  readonly text: string;

  /** `text` is taken as it stands. Whoever calls this vouches for it; what comes from outside goes through {@link html}. */
  constructor(text: string) {
    this.text = text;
  }
}

/** What can stand in a template of {@link html}. */
export type Part = Html | string | number | undefined | readonly Part[];

/**
 * HTML in which every part is escaped, in text as in an attribute between double quotes, unless it is {@link Html} itself. What
 * steers the text around it, or cannot be seen, is shown as its code point. Nothing stands for undefined.
 */
export function html(strings: TemplateStringsArray, ...parts: readonly Part[]): Html {
  return new Html(strings.reduce((text, string, at) => text + render(parts[at - 1]) + string));
}

function render(part: Part): string {
  if (part === undefined) return "";
  if (part instanceof Html) return part.text;
  if (typeof part === "object") return part.map(render).join("");
  return escaped(String(part));
}

const ENTITIES: Readonly<Record<string, string>> = {
  "&": "&amp;",
  "<": "&lt;",
  ">": "&gt;",
  '"': "&quot;",
  "'": "&#39;",
};

/** Control and format characters but line breaks and tabs, halves of surrogate pairs, and what else has no glyph. */
const UNSEEN = /(?![\n\t])[\p{Cc}\p{Cf}\p{Cs}\p{Co}\p{Cn}\u2028\u2029\u115f\u1160\u3164\uffa0]/gu;

function escaped(text: string): string {
  return visible(text).replace(/[&<>"']/g, (character) => ENTITIES[character] as string);
}

/** The text with everything that cannot be seen, or turns its direction around, shown as `\u{...}`. */
export function visible(text: string): string {
  return text.replace(UNSEEN, (character) => `\\u{${(character.codePointAt(0) as number).toString(16)}}`);
}
