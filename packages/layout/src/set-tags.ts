import type { Abortable, Target } from "./content.js";
import type { Descriptor } from "./model/descriptor.js";
import { type Digest, digestAlgorithm, digestOf } from "./model/digest.js";
import { type ErrorCode, isOciError, OciError } from "./model/errors.js";
import { readBytes } from "./model/verified.js";
import { refName } from "./store/index-json.js";
import { IndexedTarget } from "./store/indexed-target.js";

/** What becomes of a tag. */
export interface TagChange {
  readonly tag: string;
  readonly change: "created" | "moved" | "unchanged";
  /** What it stood for before. */
  readonly before?: Digest;
}

/** The options of {@link Tags}. */
export interface TagsOptions extends Abortable {
  /** Fail with `CONFLICT` rather than let a tag stand for something else than before. Default: false. */
  readonly noClobber?: boolean | undefined;
  /**
   * Fail with `CONFLICT` where a tag stands for something else than this when it is set. A registry may let somebody else in
   * between the look and the change. Default: anything or nothing.
   */
  readonly expected?: Digest | undefined;
  /** What the tags stood for when somebody has just looked. Default: they are looked at. */
  readonly tagsBefore?: ReadonlyMap<string, Digest | undefined> | undefined;
}

/** How registries refuse to let a tag stand for something else. */
const REFUSALS: readonly ErrorCode[] = ["INVALID", "CONFLICT", "DENIED", "UNSUPPORTED"];

/** The tags that a root is to get at a target: looked at before anything is sent, and set when everything is there. */
export class Tags {
  readonly #target: Target;
  readonly #root: Descriptor;
  /** The root, and what a registry that knows only sha256 calls it. */
  readonly #digests: ReadonlySet<Digest>;
  readonly #options: TagsOptions;
  readonly #before: ReadonlyMap<string, Digest | undefined>;

  private constructor(
    target: Target,
    root: Descriptor,
    digests: ReadonlySet<Digest>,
    options: TagsOptions,
    before: ReadonlyMap<string, Digest | undefined>,
  ) {
    this.#target = target;
    this.#root = root;
    this.#digests = digests;
    this.#options = options;
    this.#before = before;
  }

  /** Looks at what the tags stand for. Fails with `CONFLICT` where one may not be moved and would be. */
  static async look(
    source: Pick<Target, "fetch">,
    target: Target,
    root: Descriptor,
    tags: readonly string[],
    options: TagsOptions = {},
  ): Promise<Tags> {
    const { tagsBefore: looks } = options;
    const before = await Promise.all(
      tags.map(
        async (tag) =>
          [tag, await (looks?.has(tag) === true ? looks.get(tag) : currentDigest(target, tag, options))] as const,
      ),
    );
    const digests = new Set([root.digest]);
    if (digestAlgorithm(root.digest) !== "sha256" && tags.length > 0)
      digests.add(digestOf(await readBytes(source, root, options)));
    const looked = new Tags(target, root, digests, options, new Map(before));
    for (const tag of tags) looked.#checkClobber(tag, looked.#before.get(tag));
    return looked;
  }

  /** True if one of the tags stood for the root when it was looked at. */
  get found(): boolean {
    return [...this.#before.values()].some((digest) => digest !== undefined && this.#digests.has(digest));
  }

  /** What {@link set} would do now. */
  foresee(tag: string): TagChange {
    return this.#changeOf(tag, this.#before.get(tag));
  }

  /**
   * Lets a tag stand for the root, which is present. A tag that does so already is left alone. Fails with `CONFLICT`, naming
   * both digests, where the target does not let it be moved, or it may not be.
   */
  async set(tag: string): Promise<TagChange> {
    const change = this.foresee(tag);
    // A layout looks again while it holds its lock.
    if (change.change === "unchanged" && !(this.#target instanceof IndexedTarget)) return change;
    if (this.#options.noClobber === true)
      this.#checkClobber(tag, await currentDigest(this.#target, tag, this.#options));
    if (this.#options.expected !== undefined && !(this.#target instanceof IndexedTarget)) {
      const current = await currentDigest(this.#target, tag, this.#options);
      if (current !== this.#options.expected) throw this.#conflict(tag, current as Digest, "somebody has changed it");
    }
    try {
      await this.#target.tag(tag, this.#root, this.#options);
    } catch (error) {
      if (!isOciError(error) || !REFUSALS.includes(error.code)) throw error;
      const current = await currentDigest(this.#target, tag, this.#options).catch(() => undefined);
      if (current === undefined) throw error;
      if (this.#digests.has(current)) return { tag, change: "unchanged", before: current };
      if (this.#options.expected !== undefined) throw error;
      throw this.#conflict(tag, current, `the registry keeps it so: ${error.message}`, error);
    }
    return change;
  }

  #changeOf(tag: string, before: Digest | undefined): TagChange {
    if (before === undefined) return { tag, change: "created" };
    return { tag, change: this.#digests.has(before) ? "unchanged" : "moved", before };
  }

  #checkClobber(tag: string, current: Digest | undefined): void {
    if (this.#options.noClobber !== true || current === undefined || this.#digests.has(current)) return;
    throw this.#conflict(tag, current, "tags are not to be moved");
  }

  #conflict(tag: string, current: Digest, why: string, cause?: unknown): OciError {
    return new OciError(
      "CONFLICT",
      `the tag ${tag} in ${this.#target.name} stands for ${current}, not for ${this.#root.digest}; ${why}`,
      { hint: "Choose another tag, or delete that one first.", ...(cause === undefined ? {} : { cause }) },
    );
  }
}

/** What a tag stands for; undefined where it stands for nothing, or that cannot be told. */
async function currentDigest(target: Target, tag: string, options: TagsOptions): Promise<Digest | undefined> {
  // A layout finds v1 as the end of a longer name, too; to be set is exactly this name.
  if (target instanceof IndexedTarget)
    return (await target.index(options)).manifests.find((entry) => refName(entry) === tag)?.digest;
  try {
    return (await target.resolve(tag, options)).digest;
  } catch (error) {
    if (isOciError(error, "NOT_FOUND")) return undefined;
    // Some registries let nobody look into a repository that is not there yet.
    if (options.noClobber !== true && (isOciError(error, "DENIED") || isOciError(error, "UNAUTHORIZED")))
      return undefined;
    throw error;
  }
}
