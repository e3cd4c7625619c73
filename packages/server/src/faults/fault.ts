import { OciError } from "@stowage/layout";
import type { Answer } from "../answer.js";
import type { Exchange } from "../exchange.js";
import { inOrder, type Layer, type LayerMaker } from "../layer.js";
import { type Place, placeOf } from "../routes.js";

/** The options of the faults. */
export interface FaultOptions {
  /** Who is let in where a fault asks for a login; `false` asks nobody. Default: `user` with the password `password`. */
  readonly account?: Account | false;
  /** Told of each credential that reached a host it was not for: the header with its scheme, never the secret itself. */
  readonly onLeak?: (credential: string) => void;
}

/** A name and a password. */
export interface Account {
  readonly name: string;
  readonly password: string;
}

/** One way in which a registry can differ from the specification or go wrong. */
export interface Fault {
  /** What a server with this fault does, in one line. */
  readonly does: string;
  /** What the number in `NAME=NUMBER` is where it is left out; undefined for a fault that takes none. */
  readonly amount?: number;
  readonly layer: (amount: number, options: FaultOptions) => LayerMaker;
}

/** Faults by name. */
export type Faults = Readonly<Record<string, Fault>>;

/** The request in the terms of the API, or undefined where it is for nothing in it. */
export function placeIn(exchange: Exchange): Place | undefined {
  try {
    return placeOf(exchange.path);
  } catch {
    return undefined;
  }
}

/** True for a request that reads (GET or HEAD) something of one of these kinds. */
export function reads(exchange: Exchange, ...kinds: readonly Place["kind"][]): boolean {
  return (exchange.method === "GET" || exchange.method === "HEAD") && isAbout(exchange, ...kinds);
}

/** True for a request about something of one of these kinds. */
export function isAbout(exchange: Exchange, ...kinds: readonly Place["kind"][]): boolean {
  const kind = placeIn(exchange)?.kind;
  return kind !== undefined && kinds.includes(kind);
}

/** A fault without a number and without state. */
export function simple(does: string, layer: Layer): Fault {
  return { does, layer: () => () => layer };
}

/** A fault that changes answers. */
export function changing(
  does: string,
  applies: (exchange: Exchange, answer: Answer) => boolean,
  change: (answer: Answer, exchange: Exchange) => Answer,
): Fault {
  return simple(does, async (exchange, next) => {
    const answer = await next();
    return applies(exchange, answer) ? change(answer, exchange) : answer;
  });
}

/** A fault that answers some requests itself. */
export function refusing(
  does: string,
  applies: (exchange: Exchange) => boolean,
  answer: (exchange: Exchange) => Answer,
): Fault {
  return simple(does, async (exchange, next) => (applies(exchange) ? answer(exchange) : next()));
}

/** Several layers as one; the first is the nearest to the client. */
export function together(makers: readonly LayerMaker[]): LayerMaker {
  return async (surroundings) => inOrder(await Promise.all(makers.map((make) => make(surroundings))));
}

/** The layer for `NAME` or `NAME=NUMBER`. Fails with `INVALID` for a name that is not in the table and for a number it cannot take. */
export function layerOf(faults: Faults, text: string, options: FaultOptions): LayerMaker {
  const [name = "", number, ...rest] = text.split("=");
  const fault = Object.hasOwn(faults, name) ? faults[name] : undefined;
  if (fault === undefined || rest.length > 0) {
    const hint = `Faults are: ${Object.keys(faults).join(", ")}.`;
    throw new OciError("INVALID", `there is no fault ${JSON.stringify(text)}`, { hint });
  }
  if (number === undefined) return fault.layer(fault.amount ?? 0, options);
  if (fault.amount === undefined) throw new OciError("INVALID", `the fault ${name} takes no number`);
  if (!/^[1-9][0-9]{0,14}$/.test(number)) {
    throw new OciError("INVALID", `the number of the fault ${name} is no positive integer: ${JSON.stringify(number)}`);
  }
  return fault.layer(Number(number), options);
}
