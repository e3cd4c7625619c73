export type { Answer } from "./answer.js";
export type { Exchange } from "./exchange.js";
export { faultNames, faulty, type NamedFault } from "./faults/catalogue.js";
export type { Account, FaultOptions } from "./faults/fault.js";
export { ConnectionCut, type Layer, type LayerMaker, type Surroundings } from "./layer.js";
