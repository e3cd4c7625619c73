import type { LayerMaker } from "../layer.js";
import { type FaultOptions, type Faults, layerOf } from "./fault.js";
import { interruptions } from "./interruptions.js";
import { lyingAnswers } from "./lies.js";
import { listFaults } from "./lists.js";
import { loginFaults } from "./logins.js";
import { manifestFaults } from "./manifests.js";
import { redirectFaults } from "./redirects.js";
import { referrersFaults } from "./referrers.js";
import { registryFaults } from "./registries.js";
import { deleteFaults, uploadFaults } from "./uploads.js";

const SINGLE: Faults = {
  ...referrersFaults,
  ...lyingAnswers,
  ...interruptions,
  ...uploadFaults,
  ...deleteFaults,
  ...manifestFaults,
  ...listFaults,
  ...redirectFaults,
  ...loginFaults,
};
const ALL: Faults = { ...SINGLE, ...registryFaults(SINGLE) };

/** A fault that {@link faulty} knows. */
export interface NamedFault {
  readonly name: string;
  /** What a server with this fault does, in one line; `NUMBER` stands for the number it takes. */
  readonly does: string;
  /** The number where it is left out; undefined for a fault that takes none. */
  readonly amount: number | undefined;
}

/** Every fault, those of one kind together, whole registries last. */
export const faultNames: readonly NamedFault[] = Object.entries(ALL).map(([name, { does, amount }]) => ({
  name,
  does,
  amount,
}));

/**
 * The layers that give a server these faults, each `NAME` or `NAME=NUMBER`; the first is the nearest to the client. Fails
 * with `INVALID` for a name that is not among {@link faultNames} and for a number that is no positive integer.
 */
export function faulty(names: readonly string[], options: FaultOptions = {}): readonly LayerMaker[] {
  return names.map((name) => layerOf(ALL, name, options));
}
