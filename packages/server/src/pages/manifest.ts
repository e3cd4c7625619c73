import {
  type Descriptor,
  formatPlatform,
  isAttestation,
  isManifestType,
  isOciError,
  type Manifest,
  readManifest,
} from "@stowage/layout";
import type { Exchange } from "../exchange.js";
import type { Repository } from "../store.js";
import { contentsOf } from "./content.js";
import { type Document, factsOf, pagesOf, shortDigest, sizeOf, tableOf } from "./document.js";
import { type Html, html, type Part } from "./html.js";
import { configPart, historyOf, readConfig } from "./image-config.js";
import { barOf, shareOf, swatch } from "./picture.js";
import { contentPlace, filesPlace, manifestPlace, repositoryPlace, withQuery } from "./places.js";
import { referrersPart } from "./referrer-tree.js";
import { HOME } from "./repositories.js";
import { kindOf, LARGEST, layersOf, totalSize } from "./repository.js";

/** How many layers, or manifests of an index, one page has. */
const COUNT = 100;
/** How many annotations are shown, and how much of each. */
const ANNOTATIONS = 100;
const LENGTH = 4000;

/** What the parts of a page are about. */
export interface Shown {
  readonly name: string;
  readonly repository: Repository;
  readonly descriptor: Descriptor;
  readonly manifest: Manifest;
  readonly signal: AbortSignal;
  /** Where the list of layers or manifests begins. */
  readonly from: number;
}

/** The page of a manifest, by tag or digest. */
export async function manifestPage(
  exchange: Exchange,
  name: string,
  repository: Repository,
  reference: string,
): Promise<Document> {
  const { signal, query } = exchange;
  const descriptor = await repository.resolve(reference, { signal });
  const { manifest } = await readManifest(repository, descriptor, { signal });
  const from = Number(/^[0-9]{1,7}$/.exec(query.get("from") ?? "")?.[0] ?? 0);
  const shown: Shown = { name, repository, descriptor, manifest, signal, from };
  const here = manifestPlace(name, reference);
  const list = manifest.kind === "index" ? await manifestsPart(shown, here) : await layersPart(shown, here);
  const contents = await contentsOf(shown, manifest);
  const title = reference.includes(":") ? `${name}@${shortReference(reference)}` : `${name}:${reference}`;
  return {
    title,
    steps: [HOME, [name, repositoryPlace(name)], [shortReference(reference), here]],
    body: html`${facts(shown, exchange)}${annotationsPart(manifest)}${list}${
      contents && html`<section><h2>Content</h2>${contents}</section>`
    }${await referrersPart(shown)}`,
  };
}

/** A digest is too long for the way to a page. */
export function shortReference(reference: string): string {
  return reference.includes(":") ? `${reference.slice(0, reference.indexOf(":") + 13)}…` : reference;
}

function facts({ name, descriptor, manifest }: Shown, exchange: Exchange): Html {
  const { subject } = manifest;
  return factsOf([
    ["What it is", kindOf(manifest)],
    ["Digest", html`<code>${descriptor.digest}</code>`],
    ["Media type", descriptor.mediaType],
    ["Size", manifest.kind === "index" ? undefined : sizeOf(totalSize(manifest, descriptor))],
    ["Refers to", subject && html`<a href="${manifestPlace(name, subject.digest)}"><code>${subject.digest}</code></a>`],
    ["Pull", html`<code>${exchange.header("host") ?? ""}/${name}@${descriptor.digest}</code>`],
    [
      "Raw",
      html`<a href="/v2/${name}/manifests/${descriptor.digest}">the manifest itself</a>, ${sizeOf(descriptor.size)}`,
    ],
  ]);
}

function annotationsPart({ annotations = {} }: Manifest): Html | undefined {
  const entries = Object.entries(annotations);
  if (entries.length === 0) return undefined;
  const shown = entries
    .slice(0, ANNOTATIONS)
    .map(([key, value]) => [html`<code>${beginning(key)}</code>`, html`<code>${beginning(value)}</code>`]);
  const rest = entries.length - shown.length;
  return html`<section><h2>Annotations</h2>${tableOf(["Key", "Value"], shown)}${rest > 0 ? html`<p class="faint">and ${rest} more</p>` : undefined}</section>`;
}

function beginning(text: string): string {
  return text.length > LENGTH ? `${text.slice(0, LENGTH)}…` : text;
}

/** The layers as a picture and as a table. */
async function layersPart(shown: Shown, here: string): Promise<Html> {
  const { manifest, name, from } = shown;
  const layers = layersOf(manifest);
  const config = await readConfig(shown);
  const history = historyOf(config, layers.length);
  const page = layers.slice(from, from + COUNT);
  const rows = page.map((layer, at): readonly Part[] => {
    const index = from + at;
    const place = isTar(layer) ? filesPlace(name, layer.digest) : contentPlace(name, layer.digest);
    return [
      html`${swatch(index)} ${index + 1}`,
      sizeOf(layer.size),
      html`<a href="${place}">${isTar(layer) ? "files" : "content"}</a>`,
      html`${shortDigest(layer.digest)}<br><span class="faint">${layer.mediaType}</span>`,
      titleOf(layer) ?? (history[index] === undefined ? undefined : html`<code>${beginning(history[index])}</code>`),
    ];
  });
  const next = from + COUNT < layers.length ? withQuery(here, { from: String(from + COUNT) }) : undefined;
  const picture =
    layers.length === 0
      ? html`<p>There is none.</p>`
      : html`${barOf(
          layers.map(({ size }) => size),
          "Sizes of the layers",
        )}${tableOf(["Layer", "Size", "Look into", "Digest and type", config === undefined ? "Name" : "Made by"], rows, [1])}`;
  return html`${configPart(shown, config)}<section><h2>Layers</h2>${picture}${pagesOf(from === 0 ? undefined : here, next)}</section>`;
}

function titleOf({ annotations }: Descriptor): string | undefined {
  return annotations?.["org.opencontainers.image.title"];
}

/** True for a layer in which there are files. */
export function isTar({ mediaType }: Descriptor): boolean {
  return /\.tar(?:[.+](?:gzip|zstd))?$/.test(mediaType);
}

/** The manifests of an index, with the size of each as a picture. */
async function manifestsPart(shown: Shown, here: string): Promise<Html> {
  const { manifest, name, from } = shown;
  const children = manifest.kind === "index" ? manifest.manifests : [];
  const page = children.slice(from, from + COUNT);
  const sizes: (number | undefined)[] = [];
  for (const child of page) sizes.push(await sizeOfChild(shown, child));
  const largest = Math.max(...sizes.map((size) => size ?? 0), 1);
  const rows = page.map((child, at): readonly Part[] => {
    const size = sizes[at];
    return [
      isManifestType(child.mediaType)
        ? html`<a href="${manifestPlace(name, child.digest)}">${platformOf(child)}</a>`
        : html`<a href="${contentPlace(name, child.digest)}">${platformOf(child)}</a>`,
      size === undefined ? html`<span class="faint">unknown</span>` : sizeOf(size),
      size === undefined ? undefined : shareOf(size, largest),
      html`${shortDigest(child.digest)}<br><span class="faint">${child.artifactType ?? child.mediaType}</span>`,
    ];
  });
  const next = from + COUNT < children.length ? withQuery(here, { from: String(from + COUNT) }) : undefined;
  const table =
    rows.length === 0 ? html`<p>There is none.</p>` : tableOf(["Platform", "Size", "", "Digest and type"], rows, [1]);
  return html`<section><h2>Manifests</h2>${table}${pagesOf(from === 0 ? undefined : here, next)}</section>`;
}

function platformOf(child: Descriptor): string {
  if (isAttestation(child)) return "attestation";
  return child.platform === undefined ? "no platform" : formatPlatform(child.platform);
}

async function sizeOfChild({ repository, signal }: Shown, child: Descriptor): Promise<number | undefined> {
  try {
    if (!isManifestType(child.mediaType)) return child.size;
    return totalSize((await readManifest(repository, child, { signal, limit: LARGEST })).manifest, child);
  } catch (error) {
    if (isOciError(error)) return undefined;
    throw error;
  }
}
