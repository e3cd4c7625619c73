import { isOciError } from "@stowage/layout";
import { RegistryError } from "@stowage/registry";

/** What a job lacks, as the lines that its workflow needs. */
function permission(...lines: readonly string[]): string {
  return ["The job needs", "", "permissions:", "  contents: read", ...lines.map((line) => `  ${line}`)].join("\n");
}

/** GitHub's own registry takes the job's token only with this. */
const PACKAGES_WRITE = [
  permission("packages: write"),
  "",
  "and the package, where it exists already, must grant write access to this repository. Pull requests from forks get a token that can only read.",
].join("\n");

const PACKAGES_READ = [
  permission("packages: read"),
  "",
  "and the package must grant read access to this repository. Log in with docker/login-action, or with the inputs username and password.",
].join("\n");

/** Registries whose own login actions exchange the job's OIDC token for an account. */
const CLOUD = /\.dkr\.ecr\.[a-z0-9-]+\.amazonaws\.com$|(?:^|\.)(?:pkg\.dev|gcr\.io)$|\.azurecr\.io$/;
const ID_TOKEN = [
  permission("id-token: write"),
  "",
  "where it logs in without a stored password: with aws-actions/amazon-ecr-login, google-github-actions/auth or azure/login before this step.",
].join("\n");

/** What the user of an action can do about an error, in the words of a workflow. Undefined where there is nothing to say. */
export function adviceFor(error: unknown, action: string): string | undefined {
  const answer = registryErrorOf(error);
  const lines = answer === undefined ? undefined : missingPermission(answer, action);
  if (lines !== undefined) return lines;
  return isOciError(error) && error.hint !== undefined ? inWorkflowWords(error.hint) : undefined;
}

function missingPermission({ code, url, method }: RegistryError, action: string): string | undefined {
  const { hostname, search } = new URL(url);
  if (hostname === "ghcr.io" && code === "DENIED") {
    // A token to push with is asked for with GET, and publishing looks for what is there first.
    const writes = action === "publish" || !["GET", "HEAD"].includes(method) || search.includes("push");
    return writes ? PACKAGES_WRITE : PACKAGES_READ;
  }
  const hasToken = process.env.ACTIONS_ID_TOKEN_REQUEST_URL !== undefined;
  return CLOUD.test(hostname) && (code === "UNAUTHORIZED" || code === "DENIED") && !hasToken ? ID_TOKEN : undefined;
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
    .replace(/\bstowage sync \S.* --update\b/g, "this step with update: true")
    .replace(/--update\b/g, "update: true")
    .replace(/(?:stowage|docker) login(?: [^\s,;]*[^\s,;.])?/g, "docker/login-action")
    .replace(/--(?=[a-z])/g, "");
}
