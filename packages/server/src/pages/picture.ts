import { sizeOf } from "./document.js";
import { type Html, html } from "./html.js";

/** How many pieces a picture has at most; the rest are one. */
const MAXIMUM_PIECES = 100;
/** The width of a picture in its own units. */
const WIDTH = 1000;
/** The least width of a piece, so that it can be seen. */
const LEAST = 3;

/** The sizes of some things as the lengths of a bar, in their order, each in the colour of its {@link swatch}. */
export function barOf(sizes: readonly number[], what: string): Html {
  const shown = sizes.slice(0, MAXIMUM_PIECES);
  const rest = sizes.slice(MAXIMUM_PIECES).reduce((sum, size) => sum + size, 0);
  const pieces = rest > 0 ? [...shown, rest] : shown;
  const total = pieces.reduce((sum, size) => sum + size, 0);
  const label = `${what}: ${pieces.map(sizeOf).join(", ")}`;
  const room = WIDTH - LEAST * pieces.length;
  let at = 0;
  const rectangles = pieces.map((size, index) => {
    const width = LEAST + (total === 0 ? 0 : (size / total) * room);
    const rectangle = html`<rect class="c${index % 8}" x="${at.toFixed(2)}" y="0" width="${Math.max(width - 1, 1).toFixed(2)}" height="28"><title>${index + 1}: ${sizeOf(size)}</title></rect>`;
    at += width;
    return rectangle;
  });
  return html`<svg class="picture" viewBox="0 0 ${WIDTH} 28" height="28" preserveAspectRatio="none" role="img" aria-label="${label}">${rectangles}</svg>`;
}

/** The size of one thing beside the largest of its kind. */
export function shareOf(size: number, largest: number): Html {
  const width = largest === 0 ? 0 : Math.max((size / largest) * 100, 1);
  return html`<svg class="picture" viewBox="0 0 100 8" width="100" height="8" preserveAspectRatio="none" aria-hidden="true"><rect class="track" width="100" height="8"/><rect class="c0" width="${width.toFixed(1)}" height="8"/></svg>`;
}

/** The colour of a piece of {@link barOf}. */
export function swatch(index: number): Html {
  return html`<svg class="swatch" viewBox="0 0 10 10" aria-hidden="true"><rect class="c${Math.min(index, MAXIMUM_PIECES) % 8}" width="10" height="10"/></svg>`;
}
