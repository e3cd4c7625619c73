import {
  type Abortable,
  type Descriptor,
  digestAlgorithm,
  formatDescriptor,
  isOciError,
  MAXIMUM_MANIFEST_SIZE,
  type Manifest,
  mediaTypes,
  OciError,
  type Source,
  walk,
} from "@stowage/layout";
import type { CapabilityName, ProbeReport } from "./probe.js";
import { readProbe } from "./probe-cache.js";
import type { Repository } from "./repository.js";

/** The options of {@link checkPublish}. */
export interface PreflightOptions extends Abortable {
  /** Where the answers of probes are remembered; `false` for nowhere. */
  readonly cache?: string | false | undefined;
  /** Only read: do not find out whether something may be pushed. Default: false. */
  readonly reading?: boolean | undefined;
}

/**
 * Fails where publishing `root` is going to fail, before anything is sent, with the reason and what to change: where nothing may be
 * pushed to the repository, a manifest is too large, or a probe found that the repository refuses manifests of that kind. Costs
 * three requests, and one where the root is there already. Fails with `UNAUTHORIZED`, `DENIED`, `NOT_FOUND`, `LIMIT` or
 * `UNSUPPORTED`, and where a manifest cannot be read.
 */
export async function checkPublish(
  source: Source,
  root: Descriptor,
  target: Repository,
  options: PreflightOptions = {},
): Promise<void> {
  // What the registry refuses to say here it says again below, with words.
  const present = await target.has(root, options).catch(() => false);
  options.signal?.throwIfAborted();
  if (present) return;
  const known = await readProbe(target.name, options.cache);
  for await (const { descriptor, manifest, error, path } of walk(source, [root], { ...options, referrers: false })) {
    const where =
      path.length === 0 ? formatDescriptor(descriptor) : `${path.join(" > ")} (${formatDescriptor(descriptor)})`;
    if (manifest !== undefined) checkManifest(descriptor, manifest, known, `cannot publish ${where} to ${target.name}`);
    else if (isOciError(error, "LIMIT")) throw error;
  }
  if (options.reading === true) return;
  try {
    await target.checkPush(options);
  } catch (error) {
    throw refused(error, target.name);
  }
}

function checkManifest(
  descriptor: Descriptor,
  manifest: Manifest,
  known: ProbeReport | undefined,
  action: string,
): void {
  const tooLarge = known?.manifestTooLarge ?? Number.POSITIVE_INFINITY;
  if (descriptor.size > MAXIMUM_MANIFEST_SIZE || descriptor.size >= tooLarge)
    throw new OciError("LIMIT", `${action}: it is too large for a manifest`, {
      hint: "Registries rarely take manifests of more than 4 MiB. Split what it lists, or shorten its annotations.",
    });
  const needs: [boolean, CapabilityName, string][] = [
    [manifest.artifactType !== undefined, "artifactType", "manifests with an artifactType"],
    [
      manifest.kind === "image" && manifest.config.mediaType === mediaTypes.empty,
      "emptyConfig",
      "manifests whose config is empty",
    ],
    [manifest.subject !== undefined, "subject", "manifests with a subject"],
    [digestAlgorithm(descriptor.digest) === "sha512", "sha512", "content under a sha512 digest"],
  ];
  for (const [needed, name, what] of needs) {
    const found = known?.capabilities[name];
    if (!needed || found?.support !== "no") continue;
    throw new OciError("UNSUPPORTED", `${action}: the registry refuses ${what} (${found.detail})`, {
      hint: `That is what stowage probe found on ${known?.probed}; if it changed since, run it again with --write --refresh.`,
    });
  }
}

/** GitHub's own registry lets a job push only with a permission that it does not have by itself. */
const PACKAGES_WRITE =
  "In GitHub Actions add to the job: permissions: { contents: read, packages: write }. A package that exists already must also grant write access to the repository, and a token of a pull request from a fork can only read.";

function refused(error: unknown, name: string): unknown {
  if (!isOciError(error)) return error;
  const github = name.startsWith("ghcr.io/") && ["DENIED", "UNAUTHORIZED", "NOT_FOUND"].includes(error.code);
  return new OciError(error.code, `nothing may be pushed to ${name}: ${error.message}`, {
    hint: github ? PACKAGES_WRITE : error.hint,
    cause: error,
  });
}
