import { cp, readdir } from "node:fs/promises";
import { join } from "node:path";
import * as library from "@stowage/layout";
import { gc, Layout } from "@stowage/layout";
import { describe, expect, it } from "vitest";
import { Child } from "./child-process.js";
import { perform, type Step } from "./children/steps.js";
import {
  after,
  expectBetween,
  expectInvariants,
  expectNoGarbage,
  known,
  nothing,
  observe,
  type State,
} from "./layout-model.js";
import { temporaryDirectory } from "./support.js";

/** The layout that each step is tried on: two tags that share content, one that went, and referrers of all of it. */
const before: readonly Step[] = [
  { kind: "tag", content: "nested", tag: "latest" },
  { kind: "push", content: "signature-of-index" },
  { kind: "tag", content: "image-a", tag: "old" },
  { kind: "push", content: "sbom-a" },
  { kind: "push", content: "signature-of-sbom-a" },
  { kind: "push", content: "loop" },
  { kind: "untag", tag: "latest" },
  { kind: "tag", content: "image-b", tag: "latest" },
];

const steps: readonly Step[] = [
  { kind: "push", content: "sbom-b" },
  { kind: "push", content: "signature-a" },
  { kind: "push", content: "bundle" },
  { kind: "tag", content: "index", tag: "new" },
  { kind: "tag", content: "nested", tag: "old" },
  { kind: "untag", tag: "old" },
  { kind: "annotate", text: "hello" },
  { kind: "gc", grace: 0 },
  { kind: "reconcile" },
];

describe("a process that is killed before any one of its changes of the file system", () => {
  it.each(steps)(
    "leaves a layout as before or after it, and the next one finishes its work: %j",
    { timeout: 180_000 },
    async (step) => {
      const directory = await temporaryDirectory();
      const template = join(directory, "template");
      let state: State = nothing;
      const layout = await Layout.create(template);
      for (const one of before) {
        await perform(library, layout, known, one);
        state = after(state, one);
      }
      expect(await observe(template)).toEqual(state);
      const goal = after(state, step);
      let [kills, next, leftovers] = [0, 1, 0];
      const killAgainAndAgain = async (): Promise<void> => {
        for (let number = next++; ; number = next++) {
          const path = join(directory, String(number));
          await cp(template, path, { recursive: true });
          const child = await Child.start("crash", path, String(number), JSON.stringify(step));
          await child.end("SIGKILL");
          if (child.process.signalCode === null) return;
          kills++;
          leftovers += (await readdir(join(path, "ingest"))).length;
          await expectInvariants(path);
          expectBetween(await observe(path), state, goal);
          await finish(path, step, goal);
        }
      };
      await Promise.all([killAgainAndAgain(), killAgainAndAgain()]);
      expect(kills).toBeGreaterThan(5);
      expect(leftovers).toBeGreaterThan(0);
    },
  );
});

describe("processes that are killed at random moments", () => {
  it("210 times, at whatever they do, a collection among it, lose nothing they had done", {
    timeout: 240_000,
  }, async () => {
    const kinds = ["push", "tag", "gc", "untag", "gc", "annotate"] as const;
    const interrupted = new Map<string, number>();
    let leftovers = 0;
    const killAgainAndAgain = async (seed: number): Promise<void> => {
      const path = join(await temporaryDirectory(), "layout");
      await Layout.create(path);
      let state: State = nothing;
      for (let round = 0; round < 70; round++) {
        const child = await Child.start("work", path, String(seed * 1000 + round));
        await child.line(`begin {"kind":"${kinds[round % kinds.length]}"`);
        await new Promise((resolve) => setTimeout(resolve, Math.random() * 15));
        child.signal("SIGKILL");
        await child.end("SIGKILL");
        const begun = child.lines.filter((line) => line.startsWith("begin ")).map((line) => JSON.parse(line.slice(6)));
        const ended = child.lines.filter((line) => line === "end").length;
        state = begun.slice(0, ended).reduce(after, state);
        leftovers += (await readdir(join(path, "ingest"))).length;
        await expectInvariants(path);
        const seen = await observe(path);
        const last: Step | undefined = begun[ended];
        if (last === undefined) expect(seen).toEqual(state);
        else {
          expectBetween(seen, state, after(state, last));
          interrupted.set(last.kind, (interrupted.get(last.kind) ?? 0) + 1);
        }
        state = seen;
      }
      await gc(await Layout.open(path), { grace: 0 });
      await expectNoGarbage(path, after(state, { kind: "gc", grace: 0 }));
    };
    await Promise.all([1, 2, 3].map(killAgainAndAgain));
    for (const kind of kinds) expect([kind, interrupted.get(kind) ?? 0]).not.toEqual([kind, 0]);
    expect(leftovers).toBeGreaterThan(0);
  });
});

async function finish(path: string, step: Step, goal: State): Promise<void> {
  const layout = await Layout.open(path);
  await perform(library, layout, known, step);
  expect(await observe(path)).toEqual(goal);
  await expectInvariants(path);
  await gc(layout, { grace: 0 });
  const collected = after(goal, { kind: "gc", grace: 0 });
  expect(await observe(path)).toEqual(collected);
  await expectNoGarbage(path, collected);
}
