export type { CredentialLookup, Credentials } from "./auth/credentials.js";
export { formatRegistryPlace, parseRegistryPlace, type RegistryPlace } from "./auth/registry-place.js";
export type { UploadOptions } from "./blob-upload.js";
export { type ClientOptions, openRepository, RegistryClient } from "./client.js";
export type { RegistryWarning } from "./http/notices.js";
export type { RateLimit } from "./http/rate-limit.js";
export type { RetryOptions } from "./http/retry.js";
export { userAgent } from "./http/user-agent.js";
export { type ImportedImage, type ImportOptions, type ImportReport, importImages } from "./import/import.js";
export { parseImportPlace } from "./import/import-place.js";
export {
  type Account,
  type LoginOptions,
  type LoginResult,
  type LogoutResult,
  login,
  logout,
} from "./login.js";
export { type OpenedSource, type OpenedTarget, type OpenOptions, openSource, openTarget } from "./open.js";
export { type BaseLocation, type OpenedBase, openBase, withBases } from "./open-base.js";
export { withPlannedTarget } from "./planned-target.js";
export { type Capability, type CapabilityName, capabilityNames, type ProbeOptions, type ProbeReport } from "./probe.js";
export { type PublishedReference, type PublishOptions, type PublishReport, publish } from "./publish.js";
export type { ReconciledList, RepositoryReconcileOptions, RepositoryReconcileReport } from "./reconcile.js";
export { type Diagnostic, RegistryError } from "./registry-error.js";
export { Repository } from "./repository.js";
export type { SyncFailure } from "./sync/find-images.js";
export { type LockFile, lockPath, readLock, type SyncLock } from "./sync/lock.js";
export type { RenameRule } from "./sync/pattern.js";
export type { PrunedTag } from "./sync/prune.js";
export { parseSyncFile, readSyncFile, type SyncItemValue, syncFileSchema, syncItem } from "./sync/read-file.js";
export { renameRules } from "./sync/rename-rules.js";
export { type SyncOptions, type SyncReport, sync, targetLayouts } from "./sync/sync.js";
export type { SyncFile, SyncItem, SyncPlace } from "./sync/sync-file.js";
export type { SyncedImage } from "./sync/sync-image.js";
export type { TransportOptions } from "./transport.js";
export { type ResolvedLocation, resolveLocation, withSource, withSources, withTarget } from "./with-location.js";
