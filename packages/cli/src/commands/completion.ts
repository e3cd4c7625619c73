import yargs from "yargs";
import { defineCommand } from "../command.js";

export const completionCommand = defineCommand({
  command: "completion <shell>",
  describe: "Print a completion script for a shell",
  examples: [
    ["source <($0 completion bash)", "Complete commands and options in this bash"],
    ["$0 completion zsh > ~/.zfunc/_stowage", "Install it for zsh"],
  ],
  options: (yargs) => yargs.positional("shell", { choices: ["bash", "zsh"] as const, demandOption: true, describe: "The shell" }),
  run: async (args, context) => {
    context.out.write(`${completionScript(args.shell)}\n`);
    return 0;
  },
});

/** The script that yargs has for the shell. It asks `stowage --get-yargs-completions` what fits. */
function completionScript(shell: "bash" | "zsh"): string {
  const before = process.env.SHELL;
  // yargs tells the shells apart by this variable alone.
  process.env.SHELL = shell;
  const lines: string[] = [];
  const log = console.log;
  console.log = (text: string) => lines.push(text);
  try {
    yargs().scriptName("stowage").showCompletionScript("stowage", "completion");
  } finally {
    console.log = log;
    if (before === undefined) delete process.env.SHELL;
    else process.env.SHELL = before;
  }
  return lines.join("\n").trimEnd();
}
