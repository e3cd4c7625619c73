import { spawn } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { afterAll, describe, expect, it } from "vitest";
import { type Served, startServe, stowage, stowageJson } from "../cli/stowage.js";
import { type Discovered, digestsOf, orasGraph, smallImage, stowageGraph } from "./images.js";
import { needs, run, runJson, scratch } from "./peers.js";
import { startDockerRegistry } from "./registries.js";

const script = fileURLToPath(new URL("./children/attach-many.mjs", import.meta.url));
const [processes, each] = [8, 50];

/** Processes that attach to one image at the same time; returns the digests of all that they attached. */
async function attachAtOnce(reference: string, temporary: (number: number) => Promise<string>): Promise<string[]> {
  const children = await Promise.all(
    Array.from({ length: processes }, async (_, number) =>
      spawn(process.execPath, [script, reference, `process-${number}`, String(each)], {
        env: { ...process.env, TMPDIR: await temporary(number) },
        stdio: ["pipe", "pipe", "inherit"],
      }),
    ),
  );
  try {
    const attached = await Promise.all(
      children.map(async (child) => {
        const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
        expect((await lines.next()).value).toBe("ready");
        return lines;
      }),
    );
    const ended = children.map((child) => once(child, "close"));
    for (const child of children) child.stdin.write("go\n");
    const digests = await Promise.all(
      attached.map(async (lines) => {
        const all: string[] = [];
        for (let line = await lines.next(); line.done !== true; line = await lines.next()) all.push(line.value);
        return all;
      }),
    );
    expect((await Promise.all(ended)).map(([code]) => code)).toEqual(children.map(() => 0));
    return digests.flat();
  } finally {
    for (const child of children) child.kill("SIGKILL");
  }
}

/** A registry without the referrers API, which replaces a manifest under a tag without asking what it was. */
interface Kind {
  readonly name: string;
  readonly program?: string;
  /** Whether the processes are on one machine, in each of the tests. */
  readonly together: readonly boolean[];
  readonly start: () => Promise<{ readonly host: string }>;
}

const served: Served[] = [];
afterAll(() => Promise.all(served.splice(0).map((server) => server.stop())));

const kinds: readonly Kind[] = [
  { name: "docker-registry", program: "docker-registry", together: [true, false], start: () => startDockerRegistry() },
  {
    name: "our server without the API",
    together: [false],
    start: async () => {
      const server = await startServe(["--memory", "--fault", "no-referrers"]);
      served.push(server);
      return server;
    },
  },
];

for (const { name, program, together, start } of kinds) {
  describe(`eight processes that attach fifty referrers each to one image in ${name}`, () => {
    for (const shared of together) {
      const where = shared ? "one machine" : "machines of their own, so that no lock is shared,";
      it(`on ${where} lose none of them, for us, for oras and for regctl`, { timeout: 240_000 }, async (context) => {
        needs(context, ...(program === undefined ? [] : [program]), "oras", "regctl");
        const { directory, digest } = await smallImage();
        const { host } = await start();
        const reference = `${host}/acme/app:v1`;
        await stowageJson(["push", "oci:out:v1", reference], { cwd: directory });
        const temporary = shared ? await scratch() : undefined;
        const attached = await attachAtOnce(reference, async () => temporary ?? scratch());
        const expected = [digest, ...attached].sort();
        expect(new Set(expected).size).toBe(processes * each + 1);

        expect(digestsOf(await stowageGraph(directory, reference))).toEqual(expected);
        const discover = ["discover", "--plain-http", "--distribution-spec", "v1.1-referrers-tag", "--depth", "1"];
        const shown = await runJson<Discovered>("oras", [...discover, "--format", "json", reference]);
        expect(digestsOf(orasGraph(shown))).toEqual(expected);
        const list = ["artifact", "list", reference, "--format", "{{json .Descriptors}}"];
        const listed = JSON.parse(await run("regctl", ["--host", `reg=${host},tls=disabled`, ...list]));
        expect([digest, ...listed.map((one: { digest: string }) => one.digest)].sort()).toEqual(expected);
        expect((await stowage(["verify", reference])).code).toBe(0);
      });
    }
  });
}
