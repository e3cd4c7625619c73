import {
  type Abortable,
  type ArchiveOptions,
  ArchiveSource,
  ArchiveTarget,
  Layout,
  type LayoutOptions,
  type Location,
  OciError,
  type RegistryLocation,
  type Source,
  type Target,
} from "@stowage/layout";
import { RegistryClient } from "./client.js";
import type { Repository } from "./repository.js";

/** The options of {@link openSource} and {@link openTarget}. */
export interface OpenOptions extends Abortable {
  /** What talks to registries. Two locations opened with the same client share connections and tokens, and content can be mounted between them. Default: a new one. */
  readonly client?: RegistryClient | undefined;
  /** A target has to be there already. Default: false; a layout is made where there is none. */
  readonly mustExist?: boolean | undefined;
  /** How an archive at a path is stored. Default: as a tar that is not compressed. */
  readonly archive?: ((path: string) => Pick<ArchiveOptions, "container" | "compress">) | undefined;
  /** How layouts are opened. */
  readonly layout?: LayoutOptions | undefined;
}

/** A source that is open. */
export interface OpenedSource {
  readonly source: Source;
  close(): Promise<void>;
}

/** A target that is open. An archive is complete only when `close` has returned. */
export interface OpenedTarget {
  readonly target: Target;
  close(): Promise<void>;
  /** Gives up. An archive that is not complete leaves nothing behind; elsewhere what was stored stays. */
  discard(): Promise<void>;
}

/** Opens what a location names, for reading. Nothing is sent to a registry yet. Fails with `NOT_FOUND` and `INVALID` as the kind of location does. */
export async function openSource(location: Location, options: OpenOptions = {}): Promise<OpenedSource> {
  switch (location.kind) {
    case "registry":
      return openRegistry(location, options, (source, close) => ({ source, close }));
    case "layout":
      return { source: await Layout.open(location.path, options.layout), close: nothing };
    case "oci-archive":
    case "docker-archive": {
      const source = await ArchiveSource.open(location.path, options);
      return { source, close: () => source.close() };
    }
  }
}

/** Opens what a location names, for writing and reading; a layout is made where there is none, unless it must exist. */
export async function openTarget(location: Location, options: OpenOptions = {}): Promise<OpenedTarget> {
  switch (location.kind) {
    case "registry":
      return openRegistry(location, options, (target, close) => ({ target, close, discard: close }));
    case "layout": {
      const target = await (options.mustExist === true
        ? Layout.open(location.path, options.layout)
        : Layout.create(location.path, options.layout));
      return { target, close: nothing, discard: nothing };
    }
    case "oci-archive":
    case "docker-archive": {
      if (options.mustExist === true)
        throw new OciError(
          "UNSUPPORTED",
          `cannot change the archive ${location.path}: it can only be written as a whole`,
        );
      const target = await ArchiveTarget.create(location.path, {
        ...options.archive?.(location.path),
        format: location.kind === "docker-archive" ? "hybrid" : "oci",
      });
      return { target, close: () => target.close(), discard: () => target.discard() };
    }
  }
}

/** The repository of a location. A client that was made for it is closed with it. */
function openRegistry<T>(
  location: RegistryLocation,
  options: OpenOptions,
  opened: (repository: Repository, close: () => Promise<void>) => T,
): T {
  const { client } = options;
  if (client !== undefined) return opened(client.repository(location.reference), nothing);
  const own = new RegistryClient();
  return opened(own.repository(location.reference), () => own.close());
}

async function nothing(): Promise<void> {}
