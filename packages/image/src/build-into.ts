import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type Abortable, copy, type Descriptor, Layout, type LayoutOptions, type Target } from "@stowage/layout";
import type { BuildTags } from "./build.js";
import type { BuildTarget } from "./content-writer.js";

/** Where an image goes, and what it is called there. */
export interface BuildDestination {
  readonly tags: readonly string[];
  /** True for a layout, which an image can be built into; what is none gets a copy. */
  readonly isLayout: boolean;
  /** Opens the target, hands it to `work`, and closes it. */
  use<T>(work: (target: Target) => Promise<T>): Promise<T>;
}

/** The options of {@link buildInto}. */
export interface BuildIntoOptions extends Abortable {
  /** The directory for a layout that is removed again, needed where the first destination is none. Default: the system's. */
  readonly scratch?: string | undefined;
  /** How that layout is opened. */
  readonly layout?: LayoutOptions | undefined;
}

/**
 * Builds into the first destination and copies from there into the others, one after the other: what `work` makes, such as
 * {@link build} or {@link buildIndex}, given the target and the tags. Where the first is no layout, all get it from a layout
 * that is removed again. Fails as `work` and `copy` do; destinations before the one that failed keep what they got.
 */
export async function buildInto<T extends { readonly descriptor: Descriptor }>(
  destinations: readonly [BuildDestination, ...BuildDestination[]],
  work: (target: BuildTarget, tags: Required<BuildTags>) => Promise<T>,
  options: BuildIntoOptions = {},
): Promise<T> {
  const [first, ...others] = destinations;
  if (first.isLayout) {
    return first.use(async (target) => {
      const result = await work(target as BuildTarget, { tags: first.tags });
      await copyInto(others, target, result, options);
      return result;
    });
  }
  const directory = await mkdtemp(join(options.scratch ?? tmpdir(), "stowage-build-"));
  try {
    const layout = await Layout.create(directory, options.layout);
    const result = await work(layout, { tags: [] });
    await copyInto(destinations, layout, result, options);
    return result;
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}

async function copyInto(
  destinations: readonly BuildDestination[],
  source: Target,
  { descriptor }: { readonly descriptor: Descriptor },
  { signal }: BuildIntoOptions,
): Promise<void> {
  for (const { tags, use } of destinations) {
    await use((target) => copy(source, target, descriptor, { signal, tags, referrers: "none" }));
  }
}
