import { logout, parseRegistryPlace } from "@stowage/registry";
import { defineCommand, parsed } from "../command.js";
import { printJson, printLines } from "../output.js";

export const logoutCommand = defineCommand({
  command: "logout <registry>",
  describe: "Forget the account of a registry",
  examples: [
    ["$0 logout ghcr.io", "Remove it from Docker's configuration, or from the helper that keeps it"],
    ["$0 logout ghcr.io/acme", "The account for a path; that of the registry stays"],
  ],
  options: (yargs) =>
    yargs.positional("registry", {
      type: "string",
      demandOption: true,
      describe: "HOST[:PORT], or HOST[:PORT]/PATH",
    }),
  run: async (args, context) => {
    const result = await logout(parsed(() => parseRegistryPlace(args.registry)));
    if (args.json) printJson(context, result);
    else if (!args.quiet)
      printLines(context, [
        result.removed ? `logged out of ${result.registry}` : `not logged in to ${result.registry}`,
      ]);
    return 0;
  },
});
