import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { describe, expect, it } from "vitest";
import { growth, row, shortfalls } from "./bench/measure.js";
import { page, picture } from "./bench/report.js";

const root = fileURLToPath(new URL("..", import.meta.url));
const doc = (name: string): string => readFileSync(join(root, "docs", name), "utf8");
const report = JSON.parse(doc("benchmarks.json"));
interface Row {
  readonly what: string;
  readonly why?: string;
  readonly points?: unknown;
}
const rows: Row[] = Object.values(report.benchmarks as Record<string, { rows: Row[] }>).flatMap((one) => one.rows);

describe("the page of the benchmarks", () => {
  it("and its picture say what was measured", () => {
    expect(doc("benchmarks.md")).toBe(page(report));
    expect(doc("benchmarks.svg")).toBe(picture(report));
  });

  it("has a section for each benchmark there is", () => {
    const programs = readdirSync(join(root, "test", "bench")).filter((name) => name.endsWith(".mjs"));
    const benchmarks = programs
      .map((name) => name.slice(0, -".mjs".length))
      .filter((name) => !["run", "link"].includes(name));
    expect(Object.keys(report.benchmarks).sort()).toEqual(benchmarks.sort());
  });

  it("says why wherever something falls short of what it is to reach", () => {
    const silent = rows.filter(
      (one) => one.points === undefined && shortfalls(one as never).length > 0 && (one.why ?? "") === "",
    );
    expect(silent.map(({ what }) => what)).toEqual([]);
  });

  it("names the machine, and no place on it", () => {
    for (const name of ["benchmarks.md", "benchmarks.json"])
      expect(doc(name)).not.toMatch(/\/(?:root|home|tmp|work)\b/);
  });
});

describe("a row", () => {
  const results = { stowage: { ms: 150, memory: 60, requests: 1 }, crane: { ms: 100 }, skopeo: { ms: 50 } };

  it("is compared with the quickest of those it is about", () => {
    expect(row("push", results)).toMatchObject({ best: "skopeo", ratio: 3 });
    expect(row("push", results, { against: ["crane", "oras"] })).toMatchObject({ best: "crane", ratio: 1.5 });
  });

  it("falls short where its ratio, its time, its memory or its requests are more than they are to be", () => {
    const short = (options: Parameters<typeof row>[2]): string[] =>
      shortfalls(row("push", results, { against: "crane", ...options }));
    expect(short({ target: 1.5, most: { ms: 150, memory: 60, requests: 1 } })).toEqual([]);
    expect(short({ target: 1.2 })).toEqual(["1.50, not 1.2"]);
    expect(short({ most: { ms: 120, requests: 0 } })).toEqual(["150 ms, not 120 ms", "1 requests, not 0 requests"]);
  });

  it("keeps to its columns whatever a tool is called", () => {
    const one = row("build", { stowage: { ms: 10 }, "tar | gzip": { ms: 20 } });
    const text = page({ versions: [], benchmarks: { build: { machine: "m", date: "d", rows: [one] } } });
    expect(text).toContain("| build | 10 ms | tar \\| gzip 20 ms | 0.50 of tar \\| gzip |  |");
  });

  it("of growth shows each size", () => {
    const one = growth("add one", "referrers", [
      [100, { stowage: { ms: 10 } }],
      [1000, { stowage: { ms: 12 }, oras: { ms: 99 } }],
    ]);
    const text = page({ versions: [], benchmarks: { scale: { machine: "m", date: "d", rows: [one] } } });
    expect(text).toContain(
      "| add one: referrers | 100 | 1,000 |\n|---|---|---|\n| stowage | 10 ms | 12 ms |\n| oras |  | 99 ms |",
    );
  });
});
