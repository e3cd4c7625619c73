import type { Presence, Source, Target } from "./content.js";
import { type CopyOptions, type CopyReport, copy } from "./copy.js";
import type { Descriptor } from "./model/descriptor.js";
import { Rehearsal } from "./rehearsal.js";

/** Content that would be at the target, and how it would come to be there. */
export interface ForeseenContent {
  readonly descriptor: Descriptor;
  readonly presence: Presence;
}

/** What a copy would do: its report, and each piece of content with how it would come to be there. */
export interface CopyPlan extends CopyReport {
  /** In the order in which they would arrive. */
  readonly content: readonly ForeseenContent[];
}

/**
 * What {@link copy} would do with the same arguments: the same walk through the same graph, with nothing stored, sent or
 * tagged. `bytes` is what would be. A mount counts as one although the registry may refuse it when it is asked. Fails as the copy
 * would where that can be known: a tag that may not be moved, a manifest that is missing.
 */
export async function plan(
  source: Source,
  target: Target,
  reference: string | Descriptor,
  options: CopyOptions = {},
): Promise<CopyPlan> {
  const content: ForeseenContent[] = [];
  const report = await copy(source, new Rehearsal(target), reference, {
    ...options,
    onEvent: (event) => {
      if (event.type === "done") content.push({ descriptor: event.descriptor, presence: event.presence });
      options.onEvent?.(event);
    },
  });
  return { ...report, content };
}
