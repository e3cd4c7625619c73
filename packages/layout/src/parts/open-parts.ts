import { readdir, stat } from "node:fs/promises";
import { join } from "node:path";
import type { ArchiveFiles } from "../archive/archive-files.js";
import { openArchiveFiles, openDamagedFiles } from "../archive/open-files.js";
import type { Abortable } from "../content.js";
import { OciError, systemError } from "../model/errors.js";
import { compareText } from "../store/index-json.js";
import { type OpenedPart, readPart } from "./opened-part.js";
import { PartFiles } from "./part-files.js";
import { MAXIMUM_PARTS, PART_FILE } from "./part-list.js";
import { parsePartName } from "./part-names.js";

/**
 * Opens an archive in one file, or one that was cut into parts: named by one of them, by the directory they are in, or by all of
 * them. What is missing or damaged of parts shows when it is read. Fails as {@link openArchiveFiles} and {@link PartFiles.of} do.
 */
export async function openArchive(path: string | readonly string[], options: Abortable = {}): Promise<ArchiveFiles> {
  if (typeof path !== "string") return path.length === 1 ? openArchive(path[0] as string, options) : openParts(path);
  if (path === "-") return openArchiveFiles(path, options);
  if (await isDirectory(path)) return openParts(await partsIn(path), path);
  const parts = parsePartName(path) === undefined || !(await isFile(path)) ? undefined : await openNamedParts(path);
  if (parts !== undefined) return parts;
  const files = await openArchiveFiles(path, options);
  if (files.size(PART_FILE) === undefined) return files;
  await files.close();
  return openParts([path], path);
}

/** Opens files as parts of one archive. */
async function openParts(paths: readonly string[], where = paths.join(", ")): Promise<PartFiles> {
  const parts = await readParts(paths, where);
  try {
    return PartFiles.of(parts, where);
  } catch (error) {
    await closeParts(parts);
    throw error;
  }
}

/** As {@link openParts}, for a file that is a part only by its name. Undefined where neither it nor one beside it is one. */
async function openNamedParts(path: string): Promise<PartFiles | undefined> {
  const siblings = await siblingsOf(path);
  const parts = await readParts(siblings.includes(path) ? siblings : [path, ...siblings], path);
  try {
    const isPart = parts.some(({ part, list }) => part !== undefined || list !== undefined);
    if (isPart) return PartFiles.of(parts, path);
  } catch (error) {
    await closeParts(parts);
    throw error;
  }
  await closeParts(parts);
  return undefined;
}

async function readParts(paths: readonly string[], where: string): Promise<readonly OpenedPart[]> {
  if (paths.length > MAXIMUM_PARTS)
    throw new OciError("LIMIT", `${where} has ${paths.length} parts; ${MAXIMUM_PARTS} are allowed`);
  const parts: OpenedPart[] = [];
  try {
    for (const path of paths) {
      const { files, problem } = await openDamagedFiles(path);
      parts.push(await readPart(path, files, problem));
    }
  } catch (error) {
    await closeParts(parts);
    throw error;
  }
  return parts;
}

async function closeParts(parts: readonly OpenedPart[]): Promise<void> {
  for (const { files } of parts) await files?.close();
}

/** The parts in a directory, in the order of their names. Other archives may lie beside them. */
async function partsIn(directory: string): Promise<readonly string[]> {
  const names = (await filesIn(directory)).filter((name) => parsePartName(name) !== undefined);
  if (names.length === 0)
    throw new OciError("NOT_FOUND", `${directory} holds no parts of an archive`, {
      hint: "Parts are called like images.part-1-of-3.tar. For a layout directory write oci:DIR.",
    });
  return names.map((name) => join(directory, name));
}

/** The parts of the same archive that lie beside one of them. */
async function siblingsOf(path: string): Promise<readonly string[]> {
  const name = parsePartName(path);
  if (name === undefined) return [];
  const paths = Array.from({ length: name.count }, (_, at) => name.other(at + 1));
  const found: string[] = [];
  for (const one of paths) if (await isFile(one)) found.push(one);
  return found;
}

async function filesIn(directory: string): Promise<readonly string[]> {
  try {
    const entries = await readdir(directory, { withFileTypes: true });
    return entries
      .filter((entry) => !entry.isDirectory())
      .map(({ name }) => name)
      .sort(compareText);
  } catch (error) {
    throw systemError(error, `cannot read ${directory}`);
  }
}

async function isDirectory(path: string): Promise<boolean> {
  return stat(path).then(
    (found) => found.isDirectory(),
    () => false,
  );
}

async function isFile(path: string): Promise<boolean> {
  return stat(path).then(
    (found) => found.isFile(),
    () => false,
  );
}
