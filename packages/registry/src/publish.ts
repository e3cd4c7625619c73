import {
  type CopyOptions,
  type CopyReport,
  copy,
  copyReferrersTo,
  type Descriptor,
  formatReference,
  OciError,
  type Reference,
  type Source,
  type Target,
} from "@stowage/layout";
import { RegistryClient } from "./client.js";
import { checkPublish } from "./preflight.js";
import type { ProbeOptions } from "./probe.js";
import type { Repository } from "./repository.js";

/** The options of {@link publish}. */
export interface PublishOptions extends Omit<CopyOptions, "tags"> {
  /** What talks to the registries. Default: a new one. */
  readonly client?: RegistryClient | undefined;
  /** Where referrers go instead of beside the image. Default: beside it. */
  readonly referrersTarget?: Target | undefined;
  /** See for each repository first whether it can be published there. Default: true. */
  readonly preflight?: boolean | undefined;
  /** Where the answers of probes are remembered, see {@link ProbeOptions.cache}. */
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
    const copies = new Map<string, Promise<Outcome>>();
    const targets = await Promise.all(
      references.map(async (reference): Promise<PublishedReference> => {
        const outcome = await publishTo(source, root, reference, client, copies, options);
        options.signal?.throwIfAborted();
        return { reference: formatReference(reference), ...outcome };
      }),
    );
    return { descriptor: root, targets };
  } finally {
    if (options.client === undefined) await client.close();
  }
}

type Outcome = Pick<PublishedReference, "report" | "error">;

/** Copies to the repository of `reference`, unless another of its tags does so already, then sets the tag. */
async function publishTo(
  source: Source,
  root: Descriptor,
  reference: Reference,
  client: RegistryClient,
  copies: Map<string, Promise<Outcome>>,
  options: PublishOptions,
): Promise<Outcome> {
  const { tag, digest } = reference;
  if (digest !== undefined && digest !== root.digest) {
    const problem = `cannot publish ${root.digest} as ${formatReference(reference)}: that names other content`;
    return { error: new OciError("INVALID", problem) };
  }
  const target = client.repository(reference);
  const copied = copies.get(target.name) ?? copyTo(source, target, root, options);
  copies.set(target.name, copied);
  const outcome = await copied;
  if (outcome.report === undefined || tag === undefined) return outcome;
  try {
    await target.tag(tag, root, options);
    return { report: { ...outcome.report, tags: [tag] } };
  } catch (error) {
    return { error };
  }
}

async function copyTo(source: Source, target: Repository, root: Descriptor, options: PublishOptions): Promise<Outcome> {
  try {
    if (options.preflight !== false)
      await checkPublish(source, root, target, { signal: options.signal, cache: options.probeCache });
    const { referrersTarget: elsewhere } = options;
    const rest = { ...options, tags: [] };
    return {
      report: await (elsewhere === undefined
        ? copy(source, target, root, rest)
        : copyReferrersTo(source, target, elsewhere, root, rest)),
    };
  } catch (error) {
    return { error };
  }
}
