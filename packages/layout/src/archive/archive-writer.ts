import type { Bytes, Content } from "../content.js";

/**
 * Where the files of an archive go, one after another. A failure while a file is written leaves what cannot be mended: then
 * only `discard` makes sense, and everything else fails with the first error.
 */
export interface ArchiveWriter {
  /** Writes a file that is in memory. */
  add(name: string, bytes: Uint8Array): Promise<void>;
  /** Writes a file of so many bytes. */
  addStream(name: string, size: number, bytes: Bytes): Promise<void>;
  /** Notes a file to be written when the archive is finished; until then its content is not opened and has to stay readable. */
  addLater?(name: string, content: Content): void;
  /** Ends the archive, waits until it is on the disk and gives it its name. */
  finish(): Promise<void>;
  /** Gives it up: nothing of it stays. */
  discard(): Promise<void>;
}

/** Turns the bytes of an archive into what is stored of it, a compressed form. */
export type Compressor = (bytes: Bytes) => AsyncIterable<Uint8Array>;
