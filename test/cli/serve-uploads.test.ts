import { readdir, stat } from "node:fs/promises";
import { request } from "node:http";
import { type AddressInfo, connect, createServer } from "node:net";
import { join } from "node:path";
import { descriptorOf, digestOf } from "@stowage/layout";
import { RegistryClient } from "@stowage/registry";
import { afterEach, describe, expect, it } from "vitest";
import { type Served, startServe, temporaryDirectory } from "./stowage.js";

const MEGABYTE = 1024 * 1024;
const bytes = Buffer.from(Array.from({ length: 6 * MEGABYTE }, (_, at) => (at * 7 + (at >> 8)) & 255));

const ending: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const end of ending.splice(0).reverse()) await end();
});

async function start(cwd: string, directory: string): Promise<Served> {
  const served = await startServe([directory], { cwd });
  ending.push(() => served.stop());
  return served;
}

/** Ends a server as a crash or the kernel does: it can do nothing about it. */
async function kill({ process }: Served): Promise<void> {
  const ended = new Promise((resolve) => process.once("close", resolve));
  process.kill("SIGKILL");
  await ended;
}

/** An address that stays, whichever server is behind it: who comes while there is none waits for the next. */
async function inFront(server: () => Promise<Served>): Promise<string> {
  const relay = createServer(async (near) => {
    near.on("error", () => {});
    const [host, port] = (await server()).host.split(":");
    const far = connect(Number(port), host);
    far.on("error", () => {});
    near.pipe(far).pipe(near);
    far.on("close", () => near.destroy());
    near.on("close", () => far.destroy());
  });
  await new Promise<void>((resolve) => relay.listen(0, "127.0.0.1", resolve));
  ending.push(() => new Promise((resolve) => relay.close(resolve)));
  return `127.0.0.1:${(relay.address() as AddressInfo).port}`;
}

async function places(): Promise<{ cwd: string; layout: string; repository: string }> {
  const { path: cwd, remove } = await temporaryDirectory();
  ending.push(remove);
  return { cwd, layout: join(cwd, "store", "team", "app"), repository: "team/app" };
}

/** How much of an upload lies in a layout, in bytes. */
async function received(layout: string): Promise<number> {
  const ingest = join(layout, "ingest");
  const name = (await readdir(ingest)).find((one) => one.startsWith("partial."));
  return name === undefined ? 0 : (await stat(join(ingest, name))).size;
}

describe("a server that is killed in the middle of an upload, and started again", () => {
  it("says how much it has, which is all that it acknowledged, and takes the rest from there", async () => {
    const { cwd, layout, repository } = await places();
    const first = await start(cwd, "store");
    const opened = await fetch(`http://${first.host}/v2/${repository}/blobs/uploads/`, { method: "POST" });
    const path = opened.headers.get("location") as string;
    const acknowledged = 2 * MEGABYTE + 12_345;
    const headers = { "Content-Range": `0-${acknowledged - 1}` };
    const body = bytes.subarray(0, acknowledged);
    expect((await fetch(`http://${first.host}${path}`, { method: "PATCH", body, headers })).status).toBe(202);
    // The next part is on its way when the server dies.
    const [host, port] = first.host.split(":");
    const rest = request({ host, port, path, method: "PATCH", headers: { "Content-Length": bytes.length } });
    rest.on("error", () => {}).write(bytes.subarray(acknowledged, acknowledged + MEGABYTE));
    const status = async (at: string): Promise<number> => {
      const response = await fetch(`http://${at}${path}`);
      expect(response.status).toBe(204);
      return Number(response.headers.get("range")?.split("-")[1]) + 1;
    };
    while ((await status(first.host)) === acknowledged);
    await kill(first);

    const second = await start(cwd, "store");
    const offset = await status(second.host);
    expect(offset).toBeGreaterThanOrEqual(acknowledged);
    expect(offset).toBeLessThanOrEqual(acknowledged + MEGABYTE);
    const range = `${offset}-${bytes.length - 1}`;
    const send = (at: string) =>
      fetch(`http://${second.host}${path}`, {
        method: "PATCH",
        body: bytes.subarray(Number(at.split("-")[0])),
        headers: { "Content-Range": at },
      });
    const early = await send(`${offset - 1}-${bytes.length - 1}`);
    expect([early.status, early.headers.get("range")]).toEqual([416, `0-${offset - 1}`]);
    expect((await send(range)).status).toBe(202);
    const digest = digestOf(bytes);
    expect((await fetch(`http://${second.host}${path}?digest=${digest}`, { method: "PUT" })).status).toBe(201);
    const pulled = await fetch(`http://${second.host}/v2/${repository}/blobs/${digest}`);
    expect(digestOf(Buffer.from(await pulled.arrayBuffer()))).toBe(digest);

    expect((await readdir(join(layout, "ingest"))).filter((name) => name !== "lock")).toEqual([]);
  });

  it("has our own client go on instead of beginning again", async () => {
    const { cwd, layout, repository } = await places();
    let served = start(cwd, "store");
    const host = await inFront(() => served);
    const offsets: number[] = [];
    const descriptor = descriptorOf(bytes, "application/octet-stream");
    let killed = false;
    async function* from(offset: number): AsyncGenerator<Uint8Array> {
      offsets.push(offset);
      for (let at = offset; at < bytes.length; at += MEGABYTE / 4) {
        if (at >= 4 * MEGABYTE && !killed) {
          killed = true;
          while ((await received(layout)) < MEGABYTE);
          const first = await served;
          served = kill(first).then(() => start(cwd, "store"));
          await served;
        }
        yield bytes.subarray(at, at + MEGABYTE / 4);
      }
    }
    const client = new RegistryClient({ credentials: false });
    try {
      const target = client.repository(`${host}/${repository}`);
      const content = { descriptor, open: () => from(0), openFrom: from };
      expect(await target.push(content)).toBe("written");
      expect(await target.has(descriptor)).toBe(true);
    } finally {
      await client.close();
    }
    expect(offsets[0]).toBe(0);
    expect(offsets).toHaveLength(2);
    expect(offsets[1]).toBeGreaterThan(0);
  });
});
