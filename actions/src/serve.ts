import * as core from "@actions/core";
import { parseLocation } from "@stowage/layout";
import { flag, InputError, parsed, text } from "./inputs.js";
import { connectionInputs } from "./locations.js";
import { count, formatSize, info } from "./log.js";
import { setOutputs } from "./outputs.js";
import { run } from "./run.js";
import { type Serving, startServer, stopServer } from "./server-process.js";
import { writeSummary } from "./summary.js";
import { insidePath } from "./workspace.js";

/** The runner starts this file again when the job ends, with what the first run has saved. */
const saved = core.getState("serving");

await run("serve", async ({ signal }) => (saved === "" ? start(signal) : stop(JSON.parse(saved) as Serving)));

async function start(signal: AbortSignal): Promise<void> {
  const memory = flag("memory", false);
  const directory = text("directory");
  if (memory !== (directory === undefined))
    throw new InputError("directory", memory ? "what is kept in memory has no directory" : "it is required", {
      hint: "Write directory: cache, or memory: true.",
    });
  const { host, port } = listenInput();
  const summary = flag("summary", true);
  const serving = await startServer(
    {
      ...(directory === undefined ? {} : { directory: insidePath("directory", directory) }),
      host,
      port,
      readonly: flag("readonly", false),
      proxy: proxyInput(),
      ...connectionInputs(),
    },
    signal,
  );
  core.saveState("serving", JSON.stringify({ ...serving, summary }));
  const { url } = serving;
  setOutputs({ url, registry: new URL(url).host, port: new URL(url).port });
  info(`serving ${directory === undefined ? "memory" : directory} at ${url} until the job ends`);
}

async function stop({ summary, ...serving }: Serving & { readonly summary?: boolean }): Promise<void> {
  const { log, requests, sent, received } = await core.group("What the registry was asked", () => stopServer(serving));
  for (const line of log) core.warning(line, { title: "stowage serve: A request failed" });
  info(
    `stopped ${serving.url} after ${count(requests, "request")}; ${formatSize(sent)} sent, ${formatSize(received)} received`,
  );
  if (summary === false || requests === 0) return;
  await writeSummary({
    heading: "Registry stopped",
    columns: ["URL", "Requests", "Sent", "Received"],
    rows: [[serving.url, String(requests), formatSize(sent), formatSize(received)]],
  });
}

/** `HOST[/PREFIX]` */
function proxyInput(): string | undefined {
  const value = text("proxy")?.replace(/\/+$/, "");
  if (value !== undefined) parsed("proxy", () => parseLocation(`docker://${value}/repository`));
  return value;
}

function listenInput(): { host: string; port: number } {
  const value = text("listen") ?? "127.0.0.1:0";
  const match = /^(?:\[([0-9a-fA-F:.]+)\]|([^:[\]\s]*)):([0-9]{1,5})$/.exec(value);
  const port = Number(match?.[3]);
  if (match === null || port > 65_535)
    throw new InputError("listen", `${JSON.stringify(value)} is not HOST:PORT`, {
      hint: "For example 127.0.0.1:5000; port 0 is any that is free.",
    });
  return { host: match[1] ?? (match[2] || "127.0.0.1"), port };
}
