import type { Abortable, Bytes, Descriptor, Target } from "@stowage/layout";

/** Where content whose digest is not yet known can be stored: a layout directory, a memory store. */
export interface ContentWriter {
  /** Stores the bytes and says what they are. */
  write(bytes: Bytes, mediaType: string, options?: Abortable): Promise<Descriptor>;
}

/** A target that images can be built into. */
export type BuildTarget = Target & ContentWriter;
