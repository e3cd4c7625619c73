import type { BlockList } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import { OciError } from "@stowage/layout";

/** Where an address leads: to this machine, to its link (which is where clouds keep their metadata service), into a private network, or anywhere. */
export type Reach = "loopback" | "link-local" | "private" | "public";

const RANGES: readonly (readonly [
  Exclude<Reach, "public">,
  readonly (readonly [string, number, "ipv4" | "ipv6"])[],
])[] = [
  [
    "loopback",
    [
      ["127.0.0.0", 8, "ipv4"],
      ["0.0.0.0", 8, "ipv4"],
      ["::1", 128, "ipv6"],
      ["::", 128, "ipv6"],
    ],
  ],
  [
    "link-local",
    [
      ["169.254.0.0", 16, "ipv4"],
      ["fe80::", 10, "ipv6"],
    ],
  ],
  [
    "private",
    [
      ["10.0.0.0", 8, "ipv4"],
      ["172.16.0.0", 12, "ipv4"],
      ["192.168.0.0", 16, "ipv4"],
      ["100.64.0.0", 10, "ipv4"],
      ["fc00::", 7, "ipv6"],
    ],
  ],
]; // prettier-ignore

/** Node's network takes longer to load than a command that reaches no registry takes to run. */
const net = (): typeof import("node:net") => process.getBuiltinModule("node:net");

let lists: readonly (readonly [Exclude<Reach, "public">, BlockList])[] | undefined;

function listsOfRanges(): NonNullable<typeof lists> {
  lists ??= RANGES.map(([reach, ranges]) => {
    const list = new (net().BlockList)();
    for (const [network, prefix, family] of ranges) list.addSubnet(network, prefix, family);
    return [reach, list];
  });
  return lists;
}

/** Where an IP address leads. An IPv4 address written as IPv6 counts as what it is. */
export function reachOfAddress(address: string): Reach {
  const plain = address.replace(/%.*$/, "");
  const family = net().isIP(plain) === 6 ? "ipv6" : "ipv4";
  return listsOfRanges().find(([, list]) => list.check(plain, family))?.[0] ?? "public";
}

/** The host of a URL without the brackets of an IPv6 address. */
function bareHost(url: URL): string {
  return url.hostname.replace(/^\[|\]$/g, "");
}

/** True if the host of `url` is this machine by its name or address alone; nothing is looked up. */
export function isLoopback(url: URL): boolean {
  const host = bareHost(url).replace(/\.$/, "");
  if (net().isIP(host) !== 0) return reachOfAddress(host) === "loopback";
  return host === "localhost" || host.endsWith(".localhost");
}

/** Where the host of `url` leads by its name or address alone; undefined for a name that has to be looked up. */
export function plainReach(url: URL): Reach | undefined {
  if (isLoopback(url)) return "loopback";
  const host = bareHost(url);
  return net().isIP(host) === 0 ? undefined : reachOfAddress(host);
}

/** A name server that takes longer does not know the name, in ms. */
const LOOKUP_PATIENCE = 3000;

/** The nearest place any of the addresses of the host of `url` leads to. A name that cannot be looked up counts as public. */
export async function reachOf(url: URL): Promise<Reach> {
  const plain = plainReach(url);
  if (plain !== undefined) return plain;
  const given = new AbortController();
  try {
    const late = sleep(LOOKUP_PATIENCE, [], { signal: given.signal, ref: false });
    late.catch(() => {});
    const addresses = await Promise.race([
      process.getBuiltinModule("node:dns/promises").lookup(bareHost(url), { all: true }),
      late,
    ]);
    const reaches = addresses.map(({ address }) => reachOfAddress(address));
    return RANGES.map(([reach]) => reach).find((reach) => reaches.includes(reach)) ?? "public";
  } catch {
    return "public";
  } finally {
    given.abort();
  }
}

/**
 * True if whoever is at `source` may lead to `target`: a registry on the internet has no business on this machine, on its
 * link or in its private network. A registry on this machine may lead into the private network.
 */
export function mayLead(source: Reach, target: Reach): boolean {
  return target === "public" || target === source || (source === "loopback" && target === "private");
}

/**
 * Fails with `DENIED` where `from`, which sent us to `to`, is farther away than `to` is by its name or address alone, as
 * {@link mayLead} judges it. What else a name stands for is judged when it is connected to.
 */
export async function checkReach(from: URL, to: URL, what: string): Promise<void> {
  if (from.hostname === to.hostname) return;
  const target = plainReach(to);
  if (target === undefined || target === "public" || mayLead(await reachOf(from), target)) return;
  throw tooNear(from, to, target, what);
}

/** The error for a step from `from` to `to` that is refused because it leads nearer. */
export function tooNear(from: URL, to: URL, target: Reach, what: string): OciError {
  const hint = `Only a registry that is on such an address itself may do so, unless it is allowed with --allow-internal ${to.host}.`;
  return new OciError(
    "DENIED",
    `${from.host} points ${what} at ${to.host}, which is a ${target} address; that is refused`,
    { hint },
  );
}
