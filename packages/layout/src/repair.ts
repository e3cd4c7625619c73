import type { Abortable, Content, Source } from "./content.js";
import { type Descriptor, formatDescriptor } from "./model/descriptor.js";
import { isVerifiable } from "./model/digest.js";
import { isOciError, systemErrorCode } from "./model/errors.js";
import { isManifestType } from "./model/media-types.js";
import { contentOf, readBytes } from "./model/verified.js";
import { forEachParallel, PARALLEL_READS } from "./parallel.js";
import { refName } from "./store/index-json.js";
import type { Layout } from "./store/layout.js";
import { isExternal } from "./verify-content.js";
import { type GraphPath, type Node, walk, withRootNames } from "./walk.js";

/** The options of {@link repair}. */
export interface RepairOptions extends Abortable {
  /** Told the bytes of content as they are checked and stored. */
  readonly onBytes?: ((count: number) => void) | undefined;
}

/** Content that a repair put back. */
export interface RepairedContent {
  readonly descriptor: Descriptor;
  /** What it was before. */
  readonly was: "missing" | "corrupt";
  /** The name of the source it came from. */
  readonly from: string;
  readonly path: GraphPath;
}

/** Content that a repair could not have. */
export interface UnrepairedContent {
  readonly descriptor: Descriptor;
  readonly state: "missing" | "corrupt";
  readonly path: GraphPath;
  /** What each source said, in their order. */
  readonly errors: readonly string[];
}

/** What a repair did. */
export interface RepairReport {
  readonly layout: string;
  /** Pieces of content that were looked at, each digest once. */
  readonly checked: number;
  readonly repaired: readonly RepairedContent[];
  readonly unrepaired: readonly UnrepairedContent[];
}

/**
 * Reads everything the index leads to and fetches what is missing or damaged from the first source that has it, whole and
 * verified, in place of what was there. Afterwards every digest that is not among `unrepaired` has its content. The index
 * itself is not changed. Content that is to be found elsewhere by its `urls` is left out where it is missing.
 */
export async function repair(
  layout: Layout,
  sources: readonly Source[],
  options: RepairOptions = {},
): Promise<RepairReport> {
  const run = new Repair(layout, sources, options);
  await run.everything();
  return run.report();
}

class Repair {
  readonly #layout: Layout;
  readonly #sources: readonly Source[];
  readonly #options: RepairOptions;
  readonly #repaired: Omit<RepairedContent, "path">[] = [];
  readonly #failed = new Map<string, Omit<UnrepairedContent, "path">>();
  readonly #paths = new Map<string, GraphPath>();

  constructor(layout: Layout, sources: readonly Source[], options: RepairOptions) {
    this.#layout = layout;
    this.#sources = sources;
    this.#options = options;
  }

  async everything(): Promise<void> {
    const { manifests } = await this.#layout.index(this.#options);
    // Referrers are roots or stand in lists, which are roots: there is no need to search for them.
    const nodes = walk(this.#mending(), manifests, { ...this.#options, referrers: false });
    const names = new Map(manifests.map((entry) => [entry.digest, refName(entry) ?? entry.digest]));
    await forEachParallel(withRootNames(nodes, names), PARALLEL_READS, (node) => this.#node(node));
  }

  report(): RepairReport {
    const path = ({ digest }: Descriptor): GraphPath => this.#paths.get(digest) ?? [digest];
    return {
      layout: this.#layout.name,
      checked: this.#paths.size,
      repaired: this.#repaired.map((one) => ({ ...one, path: path(one.descriptor) })),
      unrepaired: [...this.#failed.values()].map((one) => ({ ...one, path: path(one.descriptor) })),
    };
  }

  async #node({ descriptor, path }: Node): Promise<void> {
    if (!this.#paths.has(descriptor.digest)) this.#paths.set(descriptor.digest, path);
    // A manifest has been read, and mended where that was possible, before the walk came here.
    if (!isManifestType(descriptor.mediaType) || descriptor.data !== undefined) await this.#mend(descriptor);
  }

  /** The layout as a source whose manifests are mended before they are read, so that a walk finds what is below them. */
  #mending(): Source {
    const mend = (descriptor: Descriptor): Promise<boolean> => this.#mend(descriptor);
    const layout = this.#layout;
    return {
      name: layout.name,
      resolve: (reference, options) => layout.resolve(reference, options),
      referrers: (subject, options) => layout.referrers(subject, options),
      tags: (options) => layout.tags(options),
      async *fetch(descriptor, options) {
        await mend(descriptor);
        yield* layout.fetch(descriptor, options);
      },
    };
  }

  /** Makes sure that the content is there and right. False where it cannot be had. */
  async #mend(descriptor: Descriptor): Promise<boolean> {
    if (!isVerifiable(descriptor.digest) || this.#failed.has(descriptor.digest)) return false;
    const state = await this.#stateOf(descriptor);
    if (state === "present") return true;
    if (state === "missing" && isExternal(descriptor)) return false;
    const errors: string[] = [];
    for (const source of this.#sources) {
      try {
        await this.#layout.restore(await this.#contentFrom(source, descriptor), { signal: this.#options.signal });
        this.#repaired.push({ descriptor, was: state, from: source.name });
        return true;
      } catch (error) {
        this.#options.signal?.throwIfAborted();
        // A full disk is not the fault of a source, and no other one helps.
        if (!isOciError(error) || ["ENOSPC", "EDQUOT"].includes(systemErrorCode(error.cause) ?? "")) throw error;
        errors.push(`${source.name}: ${error.message}`);
      }
    }
    this.#failed.set(descriptor.digest, { descriptor, state, errors });
    return false;
  }

  async #contentFrom(source: Source, descriptor: Descriptor): Promise<Content> {
    // A manifest is read first, so that a failure of the source is not taken for one of the disk.
    if (isManifestType(descriptor.mediaType)) {
      const { data: _data, ...plain } = descriptor;
      return contentOf(await readBytes(source, plain, { signal: this.#options.signal }), plain);
    }
    return { descriptor, open: () => source.fetch(descriptor, { signal: this.#options.signal }) };
  }

  async #stateOf(descriptor: Descriptor): Promise<"present" | "missing" | "corrupt"> {
    try {
      for await (const chunk of this.#layout.fetch(descriptor, this.#options))
        this.#options.onBytes?.(chunk.byteLength);
      return "present";
    } catch (error) {
      this.#options.signal?.throwIfAborted();
      if (isOciError(error, "NOT_FOUND")) return "missing";
      if (isOciError(error, "MISMATCH") || isOciError(error, "DENIED")) return "corrupt";
      throw error;
    }
  }
}

/** One line for a person about content that could not be had. */
export function formatUnrepaired({ descriptor, state, errors }: UnrepairedContent): string {
  const reasons = errors.length === 0 ? "no source was named" : errors.join("; ");
  return `${state}: ${formatDescriptor(descriptor)}: ${reasons}`;
}
