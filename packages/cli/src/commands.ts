import type { AnyCommand } from "./command.js";
import { attachCommand } from "./commands/attach.js";
import { buildCommand } from "./commands/build.js";
import { catCommand } from "./commands/cat.js";
import { checkBaseCommand } from "./commands/check-base.js";
import { completionCommand } from "./commands/completion.js";
import { convertCommand } from "./commands/convert.js";
import { copyCommand } from "./commands/copy.js";
import { diffCommand } from "./commands/diff.js";
import { duCommand } from "./commands/du.js";
import { gcCommand } from "./commands/gc.js";
import { indexCommand } from "./commands/image-index.js";
import { inspectCommand } from "./commands/inspect.js";
import { listCommand } from "./commands/list.js";
import { loginCommand } from "./commands/login.js";
import { logoutCommand } from "./commands/logout.js";
import { listFilesCommand } from "./commands/ls-files.js";
import { mutateCommand } from "./commands/mutate.js";
import { probeCommand } from "./commands/probe.js";
import { publishCommand } from "./commands/publish.js";
import { reconcileCommand } from "./commands/reconcile.js";
import { repairCommand } from "./commands/repair.js";
import { serveCommand } from "./commands/serve.js";
import { syncCommand } from "./commands/sync.js";
import { tagCommand, untagCommand } from "./commands/tag.js";
import { treeCommand } from "./commands/tree.js";
import { unpackCommand } from "./commands/unpack.js";
import { verifyCommand } from "./commands/verify.js";

/** Every command, in the order of the help. */
export const commands: readonly AnyCommand[] = [
  buildCommand,
  attachCommand,
  copyCommand,
  publishCommand,
  syncCommand,
  indexCommand,
  mutateCommand,
  listCommand,
  inspectCommand,
  treeCommand,
  tagCommand,
  untagCommand,
  unpackCommand,
  catCommand,
  listFilesCommand,
  diffCommand,
  checkBaseCommand,
  verifyCommand,
  duCommand,
  gcCommand,
  repairCommand,
  reconcileCommand,
  convertCommand,
  probeCommand,
  serveCommand,
  loginCommand,
  logoutCommand,
  completionCommand,
];
