export type { CredentialLookup, Credentials } from "./auth/credentials.js";
export { type ClientOptions, openRepository, RegistryClient } from "./client.js";
export type { RetryOptions } from "./http/retry.js";
export { type Diagnostic, RegistryError } from "./registry-error.js";
export { Repository } from "./repository.js";
export type { TransportOptions } from "./transport.js";
