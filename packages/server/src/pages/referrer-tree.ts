import { annotationKeys, type Descriptor, isOciError, readManifest } from "@stowage/layout";
import { contentsOf } from "./content.js";
import { shortDigest, sizeOf } from "./document.js";
import { type Html, html } from "./html.js";
import type { Shown } from "./manifest.js";
import { manifestPlace } from "./places.js";
import { LARGEST, problemOf } from "./repository.js";

/** How many referrers one page shows, and how far down. */
const COUNT = 200;
const DEPTH = 6;

/** How many of them are shown with their content, and how much of each blob, in bytes. */
const CONTENTS = 12;
const SHOWN = 16 * 1024;

/** What may still be shown; the tree is cut off where it is used up. */
interface Budget {
  left: number;
  contents: number;
  cut: boolean;
}

/** What refers to the manifest, and what refers to that. */
export async function referrersPart(shown: Shown): Promise<Html> {
  const budget: Budget = { left: COUNT, contents: CONTENTS, cut: false };
  const tree = await branchesOf(shown, shown.descriptor, DEPTH, budget);
  const rest = budget.cut ? html`<p class="faint">There are more than are shown here.</p>` : undefined;
  return html`<section><h2>Referrers</h2>${
    tree === undefined ? html`<p>Nothing refers to it.</p>` : html`<ul class="tree">${tree}</ul>`
  }${rest}</section>`;
}

async function branchesOf(shown: Shown, subject: Descriptor, depth: number, budget: Budget): Promise<Html | undefined> {
  const referrers: Descriptor[] = [];
  for await (const referrer of shown.repository.referrers(subject, { signal: shown.signal })) {
    if (budget.left === 0 || depth === 0) {
      budget.cut = true;
      break;
    }
    budget.left--;
    referrers.push(referrer);
  }
  if (referrers.length === 0) return undefined;
  const branches: Html[] = [];
  for (const referrer of referrers) {
    const contents = await contentsPart(shown, referrer, budget);
    const below = await branchesOf(shown, referrer, depth - 1, budget);
    branches.push(
      html`<li>${leaf(shown, referrer)}${contents}${below === undefined ? undefined : html`<ul>${below}</ul>`}</li>`,
    );
  }
  return html`${branches}`;
}

async function contentsPart(shown: Shown, referrer: Descriptor, budget: Budget): Promise<Html | undefined> {
  if (budget.contents === 0) return undefined;
  budget.contents--;
  try {
    const { manifest } = await readManifest(shown.repository, referrer, { signal: shown.signal, limit: LARGEST });
    const contents = await contentsOf(shown, manifest, SHOWN);
    return contents && html`<details><summary>Content</summary>${contents}</details>`;
  } catch (error) {
    if (isOciError(error)) return html`<p class="warn">${problemOf(error.code)}</p>`;
    throw error;
  }
}

function leaf({ name }: Shown, referrer: Descriptor): Html {
  const created = referrer.annotations?.[annotationKeys.created];
  return html`<a href="${manifestPlace(name, referrer.digest)}">${referrer.artifactType ?? referrer.mediaType}</a> ${shortDigest(
    referrer.digest,
  )} <span class="faint">${created ?? ""} manifest of ${sizeOf(referrer.size)}</span>`;
}
