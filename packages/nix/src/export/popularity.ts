import { baseNameOf } from "../formats/path-info.js";
import { others, type Referring, topologicalOrder } from "../formats/topological-order.js";

/**
 * How popular each path is in its closure, by the formula of nixpkgs ("popularity contest"): for the path itself and each path that it can be reached
 * from, the number of ways that lead there from the roots. The numbers grow exponentially with the depth of a closure.
 */
export function popularity(infos: readonly Referring[]): Map<string, bigint> {
  const order = topologicalOrder(infos);
  const places = new Map(order.map(({ path }, at) => [baseNameOf(path), at]));
  const kids = order.map((info) => others(info).flatMap((base) => places.get(base) ?? []));
  const ways = new Array<bigint>(order.length).fill(0n);
  const words = Math.ceil(order.length / 32);
  /** For each path a bit for each that it can be reached from, itself included. */
  const reached = order.map((_, at) => {
    const bits = new Uint32Array(words);
    bits[at >> 5] = 1 << (at & 31);
    return bits;
  });
  const hasParent = new Set(kids.flat());
  for (const [at, below] of kids.entries()) {
    if (!hasParent.has(at)) ways[at] = 1n;
    for (const kid of below) {
      ways[kid] = (ways[kid] as bigint) + (ways[at] as bigint);
      const [to, from] = [reached[kid] as Uint32Array, reached[at] as Uint32Array];
      for (let word = 0; word < words; word++) to[word] = (to[word] as number) | (from[word] as number);
    }
  }
  return new Map(order.map(({ path }, at) => [path, sumOver(reached[at] as Uint32Array, ways)]));
}

function sumOver(bits: Uint32Array, values: readonly bigint[]): bigint {
  let sum = 0n;
  for (const [word, set] of bits.entries()) {
    for (let rest = set; rest !== 0; rest &= rest - 1) {
      const bit = 31 - Math.clz32(rest & -rest);
      sum += values[word * 32 + bit] as bigint;
    }
  }
  return sum;
}
