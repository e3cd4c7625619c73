import { existsSync } from "node:fs";
import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { Layout } from "@stowage/layout";
import { directoryStore, layoutStore, memoryStore, type RunningServer, type Store, serve } from "@stowage/server";
import { faultNames, faulty, type NamedFault } from "@stowage/server/testing";
import { type Context, defineCommand, parsed, UsageError } from "../command.js";
import { note, printJson, printLines, table } from "../output.js";

export const serveCommand = defineCommand({
  command: "serve [directory]",
  describe: "Serve a layout, a directory of layouts, or memory as a registry",
  examples: [
    ["$0 serve cache --listen 127.0.0.1:5000", "A directory of layouts, one for each repository"],
    ["$0 serve oci-layout-dir --readonly", "One layout, for pulling only, on any free port"],
    ["$0 serve --memory --fault ghcr --fault drop", "As GitHub's registry, on a bad line"],
  ],
  options: (yargs) =>
    yargs
      .positional("directory", {
        type: "string",
        describe: "A layout, or a directory of layouts; made when it is not there",
      })
      .option("listen", {
        type: "string",
        requiresArg: true,
        default: "127.0.0.1:0",
        describe: "HOST:PORT; port 0 is any that is free",
      })
      .option("readonly", { type: "boolean", default: false, describe: "Refuse every change" })
      .option("memory", {
        type: "boolean",
        default: false,
        describe: "Keep everything in memory, without a directory",
      })
      .option("fault", {
        type: "string",
        array: true,
        requiresArg: true,
        default: [] as string[],
        describe:
          "Go wrong in this way, to try a client with; NAME or NAME=NUMBER from the list below, several together",
      })
      .epilogue(["Faults:", ...table(faultNames.map(faultRow))].join("\n")),
  run: async (args, context) => {
    const { host, port } = listenArgument(args.listen);
    const layers = parsed(() =>
      faulty(args.fault, { onLeak: (credential) => note(context, `a client sent ${credential} to another host`) }),
    );
    const store = await openStore(args.directory, args.memory);
    const server = await serve({
      store,
      host,
      port,
      readonly: args.readonly,
      layers,
      onError: (error, request) =>
        note(context, `${request}: ${error instanceof Error ? error.message : String(error)}`),
    });
    if (args.json) printJson(context, { url: server.url, host: server.host, port: server.port });
    else if (args.quiet) printLines(context, [server.url]);
    else printLines(context, [`serving ${store.name} at ${server.url}${args.readonly ? ", read-only" : ""}`]);
    await untilInterrupted(context, server);
    return 0;
  },
});

function faultRow({ name, does, amount }: NamedFault): string[] {
  return [amount === undefined ? `  ${name}` : `  ${name}=${amount}`, does];
}

async function openStore(directory: string | undefined, memory: boolean): Promise<Store> {
  if (memory !== (directory === undefined))
    throw new UsageError(memory ? "--memory takes no directory" : "name a directory, or say --memory");
  if (directory === undefined) return memoryStore();
  if (existsSync(join(directory, "oci-layout"))) return layoutStore(await Layout.open(directory));
  await mkdir(directory, { recursive: true });
  return directoryStore(directory);
}

function listenArgument(text: string): { host: string; port: number } {
  const match = /^(?:\[([0-9a-fA-F:.]+)\]|([^:[\]]*)):([0-9]{1,5})$/.exec(text);
  const port = Number(match?.[3]);
  if (match === null || port > 65535) throw new UsageError(`--listen ${JSON.stringify(text)} is not HOST:PORT`);
  return { host: match[1] ?? (match[2] || "127.0.0.1"), port };
}

/** Running requests are finished; a second interrupt ends the process as usual. */
async function untilInterrupted(context: Context, server: RunningServer): Promise<void> {
  if (!context.signal.aborted)
    await new Promise((resolve) => context.signal.addEventListener("abort", resolve, { once: true }));
  await server.close();
}
