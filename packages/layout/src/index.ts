export { type ArchiveNames, archiveNames, fullName } from "./archive/archive-names.js";
export { ArchiveSource } from "./archive/archive-source.js";
export { type ArchiveFormat, type ArchiveOptions, ArchiveTarget } from "./archive/archive-target.js";
export type { ArchiveWriter, Compressor } from "./archive/archive-writer.js";
export type { LoadedImage } from "./archive/docker-manifest.js";
export { type ExportedImage, type ExportOptions, type ExportReport, exportImages, imagesIn } from "./archive/export.js";
export {
  decodeTarName,
  encodeTarName,
  TAR_BLOCK,
  type TarBlock,
  TarHeaderReader,
  type TarReadHeader,
} from "./archive/tar-header.js";
export { Arrivals } from "./arrivals.js";
export {
  type AttachedFile,
  type AttachOptions,
  type AttachResult,
  artifactContent,
  attach,
  mediaTypeOfFile,
  parseAttachedFile,
} from "./attach.js";
export { type ChainLink, chain } from "./chain.js";
export { ByteReader } from "./compression/byte-reader.js";
export { decompress } from "./compression/decompress.js";
export { gunzip } from "./compression/gzip.js";
export { through } from "./compression/through.js";
export { unzstd } from "./compression/zstd.js";
export type {
  Abortable,
  Bytes,
  Content,
  FetchOptions,
  Presence,
  PushOptions,
  ReferrersOptions,
  Source,
  TagListOptions,
  Target,
} from "./content.js";
export { type ConvertedAttestation, type ConvertReport, convertAttestations } from "./convert-attestations.js";
export {
  type CopyEvent,
  type CopyFailure,
  type CopyOptions,
  type CopyReport,
  checkBases,
  copy,
  type LeftOut,
  type ReferrersChoice,
  type TakenContent,
} from "./copy.js";
export { createdAt, formatTime, sourceDateEpoch } from "./created.js";
export { type Base, deltaBase, imageBase, receiptBase, sourceBase } from "./delta/base.js";
export { checkNeeds, type ExpectedBase, missingAt, type NeedsOptions } from "./delta/check-needs.js";
export { DELTA_FILE, DELTA_TYPE, type Delta, parseDelta } from "./delta/delta.js";
export {
  encodeReceipt,
  MAXIMUM_RECEIPT_SIZE,
  parseReceipt,
  RECEIPT_TYPE,
  type Receipt,
  type ReceiptRoot,
  readReceipt,
  receiptOf,
  writeReceipt,
} from "./delta/receipt.js";
export { type SizedDigest, totalSize } from "./delta/sized-digest.js";
export { du, type LayoutUsage, type Usage } from "./du.js";
export { type FilteredImage, filterPlatforms, type IndexChoice } from "./filter-platforms.js";
export { findDescriptor } from "./find-descriptor.js";
export { DEFAULT_GRACE, type GcPolicy, type GcReport, gc, type RemovedEntry } from "./gc.js";
export { type Graph, type GraphNode, type GraphOptions, type Link, readGraph, referrersIn } from "./graph.js";
export { type Inspection, type InspectOptions, inspect } from "./inspect.js";
export {
  type DanglingReferrer,
  danglingReferrers,
  type ListedTag,
  type ListOptions,
  list,
  platformsOf,
} from "./list.js";
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
  PORTABLE_MANIFEST_SIZE,
  parseManifest,
  referrerDescriptor,
  sniffManifestType,
} from "./model/manifest.js";
export {
  acceptedManifestTypes,
  annotationKeys,
  isForeignLayerType,
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
  runnablePlatforms,
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
export { normalize } from "./normalize.js";
export { forEachParallel } from "./parallel.js";
export { type DamagedPart, DamagedPartsError, damagedParts } from "./parts/damage.js";
export {
  PART_FILE,
  PART_LIST_FILE,
  PART_LIST_TYPE,
  PART_TYPE,
  type PartContent,
  type PartList,
  parsePartList,
  type RepeatedFile,
} from "./parts/part-list.js";
export { PartsFile, type PartsOptions, type WrittenPart } from "./parts/parts-file.js";
export { type CopyPlan, type ForeseenContent, plan } from "./plan.js";
export type { PrunedList } from "./prune-entries.js";
export { type Reachable, type ReachableOptions, reachable } from "./reachable.js";
export {
  type ReconcileChange,
  type ReconcileOptions,
  type ReconcileReport,
  type ReferrerForms,
  reconcile,
  referrerForms,
} from "./reconcile.js";
export {
  type AnnotationFilter,
  compareCreated,
  parseAnnotationFilter,
  type ReferrerFilter,
  selectReferrers,
} from "./referrer-filter.js";
export { type CopyReferrersOptions, copyReferrersTo, withReferrersFrom } from "./referrers-elsewhere.js";
export { allRelated, type RelatedManifest, related } from "./related.js";
export { type Removable, type RemoveOptions, removeBlob, removeManifest } from "./remove.js";
export {
  formatUnrepaired,
  type RepairedContent,
  type RepairOptions,
  type RepairReport,
  repair,
  type UnrepairedContent,
} from "./repair.js";
export type { ExpiredTag, Retention } from "./retention.js";
export { type SalvageOptions, type SalvageReport, salvage } from "./salvage.js";
export { platformOfConfig, selectPlatform } from "./select-platform.js";
export { type TagChange, Tags, type TagsOptions } from "./set-tags.js";
export type { BlobUpload, BlobUploads } from "./store/blob-upload.js";
export { type CompressedLayer, type CompressedLayerQuery, CompressedLayers } from "./store/compressed-layers.js";
export { attestedDigest, isAttestation, parseLegacyTag, type RelatedRole } from "./store/conventions.js";
export { contentOfFile } from "./store/file-content.js";
export { findEntry, isNamed, type LayoutIndex, refName } from "./store/index-json.js";
export { type CheckOptions, IndexedSource } from "./store/indexed-source.js";
export { type IndexChange, IndexedTarget, type WriteOptions } from "./store/indexed-target.js";
export { Layout, type LayoutOptions } from "./store/layout.js";
export { acquireLock, type Lock, type LockOptions } from "./store/lock.js";
export { MemoryStore } from "./store/memory.js";
export { type Oddity, type OddityCode, oddFiles, oddities } from "./store/oddities.js";
export { isRunningByMark, processMark } from "./store/process.js";
export type { ListedItem } from "./store/referrer-survey.js";
export type { SweepOptions, SweepReport, SweptBlob, SweptFile } from "./store/sweep.js";
export { Union } from "./store/union.js";
export type { OpenBlob } from "./store/verified-blobs.js";
export { type TreeNode, tree } from "./tree.js";
export {
  type Finding,
  type Problem,
  type VerifyOptions,
  type VerifyReport,
  type VerifyRoot,
  verify,
} from "./verify.js";
export { verifyLayout } from "./verify-layout.js";
export { VerifyingTarget } from "./verifying-target.js";
export { type GraphPath, MAXIMUM_DEPTH, type Node, type WalkOptions, walk } from "./walk.js";
