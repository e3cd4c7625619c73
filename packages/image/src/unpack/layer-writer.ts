import { type Abortable, OciError, systemError, systemErrorCode, type TarReadHeader } from "@stowage/layout";
import { entryParts, entryPath, isNested, quoted } from "../entry-path.js";
import type { TarReadEntry } from "../tar-reader.js";
import { FileWriter, type FileWriterOptions, type Written } from "./file-writer.js";
import { join, type Keeping, type OpenDirectory, RootDirectory, release, statusOf } from "./root-directory.js";
import { isSpecial } from "./special-files.js";

/** The options of {@link LayerWriter}. */
export interface LayerWriterOptions extends FileWriterOptions, Abortable {
  /** The most entries in all layers together. Default: 4 million. */
  readonly entries?: number | undefined;
  /** Let the last of several entries of one name in one layer win. Default: fail. */
  readonly allowDuplicates?: boolean | undefined;
}

/** What the layer at hand made of a path. */
type Mark = "entry" | "directory" | "implied";

/** The default of {@link LayerWriterOptions.entries}. */
export const MAXIMUM_ENTRIES = 4_000_000;

/**
 * Puts layers one onto the other into a directory. image-spec v1.1.1, layer.md "Applying Changesets":
 *
 * - What a layer names replaces what is there, but a directory over a directory only replaces its attributes.
 * - Whiteouts take away what the layers below left, wherever they stand in their layer.
 * - A parent that no layer names is made with mode 0755, owner 0:0 and time 0; one that is there stays as it is.
 * - Directories get their modes and times at the very end, so that what is put into them changes neither.
 *
 * An entry that leads out of the directory fails with `INVALID` before anything is written for it.
 */
export class LayerWriter {
  readonly #directory: string;
  readonly #root: RootDirectory;
  readonly #files: FileWriter;
  readonly #options: LayerWriterOptions;
  readonly #keeping: Keeping;
  #marks = new Map<string, Mark>();
  #what = "the image";
  #count = 0;

  constructor(directory: string, options: LayerWriterOptions) {
    this.#directory = directory;
    this.#root = new RootDirectory(directory);
    this.#files = new FileWriter(this.#root, options);
    this.#options = options;
    this.#keeping = {
      has: (path) => this.#marks.has(path),
      // The directory was below, and all that is left of it is what this layer put into it.
      kept: (path) => {
        if (!this.#marks.has(path)) this.#imply(path);
      },
    };
  }

  /** What was written so far. */
  get written(): Written {
    return this.#files.written;
  }

  /** Says that the directory is new: where no layer describes the root, it gets the attributes of an implied one. */
  begin(): void {
    this.#files.imply("", this.#what);
  }

  /** Applies a layer; `what` names it in messages. */
  async apply(entries: AsyncIterable<TarReadEntry>, what: string): Promise<void> {
    this.#marks = new Map();
    this.#what = what;
    const most = this.#options.entries ?? MAXIMUM_ENTRIES;
    for await (const entry of entries) {
      this.#options.signal?.throwIfAborted();
      if (++this.#count > most) throw new OciError("LIMIT", `${what}: there are more than ${most} entries up to here`);
      try {
        await this.#add(entry);
      } catch (error) {
        throw systemError(error, `${what}: cannot unpack ${quoted(entry.header.name)}`);
      }
    }
  }

  /** Gives directories their attributes, and files what waits for the end. */
  finish(): Promise<void> {
    return this.#files.finish(this.#directory, this.#what);
  }

  /** Removes all there is in the directory. */
  clear(): void {
    this.#root.removeInside(this.#root.root);
  }

  /** Nothing is held open afterwards. */
  close(): void {
    this.#root.close();
  }

  async #add({ header, body }: TarReadEntry): Promise<void> {
    const path = entryPath(header.name, this.#what);
    if (path.kind === "metadata") return;
    if (path.kind !== "path") return this.#takeAway(path.kind, path.parts);
    const name = path.parts.at(-1);
    if (name === undefined) return this.#describeRoot(header);
    // Opened first: no more than one directory can be entered at a time.
    const target = header.type === "hardlink" ? this.#findTarget(header) : undefined;
    try {
      const directory = this.#enter(path.parts.slice(0, -1));
      const at = join(directory.path, name);
      this.#checkDuplicate(at, header);
      if (header.type === "directory") this.#addDirectory(directory, name, header);
      else if (target !== undefined) this.#addHardlink(directory, name, header, target);
      else if (header.type === "symlink")
        this.#make(directory, name, header, () => this.#files.makeLink(directory, name, header, this.#what));
      else if (header.type === "file") {
        const fd = this.#make(directory, name, header, () => this.#files.makeFile(directory, name));
        await this.#files.fill(fd, at, header, body, this.#what);
      } else this.#addSpecial(directory, name, header);
      this.#marks.set(at, header.type === "directory" ? "directory" : "entry");
    } finally {
      if (target !== undefined) release(target.directory);
    }
  }

  #describeRoot(header: TarReadHeader): void {
    if (header.type !== "directory") throw this.#refused(header, `makes the root of the image a ${header.type}`);
    this.#files.describe("", header, this.#what);
  }

  #addDirectory(directory: OpenDirectory, name: string, header: TarReadHeader): void {
    try {
      this.#files.makeDirectory(directory, name);
    } catch (error) {
      if (systemErrorCode(error) !== "EEXIST") throw error;
      if (statusOf(directory, name)?.isDirectory() !== true) {
        this.#clearWay(directory, name, header);
        this.#files.makeDirectory(directory, name);
      }
    }
    this.#files.describe(join(directory.path, name), header, this.#what);
  }

  #addHardlink(
    directory: OpenDirectory,
    name: string,
    header: TarReadHeader,
    target: { readonly directory: OpenDirectory; readonly name: string },
  ): void {
    const to = join(target.directory.path, target.name);
    if (isNested(to, join(directory.path, name)))
      throw this.#refused(header, "is a hard link to what it takes the place of");
    this.#make(directory, name, header, () => this.#files.makeHardlink(directory, name, target));
  }

  #addSpecial(directory: OpenDirectory, name: string, header: TarReadHeader): void {
    if (!isSpecial(header)) throw this.#refused(header, "is of a kind that is not known");
    const choice = this.#options.specialFiles ?? "refuse";
    if (choice === "refuse")
      throw this.#refused(header, `is a ${header.type}`, "--special-files skip leaves devices and FIFOs out.");
    this.#clearWay(directory, name, header);
    if (choice === "create") this.#files.makeSpecial(directory, name, header, this.#what);
    else this.#files.written.skipped.push(`/${join(directory.path, name)}`);
  }

  /** Makes something; where something else has the name, that goes first. */
  #make<T>(directory: OpenDirectory, name: string, header: TarReadHeader, make: () => T): T {
    try {
      return make();
    } catch (error) {
      if (systemErrorCode(error) !== "EEXIST") throw error;
      this.#clearWay(directory, name, header);
      return make();
    }
  }

  #clearWay(directory: OpenDirectory, name: string, header: TarReadHeader): void {
    if (this.#root.remove(directory, name, { has: this.#keeping.has }))
      throw this.#refused(header, "takes the place of a directory into which its own layer puts files");
  }

  /** The file that a hard link means. */
  #findTarget(header: TarReadHeader): { directory: OpenDirectory; name: string } {
    const parts = entryParts(header.linkname ?? "", this.#what);
    const name = parts.at(-1);
    const directory = name === undefined ? undefined : this.#root.enter(parts.slice(0, -1), { what: this.#what });
    const status = directory === undefined ? undefined : statusOf(directory, name as string);
    const to = quoted(header.linkname ?? "");
    if (status === undefined) throw this.#refused(header, `is a hard link to ${to}, which is not there`);
    if (!status.isFile() && !status.isSymbolicLink())
      throw this.#refused(header, `is a hard link to ${to}, which is no file`);
    return { directory: this.#root.keep(directory as OpenDirectory), name: name as string };
  }

  #takeAway(kind: "whiteout" | "opaque", parts: readonly string[]): void {
    const name = kind === "whiteout" ? parts.at(-1) : undefined;
    const parents = kind === "whiteout" ? parts.slice(0, -1) : parts;
    const directory = this.#root.enter(parents, { what: this.#what });
    if (directory === undefined) return;
    this.#files.touch(directory);
    if (name === undefined) this.#root.removeInside(directory, this.#keeping);
    else this.#root.remove(directory, name, this.#keeping);
  }

  /** Opens the directory to put an entry into, and makes those that are missing on the way. */
  #enter(parts: readonly string[]): OpenDirectory {
    const directory = this.#root.enter(parts, {
      what: this.#what,
      made: (path) => this.#imply(path),
      mayReplace: (path) => !this.#marks.has(path),
    }) as OpenDirectory;
    this.#files.touch(directory);
    return directory;
  }

  #imply(path: string): void {
    this.#files.imply(path, this.#what);
    this.#marks.set(path, "implied");
  }

  #checkDuplicate(at: string, header: TarReadHeader): void {
    const mark = this.#marks.get(at);
    if (mark === undefined || (mark !== "entry" && header.type === "directory")) return;
    if (this.#options.allowDuplicates !== true)
      throw this.#refused(
        header,
        "stands in it twice",
        "--allow-duplicates lets the last of them win, as other tools do.",
      );
    this.#marks.delete(at);
  }

  #refused(header: TarReadHeader, problem: string, hint?: string): OciError {
    return new OciError("INVALID", `${this.#what}: ${quoted(header.name)} ${problem}`, { hint });
  }
}
