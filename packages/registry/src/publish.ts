import {
  type CopyOptions,
  type CopyReport,
  copy,
  type Descriptor,
  formatReference,
  type Reference,
  type Source,
} from "@stowage/layout";
import { RegistryClient } from "./client.js";

/** The options of {@link publish}. */
export interface PublishOptions extends Omit<CopyOptions, "tags"> {
  /** What talks to the registries. Default: a new one. */
  readonly client?: RegistryClient | undefined;
}

/** What became of one destination. */
export interface PublishedReference {
  /** In full: `ghcr.io/acme/app:v1`. */
  readonly reference: string;
  /** What was copied to its repository, for all its tags together. Absent where that failed. */
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
 * Publishes one image, with its referrers, to many destinations. The tags of one repository are one copy, and are set
 * only when everything else is there. A destination that fails does not stop the others; it is told of in the report.
 */
export async function publish(
  source: Source,
  root: Descriptor,
  references: readonly Reference[],
  options: PublishOptions = {},
): Promise<PublishReport> {
  const client = options.client ?? new RegistryClient();
  const repositories = new Map<string, Reference[]>();
  for (const reference of references) {
    const { host, repository } = reference;
    const name = formatReference({ host, repository });
    repositories.set(name, [...(repositories.get(name) ?? []), reference]);
  }
  const results = new Map<Reference, PublishedReference>();
  await Promise.all(
    [...repositories.values()].map(async (members) => {
      const outcome = await publishTo(source, root, members, client, options);
      options.signal?.throwIfAborted();
      for (const member of members) results.set(member, { reference: formatReference(member), ...outcome });
    }),
  );
  return { descriptor: root, targets: references.map((reference) => results.get(reference) as PublishedReference) };
}

async function publishTo(
  source: Source,
  root: Descriptor,
  members: readonly Reference[],
  client: RegistryClient,
  options: PublishOptions,
): Promise<Pick<PublishedReference, "report" | "error">> {
  try {
    const target = client.repository(members[0] as Reference);
    const tags = [...new Set(members.map(({ tag }) => tag).filter((tag) => tag !== undefined))];
    return { report: await copy(source, target, root, { ...options, tags }) };
  } catch (error) {
    return { error };
  }
}
