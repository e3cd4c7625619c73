import { readdirSync, readFileSync, statSync } from "node:fs";
import { createServer, request, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { memoryStore, type RunningServer, serve } from "@stowage/server";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type ActionName, Job, runtimes, type StepResult } from "./runner.js";

const account = { username: "octo%cat", password: "p%s:s/w+d=1\"'$(x)" };
const stored = { username: "stored-user", password: "stored-password-42" };
const environment = {
  GITHUB_TOKEN: "ghs_from-the-environment",
  ACTIONS_RUNTIME_TOKEN: "runtime-token-value",
  ACTIONS_ID_TOKEN_REQUEST_TOKEN: "id-request-token-value",
};

function basic({ username, password }: typeof account): string {
  return Buffer.from(`${username}:${password}`).toString("base64");
}

/** Every form in which a secret could get out. */
const secrets = [account, stored]
  .flatMap((one) => [one.password, basic(one)])
  .concat(Object.values(environment))
  .flatMap((secret) => [
    secret,
    encodeURIComponent(secret),
    Buffer.from(secret).toString("base64"),
    JSON.stringify(secret).slice(1, -1),
  ]);

/** All that the job has left on its disk, by its path; what was put there for it excepted. */
function filesBelow(directory: string): [string, string][] {
  return readdirSync(directory, { withFileTypes: true }).flatMap((entry): [string, string][] => {
    const path = join(directory, entry.name);
    if (entry.isDirectory()) return entry.name === "docker" ? [] : filesBelow(path);
    return entry.isFile() && statSync(path).size < 1 << 24 ? [[path, readFileSync(path, "latin1")]] : [];
  });
}

describe.each(runtimes)("under $title", ({ node }) => {
  let job: Job;
  let registry: RunningServer;
  let guarded: Server;
  let host: string;
  let accepted: string;
  let agents: Set<string | undefined>;
  beforeAll(async () => {
    job = await Job.start();
    await job.write("app/hello.txt", "hello\n");
    registry = await serve({ store: memoryStore() });
    agents = new Set();
    // Takes one account, repeats in headers, bodies and warnings what it was shown, and redirects blobs with it in the URL.
    guarded = createServer((incoming, response) => {
      const { authorization = "nothing", "user-agent": agent } = incoming.headers;
      agents.add(agent);
      const plain = Buffer.from(authorization.replace(/^Basic /, ""), "base64").toString();
      const warning = `299 - "shown ${authorization.replaceAll('"', "'")}"`;
      if (authorization !== `Basic ${accepted}`) {
        incoming.resume();
        response.writeHead(401, {
          "www-authenticate": `Basic realm="${authorization.replaceAll('"', "'")}"`,
          "content-type": "application/json",
          warning,
        });
        response.end(
          JSON.stringify({
            errors: [{ code: "UNAUTHORIZED", message: `no: ${authorization} ${plain}`, detail: plain }],
          }),
        );
        return;
      }
      const { method, url, headers } = incoming;
      const upstream = request(
        new URL(url ?? "/", registry.url),
        { method: method as string, headers: { ...headers, host: new URL(registry.url).host } },
        (answer) => {
          response.writeHead(answer.statusCode as number, {
            ...answer.headers,
            warning,
            "ratelimit-limit": "100;w=60",
            "ratelimit-remaining": "7;w=60",
          });
          answer.pipe(response);
        },
      );
      incoming.pipe(upstream);
    });
    await new Promise<void>((resolve) => guarded.listen(0, "127.0.0.1", resolve));
    host = `127.0.0.1:${(guarded.address() as AddressInfo).port}`;
    await job.write("docker/config.json", JSON.stringify({ auths: { [host]: { auth: basic(stored) } } }));
  });
  afterAll(async () => {
    guarded.closeAllConnections();
    guarded.close();
    await registry.close();
    await job.end();
  });

  const expectNothingShown = (result: StepResult, told: string): void => {
    // The lines that mask a secret are for the runner, which does not show them.
    const shown = result.stdout
      .split("\n")
      .filter((line) => !line.startsWith("::add-mask::"))
      .join("\n");
    const all = [
      shown,
      result.stderr,
      result.summary,
      result.artifacts,
      JSON.stringify([result.outputs, result.state, result.environment, result.path]),
    ];
    for (const secret of secrets)
      expect(
        all.find((text) => text.includes(secret)),
        `${told} shows ${secret}`,
      ).toBe(undefined);
  };

  const steps: readonly (readonly [ActionName, (inputs: Record<string, string>) => Record<string, string>])[] = [
    ["build", (login) => ({ files: "app", target: `oci:out:v1\n${host}/acme/built:v1`, ...login })],
    [
      "attach",
      (login) => ({ subject: `${host}/acme/built:v1`, "artifact-type": "application/vnd.acme.note", ...login }),
    ],
    ["publish", (login) => ({ source: "oci:out:v1", references: `${host}/acme/app:v1`, ...login })],
    ["merge", (login) => ({ parts: `${host}/acme/app:v1`, target: "oci:merged:v1", ...login })],
    ["sync", (login) => ({ source: `${host}/acme/app:v1`, target: "oci:mirror", required: "true", ...login })],
    ["load", (login) => ({ source: `${host}/acme/app:v1`, into: "archive", archive: "image.tar", ...login })],
  ];

  it.each(["taken", "refused", "stored"])(
    "no credential that is %s is seen in logs, summaries, outputs, errors, or files that stay",
    async (what) => {
      const given = what === "stored" ? {} : account;
      accepted = what === "taken" ? basic(account) : what === "stored" ? basic(stored) : "neither";
      const env = { ...environment, ...(what === "taken" ? {} : { DOCKER_CONFIG: job.path("docker") }) };
      for (const [action, inputs] of steps) {
        const result = await job.step(action, { node, env, inputs: inputs(given) });
        expect(result.code, `${action}: ${result.stdout}`).toBe(what === "refused" ? 1 : 0);
        expectNothingShown(result, action);
        if (what !== "stored")
          expect(result.commands.slice(0, 2)).toMatchObject([
            { command: "add-mask", data: account.password },
            { command: "add-mask", data: basic(account) },
          ]);
        if (what === "refused") continue;
        const warnings = result.commands.filter(({ command }) => command === "warning").map(({ data }) => data);
        expect(warnings).toContain(`${host} warns: shown Basic ***`);
        expect(result.log).toContain(`${host}: 7 of 100 requests left`);
      }
      for (const [path, content] of filesBelow(job.root))
        for (const secret of secrets) expect(content.includes(secret), `${path} holds ${secret}`).toBe(false);
    },
  );

  it("registries learn the version, the repository and the workflow", async () => {
    accepted = basic(account);
    agents.clear();
    const env = { GITHUB_WORKFLOW: "release" };
    const inputs = { source: "oci:out:v1", references: `${host}/acme/agent:v1`, ...account };
    expect((await job.step("publish", { node, env, inputs })).code).toBe(0);
    expect([...agents]).toEqual([
      expect.stringMatching(/^stowage\/\d+\.\d+\.\d+ \(GitHub Actions; acme\/app; release\)$/),
    ]);
  });

  it("Docker's configuration comes first, and the inputs are for a registry that it does not know", async () => {
    const env = { DOCKER_CONFIG: job.path("docker") };
    const publish = (inputs: Record<string, string>) =>
      job.step("publish", {
        node,
        env,
        inputs: { source: "oci:out:v1", references: `${host}/acme/order:v1`, ...inputs },
      });
    accepted = basic(stored);
    expect((await publish(account)).code).toBe(0);
    await job.write("docker/config.json", JSON.stringify({ auths: { "ghcr.io": { auth: basic(stored) } } }));
    expect((await publish(account)).code).toBe(1);
    accepted = basic(account);
    expect((await publish(account)).code).toBe(0);
    // They are for the registry that is named, and for no other.
    expect((await publish({ ...account, registry: "ghcr.io" })).code).toBe(1);
    expect((await publish({ ...account, registry: host })).code).toBe(0);
  });

  it("each line of a secret that has several is masked, too", async () => {
    const password = "first line of it\nsecond line of it";
    const result = await job.step("publish", {
      node,
      inputs: { source: "oci:out:v1", references: `${host}/acme/app:v1`, username: "me", password },
    });
    const masks = result.commands.filter(({ command }) => command === "add-mask").map(({ data }) => data);
    expect(masks).toEqual(expect.arrayContaining([password, "first line of it", "second line of it"]));
    expect(result.code).toBe(1);
    expect(result.log + JSON.stringify(result.errors)).not.toMatch(/(?:first|second) line of it/);
  });
});
