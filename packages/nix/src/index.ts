export { decompressNar, narCompressions } from "./compression/nar-compression.js";
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
  parseStorePath,
  type StorePath,
  type StorePathParts,
  sourceStorePath,
  textStorePath,
} from "./formats/store-path.js";
export type { Tree, TreeEntry } from "./formats/tree-entry.js";
