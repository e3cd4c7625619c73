import type { Abortable, Source, Target } from "../content.js";
import type { Descriptor } from "../model/descriptor.js";
import { OciError } from "../model/errors.js";
import { mediaTypes } from "../model/media-types.js";
import { forEachParallel } from "../parallel.js";
import { Rehearsal } from "../rehearsal.js";
import { compareText } from "../store/index-json.js";
import { type Base, firstWith } from "./base.js";
import type { ReceiptRoot } from "./receipt.js";
import { formatSizedDigest, type SizedDigest } from "./sized-digest.js";

/** How many pieces of content are looked for at once: of a registry, that many HEAD requests. */
const PARALLEL_LOOKUPS = 8;

/** How many digests stand in a message. */
const SHOWN = 100;

/** What {@link missingAt} is told. */
export interface NeedsOptions extends Abortable {
  /** What can be taken from somewhere else than the target. */
  readonly have?: readonly Base[] | undefined;
}

/** The content that a target lacks, in bytewise order of the digests. Nothing is changed, also where the target marks what it is asked for. */
export async function missingAt(
  target: Target,
  needs: Iterable<SizedDigest>,
  options: NeedsOptions = {},
): Promise<readonly SizedDigest[]> {
  const rehearsal = target instanceof Rehearsal ? target : new Rehearsal(target);
  const missing: SizedDigest[] = [];
  await forEachParallel(needs, PARALLEL_LOOKUPS, async ({ digest, size }) => {
    options.signal?.throwIfAborted();
    const descriptor: Descriptor = { mediaType: mediaTypes.octetStream, digest, size };
    if ((await rehearsal.push({ descriptor, open: () => [] }, options)) !== "written") return;
    if ((await firstWith(options.have ?? [], descriptor, options)) === undefined) missing.push({ digest, size });
  });
  return missing.sort((a, b) => compareText(a.digest, b.digest));
}

/** The base that was expected, for {@link checkNeeds}. */
export interface ExpectedBase {
  /** What leaves the content out. */
  readonly source: Pick<Source, "name">;
  readonly since: readonly ReceiptRoot[];
}

/** Fails with `NOT_FOUND`, naming what is missing and what the base was, where the target lacks something that is needed. Nothing is changed. */
export async function checkNeeds(
  target: Target,
  needs: Iterable<SizedDigest>,
  { source, since }: ExpectedBase,
  options: NeedsOptions = {},
): Promise<void> {
  const missing = await missingAt(target, needs, options);
  if (missing.length === 0) return;
  const lines = missing.slice(0, SHOWN).map(formatSizedDigest);
  const more = missing.length > SHOWN ? [`  and ${missing.length - SHOWN} more`] : [];
  const pieces = missing.length === 1 ? "a blob" : `${missing.length} blobs`;
  throw new OciError(
    "NOT_FOUND",
    [`${target.name} is not the base that ${source.name} needs: it lacks ${pieces}`, ...lines, ...more].join("\n"),
    { hint: hintOf(since) },
  );
}

function hintOf(since: readonly ReceiptRoot[]): string {
  if (since.length === 0) return "Bring the base first, or copy without --since.";
  const [first, ...others] = since as readonly [ReceiptRoot, ...ReceiptRoot[]];
  const name = first.name === undefined ? first.digest : `${first.name} (${first.digest})`;
  return `The base held ${name}${others.length > 0 ? ` and ${others.length} more` : ""}. Bring that first.`;
}
