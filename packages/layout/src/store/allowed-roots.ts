import { lstat, realpath } from "node:fs/promises";
import { sep } from "node:path";
import { OciError, systemError, systemErrorCode } from "../model/errors.js";

/**
 * Where a blob may really lie. A blob that is a symbolic link is refused, unless the file it leads to in the end lies
 * below one of the directories that the user has named.
 */
export class AllowedRoots {
  readonly #roots: readonly string[];

  constructor(roots: readonly string[] = []) {
    this.#roots = roots;
  }

  /**
   * The path of the file to open, itself no link: `path`, or where it is a link that may be followed, what that leads to.
   * Fails with `DENIED` where it leads out of the directories that were named.
   */
  async follow(path: string): Promise<string> {
    if (this.#roots.length === 0 || !(await isLink(path))) return path;
    let target: string;
    try {
      target = await realpath(path);
    } catch (error) {
      // To nowhere: opening it says so.
      if (["ENOENT", "ENOTDIR"].includes(systemErrorCode(error) ?? ""))
        throw new OciError("NOT_FOUND", `${path} is a symbolic link to nothing`, { cause: error });
      throw systemError(error, `cannot read ${path}`);
    }
    for (const root of this.#roots) {
      const real = await realpath(root).catch(() => undefined);
      if (real !== undefined && target.startsWith(real.endsWith(sep) ? real : real + sep)) return target;
    }
    throw new OciError(
      "DENIED",
      `cannot read ${path}: it is a symbolic link to ${target}, outside ${this.#roots.join(", ")}`,
      { hint: "Name the directory that it leads to as one of the allowed roots, if you trust what is there." },
    );
  }
}

async function isLink(path: string): Promise<boolean> {
  return (await lstat(path).catch(() => undefined))?.isSymbolicLink() === true;
}
