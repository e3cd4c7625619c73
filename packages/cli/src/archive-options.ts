import type { ArchiveOptions } from "@stowage/layout";

/** How an archive is stored as a whole. */
export type Packing = "none" | "gzip" | "zstd" | "zip";

/** The values of {@link Packing}. */
export const packings: readonly Packing[] = ["none", "gzip", "zstd", "zip"];

/** What the name of a file says: `.gz`, `.tgz`, `.zst`, `.tzst` or `.zip`. */
export function packingOf(path: string): Packing {
  if (/\.t?gz$/i.test(path)) return "gzip";
  if (/\.t?zst$/i.test(path)) return "zstd";
  return /\.zip$/i.test(path) ? "zip" : "none";
}

/** How an archive with that packing is written. */
export function packed(packing: Packing, signal: AbortSignal): Pick<ArchiveOptions, "container" | "compress"> {
  if (packing === "none") return {};
  if (packing === "zip") return { container: "zip" };
  return {
    compress: async function* (bytes) {
      // What compresses takes a while to load, and few runs need it.
      const { compress } = await import("@stowage/image");
      yield* compress(bytes, packing, { signal });
    },
  };
}
