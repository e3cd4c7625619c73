import { isOciError } from "@stowage/layout";
import { RegistryError } from "@stowage/registry";

/** GitHub's own registry takes the job's token only with this. */
const PACKAGES_WRITE = [
  "The job needs",
  "",
  "permissions:",
  "  contents: read",
  "  packages: write",
  "",
  "and the package, where it exists already, must grant write access to this repository. Pull requests from forks get a token that can only read.",
].join("\n");

/** What the user of an action can do about an error, in the words of a workflow. Undefined where there is nothing to say. */
export function adviceFor(error: unknown): string | undefined {
  const answer = registryErrorOf(error);
  if (answer?.code === "DENIED" && new URL(answer.url).hostname === "ghcr.io") return PACKAGES_WRITE;
  return isOciError(error) && error.hint !== undefined ? inWorkflowWords(error.hint) : undefined;
}

/** The answer of a registry beneath an error. */
function registryErrorOf(error: unknown): RegistryError | undefined {
  for (let at = error, depth = 0; at instanceof Error && depth < 10; at = at.cause, depth++) {
    if (at instanceof RegistryError) return at;
  }
  return undefined;
}

/** Hints name the options and commands of the command line; here an option is an input, and another action logs in. */
function inWorkflowWords(hint: string): string {
  return hint
    .replace(/(?:stowage|docker) login(?: [^\s,;]*[^\s,;.])?/g, "docker/login-action")
    .replace(/--(?=[a-z])/g, "");
}
