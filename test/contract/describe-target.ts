import type { Digest, Target } from "@stowage/layout";
import { describe } from "vitest";
import { testAborting } from "./aborting.js";
import { testDamage, testFetch } from "./fetch.js";
import { testPush } from "./push.js";
import { testReferrers } from "./referrers.js";
import { testResolve } from "./resolve.js";
import { testTags } from "./tags.js";

/** A target to be tested, empty and nobody else's. */
export interface Fixture {
  readonly target: Target;
}

/** A target whose stored bytes can be got at. */
export interface DamageableFixture extends Fixture {
  /** Changes a byte of some content behind the target's back. */
  readonly damage: (digest: Digest) => Promise<void>;
}

/** Makes an empty target. What it needs is cleaned up with vitest's `onTestFinished`. */
export type Factory<F extends Fixture = Fixture> = () => Promise<F>;

/** Like {@link describeTarget}, for a target whose content may be damaged where it lies. */
export function describeStoredTarget(name: string, factory: Factory<DamageableFixture>): void {
  describeTarget(name, factory);
  describe(`${name} as a target`, () => testDamage(factory));
}

/**
 * What the doc comments of `Source` and `Target` in packages/layout/src/content.ts promise, one test for each promise. Every
 * target passes all of it.
 */
export function describeTarget(name: string, factory: Factory): void {
  describe(`${name} as a target`, () => {
    testResolve(factory);
    testFetch(factory);
    testReferrers(factory);
    testTags(factory);
    testPush(factory);
    testAborting(factory);
  });
}
