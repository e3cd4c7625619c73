import { type ErrorCode, isJsonObject, OciError, type OciErrorOptions, parseJson } from "@stowage/layout";
import { withoutSecrets } from "./auth/credentials.js";
import type { Answer } from "./http/answer.js";
import { parseRetryAfter } from "./http/retry-after.js";
import { redactUrl } from "./http/url.js";
import { printable } from "./http/warning.js";

/** One entry of a registry's error answer. distribution-spec v1.1.1, "Error Codes". */
export interface Diagnostic {
  readonly code: string;
  readonly message: string;
  readonly detail?: unknown;
}

/** What may accompany a {@link RegistryError}. */
export interface RegistryErrorOptions extends OciErrorOptions {
  readonly method: string;
  readonly url: URL;
  readonly status?: number | undefined;
  readonly diagnostics?: readonly Diagnostic[];
  readonly temporary?: boolean;
  readonly retryAfter?: number | undefined;
}

/** A failed request to a registry, its token server or wherever one of them redirected to. Holds no credential. */
export class RegistryError extends OciError {
  override readonly name: string = "RegistryError";
  /** The HTTP status, or undefined where no answer arrived. */
  readonly status: number | undefined;
  readonly method: string;
  /** The URL without user, password and the values of signed query parameters. */
  readonly url: string;
  /** What the registry said about it; empty where it said nothing that can be read. */
  readonly diagnostics: readonly Diagnostic[];
  /** True where the same request may succeed later: the connection was lost, 408, 429, 5xx. */
  readonly temporary: boolean;
  /** How long the registry asked to wait, in ms. */
  readonly retryAfter: number | undefined;

  constructor(code: ErrorCode, message: string, options: RegistryErrorOptions) {
    super(code, message, options);
    this.status = options.status;
    this.method = options.method;
    this.url = redactUrl(options.url);
    this.diagnostics = options.diagnostics ?? [];
    this.temporary = options.temporary ?? false;
    this.retryAfter = options.retryAfter;
  }
}

/** True if `error` is an answer of a registry with this status. */
export function hasStatus(error: unknown, ...statuses: readonly number[]): error is RegistryError {
  return error instanceof RegistryError && error.status !== undefined && statuses.includes(error.status);
}

const CODES: ReadonlyMap<number, ErrorCode> = new Map([
  [400, "INVALID"],
  [401, "UNAUTHORIZED"],
  [403, "DENIED"],
  [404, "NOT_FOUND"],
  [405, "UNSUPPORTED"],
  [409, "CONFLICT"],
  [412, "CONFLICT"],
  [413, "LIMIT"],
  [415, "UNSUPPORTED"],
  [429, "LIMIT"],
]);

/** The {@link ErrorCode} an HTTP status of a registry stands for. */
export function codeOfStatus(status: number): ErrorCode {
  return CODES.get(status) ?? "REGISTRY";
}

/** True for the statuses that may go away by themselves. */
export function isTemporaryStatus(status: number): boolean {
  return status === 408 || status === 429 || (status >= 500 && status !== 501 && status !== 505);
}

/** More entries than this are not shown. */
const MAXIMUM_DIAGNOSTICS = 10;

/** The entries of an error answer; none where the body is something else. distribution-spec v1.1.1, "Error Codes". */
export function parseDiagnostics(body: Uint8Array): readonly Diagnostic[] {
  let value: unknown;
  try {
    value = parseJson(body, "the error");
  } catch {
    return [];
  }
  if (!isJsonObject(value) || !Array.isArray(value.errors)) return [];
  return value.errors
    .slice(0, MAXIMUM_DIAGNOSTICS)
    .filter(isJsonObject)
    .map((entry) => ({
      code: text(entry.code, 100),
      message: text(entry.message, 500),
      ...(entry.detail === undefined || entry.detail === null ? {} : { detail: entry.detail }),
    }));
}

function text(value: unknown, length: number): string {
  return typeof value === "string" ? printable(value, length) : "";
}

/** What {@link answerError} needs to know besides the answer. */
export interface AnswerErrorOptions {
  /** The registry as the user names it. */
  readonly host: string;
  /** True where the request carried a credential or a token made from one. */
  readonly authenticated: boolean;
  /** What the request showed besides its Authorization header. An answer that quotes it must not become a message. */
  readonly secrets?: readonly string[];
  /** Instead of the one the status stands for. */
  readonly code?: ErrorCode;
}

/** The error for an answer whose status means failure; reads the beginning of its body. `action` starts the message: `cannot fetch ...`. */
export async function answerError(action: string, answer: Answer, options: AnswerErrorOptions): Promise<RegistryError> {
  const { method, url, status } = answer;
  const body = bodyWithoutSecrets(await answer.excerpt(), [...answer.secrets, ...(options.secrets ?? [])]);
  const diagnostics = parseDiagnostics(body);
  const said = diagnostics
    .map((entry) => [entry.code, entry.message].filter((part) => part !== "").join(": "))
    .join("; ");
  const silent = method === "HEAD" ? " (an answer to HEAD carries no explanation)" : "";
  const retryAfter = parseRetryAfter(answer.header("retry-after"));
  return new RegistryError(
    options.code ?? codeOfStatus(status),
    `${action}: ${url.host} answered ${status}${said === "" ? silent : ` ${said}`}`,
    {
      method,
      url,
      status,
      diagnostics,
      temporary: isTemporaryStatus(status),
      retryAfter,
      hint: hintOf(status, options, retryAfter) ?? hintAboutTls(answer, body),
    },
  );
}

function bodyWithoutSecrets(body: Uint8Array, secrets: readonly string[]): Uint8Array {
  const text = Buffer.from(body).toString("utf8");
  const redacted = withoutSecrets(text, secrets);
  return redacted === text ? body : Buffer.from(redacted);
}

function hintOf(
  status: number,
  { host, authenticated }: AnswerErrorOptions,
  retryAfter: number | undefined,
): string | undefined {
  switch (status) {
    case 401:
      return authenticated
        ? `The credentials for ${host} were refused, or do not reach this repository.`
        : `Log in with: stowage login ${host}`;
    case 403:
      return host === "ghcr.io"
        ? "In GitHub Actions the job needs the permission packages: write, and the package must be linked to the repository."
        : `The account known to ${host} may not do this.`;
    case 404:
      return host === "ghcr.io" || host === "docker.io"
        ? `${host} also answers 404 where the account has no access. Check the name, then the login.`
        : undefined;
    case 429: {
      const when = retryAfter === undefined ? "later" : `in ${Math.ceil(retryAfter / 1000)} s`;
      return `${host} limits the rate of requests. Try again ${when}${authenticated ? "" : ", or log in: accounts often have a higher limit"}.`;
    }
    default:
      return undefined;
  }
}

/** Servers written in Go tell plainly when they got plain http. */
function hintAboutTls(answer: Answer, body: Uint8Array): string | undefined {
  if (answer.status !== 400 || answer.url.protocol !== "http:" || !Buffer.from(body).includes("to an HTTPS server"))
    return undefined;
  return `${answer.url.host} speaks TLS, and was reached over plain http.`;
}
