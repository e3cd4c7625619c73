import {
  type Abortable,
  type Descriptor,
  effectiveArtifactType,
  isImageConfigType,
  isOciError,
  type Manifest,
  platformsOf,
  readManifest,
} from "@stowage/layout";
import type { Exchange } from "../exchange.js";
import type { Repository } from "../store.js";
import { type Document, pagesOf, shortDigest, sizeOf, tableOf } from "./document.js";
import { html, type Part } from "./html.js";
import { manifestPlace, repositoryPlace, withQuery } from "./places.js";
import { HOME, pageAfter } from "./repositories.js";

/** How many tags one page has. For each, two or three small blobs are read. */
const COUNT = 50;
/** How many platforms are named for one tag. */
const PLATFORMS = 12;

/** The largest manifest that is read for a line of a page, in bytes; a page of its own may have a larger one. */
export const LARGEST = 1024 * 1024;

/** The page of the tags of a repository. */
export async function repositoryPage(exchange: Exchange, name: string, repository: Repository): Promise<Document> {
  const { query, signal } = exchange;
  const last = query.get("last");
  const { items, more } = await pageAfter(repository.tags({ signal }), last, COUNT);
  const rows: (readonly Part[])[] = [];
  for (const tag of items) rows.push(await tagRow(name, tag, repository, { signal }));
  const here = repositoryPlace(name);
  const body =
    rows.length === 0
      ? html`<p>There is no tag ${last === null ? "here" : "after that"}.</p>`
      : tableOf(["Tag", "What it is", "Size", "Digest"], rows, [2]);
  const next = more ? withQuery(here, { last: items.at(-1) as string }) : undefined;
  return {
    title: name,
    steps: [HOME, [name, here]],
    body: html`<p class="faint">Pull from here with <code>${exchange.header("host") ?? ""}/${name}:TAG</code></p>
${body}${pagesOf(last === null ? undefined : here, next)}`,
  };
}

async function tagRow(name: string, tag: string, repository: Repository, options: Abortable): Promise<readonly Part[]> {
  const link = html`<a class="name" href="${manifestPlace(name, tag)}">${tag}</a>`;
  try {
    const descriptor = await repository.resolve(tag, options);
    const { manifest } = await readManifest(repository, descriptor, { ...options, limit: LARGEST });
    const platforms = await platformsOf(repository, descriptor, options);
    return [link, whatItIs(manifest, platforms), sizeIn(manifest, descriptor), shortDigest(descriptor.digest)];
  } catch (error) {
    if (!isOciError(error)) throw error;
    return [link, html`<span class="warn">${problemOf(error.code)}</span>`, undefined, undefined];
  }
}

function whatItIs(manifest: Manifest, platforms: readonly string[]): Part {
  const shown = platforms.slice(0, PLATFORMS).map((platform) => html`<span class="tag">${platform}</span> `);
  const rest = platforms.length - shown.length;
  return html`${kindOf(manifest)} ${shown}${rest > 0 ? `and ${rest} more` : undefined}`;
}

/** The size of an image or artifact; that of an index takes a look at each of its manifests. */
function sizeIn(manifest: Manifest, descriptor: Descriptor): string | undefined {
  return manifest.kind === "index" ? undefined : sizeOf(totalSize(manifest, descriptor));
}

/** The bytes of a manifest and of all that it points at. */
export function totalSize(manifest: Manifest, descriptor: Descriptor): number {
  const blobs = manifest.kind === "image" ? [manifest.config, ...manifest.layers] : layersOf(manifest);
  return blobs.reduce((sum, { size }) => sum + size, descriptor.size);
}

/** The layers of an image or artifact; of an index none. */
export function layersOf(manifest: Manifest): readonly Descriptor[] {
  if (manifest.kind === "image") return manifest.layers;
  return manifest.kind === "artifact" ? manifest.blobs : [];
}

/** What a manifest is, in a word or by its type. */
export function kindOf(manifest: Manifest): string {
  if (manifest.kind === "index") return manifest.artifactType ?? "index";
  const isImage =
    manifest.kind === "image" && manifest.artifactType === undefined && isImageConfigType(manifest.config.mediaType);
  return isImage ? "image" : (effectiveArtifactType(manifest) ?? "artifact");
}

/** What to say of content that cannot be shown. The messages of errors name paths of this machine. */
export function problemOf(code: string): string {
  if (code === "NOT_FOUND") return "It is not here.";
  if (code === "MISMATCH") return "It is damaged: it does not have its digest.";
  if (code === "LIMIT") return "It is too large to be shown.";
  if (code === "CONFLICT") return "It is not clear what this stands for.";
  return "It cannot be read.";
}
