import yargs from "yargs";
import { defineCommand } from "../command.js";

export const completionCommand = defineCommand({
  command: "completion <shell>",
  describe: "Print a completion script for a shell",
  examples: [
    ["source <($0 completion bash)", "Complete commands and options in this bash"],
    ["$0 completion zsh > ~/.zfunc/_stowage", "Install it for zsh"],
  ],
  options: (yargs) =>
    yargs.positional("shell", { choices: ["bash", "zsh", "fish"] as const, demandOption: true, describe: "The shell" }),
  run: async (args, context) => {
    context.out.write(`${completionScript(args.shell)}\n`);
    return 0;
  },
});

/** The script that yargs has for the shell. It asks `stowage --get-yargs-completions` what fits. */
function completionScript(shell: "bash" | "zsh" | "fish"): string {
  const { SHELL, ZSH_NAME } = process.env;
  const { log } = console;
  const lines: string[] = [];
  // yargs tells the shells apart by these variables, and prints to the console, whatever it is asked.
  process.env.SHELL = shell;
  process.env.ZSH_NAME = shell === "zsh" ? shell : "";
  console.log = (text: string) => lines.push(text);
  try {
    yargs([]).scriptName("stowage").showCompletionScript();
  } finally {
    console.log = log;
    restore("SHELL", SHELL);
    restore("ZSH_NAME", ZSH_NAME);
  }
  return lines.join("\n").trimEnd();
}

function restore(name: string, value: string | undefined): void {
  if (value === undefined) delete process.env[name];
  else process.env[name] = value;
}
