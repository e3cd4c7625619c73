import { defineGroup } from "../command.js";
import { nixCacheCommand } from "./nix/cache.js";
import { nixDiffCommand } from "./nix/diff.js";
import { nixExportCommand } from "./nix/export.js";
import { nixImportCommand } from "./nix/import.js";

export const nixCommand = defineGroup({
  command: "nix",
  describe: "Nix closures as images, and layouts and registries as binary caches",
  commands: [nixExportCommand, nixImportCommand, nixCacheCommand, nixDiffCommand],
});
