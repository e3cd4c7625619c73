import { readFile } from "node:fs/promises";
import { type LayoutOptions, parseLocation, systemError } from "@stowage/layout";
import { type OpenOptions, openSource } from "@stowage/registry";
import {
  type Accounts,
  memoryStore,
  openStore,
  parseHtpasswd,
  proxyStore,
  type RequestRecord,
  type Store,
  serve,
  type Tls,
  type Upstream,
} from "@stowage/server";
import { faultNames, faulty, type NamedFault } from "@stowage/server/testing";
import { type Context, defineCommand, parsed, UsageError } from "../command.js";
import { listenArgument, untilInterrupted } from "../listening.js";
import { openOptions, withRegistryOptions } from "../locations.js";
import { note, printJson, printLines, table, visible } from "../output.js";

export const serveCommand = defineCommand({
  command: "serve [directory]",
  describe: "Serve a layout, a directory of layouts, or memory as a registry",
  examples: [
    ["$0 serve cache --listen 127.0.0.1:5000", "A directory of layouts, one for each repository"],
    ["$0 serve oci-layout-dir --readonly", "One layout, for pulling only, on any free port"],
    ["$0 serve --memory --fault ghcr --fault drop", "As GitHub's registry, on a bad line"],
  ],
  options: (yargs) =>
    withRegistryOptions(yargs)
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
      .option("sparse", {
        type: "boolean",
        default: false,
        describe: "Take manifests although what they point at is not there",
      })
      .option("delete-blobs", {
        type: "boolean",
        default: false,
        describe: "Delete blobs when asked, unless a manifest needs them; otherwise gc does",
      })
      .option("embed-referrers", {
        type: "number",
        requiresArg: true,
        default: 0,
        describe: "Put referrers of at most so many bytes into the lists of referrers",
      })
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
      .option("auth", {
        type: "string",
        nargs: 2,
        describe: "htpasswd FILE: let in only who has an account in this file of bcrypt hashes",
      })
      .option("tokens", {
        type: "boolean",
        default: false,
        describe: "With --auth: ask for bearer tokens, which this server gives out itself",
      })
      .option("tls-cert", {
        type: "string",
        requiresArg: true,
        describe: "Speak HTTPS with the certificate in this PEM file",
      })
      .option("tls-key", { type: "string", requiresArg: true, describe: "The private key of the certificate" })
      .option("log", { choices: ["text", "json"] as const, describe: "Tell of each request on stderr" })
      .option("proxy", {
        type: "string",
        requiresArg: true,
        describe: "Fetch what is not here from HOST[/PREFIX] and keep it; read-only",
      })
      .epilogue(["Faults:", ...table(faultNames.map(faultRow))].join("\n")),
  run: async (args, context) => {
    const { host, port } = listenArgument(args.listen);
    const layers = parsed(() =>
      faulty(args.fault, { onLeak: (credential) => note(context, `a client sent ${credential} to another host`) }),
    );
    const open = openOptions(args, context.signal);
    const store = await storeArgument(args.directory, args.memory, open.layout ?? {});
    const tls = await tlsArguments(args["tls-cert"], args["tls-key"]);
    const accounts = await accountsArgument(args.auth);
    if (args.tokens && accounts === undefined) throw new UsageError("--tokens goes with --auth htpasswd FILE");
    const server = await serve({
      store: args.proxy === undefined ? store : proxyStore(store, upstreamArgument(args.proxy, open)),
      host,
      port,
      readonly: args.readonly || args.proxy !== undefined,
      ...(accounts === undefined ? {} : { accounts, tokens: args.tokens }),
      ...(tls === undefined ? {} : { tls }),
      ...(args.log === undefined ? {} : { onRequest: (record) => logRequest(context, record, args.log === "json") }),
      sparse: args.sparse,
      deleteBlobs: args["delete-blobs"],
      embedReferrers: args["embed-referrers"],
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

/** The htpasswd file of `--auth htpasswd FILE`. */
async function accountsArgument(words: string | string[] | undefined): Promise<Accounts | undefined> {
  if (words === undefined) return undefined;
  const [kind, file, ...rest] = [words].flat();
  if (kind !== "htpasswd" || file === undefined || rest.length > 0) throw new UsageError("--auth takes htpasswd FILE");
  return parseHtpasswd((await readTextFile(file)).toString());
}

async function tlsArguments(cert: string | undefined, key: string | undefined): Promise<Tls | undefined> {
  if (cert === undefined && key === undefined) return undefined;
  if (cert === undefined || key === undefined) throw new UsageError("--tls-cert and --tls-key go together");
  return { cert: await readTextFile(cert), key: await readTextFile(key) };
}

async function readTextFile(path: string): Promise<Buffer> {
  try {
    return await readFile(path);
  } catch (error) {
    throw systemError(error, `cannot read ${path}`);
  }
}

/** The repositories of `HOST[/PREFIX]`, each opened when it is first asked for. */
function upstreamArgument(text: string, open: OpenOptions): Upstream {
  const place = text.replace(/\/+$/, "");
  parsed(() => parseLocation(`docker://${place}/repository`));
  return async (name) => (await openSource(parseLocation(`docker://${place}/${name}`), open)).source;
}

function logRequest(context: Context, record: RequestRecord, json: boolean): void {
  const { time, client, method, path, status, received, sent, duration, complete } = record;
  const end = complete ? "" : " (broken off)";
  const text = `${time} ${client} ${method} ${path} ${status} in ${received} out ${sent} ${duration} ms${end}`;
  context.err.write(json ? `${JSON.stringify(record)}\n` : `${visible(text)}\n`);
}

async function storeArgument(directory: string | undefined, memory: boolean, layouts: LayoutOptions): Promise<Store> {
  if (memory !== (directory === undefined))
    throw new UsageError(memory ? "--memory takes no directory" : "name a directory, or say --memory");
  return directory === undefined ? memoryStore() : openStore(directory, layouts);
}
