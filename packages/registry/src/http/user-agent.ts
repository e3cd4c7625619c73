import type { Environment } from "./proxy.js";

/**
 * The value of a User-Agent header: the version, and where `environment` is that of a step in GitHub Actions the repository and the
 * workflow, so that a registry can tell who pulls.
 */
export function userAgent(version: string, environment: Environment): string {
  const { GITHUB_ACTIONS, GITHUB_REPOSITORY, GITHUB_WORKFLOW } = environment;
  if (GITHUB_ACTIONS !== "true") return `stowage/${version}`;
  // It becomes a comment in a header: nothing in it may end the line or the comment.
  const parts = [GITHUB_REPOSITORY, GITHUB_WORKFLOW].map((part) =>
    (part ?? "").replace(/[^\x20-\x7e]|[()\\;]/g, "_").slice(0, 200),
  );
  return `stowage/${version} (${["GitHub Actions", ...parts.filter((part) => part !== "")].join("; ")})`;
}
