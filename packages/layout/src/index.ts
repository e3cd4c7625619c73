export { ArchiveSource } from "./archive/archive-source.js";
export { type ArchiveOptions, ArchiveTarget } from "./archive/archive-target.js";
export { type AttachedFile, type AttachOptions, type AttachResult, attach, mediaTypeOfFile } from "./attach.js";
export type {
  Abortable,
  Bytes,
  Content,
  FetchOptions,
  Presence,
  PushOptions,
  ReferrersOptions,
  Source,
  Target,
} from "./content.js";
export {
  type CopyEvent,
  type CopyFailure,
  type CopyOptions,
  type CopyReport,
  copy,
  type ReferrersChoice,
} from "./copy.js";
export { createdAt, formatTime, sourceDateEpoch } from "./created.js";
export { du, type LayoutUsage, type Usage } from "./du.js";
export { type Inspection, inspect } from "./inspect.js";
export { type ListedTag, type ListOptions, list, platformsOf } from "./list.js";
export {
  type Annotations,
  type Descriptor,
  descriptorOf,
  embeddedData,
  emptyBytes,
  emptyDescriptor,
  formatDescriptor,
  isMediaType,
  parseAnnotations,
  parseDescriptor,
  parseMediaType,
  plainDescriptor,
} from "./model/descriptor.js";
export {
  type Digest,
  type DigestAlgorithm,
  digestAlgorithm,
  digestEncoded,
  digestOf,
  Hasher,
  isDigest,
  isVerifiable,
  parseDigest,
} from "./model/digest.js";
export {
  type ErrorCode,
  isOciError,
  OciError,
  type OciErrorOptions,
  systemError,
  systemErrorCode,
  withContext,
} from "./model/errors.js";
export { isJsonObject, type JsonObject, parseJson, parseJsonObject } from "./model/json.js";
export {
  type FileLocation,
  formatLocation,
  type Location,
  type ParseLocationOptions,
  parseLocation,
  type RegistryLocation,
} from "./model/location.js";
export {
  childrenOf,
  effectiveArtifactType,
  encodeJson,
  type ImageIndex,
  type ImageManifest,
  MAXIMUM_MANIFEST_SIZE,
  type Manifest,
  parseManifest,
  referrerDescriptor,
  sniffManifestType,
} from "./model/manifest.js";
export {
  acceptedManifestTypes,
  annotationKeys,
  isImageConfigType,
  isImageManifestType,
  isIndexType,
  isManifestType,
  mediaTypes,
} from "./model/media-types.js";
export {
  formatPlatform,
  hostPlatform,
  matchesPlatform,
  normalizePlatform,
  type Platform,
  parsePlatform,
} from "./model/platform.js";
export {
  formatReference,
  isReferrersTag,
  isRepository,
  isTag,
  parseReference,
  type Reference,
  referrersTag,
  splitReference,
} from "./model/reference.js";
export {
  collect,
  contentOf,
  type ReadManifest,
  type ReadOptions,
  readBytes,
  readManifest,
  verified,
} from "./model/verified.js";
export { platformOfConfig, selectPlatform } from "./select-platform.js";
export { contentOfFile } from "./store/file-content.js";
export { findEntry, isNamed, type LayoutIndex, refName } from "./store/index-json.js";
export { IndexedSource } from "./store/indexed-source.js";
export { type IndexChange, IndexedTarget, type WriteOptions } from "./store/indexed-target.js";
export { Layout, type LayoutOptions } from "./store/layout.js";
export { MemoryStore } from "./store/memory.js";
export { type TreeNode, tree } from "./tree.js";
export { type Finding, type VerifyOptions, type VerifyReport, type VerifyRoot, verify } from "./verify.js";
export { type GraphPath, MAXIMUM_DEPTH, type Node, type WalkOptions, walk } from "./walk.js";
