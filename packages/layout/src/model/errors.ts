/**
 * Why an operation failed. The set is closed: a caller may switch over it exhaustively.
 *
 * - `INVALID`: the input itself is wrong (grammar, structure, a limit of a format).
 * - `NOT_FOUND`: what was named is not there.
 * - `MISMATCH`: bytes do not have the digest or size they were declared with.
 * - `CONFLICT`: somebody else holds it, or it exists with other content.
 * - `LIMIT`: a bound on size, depth, count or time was reached.
 * - `UNSUPPORTED`: this side cannot do it, although the request is valid.
 * - `UNAUTHORIZED`: no or wrong credentials.
 * - `DENIED`: the credentials are known and do not suffice.
 * - `REGISTRY`: the other side or the operating system failed.
 */
export type ErrorCode =
  | "INVALID"
  | "NOT_FOUND"
  | "MISMATCH"
  | "CONFLICT"
  | "LIMIT"
  | "UNSUPPORTED"
  | "UNAUTHORIZED"
  | "DENIED"
  | "REGISTRY";

/** What may accompany an {@link OciError}. */
export interface OciErrorOptions {
  /** One line that says what the user can do about it. */
  readonly hint?: string | undefined;
  /** The failure beneath this one. */
  readonly cause?: unknown;
}

/**
 * The one error class of Stowage. `message` says what was being done to what; `code` is for programs, `hint` for people.
 * Mistakes of the calling program (a wrong argument type) are `TypeError` instead.
 */
export class OciError extends Error {
  override readonly name: string = "OciError";
  readonly code: ErrorCode;
  readonly hint: string | undefined;

  constructor(code: ErrorCode, message: string, options: OciErrorOptions = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.code = code;
    this.hint = options.hint;
  }
}

/** True if `error` is an {@link OciError}, with the given `code` where one is given. */
export function isOciError(error: unknown, code?: ErrorCode): error is OciError {
  return error instanceof OciError && (code === undefined || error.code === code);
}

/** The `code` of a failed system call (`ENOENT`, `EEXIST`, ...), or undefined where `error` is something else. */
export function systemErrorCode(error: unknown): string | undefined {
  return error instanceof Error && "code" in error && typeof error.code === "string" ? error.code : undefined;
}

const SYSTEM_ERRORS: Readonly<Record<string, { code: ErrorCode; text: string; hint?: string }>> = {
  ENOENT: { code: "NOT_FOUND", text: "no such file or directory" },
  EEXIST: { code: "CONFLICT", text: "it exists already" },
  ENOTDIR: { code: "INVALID", text: "a part of the path is not a directory" },
  EISDIR: { code: "INVALID", text: "it is a directory" },
  ELOOP: { code: "DENIED", text: "it is a symbolic link" },
  ENXIO: { code: "DENIED", text: "it is not a regular file" },
  ENAMETOOLONG: { code: "INVALID", text: "the name is too long" },
  EACCES: { code: "DENIED", text: "permission denied" },
  EPERM: { code: "DENIED", text: "operation not permitted" },
  EROFS: { code: "DENIED", text: "the file system is read-only" },
  ENOSPC: {
    code: "LIMIT",
    text: "no space left on the device (ENOSPC)",
    hint: "Free some space, or some inodes where there is space, and run it again.",
  },
  EDQUOT: { code: "LIMIT", text: "the disk quota is used up (EDQUOT)", hint: "Free some space and run it again." },
  EFBIG: { code: "LIMIT", text: "the file would grow too large (EFBIG)" },
  EMFILE: { code: "LIMIT", text: "too many open files (EMFILE)", hint: "Raise the limit with `ulimit -n`." },
};

/**
 * Turns a failed system call into an {@link OciError} whose message starts with `action` ("cannot write /x/y"). An
 * {@link OciError} and an abort pass unchanged, so it may wrap a whole block.
 */
export function systemError(error: unknown, action: string): unknown {
  if (isOciError(error)) return error;
  const systemCode = systemErrorCode(error);
  if (systemCode === undefined || !/^E[A-Z0-9]+$/.test(systemCode)) return error;
  const known = SYSTEM_ERRORS[systemCode];
  const text = known?.text ?? `${(error as Error).message}`;
  return new OciError(known?.code ?? "REGISTRY", `${action}: ${text}`, { hint: known?.hint, cause: error });
}

/** The same failure, told with what was being done: `context: message`. What is no {@link OciError} passes unchanged. */
export function withContext(error: unknown, context: string): unknown {
  if (!isOciError(error)) return error;
  return new OciError(error.code, `${context}: ${error.message}`, { hint: error.hint, cause: error });
}
