import {
  type Abortable,
  ByteReader,
  decompress,
  isOciError,
  OciError,
  TAR_BLOCK,
  TarHeaderReader,
  type TarReadHeader,
} from "@stowage/layout";
import { findBlob } from "../blobs.js";
import { Refusal } from "../errors.js";
import { digestIn, type Exchange } from "../exchange.js";
import type { Repository } from "../store.js";
import { type Document, factsOf, pagesOf, sizeOf, tableOf } from "./document.js";
import { type Html, html, type Part } from "./html.js";
import { shortReference } from "./manifest.js";
import { contentPlace, filesPlace, repositoryPlace, withQuery } from "./places.js";
import { HOME } from "./repositories.js";

/** How many files one page has. */
const COUNT = 1000;
/** How much of a tar is read for one page, in bytes. A few bytes that are compressed can claim to be any number of them. */
const MOST = 2 * 1024 ** 3;
/** How many layers are looked into at once: each keeps a processor busy. */
const AT_ONCE = 2;

let running = 0;

/** The page of the files in a layer. */
export async function filesPage(
  { query, signal }: Exchange,
  name: string,
  repository: Repository,
  reference: string,
): Promise<Document> {
  const digest = digestIn(reference);
  const descriptor = await findBlob(repository, digest, signal);
  if (descriptor === undefined) throw new Refusal(404, "BLOB_UNKNOWN", `${name} has no blob ${digest}`);
  if (running >= AT_ONCE) {
    const headers = { "Retry-After": "5" };
    throw new Refusal(429, "TOOMANYREQUESTS", "others are looking into layers at the moment", headers);
  }
  const from = Number(/^[0-9]{1,9}$/.exec(query.get("from") ?? "")?.[0] ?? 0);
  running++;
  try {
    const bytes = decompress(repository.fetch(descriptor, { signal }), "the layer", { signal });
    const found = await entriesFrom(bytes, from, { signal });
    const here = filesPlace(name, digest);
    const next = found.more ? withQuery(here, { from: String(from + COUNT) }) : undefined;
    return {
      title: "Files in a layer",
      steps: [HOME, [name, repositoryPlace(name)], [shortReference(digest), here]],
      body: html`${factsOf([
        ["Digest", html`<code>${digest}</code>`],
        ["Size", sizeOf(descriptor.size)],
        [
          "Raw",
          html`<a href="/v2/${name}/blobs/${digest}">download it</a>, <a href="${contentPlace(name, digest)}">as text</a>`,
        ],
      ])}${listOf(found.entries)}${found.problem === undefined ? undefined : html`<p class="warn">${found.problem}</p>`}${pagesOf(
        from === 0 ? undefined : here,
        next,
      )}`,
    };
  } finally {
    running--;
  }
}

/** What was found in a tar. */
interface Found {
  readonly entries: readonly TarReadHeader[];
  readonly more: boolean;
  /** Why it ends where it does, where that is not the end. */
  readonly problem?: string;
}

/** Some entries of a tar; what comes after them is not read. */
async function entriesFrom(bytes: AsyncIterable<Uint8Array>, from: number, options: Abortable): Promise<Found> {
  const entries: TarReadHeader[] = [];
  const input = new ByteReader(bytes, "the layer", options);
  const reader = new TarHeaderReader("the layer");
  try {
    for (let index = 0; await input.fill(); ) {
      const { position } = input;
      if (position > MOST) throw new OciError("LIMIT", "the layer is too large");
      const block = reader.read(await input.take(TAR_BLOCK), position);
      if (block.kind === "end") break;
      if (block.kind === "extension") {
        reader.extend(await input.take(block.size));
        await input.skip(padding(block.size));
        continue;
      }
      if (entries.length === COUNT) return { entries, more: true };
      if (index++ >= from) entries.push(block.header);
      await skip(input, block.header.size);
    }
    return { entries, more: false };
  } catch (error) {
    if (!isOciError(error)) throw error;
    return { entries, more: false, problem: problemOf(error.code, entries.length) };
  } finally {
    await input.close();
  }
}

async function skip(input: ByteReader, size: number): Promise<void> {
  // The size is what the header claims.
  if (input.position + size > MOST) throw new OciError("LIMIT", "the layer is too large");
  await input.skip(size);
  await input.skipAny(padding(size));
}

function padding(size: number): number {
  return (TAR_BLOCK - (size % TAR_BLOCK)) % TAR_BLOCK;
}

function problemOf(code: string, count: number): string {
  if (code === "LIMIT") return `No more than ${sizeOf(MOST)} of a layer are looked through.`;
  if (code === "MISMATCH") return "The blob is damaged: it does not have its digest.";
  return count === 0 ? "It is no tar that can be read." : "From here on it is no tar that can be read.";
}

function listOf(entries: readonly TarReadHeader[]): Html {
  if (entries.length === 0) return html`<p>There is no file here.</p>`;
  return tableOf(["Mode", "Owner", "Size", "Modified", "Name"], entries.map(rowOf), [2]);
}

const LETTERS: Readonly<Record<TarReadHeader["type"], string>> = {
  file: "-",
  directory: "d",
  symlink: "l",
  hardlink: "h",
  "character-device": "c",
  "block-device": "b",
  fifo: "p",
  unknown: "?",
};

function rowOf({ name, type, mode, uid, gid, size, mtime, linkname }: TarReadHeader): readonly Part[] {
  const removed = /(?:^|\/)\.wh\.(.+)$/.exec(name)?.[1];
  const link =
    linkname === undefined
      ? undefined
      : html` <span class="faint">${type === "symlink" ? "→" : "is"}</span> ${bytesShown(linkname)}`;
  const note =
    removed === undefined
      ? undefined
      : html` <span class="tag">${removed === ".wh..opq" ? "hides all below" : "removes"}</span>`;
  return [
    html`<code>${LETTERS[type]}${(mode & 0o7777).toString(8).padStart(4, "0")}</code>`,
    html`<code>${uid}:${gid}</code>`,
    type === "file" ? sizeOf(size) : undefined,
    html`<span class="faint">${timeOf(mtime)}</span>`,
    html`<span class="name">${bytesShown(name)}${link}</span>${note}`,
  ];
}

/** A byte that is no UTF-8 stands in a name as half of a surrogate pair. */
function bytesShown(name: string): string {
  return name.replace(/[\udc80-\udcff]/g, (half) => `\\x${(half.charCodeAt(0) - 0xdc00).toString(16)}`);
}

function timeOf(seconds: number): string {
  const time = new Date(seconds * 1000);
  return Number.isNaN(time.getTime()) ? String(seconds) : time.toISOString().slice(0, 16).replace("T", " ");
}
