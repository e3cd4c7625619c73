import { type Fault, type FaultOptions, type Faults, layerOf, together } from "./fault.js";

/** A registry as the faults it is made of. */
interface Profile {
  readonly does: string;
  readonly parts: readonly string[];
}

/** What each registry does, as far as it is known; the faults of one act together, the first nearest to the client. */
const PARTS: Readonly<Record<string, Profile>> = {
  ghcr: {
    does: "GitHub's: no referrers API, chunks of at most 4 MiB, nothing can be deleted",
    parts: ["bearer-anonymous", "no-referrers", "chunk-maximum", "no-delete"],
  },
  hub: {
    does: "Docker Hub: tokens from another host, a limit on pulls, mounts by its own names only, nothing can be deleted",
    parts: ["bearer-elsewhere", "hidden", "pull-limit", "mount-within-host", "no-delete"],
  },
  ecr: {
    does: "Amazon's: Basic login, repositories that exist, no mounts, strict platforms, at most 4200 layers, bursts of 429",
    parts: ["basic", "busy=1", "existing-only", "no-mount", "no-empty-put", "strict-platform", "layer-limit"],
  },
  gar: {
    does: "Google's: a challenge without service, no chunks, a tag must go before its manifest",
    parts: ["bearer-no-service", "no-chunks", "untag-first"],
  },
  acr: {
    does: "Azure's: tokens for refresh tokens, no Authorization of more than 6089 characters",
    parts: ["long-token", "bearer-refresh"],
  },
  quay: {
    does: "Red Hat's Quay: mounts that say from where, referrers without artifactType",
    parts: ["bearer-anonymous", "mount-needs-from", "empty-artifact-type"],
  },
  gitlab: {
    does: "GitLab: 401 for short names, container images only, a subject must be there first",
    parts: ["path-depth", "bearer-anonymous", "images-only", "subject-first"],
  },
  harbor: {
    does: "Harbor: mounts that open an upload instead",
    parts: ["bearer-anonymous", "no-mount"],
  },
  artifactory: {
    does: "JFrog's: no mounts, bytes with PATCH only",
    parts: ["basic", "no-mount", "no-put-body"],
  },
  zot: {
    does: "zot: no Docker media types, manifests of at most 4 MiB, a tag keeps its media type",
    parts: ["no-docker-types", "manifest-limit", "fixed-tag-type"],
  },
  distribution: {
    does: "Docker's own, version 2 and 3: no referrers API, manifests of at most 4 MiB, deletes switched off",
    parts: ["no-referrers", "manifest-limit", "no-delete", "location-state", "absolute-location"],
  },
};

/** The registries that people push to, as faults made of other faults. */
export function registryFaults(parts: Faults): Faults {
  const profile = ([name, one]: [string, Profile]): [string, Fault] => [
    name,
    {
      does: `${one.does} (${one.parts.join(", ")})`,
      layer: (_amount, options: FaultOptions) => together(one.parts.map((part) => layerOf(parts, part, options))),
    },
  ];
  return Object.fromEntries(Object.entries(PARTS).map(profile));
}
