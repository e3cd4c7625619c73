export { BinaryCache, type BinaryCacheOptions, type CacheFile } from "./cache/binary-cache.js";
export { type RunningCache, type ServeCacheOptions, serveCache } from "./cache/serve-cache.js";
export { readAllStored, readStoredClosure, type StoredClosure } from "./cache/stored-closure.js";
export { type WriteCacheResult, writeCache } from "./cache/write-cache.js";
export { decompressNar, narCompressions } from "./compression/nar-compression.js";
export { type ClosureDiff, diffClosures, type PathChange } from "./diff-closures.js";
export {
  type ClosureOptions,
  type ExportEvent,
  type ExportOptions,
  type ExportResult,
  exportClosure,
  type ImportResult,
  importClosure,
} from "./export/export-closure.js";
export { exportInto, importInto, type ScratchOptions } from "./export/export-into.js";
export { DEFAULT_MAXIMUM_LAYERS, groupPaths, type Layering, layerings } from "./export/grouping.js";
export { popularity } from "./export/popularity.js";
export { type ExportedObject, type ExportedPath, readExport, writeExport } from "./formats/export-archive.js";
export { readNar } from "./formats/nar-reader.js";
export { hashNar, type NarDigest, NarEncoder, writeNar } from "./formats/nar-writer.js";
export { fingerprint, MAXIMUM_NARINFO, type NarInfo, parseNarInfo, printNarInfo } from "./formats/narinfo.js";
export { formatNixHash, parseNixHash } from "./formats/nix-hash.js";
export { decodeNix32, encodeNix32 } from "./formats/nix32.js";
export { type PartialPathInfo, type PathInfo, parsePathInfo } from "./formats/path-info.js";
export { parseGraph } from "./formats/references-graph.js";
export { parseRegistration, printRegistration } from "./formats/registration.js";
export { findSigner, type NixKey, parsePublicKey, parseSecretKey, signPath } from "./formats/signature.js";
export {
  makeStorePath,
  parseStoreDirectory,
  parseStorePath,
  type StorePath,
  type StorePathParts,
  sourceStorePath,
  textStorePath,
} from "./formats/store-path.js";
export type { Tree, TreeEntry } from "./formats/tree-entry.js";
export {
  type AnnotatedPath,
  annotatedPaths,
  CLOSURE_TYPE,
  type LayerMember,
  nixKeys,
  PATH_TYPE,
} from "./layer/annotations.js";
export { readStoreTar } from "./layer/read-store-tar.js";
export {
  type CheckedLayer,
  StorePathCheck,
  type StorePathProfileOptions,
  storePathProfile,
} from "./layer/store-path-profile.js";
export { ancestorsTar, endOfTar, type MemberTarOptions, memberTar } from "./layer/store-tar.js";
export { openNar, readMember, type StoredPath, soloLayer } from "./layer/stored-path.js";
export { readCacheDirectory } from "./sources/cache-directory.js";
export type { Closure, ClosureParts, StoreObject } from "./sources/closure.js";
export { readExportFile } from "./sources/export-file.js";
export { readTree } from "./sources/read-tree.js";
export { readGraphFile, readStore, type StoreOptions } from "./sources/store-directory.js";
