import { OciError, parseJson } from "@stowage/layout";
import type { Healthcheck } from "./config.js";

/** A health check as people write it. */
export interface HealthcheckText {
  /** One text is a line for a shell, or `none`; several are a program with its arguments, and so is a JSON array. */
  readonly test?: readonly string[] | undefined;
  /** `30s`, `5m`, `500ms` or `1h`; so are the next two. */
  readonly interval?: string | undefined;
  readonly timeout?: string | undefined;
  readonly startPeriod?: string | undefined;
  readonly retries?: string | undefined;
}

const NANOSECONDS: Readonly<Record<string, number>> = { ms: 1e6, s: 1e9, m: 60e9, h: 3600e9 };

/** Reads a health check; undefined where nothing is said of one. Fails with `INVALID`. */
export function parseHealthcheck(text: HealthcheckText): Healthcheck | undefined {
  const { test, retries } = text;
  const result: Healthcheck = {
    ...(test === undefined || test.length === 0 ? {} : { Test: parseTest(test) }),
    ...duration("Interval", text.interval),
    ...duration("Timeout", text.timeout),
    ...duration("StartPeriod", text.startPeriod),
    ...(retries === undefined ? {} : { Retries: parseRetries(retries) }),
  };
  return Object.keys(result).length === 0 ? undefined : result;
}

/** One text that is no JSON array is a line for a shell, as in a Dockerfile. */
function parseTest(texts: readonly string[]): readonly string[] {
  const [first = ""] = texts;
  if (texts.length > 1) return ["CMD", ...texts];
  if (first === "none") return ["NONE"];
  if (!first.startsWith("[")) return ["CMD-SHELL", first];
  const value = parseJson(Buffer.from(first), "the health check");
  if (Array.isArray(value) && value.every((item) => typeof item === "string")) return ["CMD", ...value];
  throw new OciError("INVALID", `the health check ${first} is not a JSON array of strings`);
}

function duration(member: "Interval" | "Timeout" | "StartPeriod", text: string | undefined): Healthcheck {
  if (text === undefined) return {};
  const match = /^([0-9]+(?:\.[0-9]+)?)(ms|s|m|h)$/.exec(text);
  const value = Math.round(Number(match?.[1]) * (NANOSECONDS[match?.[2] ?? ""] ?? Number.NaN));
  if (Number.isSafeInteger(value)) return { [member]: value };
  throw new OciError("INVALID", `the ${member} of the health check ${JSON.stringify(text)} is no duration`, {
    hint: "Write 500ms, 30s, 5m or 1h.",
  });
}

function parseRetries(text: string): number {
  if (/^[0-9]{1,9}$/.test(text)) return Number(text);
  throw new OciError("INVALID", `the Retries of the health check ${JSON.stringify(text)} are no number`);
}
