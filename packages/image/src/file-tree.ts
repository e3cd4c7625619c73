import { readdirSync } from "node:fs";
import { resolve, sep } from "node:path";
import { setImmediate } from "node:timers/promises";
import { type Abortable, OciError, systemError, systemErrorCode } from "@stowage/layout";
import { compareBytewise } from "./bytewise-order.js";
import { readExtendedAttributes } from "./extended-attributes.js";
import { type FileNode, kindOf, nodeOf, readFile, withAttributes } from "./file-node.js";
import { Ignore } from "./ignore.js";
import type { LowerPaths } from "./lower-paths.js";
import {
  type FileMapping,
  join,
  type MappedAttributes,
  type Placement,
  parseMapping,
  placementsOf,
  within,
} from "./mapping.js";
import type { TarEntry } from "./tar.js";

/** The options of {@link fileTree}. */
export interface FileTreeOptions extends Abortable {
  /** The context: what sources and ignore patterns are relative to. Default: the working directory of the process. */
  readonly cwd?: string | undefined;
  /** Patterns of what is left out, with the meaning of a `.dockerignore` file. */
  readonly ignore?: readonly string[] | undefined;
  /** Seconds since 1970 that every entry gets as its time. Default: 0. */
  readonly mtime?: number | undefined;
  /** The owner of every entry. Default: 0. */
  readonly uid?: number | undefined;
  /** The group of every entry. Default: 0. */
  readonly gid?: number | undefined;
  /**
   * `normal`, the default: a file that anybody may execute gets 0755, any other 0644, a directory 0755, so that neither a
   * umask nor a checkout changes the digest. `exact`: the permission bits on disk, setuid, setgid and sticky among them.
   * Windows has no such bits: there files are 0644. A symbolic link is always 0777.
   */
  readonly modes?: "normal" | "exact" | undefined;
  /** Keep extended attributes, but those that a system gives its files itself. Default: false. */
  readonly xattrs?: boolean | undefined;
  /**
   * What the layers below have. A directory that is there keeps its mode and owner, except a mapped one with `exact` modes;
   * a link to a directory stays and what would go into it goes to where it points. Default: nothing is below.
   */
  readonly below?: LowerPaths | undefined;
}

/** So many files are looked at before others of the program get a turn. */
const AT_ONCE = 256;

/**
 * The entries of a layer that holds the mapped files, in bytewise order of their names, with every parent directory
 * exactly once. Symbolic links are kept and not followed. Files of several names (hard links) among the mapped ones are
 * written once, under the first of these names, unless their mappings want them to differ. Holes of a sparse file are written as zeros.
 *
 * Fails with `NOT_FOUND` where a source is missing, with `CONFLICT` where two sources claim one name or a file would
 * take the place of a directory below, with `UNSUPPORTED` for a
 * socket, a device or a FIFO, and where extended attributes cannot be read, and with `INVALID` for a name that is not UTF-8 or that starts with `.wh.`, which would delete
 * files (image-spec v1.1.1, layer.md "Whiteouts").
 */
export async function fileTree(
  mappings: readonly (string | FileMapping)[],
  options: FileTreeOptions = {},
): Promise<readonly TarEntry[]> {
  const cwd = resolve(options.cwd ?? ".");
  const tree = new Tree(new Ignore(options.ignore ?? []), options);
  for (const text of mappings) {
    const mapping = typeof text === "string" ? parseMapping(text) : text;
    for (const placement of await placementsOf(mapping, cwd, kindOf)) await tree.add(placement, mapping);
  }
  if (options.below !== undefined) tree.settle(options.below);
  if (options.xattrs === true) await tree.readExtendedAttributes();
  return tree.entries();
}

class Tree {
  readonly #nodes = new Map<string, FileNode>();
  /** By the path on the disk. */
  #xattrs: ReadonlyMap<string, ReadonlyMap<string, Uint8Array>> = new Map();
  readonly #ignore: Ignore;
  readonly #options: FileTreeOptions;

  constructor(ignore: Ignore, options: FileTreeOptions) {
    this.#ignore = ignore;
    this.#options = options;
  }

  /** Adds what is at the path, and all beneath it. A loop over a list of its own: no directory is too deep. */
  async add(start: Placement, attributes: MappedAttributes): Promise<void> {
    const waiting: Placement[] = [start];
    for (let at = 0; at < waiting.length; at++) {
      if (at % AT_ONCE === 0) await setImmediate();
      this.#options.signal?.throwIfAborted();
      const placement = waiting[at] as Placement;
      const { node, children } = this.#look(placement);
      if (node !== undefined && placement.to !== "") this.#put(placement.to, withAttributes(node, attributes));
      for (const name of children)
        waiting.push({
          path: placement.path.endsWith(sep) ? placement.path + name : placement.path + sep + name,
          to: join(placement.to, name),
          context: placement.context,
        });
    }
  }

  #look(placement: Placement): { node: FileNode | undefined; children: readonly string[] } {
    const ignored = this.#ignore.ignores(within(placement.context, placement.path) ?? "");
    if (ignored && !this.#ignore.hasExceptions) return { node: undefined, children: [] };
    try {
      const node = nodeOf(placement.path, this.#options.modes ?? "normal");
      const children = node.type === "directory" ? readdirSync(placement.path) : [];
      return { node: ignored ? undefined : node, children };
    } catch (error) {
      if (systemErrorCode(error) === "ENOENT" && placement.path.includes("\ufffd")) {
        throw new OciError("INVALID", `cannot put ${placement.path} into a layer: its name is not UTF-8`, {
          cause: error,
        });
      }
      throw systemError(error, `cannot read ${placement.path}`);
    }
  }

  #put(name: string, node: FileNode): void {
    if (name.slice(name.lastIndexOf("/") + 1).startsWith(".wh.")) {
      throw new OciError(
        "INVALID",
        `cannot put ${node.path} into a layer: a name that starts with .wh. deletes files of the layers below`,
      );
    }
    for (let slash = name.indexOf("/"); slash >= 0; slash = name.indexOf("/", slash + 1)) {
      const parent = name.slice(0, slash);
      const known = this.#nodes.get(parent);
      if (known === undefined) this.#nodes.set(parent, { type: "directory", path: undefined, mode: 0o755, size: 0 });
      else if (known.type !== "directory") throw conflict(parent, known, node);
    }
    const known = this.#nodes.get(name);
    if (known !== undefined && known.path !== node.path && !(known.type === "directory" && node.type === "directory")) {
      throw conflict(name, known, node);
    }
    if (known?.asked === true && node.asked === true && !hasSameAttributes(known, node))
      throw new OciError("CONFLICT", `${node.path} is to go to /${name} with two modes or owners`);
    if (known?.path === undefined || (known.asked !== true && node.asked === true)) this.#nodes.set(name, node);
  }

  async readExtendedAttributes(): Promise<void> {
    const paths = [...this.#nodes.values()].map(({ path }) => path).filter((path) => path !== undefined);
    this.#xattrs = await readExtendedAttributes([...new Set(paths)], this.#options);
  }

  /** Fits the names and directories to what is below. */
  settle(below: LowerPaths): void {
    const nodes = [...this.#nodes].sort(([one], [other]) => compareBytewise(one, other));
    this.#nodes.clear();
    const renamed = new Map<string, string>([["", ""]]);
    for (const [name, node] of nodes) {
      const slash = name.lastIndexOf("/");
      const own = join(renamed.get(name.slice(0, Math.max(slash, 0))) as string, name.slice(slash + 1));
      const isLink = node.type === "directory" && below.get(own)?.type === "symlink";
      const settled = (isLink ? below.followToDirectory(own) : undefined) ?? own;
      renamed.set(name, settled);
      if (settled !== "") this.#put(settled, node);
      if (node.type !== "directory" && below.get(settled)?.type === "directory") {
        throw new OciError(
          "CONFLICT",
          `${node.path} would take the place of the directory /${settled} of a layer below`,
          {
            hint: `Write /${settled}/ to put it into that directory.`,
          },
        );
      }
    }
    for (const [name, node] of this.#nodes) {
      const found = below.get(name);
      if (node.type !== "directory" || found?.type !== "directory") continue;
      if (node.path !== undefined && this.#options.modes === "exact") continue;
      this.#nodes.set(name, { ...node, mode: found.mode, owner: { uid: found.uid, gid: found.gid } });
    }
  }

  entries(): readonly TarEntry[] {
    const { uid = 0, gid = 0, mtime = 0 } = this.#options;
    const named = [...this.#nodes].map(([name, node]) => ({
      name: node.type === "directory" ? `${name}/` : name,
      node,
    }));
    named.sort((one, other) => compareBytewise(one.name, other.name));
    const first = new Map<string, { name: string; node: FileNode }>();
    return named.map(({ name, node }): TarEntry => {
      const owner = node.owner ?? {};
      // Filled in one by one: objects that are spread into others take several times as long.
      const entry: { -readonly [Key in keyof TarEntry]: TarEntry[Key] } = {
        name,
        type: node.type,
        mode: node.mode,
        uid: owner.uid ?? uid,
        gid: owner.gid ?? gid,
        mtime,
        size: 0,
      };
      const xattrs = this.#xattrs.get(node.path ?? "");
      if (xattrs !== undefined) entry.xattrs = xattrs;
      if (node.linkname !== undefined) entry.linkname = node.linkname;
      if (node.type !== "file") return entry;
      const other = node.inode === undefined ? undefined : first.get(node.inode);
      // The same path mapped to two names is two copies, also where the file happens to have more names elsewhere.
      if (other !== undefined && other.node.path !== node.path && hasSameAttributes(other.node, node))
        return { ...entry, type: "hardlink", linkname: other.name };
      if (node.inode !== undefined) first.set(node.inode, { name, node });
      entry.size = node.size;
      entry.open = () => readFile(node.path as string, node.size);
      return entry;
    });
  }
}

function hasSameAttributes(one: FileNode, other: FileNode): boolean {
  return one.mode === other.mode && one.owner?.uid === other.owner?.uid && one.owner?.gid === other.owner?.gid;
}

function conflict(name: string, one: FileNode, other: FileNode): OciError {
  return new OciError("CONFLICT", `${one.path ?? "a parent directory"} and ${other.path} both go to /${name}`, {
    hint: "Put them into different layers, or leave one out.",
  });
}
