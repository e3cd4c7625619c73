import { type CopyEvent, isManifestType, type Presence } from "@stowage/layout";
import { formatSize, info } from "./log.js";

/** Pieces of content and their bytes. */
interface Amount {
  count: number;
  bytes: number;
}

/** Counts how content came to be where it is now, and tells of each piece in the log. */
export class Tally {
  readonly #amounts: Record<Presence, Amount> = {
    written: { count: 0, bytes: 0 },
    present: { count: 0, bytes: 0 },
    mounted: { count: 0, bytes: 0 },
    linked: { count: 0, bytes: 0 },
  };

  /** For the option `onEvent` of a copy. */
  readonly onEvent = (event: CopyEvent): void => {
    if (event.type !== "done") return;
    const { digest, size, mediaType } = event.descriptor;
    const amount = this.#amounts[event.presence];
    amount.count++;
    amount.bytes += size;
    if (event.presence !== "present" || isManifestType(mediaType))
      info(`${event.presence} ${digest} ${mediaType} ${formatSize(size)}`);
  };

  /** The outputs of every action that moves content. What was linked came, as what was mounted, without being sent. */
  outputs(): Readonly<Record<string, string>> {
    const { written, present, mounted, linked } = this.#amounts;
    const outputs = {
      copied: written.count,
      "copied-bytes": written.bytes,
      present: present.count,
      "present-bytes": present.bytes,
      mounted: mounted.count + linked.count,
      "mounted-bytes": mounted.bytes + linked.bytes,
    };
    return Object.fromEntries(Object.entries(outputs).map(([name, number]) => [name, String(number)]));
  }

  /** For a cell of the summary: `3 sent (1.2 MB), 2 present`. */
  toString(): string {
    const { written, present, mounted, linked } = this.#amounts;
    const parts = [
      ["sent", written],
      ["present", present],
      ["mounted", mounted],
      ["linked", linked],
    ] as const;
    return parts
      .filter(([name, { count }]) => count > 0 || name === "sent")
      .map(([name, { count, bytes }]) => `${count} ${name} (${formatSize(bytes)})`)
      .join(", ");
  }

  /** True where something had to be brought. */
  get moved(): boolean {
    const { written, mounted, linked } = this.#amounts;
    return written.count + mounted.count + linked.count > 0;
  }
}
