import { describe, expect, it } from "vitest";
import { commands } from "../src/commands.js";

describe("the table of commands", () => {
  it.each(commands.map((command) => [command.names[0] as string, command] as const))(
    "names %s as the command does, with its aliases",
    async (_name, { names, load }) => {
      const { command } = await load();
      expect([command].flat().map((text) => String(text).split(" ")[0])).toEqual(names);
    },
  );
});
