import { type Base, imageBase, type Location, readReceipt, receiptBase, sourceBase } from "@stowage/layout";
import { type OpenOptions, openSource } from "./open.js";
import { resolveLocation } from "./with-location.js";

/** Where a base is: a receipt in a file, or a location. */
export type BaseLocation =
  | { readonly kind: "receipt"; readonly path: string }
  | {
      readonly kind: "location";
      readonly location: Location;
      /** All that is there counts, and not one image only. */
      readonly whole: boolean;
    };

/** A base that is open. */
export interface OpenedBase {
  readonly base: Base;
  close(): Promise<void>;
}

/**
 * Opens what somebody has already. Fails as {@link readReceipt}, {@link openSource} and reading the image do. A repository as a
 * whole is not read: it is asked for each blob.
 */
export async function openBase(place: BaseLocation, open: OpenOptions): Promise<OpenedBase> {
  if (place.kind === "receipt")
    return { base: receiptBase(await readReceipt(place.path), place.path), close: async () => {} };
  const { source, close } = await openSource(place.location, open);
  try {
    if (place.whole) return { base: await sourceBase(source, open), close };
    const { descriptor, tag } = await resolveLocation(source, place.location, open);
    return { base: await imageBase(source, descriptor, tag, open), close };
  } catch (error) {
    await close();
    throw error;
  }
}

/** Opens several bases, hands them to `use`, and closes them whatever happens. */
export async function withBases<T>(
  places: readonly BaseLocation[],
  open: OpenOptions,
  use: (bases: readonly Base[]) => Promise<T>,
): Promise<T> {
  const opened: OpenedBase[] = [];
  try {
    for (const place of places) opened.push(await openBase(place, open));
    return await use(opened.map(({ base }) => base));
  } finally {
    for (const { close } of opened) await close();
  }
}
