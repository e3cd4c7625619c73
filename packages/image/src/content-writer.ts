import type { Abortable, Bytes, CompressedLayers, Descriptor, Target } from "@stowage/layout";

/** Where content whose digest is not yet known can be stored: a layout directory, a memory store. */
export interface ContentWriter {
  /** Which layers it has of which tars, where it remembers that. */
  readonly compressedLayers?: Pick<CompressedLayers, "find" | "verify" | "record">;
  /** Stores the bytes and says what they are. */
  write(bytes: Bytes, mediaType: string, options?: Abortable): Promise<Descriptor>;
}

/** A target that images can be built into: a layout directory, a memory store. */
export interface BuildTarget extends Target, ContentWriter {
  /** Lists a manifest that has no tag. */
  addEntry(descriptor: Descriptor, options?: Abortable): Promise<void>;
}
