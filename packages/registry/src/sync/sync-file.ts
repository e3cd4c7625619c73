import type { Digest, IndexChoice, Location, Platform, ReferrerFilter } from "@stowage/layout";
import type { RenameRule } from "./pattern.js";
import type { Selection } from "./selection.js";

/** One registry, or the part of it whose repository names begin with `prefix`. */
export interface RegistryPlace {
  readonly kind: "registry-prefix";
  readonly host: string;
  /** Without a slash at its end; empty for the whole registry. */
  readonly prefix: string;
}

/** What an item reads or writes: one image, one repository, or many of them. */
export type SyncPlace = Location | RegistryPlace;

/** One entry of `sync` in a file: where from, where to, and which. */
export interface SyncItem {
  /** Where it stands, for messages: `sync.yaml:4:5`. */
  readonly where: string;
  readonly source: SyncPlace;
  /** Undefined where the rules of `rename` make whole references of registries. */
  readonly target: SyncPlace | undefined;
  /** Of a source that holds many repositories: which. Undefined where it is one. */
  readonly repositories: Selection | undefined;
  /** Undefined: all. */
  readonly tags: Selection | undefined;
  readonly rename: readonly RenameRule[];
  /** Whether a layout or archive gets full image names or only their tags. */
  readonly names: "full" | "tag";
  /** Empty: all. */
  readonly platforms: readonly Platform[];
  /** What becomes of an index of which only some platforms are copied; undefined for what `copy` does. */
  readonly index: IndexChoice | undefined;
  readonly referrers: "all" | "none" | ReferrerFilter;
  /** Whether cosign's older tags go along with their images. */
  readonly legacyTags: boolean;
  readonly prune: boolean;
  /** A tag that stands for something else at the target is not moved. */
  readonly noClobber: boolean;
  readonly forceRecursive: boolean;
  /** Layers that may not be distributed are fetched from where their `urls` say, rather than left out. */
  readonly includeExternal: boolean;
  /** Take an image whose tag stands for the same digest at the target as done, and look for no new referrers. */
  readonly fast: boolean;
  /** Of all that decides which images there are and how they are called; what a lock is compared with. */
  readonly digest: Digest;
}

/** What is to be kept in step with what. */
export interface SyncFile {
  /** The file, as the user names it. */
  readonly path: string;
  readonly items: readonly SyncItem[];
  /** How many images move at once. */
  readonly concurrency: number;
}

/** How many images move at once unless a file says otherwise. */
export const DEFAULT_CONCURRENCY = 8;
