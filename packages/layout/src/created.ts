import { OciError } from "./model/errors.js";

/** 9999-12-31T23:59:59Z, the last second that RFC 3339 can write. */
const LAST_SECOND = 253_402_300_799;

/**
 * The moment to record as the time of creation, in the RFC 3339 form the specs ask for: `text` where it is given, else
 * what SOURCE_DATE_EPOCH says, else nothing. The clock is asked only where `text` is `now`. Takes RFC 3339 text or a
 * number of seconds since 1970; fails with `INVALID` for anything else.
 */
export function createdAt(text: string | undefined, environment: NodeJS.ProcessEnv = process.env): string | undefined {
  if (text === undefined) {
    const epoch = sourceDateEpoch(environment);
    return epoch === undefined ? undefined : formatTime(new Date(epoch * 1000));
  }
  if (text === "now") return formatTime(new Date());
  const seconds = parseSeconds(text);
  if (seconds !== undefined) return formatTime(new Date(seconds * 1000));
  if (/^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(\.\d+)?(Z|[+-]\d{2}:\d{2})$/.test(text)) {
    // Date takes the 30th of February for the 2nd of March.
    const day = new Date(`${text.slice(0, 10)}T00:00:00Z`);
    if (Number.isNaN(day.getTime()) || day.toISOString().startsWith(text.slice(0, 10)))
      return formatTime(new Date(text));
  }
  throw new OciError(
    "INVALID",
    `the time of creation is neither a number of seconds nor a time: ${JSON.stringify(text)}`,
    {
      hint: "Write 1700000000, 2023-11-14T22:13:20Z or now.",
    },
  );
}

/**
 * The time that `SOURCE_DATE_EPOCH` asks for, in seconds since 1970, or undefined where it is not set. Fails with `INVALID`
 * where it is not a whole number. See reproducible-builds.org, "SOURCE_DATE_EPOCH".
 */
export function sourceDateEpoch(environment: NodeJS.ProcessEnv = process.env): number | undefined {
  const text = environment.SOURCE_DATE_EPOCH;
  if (text === undefined || text === "") return undefined;
  const seconds = parseSeconds(text);
  if (seconds !== undefined) return seconds;
  throw new OciError("INVALID", `SOURCE_DATE_EPOCH is ${JSON.stringify(text)}, not a number of seconds since 1970`);
}

/** A time as the spec writes it: RFC 3339 in UTC, without a fraction of a second where there is none. Fails with `INVALID` for no time, and for one that it cannot write. */
export function formatTime(time: Date): string {
  if (Number.isNaN(time.getTime())) throw new OciError("INVALID", "not a time");
  const text = time.toISOString();
  if (!/^[0-9]{4}-/.test(text))
    throw new OciError("INVALID", `the time ${text} is beyond the years that RFC 3339 can write`);
  return text.replace(/\.000Z$/, "Z");
}

function parseSeconds(text: string): number | undefined {
  return /^[0-9]{1,12}$/.test(text) && Number(text) <= LAST_SECOND ? Number(text) : undefined;
}
