import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { groupPaths, type PathInfo, parseNixHash, popularity } from "../src/index.js";

const narHash = parseNixHash("0".repeat(64));

/** A closure in which each path refers to some of those behind it, and perhaps to itself. */
const anyClosure = fc
  .array(
    fc.record({ links: fc.uniqueArray(fc.integer({ min: 0, max: 6 })), size: fc.integer({ min: 1, max: 5_000_000 }) }),
    {
      minLength: 1,
      maxLength: 14,
    },
  )
  .map((nodes) => {
    const base = (at: number): string => `${at.toString(8).replace("7", "6").padStart(32, "0")}-n${at}`;
    return nodes.map(({ links, size }, at): PathInfo => {
      const references = links.map((step) => at + step).filter((to) => to < nodes.length);
      return {
        path: `/nix/store/${base(at)}`,
        narHash,
        narSize: size,
        references: references.map(base),
        signatures: [],
      };
    });
  });

/** The definition in nixpkgs, as it stands there: a tree for each path, counted level by level. */
function contest(kids: readonly string[], graph: ReadonlyMap<string, readonly string[]>): Map<string, bigint> {
  const pop = new Map<string, bigint>();
  const add = (name: string, count: bigint): unknown => pop.set(name, (pop.get(name) ?? 0n) + count);
  for (const kid of kids) {
    add(kid, 1n);
    for (const [name, count] of contest(graph.get(kid) as string[], graph)) add(name, count + 1n);
  }
  return pop;
}

describe("the popularity of a store path", () => {
  it("is what the formula of nixpkgs gives", () => {
    fc.assert(
      fc.property(anyClosure, (infos) => {
        const graph = new Map(
          infos.map(({ path, references }) => [
            path,
            references.map((base) => `/nix/store/${base}`).filter((to) => to !== path),
          ]),
        );
        const referenced = new Set([...graph.values()].flat());
        const roots = infos.map(({ path }) => path).filter((path) => !referenced.has(path));
        expect([...popularity(infos)].sort()).toEqual([...contest(roots, graph)].sort());
      }),
    );
  });

  it("is found in no time where it grows beyond all numbers", () => {
    const base = (at: number): string => `${String(at).padStart(32, "0")}-n`;
    const infos = Array.from(
      { length: 2000 },
      (_, at): PathInfo => ({
        path: `/nix/store/${base(at)}`,
        narHash,
        narSize: 1,
        references: [at + 1, at + 2].filter((to) => to < 2000).map(base),
        signatures: [],
      }),
    );
    expect(popularity(infos).get(`/nix/store/${base(1999)}`)).toBeGreaterThan(2n ** 1000n);
  });
});

describe("a closure in layers", () => {
  it("has every path once, in no more layers than there may be, and in the same order whatever it came in", () => {
    fc.assert(
      fc.property(
        anyClosure,
        fc.integer({ min: 1, max: 8 }),
        fc.constantFrom("popularity", "size", "single", "per-path"),
        (infos, maximum, layering) => {
          const groups = groupPaths(infos, layering, maximum);
          expect(
            groups
              .flat()
              .map(({ path }) => path)
              .sort(),
          ).toEqual(infos.map(({ path }) => path).sort());
          expect(groups.length).toBeLessThanOrEqual(layering === "per-path" ? infos.length : maximum);
          expect(groups.every((group) => group.length > 0)).toBe(true);
          expect(groupPaths([...infos].reverse(), layering, maximum)).toEqual(groups);
          const shared = groups.find((group) => group.length > 1)?.map(({ path }) => path) ?? [];
          expect(shared).toEqual([...shared].sort());
        },
      ),
    );
  });

  it("gives the few layers to the popular, and to the large", () => {
    const info = (name: string, narSize: number, ...references: string[]): PathInfo => ({
      path: `/nix/store/${name}`,
      narHash,
      narSize,
      references,
      signatures: [],
    });
    const [a, b, c, d] = ["a", "b", "c", "d"].map((name) => `${name.repeat(32)}-${name}`) as [
      string,
      string,
      string,
      string,
    ];
    const infos = [info(a, 9e6, b, c), info(b, 2e6, d), info(c, 10, d), info(d, 3e6)];
    const names = (groups: readonly (readonly PathInfo[])[]): string[][] =>
      groups.map((group) => group.map(({ path }) => path.slice(-1)));
    expect(names(groupPaths(infos, "popularity", 3))).toEqual([["d"], ["b"], ["a", "c"]]);
    expect(names(groupPaths(infos, "size", 3))).toEqual([["d"], ["a"], ["b", "c"]]);
    expect(names(groupPaths(infos, "single", 3))).toEqual([["a", "b", "c", "d"]]);
    expect(names(groupPaths(infos, "per-path", 1))).toEqual([["d"], ["b"], ["c"], ["a"]]);
    expect(() => groupPaths(infos, "popularity", 0)).toThrow("no layer");
  });
});
