import { resolve } from "node:path";
import {
  type Abortable,
  Arrivals,
  type Bytes,
  type Descriptor,
  formatLocation,
  formatReference,
  IndexedSource,
  isOciError,
  type LayoutOptions,
  type Location,
  OciError,
  type Source,
  type Target,
} from "@stowage/layout";
import type { RegistryClient } from "../client.js";
import { type OpenedTarget, openSource, openTarget } from "../open.js";
import { openPlannedTarget } from "../planned-target.js";
import { ExpectedSource, type ExpectedTag } from "./expected-source.js";
import { KnownTags, type TagState } from "./known-tags.js";

/** How the places of a sync are opened. */
export interface PlacesOptions extends Abortable {
  readonly client: RegistryClient;
  readonly layout?: LayoutOptions | undefined;
  /** Nothing is written: a layout that is not there is not made. */
  readonly dryRun: boolean;
  /** Registries are refused. */
  readonly offline: boolean;
  /** Registries that are not, with their port. */
  readonly allowedHosts: readonly string[];
}

/** What a sync reads and writes, each opened once: all images share connections, tokens and what is known of a layout. */
export class Places {
  readonly #options: PlacesOptions;
  readonly #sources = new Map<string, ReturnType<typeof openSource>>();
  readonly #targets = new Map<string, Promise<OpenedTarget>>();
  /** What closing the targets that are closed came to, by their keys. */
  readonly #closed = new Map<string, unknown>();
  readonly #expected = new Map<string, Map<string, ExpectedTag>>();
  readonly #arrivals = new Map<string, Arrivals>();
  /** What is known of the tags of all of them. */
  readonly tags: KnownTags;

  constructor(options: PlacesOptions) {
    this.#options = options;
    this.tags = new KnownTags(options);
  }

  /** True where this registry may not be asked. */
  isRefused(host: string): boolean {
    return this.#options.offline && !this.#options.allowedHosts.includes(host);
  }

  /** The place to read from. Fails with `DENIED` where it is a registry and the run is offline, and as `openSource` does. */
  async source(location: Location): Promise<Source> {
    this.#checkAllowed(location);
    const expected = this.#expected.get(keyOfPlace(location));
    if (expected === undefined) return this.#openedSource(location);
    const base = await this.#openedSource(location).catch((error: unknown) => {
      if (isOciError(error, "NOT_FOUND")) return undefined;
      throw error;
    });
    return new ExpectedSource(formatLocation(location), base, expected);
  }

  /** In a dry run: this is what the location, with its tag, would stand for. Whoever reads the place later finds it there. */
  expect(location: Location, expected: ExpectedTag): void {
    const tag = location.kind === "registry" ? location.reference.tag : location.tag;
    const key = keyOfPlace(location);
    const tags = this.#expected.get(key) ?? new Map<string, ExpectedTag>();
    this.#expected.set(key, tags);
    if (tag !== undefined) tags.set(tag, expected);
  }

  async #openedSource(location: Location): Promise<Source> {
    return (await this.#once(this.#sources, location, () => openSource(location, this.#options))).source;
  }

  /** The place to write to, made where it is not there. In a dry run it is read only, and one that is not there is empty. */
  async target(location: Location): Promise<Target> {
    this.#checkAllowed(location);
    return (
      await this.#once(this.#targets, location, () =>
        this.#options.dryRun ? openPlannedTarget(location, this.#options) : openTarget(location, this.#options),
      )
    ).target;
  }

  /** What the tag of a location stands for at its registry; undefined where it has none, is at no registry, or may not be looked at. */
  async tagAt(location: Location): Promise<TagState | undefined> {
    if (location.kind !== "registry" || location.reference.tag === undefined) return undefined;
    return this.tags.at(await this.target(location), location.reference.tag);
  }

  /** Fetches a layer from where its `urls` say. Fails with `DENIED` offline, and as the client does. */
  external(layer: Descriptor, options: Abortable): Bytes {
    const hosts = (layer.urls ?? []).flatMap((url) => (URL.canParse(url) ? [new URL(url).host] : []));
    const refused = hosts.find((host) => this.isRefused(host));
    if (refused !== undefined) throw refusal(refused);
    return this.#options.client.external(layer, options);
  }

  /** What the copies into a place share. */
  arrivals(location: Location): Arrivals {
    const key = keyOfPlace(location);
    const known = this.#arrivals.get(key) ?? new Arrivals();
    this.#arrivals.set(key, known);
    return known;
  }

  /** The layout to write to, where that is one and is there already. */
  async presentLayout(location: Location): Promise<IndexedSource | undefined> {
    if (location.kind !== "layout") return undefined;
    try {
      const source = await this.#openedSource(location);
      return source instanceof IndexedSource ? source : undefined;
    } catch (error) {
      if (isOciError(error, "NOT_FOUND")) return undefined;
      throw error;
    }
  }

  /** The names of the repositories of a registry. */
  async repositories(host: string): Promise<readonly string[]> {
    if (this.isRefused(host)) throw refusal(host);
    const names: string[] = [];
    for await (const name of this.#options.client.repositories(host, this.#options)) names.push(name);
    return names;
  }

  /** Completes an archive that was written, so that it can be read. */
  async finish(location: Location): Promise<void> {
    if (location.kind !== "oci-archive" && location.kind !== "docker-archive") return;
    const key = keyOfPlace(location);
    if (!this.#options.dryRun && this.#targets.has(key) && !this.#closed.has(key)) await this.#closeTarget(key);
  }

  /** Completes archives and closes all. Returns what failed, by the key of the place. */
  async close(): Promise<ReadonlyMap<string, unknown>> {
    for (const opened of this.#sources.values()) await (await opened.catch(() => undefined))?.close();
    for (const key of this.#targets.keys()) if (!this.#closed.has(key)) await this.#closeTarget(key);
    return new Map([...this.#closed].filter(([, error]) => error !== undefined));
  }

  async #closeTarget(key: string): Promise<void> {
    this.#closed.set(key, undefined);
    const target = await this.#targets.get(key)?.catch(() => undefined);
    await target?.close().catch((error: unknown) => this.#closed.set(key, error));
  }

  /** Gives up: archives that are not complete leave nothing behind. */
  async discard(): Promise<void> {
    for (const opened of this.#sources.values()) await (await opened.catch(() => undefined))?.close();
    for (const [key, opened] of this.#targets)
      if (!this.#closed.has(key)) await (await opened.catch(() => undefined))?.discard();
  }

  #once<T>(opened: Map<string, Promise<T>>, location: Location, open: () => Promise<T>): Promise<T> {
    const key = keyOfPlace(location);
    const known = opened.get(key) ?? open();
    opened.set(key, known);
    return known;
  }

  #checkAllowed(location: Location): void {
    if (location.kind === "registry" && this.isRefused(location.reference.host)) throw refusal(location.reference.host);
  }
}

/** The same text for the same repository, directory or file. */
export function keyOfPlace(location: Location): string {
  if (location.kind !== "registry") return `file ${resolve(location.path)}`;
  const { host, repository } = location.reference;
  return `repository ${formatReference({ host, repository })}`;
}

function refusal(host: string): OciError {
  return new OciError("DENIED", `${host} is not asked: this run is offline`, {
    hint: "Only what the layout at the target has can be had; --allow-host names a registry that may be asked all the same.",
  });
}
