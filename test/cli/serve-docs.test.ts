import { spawnSync } from "node:child_process";
import { copyFileSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type Served, startServe, stowage, temporaryDirectory } from "./stowage.js";

const page = readFileSync(fileURLToPath(new URL("../../docs/serve.md", import.meta.url)), "utf8");
const lines = [...page.matchAll(/^```sh\n([\s\S]*?)^```/gm)].flatMap(([, block = ""]) => block.trim().split("\n"));

let directory: Awaited<ReturnType<typeof temporaryDirectory>>;
const running: Served[] = [];

beforeAll(async () => {
  directory = await temporaryDirectory();
  mkdirSync(join(directory.path, "dist"));
  writeFileSync(join(directory.path, "dist", "server"), "#!/bin/sh\necho hello\n", { mode: 0o755 });
  // alice, s3cret
  const account = "alice:$2b$05$UxXN4k1Jb2ynKymkXDcTQ.tW/6YQ6eos3ltBgy3Dth.1T4vjuE6FS\n";
  writeFileSync(join(directory.path, "accounts"), account);
});

afterAll(async () => {
  await Promise.all(running.map((served) => served.stop()));
  await directory?.remove();
});

describe("the page about stowage serve", () => {
  it("has commands that work in this order", async () => {
    const { path: cwd } = directory;
    for (const line of lines) {
      const first = running[0]?.host ?? "";
      // The port of the page may be taken on this machine.
      const words = line.replace("--listen 127.0.0.1:5000", "--listen 127.0.0.1:0").replaceAll("localhost:5000", first);
      const [program = "", ...args] = words.split(" ");
      if (program === "curl") {
        expect((await fetch(args.at(-1) as string)).status).toBe(200);
      } else if (program === "stowage" && args[0] === "serve") {
        running.push(await startServe(args.slice(1), { cwd }));
      } else if (program === "stowage") {
        const run = await stowage(args, { cwd });
        expect(`${line}: ${run.stderr}`).toBe(`${line}: `);
        expect(run.code).toBe(0);
      } else {
        expect(spawnSync(program, args, { cwd, timeout: 30_000 }).status).toBe(0);
      }
    }
    expect(running).toHaveLength(6);
  }, 60_000);

  it("says what is so of the servers that it starts", async () => {
    const [first, readonly, memory, guarded, mirror] = running.map(({ host }) => host);
    const status = async (host: string | undefined, path: string, method = "GET") =>
      (await fetch(`http://${host}${path}`, { method })).status;
    expect(await status(first, "/v2/acme/app/manifests/v1")).toBe(200);
    expect(await status(readonly, "/v2/out/manifests/v1")).toBe(200);
    expect(await status(readonly, "/v2/out/blobs/uploads/", "POST")).toBe(405);
    expect(await status(memory, "/v2/team/app/blobs/uploads/", "POST")).toBe(202);
    const trusted = join(directory.path, ".config", "containers", "certs.d", guarded as string);
    mkdirSync(trusted, { recursive: true });
    copyFileSync(join(directory.path, "cert.pem"), join(trusted, "ca.crt"));
    const pushed = await stowage(["push", "oci:out:v1", `${guarded}/acme/app:v1`, "--dst-creds", "alice"], {
      cwd: directory.path,
      env: { HOME: directory.path, XDG_CONFIG_HOME: undefined, STOWAGE_DST_PASSWORD: "s3cret" },
    });
    expect([pushed.code, pushed.stderr]).toEqual([0, ""]);
    expect(await status(mirror, "/v2/acme/app/manifests/v1")).toBe(200);
    await running[0]?.stop();
    expect(await status(mirror, "/v2/acme/app/manifests/v1")).toBe(200);
    expect(await status(mirror, "/v2/acme/app/blobs/uploads/", "POST")).toBe(405);
  });
});
