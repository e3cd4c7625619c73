import type { Answer } from "../answer.js";
import { Html, html, type Part } from "./html.js";
import { style, styleHash } from "./style.js";

/** A page before it is put into its frame. */
export interface Document {
  readonly title: string;
  /** The way here: what each step is called, and where it leads; the last one is this page. */
  readonly steps: readonly (readonly [string, string])[];
  readonly body: Html;
  /** Default: 200. */
  readonly status?: number;
  readonly headers?: Answer["headers"];
}

const ICON =
  "data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 16 16'%3E%3Cg fill='%233b6fb5'%3E%3Crect x='1' y='2' width='14' height='3'/%3E%3Crect x='1' y='6.5' width='14' height='3'/%3E%3Crect x='1' y='11' width='14' height='3'/%3E%3C/g%3E%3C/svg%3E";

/** Nothing runs, nothing is loaded, nothing may frame the page; only our own style and icon are used. */
const POLICY = [
  "default-src 'none'",
  `style-src ${styleHash}`,
  "img-src data:",
  "base-uri 'none'",
  "form-action 'none'",
  "frame-ancestors 'none'",
].join("; ");

/** The page as it is sent. */
export function documentAnswer({ title, steps, body, status = 200, headers = {} }: Document): Answer {
  const trail = steps.map(([name, href], at) =>
    at === steps.length - 1
      ? html`<li><span aria-current="page">${name}</span></li>`
      : html`<li><a href="${href}">${name}</a></li>`,
  );
  const page = html`<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>${title}</title>
<link rel="icon" href="${ICON}">
<style>${new Html(style)}</style>
</head>
<body>
<a class="skip" href="#main">To the content</a>
<header><nav aria-label="Where this is"><ol>${trail}</ol></nav></header>
<main id="main" tabindex="-1">
<h1>${title}</h1>
${body}
</main>
</body>
</html>
`;
  return {
    status,
    headers: {
      "Content-Type": "text/html; charset=utf-8",
      "Content-Security-Policy": POLICY,
      "Referrer-Policy": "no-referrer",
      "X-Frame-Options": "DENY",
      "Cross-Origin-Opener-Policy": "same-origin",
      "Cross-Origin-Resource-Policy": "same-origin",
      "Cache-Control": "no-store",
      Vary: "Accept, Authorization",
      ...headers,
    },
    body: Buffer.from(page.text),
  };
}

/** A table. Cells that are numbers or sizes are named in `numbers`, by column. */
export function tableOf(
  heads: readonly string[],
  rows: readonly (readonly Part[])[],
  numbers: readonly number[] = [],
): Html {
  const kind = (at: number): Html | undefined => (numbers.includes(at) ? html` class="number"` : undefined);
  return html`<div class="wide"><table>
<thead><tr>${heads.map((head, at) => html`<th scope="col"${kind(at)}>${head}</th>`)}</tr></thead>
<tbody>${rows.map((row) => html`<tr>${row.map((cell, at) => html`<td${kind(at)}>${cell}</td>`)}</tr>\n`)}</tbody>
</table></div>`;
}

/** Names and what they stand for; what is undefined is left out. */
export function factsOf(facts: readonly (readonly [string, Part])[]): Html {
  const known = facts.filter(([, value]) => value !== undefined && value !== "");
  return html`<dl>${known.map(([name, value]) => html`<dt>${name}</dt><dd>${value}</dd>`)}</dl>`;
}

/** Links to the first and to the next page of a list. */
export function pagesOf(first: string | undefined, next: string | undefined): Html {
  if (first === undefined && next === undefined) return html``;
  return html`<nav class="pages" aria-label="Pages">${first === undefined ? undefined : html`<a href="${first}">From the beginning</a>`}${
    next === undefined ? undefined : html`<a href="${next}" rel="next">Next page</a>`
  }</nav>`;
}

/** A number of bytes for people: `512 B`, `1.5 kB`. */
export function sizeOf(bytes: number): string {
  const power = Math.min(Math.floor(Math.log10(Math.max(bytes, 1)) / 3), 5);
  return power === 0 ? `${bytes} B` : `${(bytes / 1000 ** power).toFixed(1)} ${"kMGTP"[power - 1]}B`;
}

/** The beginning of a digest, with all of it for who wants to see it. */
export function shortDigest(digest: string, href?: string): Html {
  const [algorithm = "", encoded = ""] = digest.split(":");
  const text = html`<span class="digest" title="${digest}">${algorithm}:${encoded.slice(0, 12)}</span>`;
  return href === undefined ? text : html`<a href="${href}">${text}</a>`;
}
