import type { LookupAddress } from "node:dns";
import type { LookupFunction, Socket } from "node:net";
import { mayLead, plainReach, type Reach, reachOf, reachOfAddress } from "./address.js";

/** An address that a name stands for is nearer than it may be. */
export class TooNear extends Error {
  readonly reach: Reach;

  constructor(reach: Reach) {
    super(`it is a ${reach} address`);
    this.reach = reach;
  }
}

/**
 * Judges the addresses that are really connected to. What a name stands for may change between a look at it and the
 * connection, so the look alone proves nothing. A host that was far once does not move nearer later.
 */
export class Guard {
  /** Where origins were connected to. */
  readonly #seen = new Map<string, Reach>();
  /** Where the names of others lead. */
  readonly #named = new Map<string, Promise<Reach>>();
  readonly #lookUp: LookupFunction;

  /** `lookUp` finds the addresses of a name; the default asks the system. */
  constructor(lookUp?: LookupFunction) {
    // Loaded with the first name: that takes longer than a command that reaches no registry.
    this.#lookUp = lookUp ?? ((...call) => process.getBuiltinModule("node:dns").lookup(...call));
  }

  /** Where an origin is: as it was connected to, or else as its name is looked up. */
  async reachOf(url: URL): Promise<Reach> {
    const seen = this.#seen.get(url.origin);
    if (seen !== undefined) return seen;
    const named = this.#named.get(url.hostname) ?? reachOf(url);
    this.#named.set(url.hostname, named);
    return named;
  }

  /** Fails with {@link TooNear} where the host of `url` leads nearer than `source` may, by its name or address alone. */
  checkName(source: Reach, url: URL): void {
    const reach = plainReach(url);
    if (reach !== undefined) this.checkReach(source, reach);
  }

  /** Fails with {@link TooNear} where `source` may not lead to `reach`. */
  checkReach(source: Reach, reach: Reach): void {
    if (!mayLead(source, reach)) throw new TooNear(reach);
  }

  /** Looks names up, without the addresses that are too near; fails with {@link TooNear} where none is left. */
  lookup(origin: string, source: Reach | undefined): LookupFunction {
    return (hostname, options, callback) => {
      this.#lookUp(hostname, { ...options, all: true }, (error, found) => {
        if (error !== null) return callback(error, "");
        const addresses = found as LookupAddress[];
        const allowed = addresses.filter(({ address }) => this.#allows(origin, source, reachOfAddress(address)));
        const [first] = allowed;
        if (first === undefined) callback(new TooNear(nearest(addresses)), "");
        else if (options.all === true) callback(null, allowed);
        else callback(null, first.address, first.family);
      });
    };
  }

  /** Judges a connection that was made, and remembers where it led. */
  check(origin: string, source: Reach | undefined, socket: Socket): void {
    if (socket.remoteAddress === undefined) return;
    const reach = reachOfAddress(socket.remoteAddress);
    if (!this.#allows(origin, source, reach)) throw new TooNear(reach);
    if (this.#seen.get(origin) !== "public") this.#seen.set(origin, reach);
  }

  #allows(origin: string, source: Reach | undefined, reach: Reach): boolean {
    const seen = this.#seen.get(origin);
    return (source === undefined || mayLead(source, reach)) && (seen === undefined || mayLead(seen, reach));
  }
}

function nearest(addresses: readonly LookupAddress[]): Reach {
  const reaches = addresses.map(({ address }) => reachOfAddress(address));
  return (["loopback", "link-local", "private"] as const).find((reach) => reaches.includes(reach)) ?? "public";
}
