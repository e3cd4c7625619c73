import { formatSizedDigest, type SizedDigest } from "../delta/sized-digest.js";
import { OciError } from "../model/errors.js";

/** A part that has to be fetched again, or has not been found. */
export interface DamagedPart {
  readonly number: number;
  /** The file, or what it would be called. */
  readonly path: string;
  readonly state: "missing" | "damaged";
  /** The blobs of it that could not be had. */
  readonly content: readonly SizedDigest[];
}

/** How many blobs of a part stand in a message. */
const SHOWN = 100;

/** Parts of an archive are damaged or missing. What else there is in the archive is not. */
export class DamagedPartsError extends OciError {
  /** In the order of their numbers. */
  readonly parts: readonly DamagedPart[];

  constructor(parts: readonly DamagedPart[], count: number, cause: unknown) {
    const state = parts.every((part) => part.state === "missing") ? "NOT_FOUND" : "MISMATCH";
    const which = parts.length === 1 ? `1 of ${count} parts has` : `${parts.length} of ${count} parts have`;
    super(state, [`${which} to be fetched again`, ...parts.flatMap(lines)].join("\n"), {
      hint: "What has arrived stays. With these parts in place, run it again: only what is missing is read.",
      cause,
    });
    this.parts = parts;
  }
}

function lines({ path, state, content }: DamagedPart): string[] {
  const more = content.length > SHOWN ? [`    and ${content.length - SHOWN} more`] : [];
  return [`  ${path} is ${state}`, ...content.slice(0, SHOWN).map((one) => `  ${formatSizedDigest(one)}`), ...more];
}

/** The parts that an error says are damaged, also where it was told in another context since; undefined where it says nothing of parts. */
export function damagedParts(error: unknown): readonly DamagedPart[] | undefined {
  for (let one = error; one instanceof Error; one = one.cause) if (one instanceof DamagedPartsError) return one.parts;
  return undefined;
}
