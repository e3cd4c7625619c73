export type { LayerMaker } from "./layer.js";
export type { Limits } from "./limits.js";
export { type RunningServer, type ServeOptions, serve } from "./serve.js";
export type { Repository, Store } from "./store.js";
export { directoryStore } from "./store-directory.js";
export { type LayoutStoreOptions, layoutStore } from "./store-layout.js";
export { memoryStore } from "./store-memory.js";
