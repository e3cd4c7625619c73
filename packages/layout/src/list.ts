import type { Abortable, Source } from "./content.js";
import type { Descriptor } from "./model/descriptor.js";
import type { Digest } from "./model/digest.js";
import { isOciError } from "./model/errors.js";
import { isImageConfigType, isIndexType } from "./model/media-types.js";
import { formatPlatform } from "./model/platform.js";
import { isReferrersTag } from "./model/reference.js";
import { readManifest } from "./model/verified.js";
import { forEachParallel, PARALLEL_READS } from "./parallel.js";
import { platformOfConfig } from "./select-platform.js";
import { isAttestation, parseLegacyTag, type RelatedRole } from "./store/conventions.js";
import { compareText } from "./store/index-json.js";
import type { IndexedSource } from "./store/indexed-source.js";
import { surveyReferrers } from "./store/referrer-survey.js";

/** The options of {@link list}. */
export interface ListOptions extends Abortable {
  /** Only the names: nothing is asked about a single tag. Default: false. */
  readonly namesOnly?: boolean;
  /** Also tags that only carry a referrers list. Default: false. */
  readonly all?: boolean | undefined;
}

/** A tag, and what it stands for. */
export interface ListedTag {
  readonly tag: string;
  readonly descriptor?: Descriptor;
  /** `os/architecture[/variant]` of each platform, where they are known. */
  readonly platforms?: readonly string[];
  /** How many referrers the manifest itself has. */
  readonly referrers?: number;
  /** Set where the tag only says whose signature, attestation or SBOM it is, in cosign's older style. */
  readonly legacy?: { readonly subject: Digest; readonly role: RelatedRole };
  /** True where the tag only carries a referrers list. */
  readonly carriesReferrers?: true;
}

/**
 * The tags of a source in bytewise order. A manifest that is missing or damaged is listed with what its tag says of it, and
 * a name that stands for several manifests, or for none since a moment ago, without a descriptor.
 */
export async function list(source: Source, options: ListOptions = {}): Promise<ListedTag[]> {
  const listed: ListedTag[] = [];
  const facts = new Map<Digest, Promise<Facts>>();
  await forEachParallel(source.tags(options), PARALLEL_READS, async (tag, at) => {
    options.signal?.throwIfAborted();
    if (isReferrersTag(tag.slice(tag.lastIndexOf(":") + 1))) {
      listed[at] = { tag, carriesReferrers: true };
      return;
    }
    const legacy = parseLegacyTag(tag);
    const described = options.namesOnly === true ? { tag } : await describeTag(source, tag, facts, options);
    listed[at] = legacy === undefined ? described : { ...described, legacy };
  });
  return listed;
}

/** What is told of a manifest, however many tags it has. */
type Facts = Required<Pick<ListedTag, "platforms" | "referrers">>;

async function describeTag(
  source: Source,
  tag: string,
  facts: Map<Digest, Promise<Facts>>,
  options: Abortable,
): Promise<ListedTag> {
  let descriptor: Descriptor;
  try {
    descriptor = await source.resolve(tag, options);
  } catch (error) {
    if (isOciError(error, "CONFLICT") || isOciError(error, "NOT_FOUND")) return { tag };
    throw error;
  }
  const known = facts.get(descriptor.digest) ?? factsOf(source, descriptor, options);
  facts.set(descriptor.digest, known);
  const { platforms, referrers } = await known;
  return { tag, descriptor, platforms, referrers };
}

async function factsOf(source: Source, descriptor: Descriptor, options: Abortable): Promise<Facts> {
  let referrers = 0;
  for await (const _referrer of source.referrers(descriptor, options)) referrers++;
  return { platforms: await platformsOf(source, descriptor, options), referrers };
}

/** The platforms of an image or index, `os/architecture[/variant]`; empty for an artifact and for what cannot be read. */
export async function platformsOf(
  source: Source,
  descriptor: Descriptor,
  options: Abortable = {},
): Promise<readonly string[]> {
  try {
    const { manifest } = await readManifest(source, descriptor, options);
    if (manifest.kind === "index") {
      const platforms = manifest.manifests
        .filter((child) => child.platform !== undefined && child.platform.os !== "unknown" && !isAttestation(child))
        .map((child) => child.platform);
      const nested = manifest.manifests.some((child) => child.platform === undefined && isIndexType(child.mediaType));
      return [
        ...new Set([
          ...platforms.map((platform) => formatPlatform(platform as NonNullable<typeof platform>)),
          ...(nested ? ["(nested)"] : []),
        ]),
      ];
    }
    if (
      manifest.kind !== "image" ||
      manifest.artifactType !== undefined ||
      !isImageConfigType(manifest.config.mediaType)
    )
      return [];
    const platform = await platformOfConfig(source, manifest.config, options);
    return platform === undefined ? [] : [formatPlatform(platform)];
  } catch (error) {
    if (isOciError(error)) return [];
    throw error;
  }
}

/** A referrer whose subject is not there. */
export interface DanglingReferrer {
  readonly subject: Digest;
  readonly referrer: Descriptor;
}

/** The referrers in a layout, an archive or a memory store whose subject is not there, sorted by subject and digest. */
export async function danglingReferrers(source: IndexedSource, options: Abortable = {}): Promise<DanglingReferrer[]> {
  const { groups } = await surveyReferrers(source, await source.index(options), options);
  const found: DanglingReferrer[] = [];
  for (const [subject, referrers] of [...groups.values()].flatMap(({ bySubject }) => [...bySubject])) {
    if ((await source.size(subject)) !== undefined) continue;
    found.push(...[...referrers.values()].map(({ listed }) => ({ subject, referrer: listed })));
  }
  return found.sort((a, b) => compareText(a.subject, b.subject) || compareText(a.referrer.digest, b.referrer.digest));
}
