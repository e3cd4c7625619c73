import type { Answer } from "./answer.js";

/** What a registry said last about how many more requests it takes. */
export interface RateLimit {
  /** The registry as the user names it. */
  readonly host: string;
  /** How many requests are allowed in the window, where it says so. */
  readonly limit: number | undefined;
  readonly remaining: number;
  /** The length of the window, in ms. */
  readonly window: number | undefined;
  /** How long until there are more, in ms. */
  readonly reset: number | undefined;
}

/**
 * The limit that the headers of an answer tell; undefined where they tell none. They are `RateLimit-Limit`, `-Remaining` and
 * `-Reset` with the window as a parameter, as Docker Hub sends them; the same with `X-`; and the one field `RateLimit` with its
 * `RateLimit-Policy`, of the later drafts of the IETF. Of several policies the one with the least left counts.
 */
export function rateLimitOf(host: string, answer: Answer): RateLimit | undefined {
  const read = (name: string): string => answer.header(name) ?? answer.header(`x-${name}`) ?? "";
  const remaining = leadingNumber(read("ratelimit-remaining"));
  if (remaining === undefined) return fromPolicies(host, answer);
  const limit = leadingNumber(read("ratelimit-limit"));
  const window = parameter(read("ratelimit-remaining"), "w") ?? parameter(read("ratelimit-limit"), "w");
  const reset = leadingNumber(read("ratelimit-reset"));
  return { host, limit, remaining, window: inMilliseconds(window), reset: untilReset(reset) };
}

function fromPolicies(host: string, answer: Answer): RateLimit | undefined {
  const policies = entries(answer.headers("ratelimit-policy"));
  const states = entries(answer.headers("ratelimit")).flatMap((entry) => {
    const remaining = parameter(entry, "r") ?? parameter(entry, "remaining");
    return remaining === undefined ? [] : [{ entry, remaining }];
  });
  const [least] = states.sort((one, other) => one.remaining - other.remaining);
  if (least === undefined) return undefined;
  const policy = policies.find((text) => nameOf(text) === nameOf(least.entry)) ?? "";
  return {
    host,
    limit: parameter(policy, "q") ?? parameter(least.entry, "limit"),
    remaining: least.remaining,
    window: inMilliseconds(parameter(policy, "w")),
    reset: inMilliseconds(parameter(least.entry, "t") ?? parameter(least.entry, "reset")),
  };
}

function entries(values: readonly string[]): readonly string[] {
  const text = values.join(",").slice(0, 4096);
  // The first of these drafts has one entry, in which commas stand between the parameters.
  return /^\s*limit\s*=/.test(text) ? [text] : text.split(",");
}

function nameOf(entry: string): string {
  return (entry.split(";")[0] ?? "").trim();
}

function leadingNumber(text: string): number | undefined {
  const digits = /^\s*(\d{1,12})(?=\s*(?:[;,]|$))/.exec(text)?.[1];
  return digits === undefined ? undefined : Number(digits);
}

function parameter(text: string, name: string): number | undefined {
  const digits = new RegExp(`(?:^|[;,\\s])${name}\\s*=\\s*(\\d{1,12})(?![\\d.])`).exec(text)?.[1];
  return digits === undefined ? undefined : Number(digits);
}

function inMilliseconds(seconds: number | undefined): number | undefined {
  return seconds === undefined ? undefined : seconds * 1000;
}

/** Some tell the seconds that are left, some the time of day in seconds since the epoch. */
function untilReset(reset: number | undefined): number | undefined {
  if (reset === undefined) return undefined;
  return reset > 1_000_000_000 ? Math.max(0, reset * 1000 - Date.now()) : reset * 1000;
}
