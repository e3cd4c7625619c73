import { join } from "node:path";
import * as library from "@stowage/layout";
import { Layout } from "@stowage/layout";
import fc from "fast-check";
import { expect, it } from "vitest";
import { Child } from "./child-process.js";
import { perform, type Step } from "./children/steps.js";
import {
  after,
  expectBetween,
  expectInvariants,
  expectNoGarbage,
  known,
  live,
  nothing,
  observe,
  type State,
} from "./layout-model.js";
import { temporaryDirectory } from "./support.js";

/** A step, steps of several processes' worth at once, or a step at which a child process is killed. */
type Round =
  | { readonly kind: "one"; readonly step: Step }
  | { readonly kind: "together"; readonly steps: readonly Step[] }
  | { readonly kind: "crash"; readonly step: Step; readonly number: number };

const HOUR = 3_600_000;
const manifests = Object.keys(known).filter((name) => known[name]?.descriptor.mediaType.includes(".image.") === true);
const referrers = manifests.filter((name) => known[name]?.subject !== undefined);
const content = fc.constantFrom(...manifests.filter((name) => !/^(?:layer|config)/.test(name)));
const tag = fc.constantFrom("v1", "v2", "latest");

const gc: fc.Arbitrary<Step> = fc.constant({ kind: "gc", grace: 0 });
const harmless: fc.Arbitrary<Step> = fc.constantFrom<Step>({ kind: "gc", grace: HOUR }, { kind: "reconcile" });
const push: fc.Arbitrary<Step> = fc.record({ kind: fc.constant("push" as const), content });
const attach: fc.Arbitrary<Step> = fc.record({
  kind: fc.constant("push" as const),
  content: fc.constantFrom(...referrers),
});
const tagging: fc.Arbitrary<Step> = fc.record({ kind: fc.constant("tag" as const), content, tag });
const untag: fc.Arbitrary<Step> = fc.record({ kind: fc.constant("untag" as const), tag });
const update: fc.Arbitrary<Step> = fc.record({ kind: fc.constant("annotate" as const), text: fc.string() });
const step = fc.oneof(push, attach, tagging, tagging, untag, untag, gc, gc, update, harmless);

const round: fc.Arbitrary<Round> = fc.oneof(
  { weight: 8, arbitrary: fc.record({ kind: fc.constant("one" as const), step }) },
  {
    weight: 3,
    arbitrary: fc.record({
      kind: fc.constant("together" as const),
      // Steps that commute: whoever is first, the end is the same.
      steps: fc.uniqueArray(fc.oneof(push, attach, tagging, untag, harmless), {
        minLength: 2,
        maxLength: 5,
        selector: (one) => ("tag" in one ? one.tag : JSON.stringify(one)),
      }),
    }),
  },
  {
    weight: 2,
    arbitrary: fc.record({ kind: fc.constant("crash" as const), step, number: fc.integer({ min: 1, max: 30 }) }),
  },
);

/** The state after a child was killed at the step, or came to its end: something between before and after, that is seen. */
async function crash(path: string, state: State, { step: at, number }: Round & { kind: "crash" }): Promise<State> {
  const child = await Child.start("crash", path, String(number), JSON.stringify(at));
  await child.end("SIGKILL");
  const goal = after(state, at);
  const seen = await observe(path);
  if (child.process.signalCode === null) {
    expect(seen).toEqual(goal);
    return goal;
  }
  expectBetween(seen, state, goal);
  return seen;
}

it("any sequence of writes, tags, attachments, collections and crashes, some at once, keeps the invariants, and a collection keeps exactly what can be reached", {
  timeout: 180_000,
}, async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(round, { minLength: 3, maxLength: 14 }), async (rounds) => {
      const path = join(await temporaryDirectory(), "layout");
      // Objects that live as long as the layout, each with what it remembers of it.
      const layouts = [await Layout.create(path), await Layout.open(path), await Layout.open(path)];
      let state: State = nothing;
      for (const [at, one] of rounds.entries()) {
        if (one.kind === "crash") state = await crash(path, state, one);
        else {
          const steps = one.kind === "one" ? [one.step] : one.steps;
          const work = steps.map((each, nth) => perform(library, layouts[(at + nth) % 3] as Layout, known, each));
          await Promise.all(work);
          state = steps.reduce(after, state);
          expect(await observe(path)).toEqual(state);
          if (one.kind === "one" && one.step.kind === "gc" && one.step.grace === 0) await expectNoGarbage(path, state);
        }
        await expectInvariants(path);
        expect([...live(state)].filter((name) => !state.present.has(name))).toEqual([]);
      }
      await perform(library, layouts[0] as Layout, known, { kind: "gc", grace: 0 });
      await expectNoGarbage(path, after(state, { kind: "gc", grace: 0 }));
      await expectInvariants(path);
    }),
    { numRuns: 60 },
  );
});
