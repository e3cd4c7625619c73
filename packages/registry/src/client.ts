import {
  type Abortable,
  type Descriptor,
  formatReference,
  isRepository,
  OciError,
  parseReference,
  type Reference,
} from "@stowage/layout";
import type { CredentialLookup, Credentials } from "./auth/credentials.js";
import { dockerCredentials } from "./auth/docker-config.js";
import type { UploadOptions } from "./blob-upload.js";
import { listRepositories } from "./catalog.js";
import { Endpoint } from "./endpoint.js";
import { fetchExternal } from "./external.js";
import type { RetryOptions } from "./http/retry.js";
import { Registry, type RegistryOptions } from "./registry.js";
import { Repository } from "./repository.js";
import { Transport, type TransportOptions } from "./transport.js";

/** How registries are reached, and with which credentials. */
export interface ClientOptions
  extends TransportOptions,
    RetryOptions,
    Pick<RegistryOptions, "plainHttp" | "trustedRealms" | "headers"> {
  /**
   * The credentials for all registries this client talks to, or what finds them. Default: Docker's configuration. With `false` none
   * are used.
   */
  readonly credentials?: Credentials | CredentialLookup | false | undefined;
  /** How blobs are sent. */
  readonly upload?: UploadOptions | undefined;
}

/** A registry that is not there: what is asked for in its name goes elsewhere, as a stranger. */
const NOWHERE = "nowhere.invalid";

/**
 * Talks to registries: keeps connections and tokens, and waits where one asks for it. Two clients share nothing, so one host can be
 * a source with some credentials and a target with others. Idle connections do not keep a process alive.
 */
export class RegistryClient {
  readonly #options: ClientOptions;
  readonly #transport: Transport;
  readonly #lookup: CredentialLookup;
  readonly #registries = new Map<string, Registry>();
  readonly #repositories = new Map<string, Repository>();

  constructor(options: ClientOptions = {}) {
    this.#options = options;
    this.#transport = new Transport(options);
    this.#lookup = lookupOf(options);
  }

  /** The repository of a reference, the same object each time; nothing is sent. Fails with `INVALID` where the text is no reference. */
  repository(reference: string | Reference): Repository {
    const { host, repository } = typeof reference === "string" ? parseReference(reference) : reference;
    if (!isRepository(repository))
      throw new OciError("INVALID", `${JSON.stringify(repository.slice(0, 300))} is no repository name`);
    const name = formatReference({ host, repository });
    let found = this.#repositories.get(name);
    if (found === undefined) {
      found = new Repository(new Endpoint(this.#registry(host), repository), this, this.#options.upload);
      this.#repositories.set(name, found);
    }
    return found;
  }

  /** The names of the repositories of a registry, in bytewise order, as far as it tells them. Fails with `UNSUPPORTED` where it does not, and with `INVALID` where `host` is no host. */
  async *repositories(host: string, options: Abortable = {}): AsyncIterable<string> {
    yield* await listRepositories(this.#registry(parseReference(`${host}/any/name`).host), options);
  }

  /**
   * The verified bytes of a layer from one of its https `urls`, whoever names them: only public addresses are reached, and without a
   * credential. Fails with `NOT_FOUND` where it has no such URL. image-spec v1.1.1, descriptor.md "urls".
   */
  external(layer: Descriptor, options: Abortable = {}): AsyncIterable<Uint8Array> {
    return fetchExternal(this.#registry(NOWHERE), layer, options);
  }

  #registry(host: string): Registry {
    let found = this.#registries.get(host);
    if (found === undefined) {
      found = new Registry({ ...this.#options, host, lookup: this.#lookup, transport: this.#transport });
      this.#registries.set(host, found);
    }
    return found;
  }

  /** Gives up what is under way and closes all connections. */
  close(): Promise<void> {
    return this.#transport.close();
  }
}

function lookupOf(options: ClientOptions): CredentialLookup {
  const { credentials } = options;
  if (typeof credentials === "function") return credentials;
  if (credentials === undefined) return dockerCredentials({ environment: options.environment ?? process.env });
  return async () => (credentials === false ? undefined : credentials);
}

/** Opens the repository of a reference with a client of its own, which `close` closes. Nothing is sent. Fails with `INVALID`. */
export function openRepository(reference: string | Reference, options: ClientOptions = {}): Repository {
  return new RegistryClient(options).repository(reference);
}
