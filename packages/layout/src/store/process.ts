import { createHash } from "node:crypto";
import { readFileSync, readlinkSync } from "node:fs";
import { hostname } from "node:os";
import { systemErrorCode } from "../model/errors.js";

/** What a process tells of itself, so that others can see whether it still lives. */
export interface ProcessIdentity {
  readonly pid: number;
  /** Tells one boot of one machine, and one set of process ids on it, from any other. */
  readonly space: string;
  /** When the process started, in the system's own units: a process id alone may have been given out again. */
  readonly started: string | undefined;
}

/** This process. */
export const thisProcess: ProcessIdentity = {
  pid: process.pid,
  space: processSpace(),
  started: startTime(process.pid),
};

/** The identity of this process as the beginning of a file name. */
export const processMark = `${thisProcess.pid}-${thisProcess.started ?? ""}-${shortSpace(thisProcess.space)}`;

/** True or false for a process that can be seen from here, undefined for one that cannot. */
export function isRunning({ pid, space, started }: Partial<ProcessIdentity>): boolean | undefined {
  if (space !== thisProcess.space || typeof pid !== "number") return undefined;
  if (!processExists(pid)) return false;
  const now = startTime(pid);
  return started === undefined || now === undefined ? undefined : now === started;
}

/** As {@link isRunning}, for the process whose {@link processMark} a file name begins with; undefined where there is none. */
export function isRunningByMark(name: string): boolean | undefined {
  const match = /^([0-9]{1,10})-([0-9]*)-([0-9a-f]{8})-/.exec(name);
  if (match === null || match[3] !== shortSpace(thisProcess.space)) return undefined;
  return isRunning({
    pid: Number(match[1]),
    space: thisProcess.space,
    ...(match[2] === "" ? {} : { started: match[2] as string }),
  });
}

function shortSpace(space: string): string {
  return createHash("sha256").update(space).digest("hex").slice(0, 8);
}

function processExists(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return systemErrorCode(error) === "EPERM";
  }
}

/**
 * The start time of a process in clock ticks since boot (proc(5), field 22), `ended` for one that only waits to be
 * collected by its parent, or undefined where the system does not tell.
 */
function startTime(pid: number): string | undefined {
  try {
    const text = readFileSync(`/proc/${pid}/stat`, "utf8");
    // The command name, field 2, is in parentheses and may hold anything.
    const fields = text.slice(text.lastIndexOf(")") + 2).split(" ");
    return fields[0] === "Z" || fields[0] === "X" ? "ended" : fields[19];
  } catch {
    return undefined;
  }
}

function processSpace(): string {
  try {
    const boot = readFileSync("/proc/sys/kernel/random/boot_id", "utf8").trim();
    return `${boot} ${readlinkSync("/proc/self/ns/pid")}`;
  } catch {
    return hostname();
  }
}
