import { type Descriptor, isDigest, mediaTypes, readBytes } from "@stowage/layout";
import { type Answer, jsonAnswer } from "./answer.js";
import { Refusal } from "./errors.js";
import type { Exchange } from "./exchange.js";
import { nextLink } from "./page.js";
import { findRepository, type Registry } from "./registry.js";
import type { Repository } from "./store.js";

/** The most descriptors one answer holds, in bytes of JSON. Clients read about 4 MB at once. */
const PAGE_SIZE = 3 * 1024 * 1024;

/** The descriptor with the manifest in it, where that is small enough. image-spec v1.1.1, descriptor.md "Embedded Content". */
async function embedded(
  referrer: Descriptor,
  repository: Repository | undefined,
  largest: number,
  signal: AbortSignal,
): Promise<Descriptor> {
  if (repository === undefined || referrer.size > largest) return referrer;
  const bytes = await readBytes(repository, referrer, { signal });
  return { ...referrer, data: Buffer.from(bytes).toString("base64") };
}

/**
 * The manifests whose subject is the given one, as an image index; an empty one where there are none, or no such repository.
 * A long list is paged. distribution-spec v1.1.1, "Listing Referrers".
 */
export async function listReferrers(
  exchange: Exchange,
  registry: Registry,
  name: string,
  text: string,
): Promise<Answer> {
  if (!isDigest(text)) throw new Refusal(400, "DIGEST_INVALID", "not a digest");
  // A media type holds no blank: this one was a plus sign that the client did not encode.
  const artifactType = exchange.query.get("artifactType")?.replaceAll(" ", "+") || undefined;
  const last = exchange.query.get("last") ?? "";
  const repository = await findRepository(registry, name);
  const manifests: Descriptor[] = [];
  let size = 0;
  let link: Readonly<Record<string, string>> = {};
  const subject = { mediaType: mediaTypes.octetStream, digest: text, size: 0 };
  for await (const found of repository?.referrers(subject, { artifactType, signal: exchange.signal }) ?? []) {
    if (found.digest <= last) continue;
    const referrer = await embedded(found, repository, registry.embedReferrers, exchange.signal);
    size += Buffer.byteLength(JSON.stringify(referrer));
    const previous = manifests.at(-1);
    if (previous !== undefined && size > PAGE_SIZE) {
      const query = { ...(artifactType === undefined ? {} : { artifactType }), last: previous.digest };
      link = { Link: nextLink(exchange.path, query) };
      break;
    }
    manifests.push(referrer);
  }
  return jsonAnswer(
    200,
    { schemaVersion: 2, mediaType: mediaTypes.index, manifests },
    {
      "Content-Type": mediaTypes.index,
      ...(artifactType === undefined ? {} : { "OCI-Filters-Applied": "artifactType" }),
      ...link,
    },
  );
}
