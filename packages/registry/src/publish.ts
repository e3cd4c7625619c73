import {
  type CopyOptions,
  type CopyReport,
  copy,
  copyReferrersTo,
  type Descriptor,
  formatReference,
  OciError,
  plan,
  type Reference,
  type Source,
  Tags,
  type Target,
} from "@stowage/layout";
import { RegistryClient } from "./client.js";
import { checkPublish } from "./preflight.js";
import type { Repository } from "./repository.js";

/** The options of {@link publish}. */
export interface PublishOptions extends Omit<CopyOptions, "tags" | "rootPresent"> {
  /** Say what would be done, as `plan` of a copy does, and do nothing. Default: false. */
  readonly dryRun?: boolean | undefined;
  /** What talks to the registries. Default: a new one. */
  readonly client?: RegistryClient | undefined;
  /** Where referrers go instead of beside the image. Default: beside it. */
  readonly referrersTarget?: Target | undefined;
  /** See for each repository first whether it can be published there. Default: true. */
  readonly preflight?: boolean | undefined;
  /** Where the answers of probes are remembered, see the option `cache` of a probe. */
  readonly probeCache?: string | false | undefined;
}

/** What became of one destination. */
export interface PublishedReference {
  /** In full: `ghcr.io/acme/app:v1`. */
  readonly reference: string;
  /** What was copied to its repository, for all its tags together; `tags` is its own. Absent where that failed. */
  readonly report?: CopyReport;
  /** Why it failed. */
  readonly error?: unknown;
}

/** What a {@link publish} did, destination by destination, in the order in which they were given. */
export interface PublishReport {
  readonly descriptor: Descriptor;
  readonly targets: readonly PublishedReference[];
}

/**
 * Publishes one image, with its referrers, to many destinations. The tags of one repository share one copy, and are set
 * only when everything else is there. Where it can be told before that a repository will refuse the image, nothing is sent to
 * it. A destination that fails does not stop the others; it is told of in the report.
 * Fails only with the signal's reason.
 */
export async function publish(
  source: Source,
  root: Descriptor,
  references: readonly Reference[],
  options: PublishOptions = {},
): Promise<PublishReport> {
  const client = options.client ?? new RegistryClient();
  try {
    const accepted = references.filter(({ digest }) => digest === undefined || digest === root.digest);
    const copies = new Map<string, Promise<CopiedTo>>();
    const targets = await Promise.all(
      references.map(async (reference): Promise<PublishedReference> => {
        const name = formatReference(reference);
        if (!accepted.includes(reference)) {
          const problem = `cannot publish ${root.digest} as ${name}: that names other content`;
          return { reference: name, error: new OciError("INVALID", problem) };
        }
        const target = client.repository(reference);
        const tags = accepted.filter((other) => client.repository(other) === target).flatMap(({ tag }) => tag ?? []);
        const copied = copies.get(target.name) ?? copyTo(source, target, root, [...new Set(tags)], options);
        copies.set(target.name, copied);
        const outcome = await setTag(reference, copied, options);
        options.signal?.throwIfAborted();
        return { reference: name, ...outcome };
      }),
    );
    return { descriptor: root, targets };
  } finally {
    if (options.client === undefined) await client.close();
  }
}

type Outcome = Pick<PublishedReference, "report" | "error">;

/** What was copied to one repository, with the tags that were looked at before. */
type CopiedTo = { readonly report: CopyReport; readonly tags: Tags } | { readonly error: unknown };

/** Waits for the copy to the repository of `reference`, then sets the tag. */
async function setTag({ tag }: Reference, copying: Promise<CopiedTo>, { dryRun }: PublishOptions): Promise<Outcome> {
  const copied = await copying;
  if ("error" in copied) return copied;
  if (tag === undefined) return { report: copied.report };
  const { report, tags } = copied;
  try {
    const change = dryRun === true ? tags.foresee(tag) : await tags.set(tag);
    return { report: { ...report, tags: [tag], tagged: [change, ...report.tagged] } };
  } catch (error) {
    return { error };
  }
}

async function copyTo(
  source: Source,
  target: Repository,
  root: Descriptor,
  names: readonly string[],
  { dryRun, ...options }: PublishOptions,
): Promise<CopiedTo> {
  try {
    const tags = await Tags.look(source, target, root, names, options);
    const { preflight, probeCache, referrersTarget: elsewhere, ...rest } = { ...options, rootPresent: tags.found };
    if (preflight !== false && !tags.found)
      await checkPublish(source, root, target, { signal: options.signal, cache: probeCache, reading: dryRun });
    if (elsewhere !== undefined)
      return { report: await copyReferrersTo(source, target, elsewhere, root, { ...rest, dryRun }), tags };
    const transfer = dryRun === true ? plan : copy;
    return { report: await transfer(source, target, root, rest), tags };
  } catch (error) {
    return { error };
  }
}
