import type { Source } from "@stowage/layout";
import type { Written } from "../unpack/file-writer.js";
import type { DisjointImage } from "./disjoint-image.js";
import type { Counters } from "./extract-layer.js";
import type { PlacedFiles } from "./place-layer.js";
import type { Staging } from "./staging.js";
import type { UnpackDisjointOptions } from "./unpack-disjoint.js";

/** An image that is being unpacked. */
export interface DisjointRun {
  readonly source: Source;
  readonly found: DisjointImage;
  readonly staging: Staging;
  /** Where the root of the image goes. */
  readonly root: string;
  readonly counters: Counters;
  readonly options: UnpackDisjointOptions;
  readonly written: Written[];
  readonly files: PlacedFiles;
  reused: number;
  mounts: number;
}
