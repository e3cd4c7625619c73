import { isUtf8 } from "node:buffer";
import { type Descriptor, emptyDescriptor, isOciError, type Manifest, mediaTypes } from "@stowage/layout";
import { findBlob } from "../blobs.js";
import { Refusal } from "../errors.js";
import { digestIn, type Exchange } from "../exchange.js";
import type { Repository } from "../store.js";
import { type Document, factsOf, sizeOf } from "./document.js";
import { type Html, html } from "./html.js";
import { isTar, type Shown, shortReference } from "./manifest.js";
import { contentPlace, filesPlace, repositoryPlace } from "./places.js";
import { HOME } from "./repositories.js";
import { kindOf, layersOf, problemOf } from "./repository.js";

/** How much of a blob one page shows, in bytes. */
const LARGEST = 256 * 1024;
/** How many blobs of an artifact its own page shows, and how much of each, in bytes. */
const INLINE = 4;
const INLINE_LARGEST = 64 * 1024;

/** The page of the text in a blob. */
export async function contentPage(
  { signal }: Exchange,
  name: string,
  repository: Repository,
  reference: string,
): Promise<Document> {
  const digest = digestIn(reference);
  const descriptor = await findBlob(repository, digest, signal);
  if (descriptor === undefined) throw new Refusal(404, "BLOB_UNKNOWN", `${name} has no blob ${digest}`);
  return {
    title: "Content of a blob",
    steps: [HOME, [name, repositoryPlace(name)], [shortReference(digest), contentPlace(name, digest)]],
    body: html`${factsOf([
      ["Digest", html`<code>${digest}</code>`],
      ["Size", sizeOf(descriptor.size)],
      ["Raw", html`<a href="/v2/${name}/blobs/${digest}">download it</a>`],
      ["Files", html`<a href="${filesPlace(name, digest)}">look into it as a tar</a>`],
    ])}${await shownText(repository, descriptor, LARGEST, signal)}`,
  };
}

/** What stands in the blobs of an artifact: an SBOM, a signature, a report. Undefined for what is no artifact, or has none. */
export async function contentsOf(
  { name, repository, signal }: Pick<Shown, "name" | "repository" | "signal">,
  manifest: Manifest,
  limit = INLINE_LARGEST,
): Promise<Html | undefined> {
  if (manifest.kind === "index" || kindOf(manifest) === "image") return undefined;
  const layers = layersOf(manifest).filter((layer) => !isTar(layer) && layer.digest !== emptyDescriptor.digest);
  if (layers.length === 0) return undefined;
  const parts: Html[] = [];
  for (const layer of layers.slice(0, INLINE)) {
    const title = layer.annotations?.["org.opencontainers.image.title"] ?? layer.mediaType;
    const alone = html`<a href="${contentPlace(name, layer.digest)}">${title}</a>`;
    parts.push(html`<p>${alone}, ${sizeOf(layer.size)}</p>${await shownText(repository, layer, limit, signal)}`);
  }
  const rest = layers.length - parts.length;
  return html`${parts}${rest > 0 ? html`<p class="faint">and ${rest} more</p>` : undefined}`;
}

/** The beginning of a blob, as text. JSON that fits is laid out. */
async function shownText(
  repository: Repository,
  descriptor: Descriptor,
  limit: number,
  signal: AbortSignal,
): Promise<Html> {
  let bytes: Buffer;
  try {
    bytes = await beginningOf(repository, descriptor, limit, signal);
  } catch (error) {
    if (!isOciError(error)) throw error;
    return html`<p class="warn">${problemOf(error.code)}</p>`;
  }
  const whole = bytes.byteLength === descriptor.size;
  const text = textIn(bytes, whole);
  if (text === undefined) return html`<p class="faint">It is not text.</p>`;
  const rest = whole
    ? undefined
    : html`<p class="faint">These are the first ${sizeOf(bytes.byteLength)} of ${sizeOf(descriptor.size)}; the digest was not checked.</p>`;
  return html`<pre tabindex="0">${whole ? laidOut(text) : text}</pre>${rest}`;
}

/** All of a small blob, verified; of a larger one the first bytes, which cannot be. */
async function beginningOf(
  repository: Repository,
  { digest, size }: Descriptor,
  limit: number,
  signal: AbortSignal,
): Promise<Buffer> {
  const chunks: Uint8Array[] = [];
  let count = 0;
  for await (const chunk of repository.fetch({ mediaType: mediaTypes.octetStream, digest, size }, { signal })) {
    chunks.push(chunk);
    count += chunk.byteLength;
    if (size > limit && count >= limit) break;
  }
  return Buffer.concat(chunks).subarray(0, limit);
}

/** The bytes as text, where they are UTF-8 without a NUL. The last character of a beginning may be cut in two. */
function textIn(bytes: Buffer, whole: boolean): string | undefined {
  if (bytes.includes(0)) return undefined;
  for (let cut = 0; cut < (whole ? 1 : 4); cut++) {
    const part = bytes.subarray(0, bytes.byteLength - cut);
    if (isUtf8(part)) return part.toString();
  }
  return undefined;
}

function laidOut(text: string): string {
  if (!/^\s*[[{]/.test(text)) return text;
  try {
    return JSON.stringify(JSON.parse(text), undefined, 2);
  } catch {
    return text;
  }
}
