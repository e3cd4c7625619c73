import { OciError } from "./model/errors.js";

/**
 * The moment to record as the time of creation, in the RFC 3339 form the specs ask for: `text` where it is given, else
 * what SOURCE_DATE_EPOCH says, else nothing. The clock is asked only where `text` is `now`. Takes RFC 3339 text or a
 * number of seconds since 1970; fails with `INVALID` for anything else.
 */
export function createdAt(text: string | undefined, environment: NodeJS.ProcessEnv = process.env): string | undefined {
  if (text === "now") return format(new Date(), text);
  const epoch = environment.SOURCE_DATE_EPOCH;
  if (text === undefined && (epoch === undefined || epoch === "")) return undefined;
  const value = text ?? (epoch as string);
  const name = text === undefined ? "SOURCE_DATE_EPOCH" : "the time of creation";
  if (/^[0-9]{1,15}$/.test(value)) return format(new Date(Number(value) * 1000), `${name} ${value}`);
  if (text !== undefined && /^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(\.\d+)?(Z|[+-]\d{2}:\d{2})$/.test(value)) {
    // Date takes the 30th of February for the 1st or 2nd of March.
    const day = new Date(`${value.slice(0, 10)}T00:00:00Z`);
    if (Number.isNaN(day.getTime()) || day.toISOString().slice(0, 10) === value.slice(0, 10))
      return format(new Date(value), value);
  }
  throw new OciError("INVALID", `${name} is neither a number of seconds nor a time: ${JSON.stringify(value)}`, {
    hint: "Write 1700000000, 2023-11-14T22:13:20Z or now.",
  });
}

/** Seconds precision where the time has no fraction, as everybody writes it. RFC 3339 has years of four digits. */
function format(time: Date, what: string): string {
  const year = time.getUTCFullYear();
  if (!(year >= 0 && year <= 9999)) throw new OciError("INVALID", `${what} is no time`);
  return time.toISOString().replace(".000Z", "Z");
}
