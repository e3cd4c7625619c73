import { createServer, request, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { memoryStore, type RunningServer, serve } from "@stowage/server";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { Job, runtimes } from "./runner.js";

const username = "octocat";
const password = "gh%p_0123456789:+/=";
const basic = Buffer.from(`${username}:${password}`).toString("base64");

async function listen(server: Server): Promise<string> {
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return `127.0.0.1:${(server.address() as AddressInfo).port}`;
}

function close(server: Server): Promise<void> {
  server.closeAllConnections();
  return new Promise((resolve) => server.close(() => resolve()));
}

describe.each(runtimes)("credentials under $title", ({ node }) => {
  let job: Job;
  let registry: RunningServer;
  let guarded: Server;
  let guardedHost: string;
  let open: Server;
  let openHost: string;
  let shownToOpen: (string | undefined)[];
  beforeAll(async () => {
    job = await Job.start();
    await job.write("app/hello.txt", "hello\n");
    expect(await job.step("build", { node, inputs: { files: "app", target: "oci:out:v1" } })).toMatchObject({
      code: 0,
    });
    registry = await serve({ store: memoryStore() });
    const forward = (pass: (authorization: string | undefined) => boolean): Server =>
      createServer((incoming, response) => {
        const { authorization } = incoming.headers;
        if (!pass(authorization)) {
          // A registry that repeats what it was shown.
          const message = `no access with ${authorization ?? "nothing"}`;
          response.writeHead(401, { "www-authenticate": 'Basic realm="registry"', "content-type": "application/json" });
          response.end(JSON.stringify({ errors: [{ code: "UNAUTHORIZED", message }] }));
          return;
        }
        const { method, url, headers } = incoming;
        const upstream = request(
          new URL(url ?? "/", registry.url),
          { method: method as string, headers: { ...headers, host: new URL(registry.url).host } },
          (answer) => {
            response.writeHead(answer.statusCode as number, answer.headers);
            answer.pipe(response);
          },
        );
        incoming.pipe(upstream);
      });
    guarded = forward((authorization) => authorization === `Basic ${basic}`);
    guardedHost = await listen(guarded);
    shownToOpen = [];
    open = forward((authorization) => {
      shownToOpen.push(authorization);
      return true;
    });
    openHost = await listen(open);
  });
  afterAll(async () => {
    await close(guarded);
    await close(open);
    await registry.close();
    await job.end();
  });

  it("open a registry, and are masked before anything else is said", async () => {
    const result = await job.step("publish", {
      node,
      inputs: { source: "oci:out:v1", references: `${guardedHost}/acme/app:v1`, username, password },
    });
    expect(result).toMatchObject({ code: 0, stderr: "", errors: [] });
    expect(result.commands.slice(0, 2)).toMatchObject([
      { command: "add-mask", data: password, line: 0 },
      { command: "add-mask", data: basic, line: 1 },
    ]);
    const rest = result.stdout.split("\n").slice(2).join("\n");
    for (const secret of [password, basic, encodeURIComponent(password)]) {
      expect(rest + result.summary + JSON.stringify(result.outputs)).not.toContain(secret);
    }
  });

  it("that are wrong are told of, and not shown", async () => {
    const other = "another-password";
    const result = await job.step("publish", {
      node,
      inputs: { source: "oci:out:v1", references: `${guardedHost}/acme/app:v1`, username, password: other },
    });
    expect(result.code).toBe(1);
    expect(result.errors).toHaveLength(1);
    expect(result.errors[0]?.properties.title).toBe("stowage publish: Not logged in");
    const shown = result.log + JSON.stringify(result.errors) + result.summary;
    expect(shown).not.toContain(other);
    expect(shown).not.toContain(Buffer.from(`${username}:${other}`).toString("base64"));
  });

  it("that are missing are asked for in the words of a workflow", async () => {
    const result = await job.step("publish", {
      node,
      inputs: { source: "oci:out:v1", references: `${guardedHost}/acme/app:v1` },
    });
    expect(result.code).toBe(1);
    expect(result.errors[0]?.data).toContain("docker/login-action");
  });

  it("come from what docker/login-action stores, where no inputs give them", async () => {
    await job.write("docker/config.json", JSON.stringify({ auths: { [guardedHost]: { auth: basic } } }));
    const result = await job.step("publish", {
      node,
      env: { DOCKER_CONFIG: job.path("docker") },
      inputs: { source: "oci:out:v1", references: `${guardedHost}/acme/stored:v1` },
    });
    expect(result).toMatchObject({ code: 0, errors: [] });
  });

  it("for one registry are not shown to the one that the image comes from", async () => {
    await job.step("publish", { node, inputs: { source: "oci:out:v1", references: `${openHost}/acme/from:v1` } });
    shownToOpen.length = 0;
    const result = await job.step("publish", {
      node,
      inputs: { source: `${openHost}/acme/from:v1`, references: `${guardedHost}/acme/to:v1`, username, password },
    });
    expect(result).toMatchObject({ code: 0, errors: [] });
    expect(shownToOpen.length).toBeGreaterThan(0);
    expect(shownToOpen.filter((authorization) => authorization !== undefined)).toEqual([]);
  });

  it.for([
    ["publish", "ghcr.io", 403, "packages: write", {}],
    ["load", "ghcr.io", 403, "packages: read", {}],
    ["publish", "1234.dkr.ecr.eu-west-1.amazonaws.com", 403, "id-token: write", {}],
    ["load", "europe-docker.pkg.dev", 401, "id-token: write", {}],
    // Where the job has the permission that is not what is missing.
    ["load", "acme.azurecr.io", 401, undefined, { ACTIONS_ID_TOKEN_REQUEST_URL: "https://token.example" }],
  ] as const)(
    "of %s that %s refuses with %i make an annotation with the missing lines of the workflow: %s",
    async ([action, host, status, line, env]) => {
      // Stands in the way as a proxy, and answers as that registry would.
      const refusing = createServer((incoming, response) => {
        incoming.resume();
        const denied = action === "load" || incoming.method === "POST" || incoming.method === "PUT";
        const code = status === 401 ? "UNAUTHORIZED" : "DENIED";
        const headers = { "content-type": "application/json", "www-authenticate": 'Basic realm="x"' };
        response.writeHead(denied ? status : 404, headers);
        response.end(JSON.stringify({ errors: [{ code: denied ? code : "NAME_UNKNOWN", message: "refused" }] }));
      });
      try {
        const reference = `${host}/acme/app:v1`;
        const result = await job.step(action, {
          node,
          env: { http_proxy: `http://${await listen(refusing)}`, no_proxy: "", ...env },
          inputs: {
            ...(action === "publish"
              ? { source: "oci:out:v1", references: reference }
              : { source: reference, into: "archive", archive: "image.tar" }),
            "plain-http": host,
          },
        });
        expect(result.code).toBe(1);
        expect(result.errors).toHaveLength(1);
        expect(result.errors[0]?.properties.title).toBe(
          `stowage ${action}: ${status === 401 ? "Not logged in" : "Denied"}`,
        );
        if (line === undefined) expect(result.errors[0]?.data).not.toContain("permissions:");
        else expect(result.errors[0]?.data).toContain(`\npermissions:\n  contents: read\n  ${line}\n`);
      } finally {
        await close(refusing);
      }
    },
  );
});
