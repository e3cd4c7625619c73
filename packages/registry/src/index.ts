export type { CredentialLookup, Credentials } from "./auth/credentials.js";
export { formatRegistryPlace, parseRegistryPlace, type RegistryPlace } from "./auth/registry-place.js";
export { type ClientOptions, openRepository, RegistryClient } from "./client.js";
export type { RegistryWarning } from "./http/notices.js";
export type { RateLimit } from "./http/rate-limit.js";
export type { RetryOptions } from "./http/retry.js";
export { userAgent } from "./http/user-agent.js";
export {
  type Account,
  type LoginOptions,
  type LoginResult,
  type LogoutResult,
  login,
  logout,
} from "./login.js";
export { type OpenedSource, type OpenedTarget, type OpenOptions, openSource, openTarget } from "./open.js";
export { type PublishedReference, type PublishOptions, type PublishReport, publish } from "./publish.js";
export { type Diagnostic, RegistryError } from "./registry-error.js";
export { Repository } from "./repository.js";
export type { TransportOptions } from "./transport.js";
export { type ResolvedLocation, resolveLocation, withSource, withTarget } from "./with-location.js";
