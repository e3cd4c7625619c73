import { OciError } from "@stowage/layout";

/**
 * The time that `SOURCE_DATE_EPOCH` asks for, in seconds since 1970, or undefined where it is not set. Fails with `INVALID`
 * where it is not a whole number. See reproducible-builds.org, "SOURCE_DATE_EPOCH".
 */
export function sourceDateEpoch(
  environment: Readonly<Record<string, string | undefined>> = process.env,
): number | undefined {
  const text = environment.SOURCE_DATE_EPOCH;
  if (text === undefined || text === "") return undefined;
  // 253402300799 is the last second of the year 9999, the last that RFC 3339 can write.
  if (/^[0-9]{1,12}$/.test(text) && Number(text) <= 253_402_300_799) return Number(text);
  throw new OciError("INVALID", `SOURCE_DATE_EPOCH is ${JSON.stringify(text)}, not a number of seconds since 1970`);
}
