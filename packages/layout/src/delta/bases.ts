import type { Abortable, Content, Presence } from "../content.js";
import type { CopyReport } from "../copy.js";
import { type Descriptor, plainDescriptor } from "../model/descriptor.js";
import { IndexedSource } from "../store/indexed-source.js";
import { type Base, firstWith } from "./base.js";

/** A blob that a base has. */
export interface NearContent {
  readonly content: Content;
  /** Its bytes are read from the base, and not from the source. */
  readonly readThere: boolean;
}

/** What the bases of a copy decide for each blob, and what came of it. */
export class Bases {
  readonly #since: readonly Base[];
  readonly #have: readonly Base[] | undefined;
  readonly #options: Abortable;
  readonly #left: Descriptor[] = [];
  #count = 0;
  #bytes = 0;

  constructor({
    since,
    have,
    signal,
  }: Abortable & { readonly since?: readonly Base[] | undefined; readonly have?: readonly Base[] | undefined }) {
    this.#since = since ?? [];
    this.#have = have?.filter(({ source }) => source !== undefined);
    this.#options = { signal };
  }

  /** True where there is no base, and so nothing to decide. */
  get none(): boolean {
    return this.#since.length === 0 && (this.#have ?? []).length === 0;
  }

  /** The blobs that were left out, in the order in which that was decided. */
  get left(): readonly Descriptor[] {
    return this.#left;
  }

  /**
   * Whether a blob is left out because a base has it, or comes from a base that has it; undefined where it comes from the
   * source, as `own` does. Where only a registry has it, what lies on a disk here is read here, and merely mounted there.
   */
  async decide(own: Content): Promise<"left out" | NearContent | undefined> {
    const { descriptor: blob, origin } = own;
    if ((await firstWith(this.#since, blob, this.#options)) !== undefined) {
      this.#left.push(plainDescriptor(blob));
      return "left out";
    }
    const source = (await firstWith(this.#have ?? [], blob, this.#options))?.source;
    if (source === undefined) return undefined;
    const isHere = origin instanceof IndexedSource && !(source instanceof IndexedSource);
    if (isHere && (await origin.size(blob.digest)) !== undefined)
      return { content: { ...own, origin: source }, readThere: false };
    return {
      content: {
        descriptor: blob,
        open: () => source.fetch(blob, { ...this.#options, unchecked: true }),
        origin: source,
      },
      readThere: true,
    };
  }

  /** Counts a blob that came from a base. */
  took({ content: { descriptor }, readThere }: NearContent, presence: Presence): void {
    if (presence === "present" || (presence === "written" && !readThere)) return;
    this.#count++;
    this.#bytes += descriptor.size;
  }

  /** What came from bases, for the report. */
  taken(): Pick<CopyReport, "taken"> {
    return this.#have === undefined ? {} : { taken: { count: this.#count, bytes: this.#bytes } };
  }
}
