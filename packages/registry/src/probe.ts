import { type Abortable, isOciError, mediaTypes } from "@stowage/layout";
import type { Endpoint } from "./endpoint.js";
import { readProbe, writeProbe } from "./probe-cache.js";
import { type Attempt, cancelUpload, openUpload, tryOut } from "./probe-requests.js";
import { probeByWriting } from "./probe-writing.js";
import type { Referrers } from "./referrers.js";

/** The things a {@link ProbeReport} tells of, in the order in which they are shown. */
export const capabilityNames = [
  "push",
  "listTags",
  "referrers",
  "subject",
  "artifactType",
  "emptyConfig",
  "sha512",
  "mount",
  "anonymousMount",
  "chunks",
  "cancel",
  "manifestSize",
  "deleteManifests",
  "deleteTags",
  "deleteBlobs",
  "immutableTags",
] as const;
export type CapabilityName = (typeof capabilityNames)[number];

/** Whether a repository supports something; `unknown` where it was not tried. */
export interface Capability {
  readonly support: "yes" | "no" | "unknown";
  /** What the registry said, or a number. */
  readonly detail?: string;
}

/** What a repository on a registry supports. */
export interface ProbeReport {
  /** `HOST/REPO`. */
  readonly repository: string;
  /** When it was asked, RFC 3339. */
  readonly probed: string;
  /** True where things were stored, to see what is accepted. */
  readonly wrote: boolean;
  readonly capabilities: Readonly<Record<CapabilityName, Capability>>;
  /** The largest manifest that was accepted, in bytes; absent where none was tried. */
  readonly manifestSize?: number;
  /** The smallest manifest that was refused for its size, in bytes; absent where none was. */
  readonly manifestTooLarge?: number;
  /** The smallest chunk that is accepted but as the last one of an upload, in bytes; absent where the registry names none. */
  readonly chunkMinimum?: number;
  /** What the probe stored and could not remove. */
  readonly leftBehind: readonly string[];
}

/** The options of a probe. */
export interface ProbeOptions extends Abortable {
  /** Store small things as well, to see what is accepted, and remove them again. Default: false. */
  readonly write?: boolean | undefined;
  /** Ask again also where an answer is remembered. Default: false. */
  readonly refresh?: boolean | undefined;
  /** Where answers are remembered for a day; `false` for nowhere. Default: `$XDG_CACHE_HOME/stowage/probes`. */
  readonly cache?: string | false | undefined;
}

/** The findings of a probe while it is under way. */
export type Findings = Map<CapabilityName, Capability>;

/** Yes, with what is worth saying of it, or no with what the registry said. */
export function finding(attempt: Attempt, detail?: string): Capability {
  if (attempt.answer === undefined) return { support: "no", detail: attempt.refusal };
  return { support: "yes", ...(detail === undefined ? {} : { detail }) };
}

/**
 * Finds out what a repository supports, with a handful of requests, and with about fifty small ones where `write` is set. Without
 * it nothing is stored: an upload is opened and cancelled. What could not be removed is in the report. Fails where the registry
 * cannot be reached or refuses to be read, with the error of that.
 */
export async function probeRepository(
  endpoint: Endpoint,
  referrers: Referrers,
  options: ProbeOptions = {},
): Promise<ProbeReport> {
  const remembered = options.refresh === true ? undefined : await readProbe(endpoint.name, options.cache);
  if (remembered !== undefined && (remembered.wrote || options.write !== true)) return remembered;
  const findings: Findings = new Map();
  const leftBehind: string[] = [];
  await probeReading(endpoint, referrers, findings, options);
  const chunkMinimum = await probePush(endpoint, findings, leftBehind, options);
  let sizes: Pick<ProbeReport, "manifestSize" | "manifestTooLarge"> = {};
  const wrote = options.write === true && findings.get("push")?.support === "yes";
  if (wrote) {
    const written = await probeByWriting(endpoint, referrers, findings, { ...options, chunkMinimum });
    leftBehind.push(...written.leftBehind);
    sizes = written.sizes;
    if (findings.get("listTags")?.support === "unknown") await probeTags(endpoint, findings, options);
  }
  const report: ProbeReport = {
    repository: endpoint.name,
    probed: new Date().toISOString(),
    wrote,
    capabilities: Object.fromEntries(
      capabilityNames.map((name) => [name, findings.get(name) ?? { support: "unknown" }]),
    ) as Record<CapabilityName, Capability>,
    ...sizes,
    ...(chunkMinimum === undefined ? {} : { chunkMinimum }),
    leftBehind,
  };
  await writeProbe(report, options.cache);
  return report;
}

/** Lists tags; false where the repository is not there yet. */
async function probeTags(endpoint: Endpoint, findings: Findings, options: Abortable): Promise<boolean> {
  const listed = await tryOut(endpoint, {
    action: `cannot list the tags of ${endpoint.name}`,
    method: "GET",
    at: "tags/list?n=1",
    needs: "pull",
    accept: [200],
    headers: { accept: "application/json" },
    signal: options.signal,
  });
  const missing = listed.answer === undefined && listed.error.status === 404;
  findings.set("listTags", missing ? { support: "unknown", detail: "the repository is not there" } : finding(listed));
  return !missing;
}

async function probeReading(
  endpoint: Endpoint,
  referrers: Referrers,
  findings: Findings,
  options: Abortable,
): Promise<void> {
  const exists = await probeTags(endpoint, findings, options);
  try {
    findings.set("referrers", { support: (await referrers.offered(options)) ? "yes" : exists ? "no" : "unknown" });
  } catch (error) {
    options.signal?.throwIfAborted();
    if (!isOciError(error)) throw error;
    findings.set("referrers", { support: "no", detail: error.message });
  }
}

/** Opens an upload and cancels it. Returns the smallest chunk. */
async function probePush(
  endpoint: Endpoint,
  findings: Findings,
  leftBehind: string[],
  options: Abortable,
): Promise<number | undefined> {
  const opened = await openUpload(endpoint, options);
  findings.set("push", finding(opened));
  if (opened.upload === undefined) return undefined;
  const cancelled = await cancelUpload(endpoint, opened.upload);
  findings.set("cancel", { support: cancelled ? "yes" : "no" });
  if (!cancelled) leftBehind.push("an upload that was opened; the registry drops it in its own time");
  return opened.upload.minimum;
}

/** The type and the size of what is tried out with `write`. */
export const triedOut = {
  artifactType: "application/vnd.stowage.probe",
  layerType: mediaTypes.octetStream,
  /** The sizes of manifests in bytes, the largest first. distribution-spec v1.1.1 wants registries to take 4 MiB at least. */
  manifestSizes: [4 * 1024 * 1024, 1024 * 1024, 256 * 1024],
} as const;
