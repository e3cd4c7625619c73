import type { Answer } from "./answer.js";
import type { Exchange } from "./exchange.js";
import type { Store } from "./store.js";

/**
 * What stands between the clients and the registry: it sees each request before the registry and each answer after it.
 * It may answer without calling `next`, change the answer that `next` gives, or fail with {@link ConnectionCut}. `next`
 * is called once at most, and never fails but so: what goes wrong behind it has become an answer.
 */
export type Layer = (exchange: Exchange, next: () => Promise<Answer>) => Promise<Answer>;

/** What a layer may use of the server it belongs to. */
export interface Surroundings {
  /** Answers as the registry itself would, with no layer in front. */
  readonly registry: (exchange: Exchange) => Promise<Answer>;
  /**
   * Listens on a port of its own until the server closes, and returns the URL: its host is another than that of the
   * server, by name or by port.
   */
  listen(answer: (exchange: Exchange) => Promise<Answer>): Promise<string>;
  /** Where the content is. */
  readonly store: Store;
  /** Aborted when the server is to close: what waits for nothing in particular then ends. */
  readonly closing: AbortSignal;
}

/** Makes the layer of one server. State that lives in the layer begins anew with each server. */
export type LayerMaker = (surroundings: Surroundings) => Layer | Promise<Layer>;

/** Failing with it breaks the connection, after whatever was sent of the answer so far. */
export class ConnectionCut extends Error {
  constructor() {
    super("the connection is cut");
  }
}

/** One layer that does what all of them do; the first is the nearest to the client. */
export function inOrder(layers: readonly Layer[]): Layer {
  const [first, second] = layers;
  if (first !== undefined && second === undefined) return first;
  return (exchange, next) =>
    layers.reduceRight<() => Promise<Answer>>((inner, layer) => () => layer(exchange, inner), next)();
}
