import { type Context, UsageError } from "./command.js";

/** Reads `HOST:PORT`, where the host may be missing. */
export function listenArgument(text: string): { host: string; port: number } {
  const match = /^(?:\[([0-9a-fA-F:.]+)\]|([^:[\]]*)):([0-9]{1,5})$/.exec(text);
  const port = Number(match?.[3]);
  if (match === null || port > 65535) throw new UsageError(`--listen ${JSON.stringify(text)} is not HOST:PORT`);
  return { host: match[1] ?? (match[2] || "127.0.0.1"), port };
}

/** Running requests are finished; a second interrupt ends the process as usual. */
export async function untilInterrupted(context: Context, server: { close(): Promise<void> }): Promise<void> {
  if (!context.signal.aborted)
    await new Promise((resolve) => context.signal.addEventListener("abort", resolve, { once: true }));
  await server.close();
}
