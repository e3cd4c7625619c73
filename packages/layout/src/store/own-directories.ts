import { lstat, readdir } from "node:fs/promises";
import { join } from "node:path";
import { OciError, systemError, systemErrorCode } from "../model/errors.js";
import { COMPRESSED_LAYERS } from "./compressed-layers.js";

/**
 * Fails with `DENIED` where a directory of the layout in `root` is a symbolic link or no directory: `blobs`, one for an
 * algorithm in it, `ingest`, or `.stowage-layers`. Through such a link another place would be read as content, or written to. `root` itself may
 * have been reached through links. What is not there is no failure.
 */
export async function checkOwnDirectories(root: string): Promise<void> {
  const blobs = join(root, "blobs");
  await checkDirectory(join(root, "ingest"));
  await checkDirectory(join(root, COMPRESSED_LAYERS));
  if (!(await checkDirectory(blobs))) return;
  try {
    for (const entry of await readdir(blobs, { withFileTypes: true })) {
      if (entry.isSymbolicLink()) throw refused(join(blobs, entry.name), "a symbolic link");
    }
  } catch (error) {
    throw systemError(error, `cannot read ${blobs}`);
  }
}

/** False where it is not there. */
async function checkDirectory(path: string): Promise<boolean> {
  try {
    const found = await lstat(path);
    if (found.isDirectory()) return true;
    throw refused(path, found.isSymbolicLink() ? "a symbolic link" : "no directory");
  } catch (error) {
    if (systemErrorCode(error) === "ENOENT") return false;
    throw systemError(error, `cannot read ${path}`);
  }
}

function refused(path: string, what: string): OciError {
  return new OciError("DENIED", `${path} is ${what}; a layout keeps its content in directories of its own`, {
    hint: "The directory of the layout itself may be a symbolic link.",
  });
}

/** The files in a layout directory by their paths from its root, and the directories in which no layout keeps anything. */
export async function namesOfFiles(root: string): Promise<string[]> {
  const below = async (parts: readonly string[]): Promise<string[]> => {
    const found: string[] = [];
    for (const entry of await readdir(join(root, ...parts), { withFileTypes: true })) {
      const path = [...parts, entry.name];
      const holdsBlobs = entry.isDirectory() && path[0] === "blobs" && path.length <= 2;
      // Not spread: a layout may have more files than a call takes arguments.
      if (holdsBlobs) for (const name of await below(path)) found.push(name);
      else found.push(path.join("/"));
    }
    return found;
  };
  return (await below([])).sort();
}
