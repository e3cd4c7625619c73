import fc from "fast-check";

/**
 * Property tests run on the same cases everywhere, so that a red run is the doing of a change. `STOWAGE_SEED=random` (or a
 * number) looks for cases that nobody has met yet.
 */
const { STOWAGE_SEED: seed = "20220601" } = process.env;
if (seed !== "random") fc.configureGlobal({ seed: Number(seed) });
