import { realpathSync } from "node:fs";
import { dirname, isAbsolute, join, relative, resolve } from "node:path";
import { flag, InputError } from "./inputs.js";

/**
 * Gives the path back where it leads into the workspace or the runner's directory for temporary files, links followed. Fails with an
 * {@link InputError} for any other, unless the input `allow-outside` is true: a name that somebody else chose, such as a branch's, must not
 * lead a step out of its job.
 */
export function insidePath(input: string, path: string): string {
  const roots = [process.env.GITHUB_WORKSPACE || process.cwd(), process.env.RUNNER_TEMP]
    .filter((root) => root !== undefined && root !== "")
    .map((root) => actualPath(root as string));
  const allowed = flag("allow-outside", false);
  const actual = actualPath(path);
  if (allowed || roots.some((root) => isBelow(root, actual))) return path;
  throw new InputError(input, `${JSON.stringify(path)} lies outside the workspace`, {
    // biome-ignore lint/suspicious/noTemplateCurlyInString: the words of a workflow.
    hint: "Write a path below ${{ github.workspace }} or ${{ runner.temp }}, or set allow-outside: true where that is meant.",
  });
}

/** The path without links in the part of it that exists. */
function actualPath(path: string): string {
  const whole = resolve(path);
  for (let at = whole; ; at = dirname(at)) {
    try {
      return join(realpathSync(at), relative(at, whole));
    } catch {
      if (dirname(at) === at) return whole;
    }
  }
}

function isBelow(root: string, path: string): boolean {
  const way = relative(root, path);
  return way === "" || (!way.startsWith("..") && !isAbsolute(way));
}
