import { UsageError } from "./command.js";
import { count } from "./output.js";

const MILLISECONDS: Readonly<Record<string, number>> = {
  s: 1000,
  m: 60_000,
  h: 3_600_000,
  d: 86_400_000,
  w: 7 * 86_400_000,
};

const BYTES: Readonly<Record<string, number>> = {
  "": 1,
  b: 1,
  kb: 1e3,
  mb: 1e6,
  gb: 1e9,
  tb: 1e12,
  kib: 1024,
  mib: 1024 ** 2,
  gib: 1024 ** 3,
  tib: 1024 ** 4,
};

/** Reads `90s`, `45m`, `12h`, `30d`, `2w` or `0` into ms. */
export function durationArgument(option: string, text: string | undefined): number | undefined {
  if (text === undefined) return undefined;
  if (text === "0") return 0;
  const match = /^([0-9]+(?:\.[0-9]+)?)([smhdw])$/.exec(text);
  if (match !== null) return Number(match[1]) * (MILLISECONDS[match[2] as string] as number);
  throw new UsageError(`--${option} ${JSON.stringify(text)} is no duration`, {
    hint: "Write 90s, 45m, 12h, 30d or 2w.",
  });
}

/** Milliseconds for people, in the largest unit of which there are two or more: `6 hours`, `90 seconds`. */
export function formatDuration(duration: number): string {
  const units = [
    ["day", 86_400_000],
    ["hour", 3_600_000],
    ["minute", 60_000],
  ] as const;
  const [noun, length] = units.find(([, size]) => duration >= 2 * size) ?? ["second", 1000];
  return count(Math.ceil(duration / length), noun);
}

/** Reads `500MB`, `1.5GB`, `2GiB` or a bare number into bytes. */
export function sizeArgument(option: string, text: string | undefined): number | undefined {
  if (text === undefined) return undefined;
  const match = /^([0-9]+(?:\.[0-9]+)?) ?([a-z]*)$/i.exec(text);
  const unit = BYTES[match?.[2]?.toLowerCase() ?? "none"];
  if (match !== null && unit !== undefined) return Math.floor(Number(match[1]) * unit);
  throw new UsageError(`--${option} ${JSON.stringify(text)} is no size`, { hint: "Write 500MB, 1.5GB or 2GiB." });
}

/** Reads a whole number that is not negative. */
export function countArgument(option: string, text: string | undefined): number | undefined {
  if (text === undefined) return undefined;
  if (/^[0-9]{1,9}$/.test(text)) return Number(text);
  throw new UsageError(`--${option} ${JSON.stringify(text)} is no number`);
}
