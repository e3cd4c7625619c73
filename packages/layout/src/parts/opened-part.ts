import type { ArchiveFiles } from "../archive/archive-files.js";
import { readFile } from "../archive/docker-archive.js";
import type { Digest } from "../model/digest.js";
import { isOciError, OciError } from "../model/errors.js";
import {
  MAXIMUM_PART_LIST_SIZE,
  PART_FILE,
  PART_LIST_FILE,
  type Part,
  type PartList,
  parsePart,
  parsePartList,
  setOf,
} from "./part-list.js";
import { parsePartName } from "./part-names.js";

/** A file that is or may be a part, as far as it can be read. */
export interface OpenedPart {
  readonly path: string;
  /** Undefined where nothing in it can be read. */
  readonly files: ArchiveFiles | undefined;
  /** What it says of itself; undefined where that is damaged. */
  readonly part: Part | undefined;
  /** Its list; undefined where that is damaged. */
  readonly list: { readonly set: Digest; readonly read: PartList } | undefined;
  /** What is wrong with it, as far as opening it shows. */
  readonly problem: string | undefined;
  /** Which part it is: as it says, or else as its name says. Undefined, without a problem, where it is no part at all. */
  readonly number: number | undefined;
}

/** Reads what a part says of itself and of the others. What is damaged is told, and no failure. */
export async function readPart(
  path: string,
  files: ArchiveFiles | undefined,
  opening: OciError | undefined,
): Promise<OpenedPart> {
  let problem = opening?.message;
  const attempt = async <T>(read: (files: ArchiveFiles) => Promise<T>): Promise<T | undefined> => {
    if (files === undefined) return undefined;
    try {
      return await read(files);
    } catch (error) {
      // A set that is too large or too new is no damage.
      if (!isOciError(error) || error.code === "LIMIT" || error.code === "UNSUPPORTED") throw error;
      problem ??= error.message;
      return undefined;
    }
  };
  const named = parsePartName(path)?.number;
  // A file that says nothing of parts, not even by its name, and is whole, is none.
  if (named === undefined && problem === undefined && files?.size(PART_FILE) === undefined)
    return { path, files, part: undefined, list: undefined, problem, number: undefined };
  const part = await attempt(async (all) => parsePart(await readFile(all, PART_FILE, path), `${PART_FILE} in ${path}`));
  const list = await attempt(async (all) => {
    const bytes = await readFile(all, PART_LIST_FILE, path, MAXIMUM_PART_LIST_SIZE);
    const set = setOf(bytes);
    if (part !== undefined && part.set !== set)
      throw new OciError("MISMATCH", `${PART_LIST_FILE} in ${path} has the digest ${set}, not ${part.set}`);
    return { set, read: parsePartList(bytes, `${PART_LIST_FILE} in ${path}`) };
  });
  return { path, files, part, list, problem, number: part?.number ?? named };
}
