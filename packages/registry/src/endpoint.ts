import { type Digest, digestAlgorithm, isDigest, isOciError, OciError } from "@stowage/layout";
import type { Action, Scope } from "./auth/scope.js";
import type { Answer } from "./http/answer.js";
import type { Registry, RegistryRequest } from "./registry.js";

/** A request to one repository. */
export interface RepositoryRequest extends Omit<RegistryRequest, "url" | "scopes"> {
  /** What it does to the repository. */
  readonly needs: "pull" | "push" | "delete";
  /** What stands behind `/v2/NAME/`, or a whole URL that the registry gave. */
  readonly at: string | URL;
  /** A repository that is read from as well. */
  readonly from?: string | undefined;
}

const ACTIONS: Readonly<Record<RepositoryRequest["needs"], readonly Action[]>> = {
  pull: ["pull"],
  push: ["pull", "push"],
  delete: ["pull", "delete"],
};

/** The endpoints of one repository. distribution-spec v1.1.1, "Endpoints". */
export class Endpoint {
  readonly registry: Registry;
  readonly repository: string;
  /** For messages: `docker.io/library/alpine`. */
  readonly name: string;
  readonly #mirror: Registry | undefined;

  /** `mirror` is a pull-through cache of the registry. */
  constructor(registry: Registry, repository: string, mirror?: Registry) {
    this.registry = registry;
    this.#mirror = mirror;
    this.repository = repository;
    this.name = `${registry.host}/${repository}`;
  }

  /** The URL of what stands behind `/v2/NAME/`. */
  url(path: string): URL {
    return new URL(`/v2/${this.repository}/${path}`, this.registry.url);
  }

  /**
   * Sends the request with the scopes it needs. What is asked for by its digest comes from the mirror where that has it; what a tag
   * stands for, and whether something is there, only the registry itself can say. Fails as {@link Registry.send} does.
   */
  async send(request: RepositoryRequest): Promise<Answer> {
    const mirrored = await this.#fromMirror(request);
    if (mirrored !== undefined) return mirrored;
    const { at, needs, from, ...rest } = request;
    const scopes: Scope[] = [{ repository: this.repository, actions: ACTIONS[needs] }];
    if (from !== undefined) scopes.push({ repository: from, actions: ["pull"] });
    return this.registry.send({ ...rest, url: typeof at === "string" ? this.url(at) : at, scopes });
  }

  /** The answer of the mirror; undefined where there is none, or it cannot help. distribution-spec, "Registry Proxying". */
  async #fromMirror({ at, needs, from, ...rest }: RepositoryRequest): Promise<Answer | undefined> {
    const isContent = typeof at === "string" && /^(?:blobs|manifests)\/[a-z0-9+._-]+:[A-Za-z0-9=_-]+$/.test(at);
    if (this.#mirror === undefined || !isContent || needs !== "pull" || rest.method !== "GET") return undefined;
    const url = new URL(`/v2/${this.repository}/${at}?ns=${encodeURIComponent(this.registry.host)}`, this.#mirror.url);
    const scopes: Scope[] = [{ repository: this.repository, actions: ACTIONS.pull }];
    try {
      return await this.#mirror.send({ ...rest, url, scopes, once: true });
    } catch (error) {
      if (isOciError(error)) return undefined;
      throw error;
    }
  }
}

/** The digest the registry says the content has; undefined where it says none, or something that is none. */
export function declaredDigest(answer: Answer): Digest | undefined {
  const text = answer.header("docker-content-digest")?.trim();
  return text !== undefined && isDigest(text) ? text : undefined;
}

/** Fails with `MISMATCH` where the registry names another digest of the same algorithm. */
export function checkDeclaredDigest(answer: Answer, digest: Digest, action: string): void {
  const declared = declaredDigest(answer);
  if (declared === undefined || declared === digest || digestAlgorithm(declared) !== digestAlgorithm(digest)) return;
  throw new OciError("MISMATCH", `${action}: ${answer.url.host} says it is ${declared}, not ${digest}`);
}
