/** The regular files in an archive, by name. Nothing is unpacked: bytes are read where they stand. */
export interface ArchiveFiles {
  /** The size of a file in bytes; undefined where there is no file of that name. Links inside the archive are followed. */
  size(name: string): number | undefined;
  /** The bytes of a file from an offset on, as they are. Fails with `TypeError` where there is no such file. */
  read(name: string, from?: number, signal?: AbortSignal): AsyncIterable<Uint8Array>;
  /** Lets go of the archive. */
  close(): Promise<void>;
}
