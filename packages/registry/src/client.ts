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
import { type DockerConfiguration, dockerConfiguration } from "./auth/docker-config.js";
import type { UploadOptions } from "./blob-upload.js";
import { listRepositories } from "./catalog.js";
import { Endpoint } from "./endpoint.js";
import { fetchExternal } from "./external.js";
import { Notices, type RegistryWarning } from "./http/notices.js";
import type { RateLimit } from "./http/rate-limit.js";
import type { RetryOptions } from "./http/retry.js";
import { Registry, type RegistryOptions } from "./registry.js";
import { Repository } from "./repository.js";
import { Transport, type TransportOptions } from "./transport.js";

/** How registries are reached, and with which credentials. */
export interface ClientOptions
  extends TransportOptions,
    RetryOptions,
    Pick<RegistryOptions, "plainHttp" | "trustedRealms"> {
  /**
   * The credentials for all registries this client talks to but mirrors, or what finds them. Default: Docker's configuration, and with it its
   * `HttpHeaders`. With `false` none are used.
   */
  readonly credentials?: Credentials | CredentialLookup | false | undefined;
  /** Asked for credentials where Docker's configuration has none for a registry, and where it is used. Default: none. */
  readonly fallbackCredentials?: CredentialLookup | undefined;
  /**
   * Pull-through caches by the host whose content they have. What is read by its digest comes from there where it can; they are told
   * the host (`ns`), and get their own credentials, never those of the host.
   */
  readonly mirrors?: Readonly<Record<string, string>> | undefined;
  /** More headers for each request to a registry. They do not go anywhere else. */
  readonly headers?: Readonly<Record<string, string>> | undefined;
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
  readonly #headers: () => Promise<Readonly<Record<string, string>>>;
  readonly #mirrors: Readonly<Record<string, string>>;
  readonly #notices = new Notices();
  readonly #registries = new Map<string, Registry>();
  readonly #repositories = new Map<string, Repository>();

  constructor(options: ClientOptions = {}) {
    this.#options = options;
    this.#transport = new Transport(options);
    this.#mirrors = options.mirrors ?? {};
    const { lookup, headers } = configurationOf(options);
    this.#lookup = lookup;
    this.#headers = headers;
  }

  /** The repository of a reference, the same object each time; nothing is sent. Fails with `INVALID` where the text is no reference. */
  repository(reference: string | Reference): Repository {
    const { host, repository } = typeof reference === "string" ? parseReference(reference) : reference;
    if (!isRepository(repository))
      throw new OciError("INVALID", `${JSON.stringify(repository.slice(0, 300))} is no repository name`);
    const name = formatReference({ host, repository });
    let found = this.#repositories.get(name);
    if (found === undefined) {
      const mirror = Object.hasOwn(this.#mirrors, host) ? this.#registry(this.#mirrors[host] as string) : undefined;
      const endpoint = new Endpoint(this.#registry(host), repository, mirror);
      found = new Repository(endpoint, this, this.#options.upload);
      this.#repositories.set(name, found);
    }
    return found;
  }

  /** The names of the repositories of a registry, in bytewise order, as far as it tells them. Fails with `UNSUPPORTED` where it does not, and with `INVALID` where `host` is no host. */
  async *repositories(host: string, options: Abortable = {}): AsyncIterable<string> {
    yield* await listRepositories(this.#registry(parseReference(`${host}/any/name`).host), options);
  }

  /**
   * Shows the credentials for a registry, or for a path on it. True if it wanted them and took them, false if it wants none.
   * Fails with `UNAUTHORIZED` where it refuses them, and with the signal's reason.
   */
  authenticate(host: string, path?: string, options: Abortable = {}): Promise<boolean> {
    const scopes = path === undefined ? [] : [{ repository: path, actions: ["pull"] as const }];
    return this.#registry(host).authenticate(scopes, options.signal);
  }

  /** The warnings that registries sent along with their answers so far, each once. distribution-spec v1.1.1, "Warnings". */
  get warnings(): readonly RegistryWarning[] {
    return this.#notices.warnings;
  }

  /** What each registry that tells it said last about how many more requests it takes. */
  get rateLimits(): readonly RateLimit[] {
    return this.#notices.rateLimits;
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
      found = new Registry({
        ...this.#options,
        host,
        credentials: this.#lookup,
        headers: this.#headers,
        transport: this.#transport,
        notices: this.#notices,
      });
      this.#registries.set(host, found);
    }
    return found;
  }

  /** Gives up what is under way and closes all connections. */
  close(): Promise<void> {
    return this.#transport.close();
  }
}

function configurationOf(options: ClientOptions): Pick<DockerConfiguration, "lookup" | "headers"> {
  const { credentials, headers = {} } = options;
  if (credentials === undefined) {
    const configuration = dockerConfiguration({ environment: options.environment ?? process.env });
    const lookup: CredentialLookup = async (host, repository) =>
      (await configuration.lookup(host, repository)) ?? options.fallbackCredentials?.(host, repository);
    return { lookup, headers: async () => ({ ...(await configuration.headers()), ...headers }) };
  }
  if (typeof credentials === "function") return { lookup: credentials, headers: async () => headers };
  const mirrors = new Set(Object.values(options.mirrors ?? {}));
  const lookup: CredentialLookup = async (host) =>
    credentials === false || mirrors.has(host) ? undefined : credentials;
  return { lookup, headers: async () => headers };
}

/** Opens the repository of a reference with a client of its own, which `close` closes. Nothing is sent. Fails with `INVALID`. */
export function openRepository(reference: string | Reference, options: ClientOptions = {}): Repository {
  return new RegistryClient(options).repository(reference);
}
