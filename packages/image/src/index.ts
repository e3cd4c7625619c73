export type { BaseImage } from "./base.js";
export {
  type BuildIndexOptions,
  type BuildResult,
  type BuildTags,
  build,
  buildIndex,
  type IndexBuildResult,
} from "./build.js";
export { type ArtifactBuildResult, type BuildArtifactOptions, buildArtifact } from "./build-artifact.js";
export { type BuildEvent, type BuildOptions, type BuiltImage, buildImage } from "./build-image.js";
export { type BuildDestination, type BuildIntoOptions, buildInto } from "./build-into.js";
export { type BaseCheck, checkBase, type RecordedBase, recordedBase } from "./check-base.js";
export {
  type CompressLayerOptions,
  type Layer,
  writeCompressed,
  writeCompressedOnce,
} from "./compress-layer.js";
export { type Compression, compress, compressions, layerMediaType } from "./compression.js";
export {
  type ConfigChanges,
  type ConfigLayer,
  type ExecutionConfig,
  type Healthcheck,
  type History,
  hasAlignedHistory,
  type ImageConfig,
  makeConfig,
  parseConfig,
  platformOf,
} from "./config.js";
export type { BuildTarget, ContentWriter } from "./content-writer.js";
export type { FileAspect, FileChange } from "./diff/compare-files.js";
export type { FieldChange } from "./diff/compare-json.js";
export {
  type Compared,
  type DiffOptions,
  diff,
  type ImageDiff,
  type IndexDiff,
  type LayerChange,
} from "./diff/diff.js";
export {
  type AnnotateDisjointOptions,
  type AnnotateReport,
  annotateDisjoint,
  type DerivedImage,
  deriveImage,
} from "./disjoint/annotate.js";
export { type BindMount, type BindPlan, PLAN_FILE } from "./disjoint/bind-plan.js";
export {
  type Declaration,
  DISJOINT_VERSION,
  type DisjointMember,
  declarationAnnotations,
  readDeclaration,
} from "./disjoint/declaration.js";
export type { Derivation, DerivedLayer, DeriveOptions } from "./disjoint/derive.js";
export type { LayerProfile, ProfileCheck, ProfiledLayer } from "./disjoint/layer-profile.js";
export { type CollectStoreOptions, collectStore, type StoreReport } from "./disjoint/layer-store.js";
export { OwnedPaths, type Owner } from "./disjoint/owned-paths.js";
export type { PlacedFiles } from "./disjoint/place-layer.js";
export {
  type DisjointMode,
  disjointModes,
  type UnpackDisjointOptions,
  type UnpackDisjointResult,
  unpackDisjoint,
} from "./disjoint/unpack-disjoint.js";
export {
  type DisjointReport,
  type ReportedLayer,
  type VerifyDisjointOptions,
  verifyDisjoint,
} from "./disjoint/verify.js";
export {
  type DisjointRule,
  formatViolation,
  type LayerName,
  type Report,
  type Violation,
} from "./disjoint/violation.js";
export { type FileTreeOptions, fileTree } from "./file-tree.js";
export { type CatOptions, cat } from "./files/cat.js";
export type { ImageFile } from "./files/image-file.js";
export { ImageFiles, type ImageFilesOptions } from "./files/image-files.js";
export { type ListedFile, type ListFilesOptions, listFiles } from "./files/list-files.js";
export { selectedEntries } from "./files/selected-entries.js";
export { type BlockCompressor, GZIP_BLOCK_SIZE, type GzipOptions, gzip } from "./gzip.js";
export { type HealthcheckText, parseHealthcheck } from "./healthcheck.js";
export { type Image, readImage } from "./image.js";
export {
  type AddToIndexOptions,
  addToIndex,
  createIndex,
  type IndexOptions,
  type IndexReport,
  mergeIndexes,
  removeFromIndex,
  whileOthersChange,
} from "./image-index.js";
export type { IndexPart } from "./index-entries.js";
export { type LayerOptions, writeLayer } from "./layer.js";
export { type LayerSource, layerFor } from "./layer-source.js";
export {
  type AnnotationLevel,
  annotationsAt,
  type LeveledAnnotation,
  parseLeveledAnnotation,
} from "./leveled-annotation.js";
export { type LowerEntry, type LowerPath, LowerPaths } from "./lower-paths.js";
export { type FileMapping, type MappedAttributes, mappingFor, parseFileList, parseMapping } from "./mapping.js";
export { type ConfigEdits, type ConfigMember, configMembers } from "./mutate/change-config.js";
export type { ImageChanges } from "./mutate/change-image.js";
export type { LayerEdits, LayerReplacement, LayerSelector } from "./mutate/edit-layers.js";
export { type MediaTypeFamily, mediaTypeFamilies } from "./mutate/media-types.js";
export { type MutatedImage, type MutateOptions, type MutateReport, mutate } from "./mutate/mutate.js";
export type { Rebase } from "./mutate/rebase.js";
export type { LayerRange } from "./mutate/squash.js";
export { type LayerLimits, type OpenLayerOptions, openLayer } from "./open-layer.js";
export { type EncodedTarEntry, type TarEntry, type WriteTarOptions, writeTar } from "./tar.js";
export { fits, paxHeader, paxRecord, shorten, type TarHeader, ustar } from "./tar-header.js";
export { checkTar, readTar, type TarReadEntry } from "./tar-reader.js";
export type { ExtendedAttributes } from "./unpack/attributes.js";
export type { Written } from "./unpack/file-writer.js";
export { type IdRange, type Owners, parseIdRange } from "./unpack/owners.js";
export { type SpecialFiles, specialFiles } from "./unpack/special-files.js";
export { type UnpackOptions, type UnpackResult, unpack } from "./unpack/unpack.js";
export { type Work, WorkerPool } from "./worker-pool.js";
