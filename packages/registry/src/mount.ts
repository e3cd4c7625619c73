import type { Abortable, Descriptor, Digest } from "@stowage/layout";
import { checkDeclaredDigest, type Endpoint } from "./endpoint.js";
import type { Answer } from "./http/answer.js";
import type { Registry } from "./registry.js";
import { RegistryError } from "./registry-error.js";
import { UploadSession } from "./upload-session.js";

/** How many blobs are remembered for each registry. */
const MAXIMUM_BLOBS = 100_000;

/** Where blobs were seen, for as long as a registry object lives. */
const seen = new WeakMap<Registry, Map<Digest, string>>();
/** Where blobs would be by now if what was foreseen had been done. */
const foreseen = new WeakMap<Registry, Map<Digest, string>>();

/** Keeps in mind that a repository has a blob. */
export function rememberBlob({ registry, repository }: Endpoint, digest: Digest): void {
  remember(seen, registry, digest, repository);
}

/** The same for a blob that would be there if what was foreseen had been done. Returns another repository that it would be in before. */
export function foreseeBlob({ registry, repository }: Endpoint, digest: Digest): string | undefined {
  const before = foreseen.get(registry)?.get(digest);
  if (before !== undefined) return before === repository ? undefined : before;
  remember(foreseen, registry, digest, repository);
  return undefined;
}

function remember(
  places: WeakMap<Registry, Map<Digest, string>>,
  registry: Registry,
  digest: Digest,
  repository: string,
): void {
  const known = places.get(registry) ?? new Map<Digest, string>();
  places.set(registry, known);
  if (known.size < MAXIMUM_BLOBS && !known.has(digest)) known.set(digest, repository);
}

/** Another repository of the same registry that has the blob; undefined where none is known. */
export function knownRepository({ registry, repository }: Endpoint, digest: Digest): string | undefined {
  const known = seen.get(registry)?.get(digest);
  return known === repository ? undefined : known;
}

/**
 * Mounts the blob from the repository `from`, or from whichever has it where that is undefined. Returns the session the registry
 * opened instead, or undefined where it refused. distribution-spec v1.1.1, "Mounting a blob from another repository".
 */
export async function mount(
  endpoint: Endpoint,
  descriptor: Descriptor,
  from: string | undefined,
  options: Abortable,
): Promise<UploadSession | "mounted" | undefined> {
  const action = `cannot mount the blob ${descriptor.digest} in ${endpoint.name}`;
  const source = from === undefined ? "" : `&from=${encodeURIComponent(from)}`;
  let answer: Answer;
  try {
    answer = await endpoint.send({
      action,
      method: "POST",
      at: `blobs/uploads/?mount=${descriptor.digest}${source}`,
      needs: "push",
      from,
      accept: [201, 202],
      signal: options.signal,
    });
  } catch (error) {
    // Mounting is a shortcut. Whatever stands in its way (no access to the other repository, not implemented) does not stand in ours.
    if (error instanceof RegistryError && error.status !== undefined && error.status < 500) return undefined;
    throw error;
  }
  await answer.discard();
  if (answer.status === 202) return UploadSession.of(endpoint, descriptor, answer, action);
  checkDeclaredDigest(answer, descriptor.digest, action);
  return "mounted";
}
