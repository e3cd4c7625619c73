import * as core from "@actions/core";
import { type ErrorCode, isOciError } from "@stowage/layout";
import { adviceFor } from "./advice.js";
import { InputError } from "./inputs.js";
import { debug, info, visible } from "./log.js";

/** What an action gets to work with. */
export interface ActionContext {
  /** Aborted when the job is cancelled. */
  readonly signal: AbortSignal;
  /** Reports a failure as an annotation; the step fails when the action is done. */
  fail(error: unknown, what?: string): void;
  /** Reports what went wrong as an annotation that leaves the step a success. */
  warn(error: unknown, what?: string): void;
}

const TITLES: Readonly<Record<ErrorCode, string>> = {
  INVALID: "Not valid",
  NOT_FOUND: "Not found",
  MISMATCH: "Content does not match its digest",
  CONFLICT: "Conflict",
  LIMIT: "A limit was reached",
  UNSUPPORTED: "Not supported",
  UNAUTHORIZED: "Not logged in",
  DENIED: "Denied",
  REGISTRY: "Failed",
};

/**
 * Runs an action to its end. Whatever goes wrong becomes an annotation with a title, a message and what can be done about
 * it, and exit code 1. Never throws.
 */
export async function run(name: string, action: (context: ActionContext) => Promise<void>): Promise<void> {
  const cancelled = new AbortController();
  const cancel = (): void => cancelled.abort(new Error("the job was cancelled"));
  // The runner sends SIGINT, SIGTERM some seconds later, and then ends the process itself.
  process.on("SIGINT", cancel).on("SIGTERM", cancel);
  const fail = (error: unknown, what?: string): void => {
    process.exitCode = core.ExitCode.Failure;
    if (cancelled.signal.aborted) info(`stowage ${name}: the job was cancelled`);
    else core.error(described(name, error, what), { title: `stowage ${name}: ${titleOf(error)}` });
  };
  const warn = (error: unknown, what?: string): void =>
    core.warning(described(name, error, what), { title: `stowage ${name}: ${titleOf(error)}` });
  try {
    await action({ signal: cancelled.signal, fail, warn });
  } catch (error) {
    fail(error);
  }
}

/** The text of an annotation: what happened, then what can be done about it. */
function described(name: string, error: unknown, what: string | undefined): string {
  const message = error instanceof Error ? error.message : String(error);
  // A sync file may have several mistakes, a line for each; elsewhere a line break is not ours.
  const lines = error instanceof InputError ? message.split("\n") : [message];
  const parts = lines.map((line, at) => visible(at === 0 && what !== undefined ? `${what}: ${line}` : line));
  for (const line of adviceFor(error, name)?.split("\n") ?? []) parts.push(visible(line));
  if (!isOciError(error)) {
    parts.push("This was not foreseen. Run the job again with debug logging to see where it happened.");
    for (const line of (error instanceof Error ? (error.stack ?? "") : "").split("\n")) debug(line);
  }
  return parts.join("\n");
}

function titleOf(error: unknown): string {
  if (error instanceof InputError) return "Wrong input";
  return isOciError(error) ? TITLES[error.code] : "Unexpected error";
}
