/** The regular files in an archive, by name. Nothing is unpacked: bytes are read where they stand. */
export interface ArchiveFiles {
  /** The size of a file in bytes; undefined where there is no file of that name. Links inside the archive are followed. */
  size(name: string): number | undefined;
  /** The bytes of a file from an offset on, as they are. Fails with `TypeError` where there is no such file. */
  read(name: string, from?: number, signal?: AbortSignal): AsyncIterable<Uint8Array>;
  /** True where the name stands once, or each time for these bytes: then all readers see the same file. */
  sameInAll(name: string, bytes: Uint8Array): Promise<boolean>;
  /** Lets go of the archive. */
  close(): Promise<void>;
}
