import type { AnyCommand } from "./command.js";

/** A command that is not loaded yet. */
export interface LazyCommand {
  /** What it goes by on the command line. */
  readonly names: readonly string[];
  load(): Promise<AnyCommand>;
}

/** Every command, in the order of the help. Loading one takes as long as most of them take to run. */
export const commands: readonly LazyCommand[] = [
  { names: ["build"], load: async () => (await import("./commands/build.js")).buildCommand },
  { names: ["attach"], load: async () => (await import("./commands/attach.js")).attachCommand },
  { names: ["copy", "cp", "push", "pull"], load: async () => (await import("./commands/copy.js")).copyCommand },
  { names: ["export"], load: async () => (await import("./commands/export.js")).exportCommand },
  { names: ["import"], load: async () => (await import("./commands/import.js")).importCommand },
  { names: ["publish"], load: async () => (await import("./commands/publish.js")).publishCommand },
  { names: ["sync"], load: async () => (await import("./commands/sync.js")).syncCommand },
  { names: ["index"], load: async () => (await import("./commands/image-index.js")).indexCommand },
  { names: ["mutate"], load: async () => (await import("./commands/mutate.js")).mutateCommand },
  { names: ["disjoint"], load: async () => (await import("./commands/disjoint.js")).disjointCommand },
  { names: ["list", "ls"], load: async () => (await import("./commands/list.js")).listCommand },
  { names: ["inspect"], load: async () => (await import("./commands/inspect.js")).inspectCommand },
  { names: ["tree"], load: async () => (await import("./commands/tree.js")).treeCommand },
  { names: ["tag"], load: async () => (await import("./commands/tag.js")).tagCommand },
  { names: ["untag"], load: async () => (await import("./commands/tag.js")).untagCommand },
  { names: ["unpack"], load: async () => (await import("./commands/unpack.js")).unpackCommand },
  { names: ["cat"], load: async () => (await import("./commands/cat.js")).catCommand },
  { names: ["ls-files"], load: async () => (await import("./commands/ls-files.js")).listFilesCommand },
  { names: ["diff"], load: async () => (await import("./commands/diff.js")).diffCommand },
  { names: ["check-base"], load: async () => (await import("./commands/check-base.js")).checkBaseCommand },
  { names: ["verify"], load: async () => (await import("./commands/verify.js")).verifyCommand },
  { names: ["du"], load: async () => (await import("./commands/du.js")).duCommand },
  { names: ["gc"], load: async () => (await import("./commands/gc.js")).gcCommand },
  { names: ["repair"], load: async () => (await import("./commands/repair.js")).repairCommand },
  { names: ["reconcile"], load: async () => (await import("./commands/reconcile.js")).reconcileCommand },
  { names: ["convert"], load: async () => (await import("./commands/convert.js")).convertCommand },
  { names: ["probe"], load: async () => (await import("./commands/probe.js")).probeCommand },
  { names: ["serve"], load: async () => (await import("./commands/serve.js")).serveCommand },
  { names: ["nix"], load: async () => (await import("./commands/nix.js")).nixCommand },
  { names: ["login"], load: async () => (await import("./commands/login.js")).loginCommand },
  { names: ["logout"], load: async () => (await import("./commands/logout.js")).logoutCommand },
  { names: ["completion"], load: async () => (await import("./commands/completion.js")).completionCommand },
];
