import { mkdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { type LayerMaker, memoryStore, serve as serveRegistry } from "@stowage/server";
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import { closeServers, sendError, sendJson, serve } from "../../packages/registry/test/support/server.js";
import { stowage, stowageJson, temporaryDirectory } from "./stowage.js";

let directory: Awaited<ReturnType<typeof temporaryDirectory>>;

beforeAll(async () => {
  directory = await temporaryDirectory();
});
afterEach(closeServers);
afterAll(() => directory.remove());

/** A registry with one tag that has something to say with each answer. */
const talkative = (headers: Record<string, string>) =>
  serve((_, response) => sendJson(response, 200, { tags: ["v1"] }, headers));

/** A registry that wants an account, and what it was shown. */
async function guarded(username: string, password: string) {
  const auth = `Basic ${Buffer.from(`${username}:${password}`).toString("base64")}`;
  const server = await serve((request, response) => {
    if (request.headers.authorization === auth) sendJson(response, 200, { tags: ["v1"] });
    else {
      response.setHeader("www-authenticate", 'Basic realm="r"');
      sendError(response, 401, "UNAUTHORIZED");
    }
  });
  const shown = () => server.received.map(({ headers }) => headers.authorization).filter((text) => text !== undefined);
  return { ...server, shown };
}

describe("what a registry says beside its answers", () => {
  const headers = {
    warning: '299 - "the tag \\"v1\\" is \u009b31mdeprecated"',
    "ratelimit-limit": "100;w=21600",
    "ratelimit-remaining": "98;w=21600",
  };

  it("stands on stderr once, without what a terminal would obey", async () => {
    const { host } = await talkative(headers);
    const run = await stowage(["list", `${host}/a/b`]);
    expect(run).toMatchObject({ code: 0, stdout: "v1\n" });
    expect(run.stderr.split("\n")).toEqual([
      `stowage: ${host} warns: the tag "v1" is  31mdeprecated`,
      `stowage: ${host}: 98 of 100 requests left in 6 hours`,
      "",
    ]);
  });

  it("does not stand in the result, and nowhere where nothing is to be said", async () => {
    const { host } = await talkative(headers);
    const json = await stowage(["list", `${host}/a/b`, "--json"]);
    expect(JSON.parse(json.stdout)).toEqual([{ tag: "v1" }]);
    expect(json.stderr).toContain("98 of 100");
    expect(await stowage(["list", `${host}/a/b`, "--quiet"])).toMatchObject({ stdout: "v1\n", stderr: "" });
  });

  it("stands beside the result in JSON that is an object, also with --quiet", async () => {
    const beside: LayerMaker = () => async (_exchange, next) => {
      const answer = await next();
      return { ...answer, headers: { ...answer.headers, ...headers } };
    };
    const registry = await serveRegistry({ store: memoryStore(), layers: [beside] });
    try {
      const host = `127.0.0.1:${registry.port}`;
      const report = await stowageJson<{ notices: unknown }>(["probe", `${host}/a/b`, "--quiet"]);
      expect(report.notices).toEqual({
        warnings: [{ host, text: expect.stringContaining("deprecated") }],
        rateLimits: [{ host, limit: 100, remaining: 98, window: 21_600_000 }],
      });
    } finally {
      await registry.close();
    }
  });

  it("is told also where the command fails", async () => {
    const { host } = await serve((_, response) =>
      response.writeHead(404, { warning: '299 - "moved to example.com"' }).end(),
    );
    const run = await stowage(["list", `${host}/a/b`]);
    expect(run.code).toBe(1);
    expect(run.stderr).toContain("warns: moved to example.com");
  });
});

describe("credentials on the command line", () => {
  it("are a name with the password in a variable, on standard input, or with a warning beside it", async () => {
    const registry = await guarded("alice", "s3cret");
    const list = ["list", `${registry.host}/a/b`, "-q"];
    const variable = await stowage([...list, "--creds", "alice"], { env: { STOWAGE_PASSWORD: "s3cret" } });
    expect(variable).toEqual({ code: 0, stdout: "v1\n", stderr: "" });
    expect(await stowage([...list, "--creds", "alice"], { input: "s3cret\n" })).toEqual(variable);
    const shown = await stowage([...list, "--creds", "alice:s3cret"]);
    expect(shown).toMatchObject({ code: 0, stderr: expect.stringContaining("--creds shows a password") });
    expect(shown.stderr).not.toContain("s3cret");
  });

  it("that are wrong are refused without a word of the password", async () => {
    const registry = await guarded("alice", "s3cret");
    const run = await stowage(["list", `${registry.host}/a/b`, "--creds", "alice:wr0ng"]);
    expect(run).toMatchObject({ code: 1, stdout: "" });
    expect(run.stderr).not.toContain("wr0ng");
  });

  it("are for one registry where a command speaks to two", async () => {
    const args = [
      "convert",
      "a.example/a/b",
      "-t",
      "b.example/a/b",
      "--attestations",
      "referrers",
      "--creds",
      "me:secret",
    ];
    const run = await stowage(args, { cwd: directory.path });
    expect(run).toMatchObject({ code: 2 });
    expect(run.stderr).toContain("a.example and b.example");
  });

  it("do not go to a registry that only has the referrers", async () => {
    const [open, other] = [await talkative({}), await guarded("me", "secret")];
    const args = ["list", `${open.host}/a/b`, "--creds", "me:secret", "--referrers-from", `${other.host}/a/b`];
    await stowage(args);
    expect(other.shown()).toEqual([]);
  });

  it("go to no other registry, and to no mirror", async () => {
    const [one, other] = [await guarded("a", "pa"), await guarded("b", "pb")];
    const places = ["oci:none:v1", `${one.host}/a/b:v1`, `${other.host}/a/b:v1`];
    const refused = await stowage(["publish", ...places, "--dst-creds", "a"], { env: { STOWAGE_DST_PASSWORD: "pa" } });
    expect(refused.code).toBe(2);
    expect(refused.stderr).toContain("--dst-creds is for one registry");
    const list = ["list", `${one.host}/a/b`, "-q", "--creds", "a", "--mirror", `${one.host}=${other.host}`];
    expect(await stowage(list, { env: { STOWAGE_PASSWORD: "pa" } })).toMatchObject({ code: 0 });
    expect(other.shown()).toEqual([]);
  });

  it.each([
    [["list", "h.invalid/a", "--creds", ":x"], "not USER or USER:PASSWORD"],
    [["list", "h.invalid/a", "--creds", "alice:"], "not USER or USER:PASSWORD"],
    [["copy", "a.invalid/a", "b.invalid/b", "--src-creds", "x", "--dst-creds", "y"], "cannot both read"],
    [["list", "h.invalid/a", "--cert", "c.pem"], "key"],
    [["list", "h.invalid/a", "--mirror", "nonsense"], "HOST=MIRROR"],
    [["login", "::", "-u", "a", "--password-stdin"], "names no registry"],
    [["login", "h.invalid", "--password-stdin"], "--username"],
    [["login", "h.invalid", "-u", "a", "-p", "b", "--password-stdin"], "exclude each other"],
    [["login", "h.invalid", "-u", "a"], "no password"],
  ])("that make no sense are wrong usage: %j", async (args, text) => {
    const run = await stowage(args);
    expect(run.stderr).toContain(text);
    expect(run).toMatchObject({ code: 2, stdout: "" });
  });
});

describe("login", () => {
  it("keeps an account for a path, which counts there and nowhere else", async () => {
    const registry = await guarded("bot", "t0ken");
    const DOCKER_CONFIG = join(directory.path, "config");
    const login = ["login", `${registry.host}/team`, "-u", "bot", "--password-stdin", "--json"];
    const run = await stowage(login, { env: { DOCKER_CONFIG }, input: "t0ken\n" });
    expect(JSON.parse(run.stdout)).toEqual({
      registry: `${registry.host}/team`,
      username: "bot",
      checked: true,
      file: join(DOCKER_CONFIG, "config.json"),
    });
    expect(run.stderr).toContain("kept unencrypted in");
    const env = { DOCKER_CONFIG };
    expect(await stowage(["list", `${registry.host}/team/app`, "-q"], { env })).toMatchObject({ stdout: "v1\n" });
    const other = await stowage(["list", `${registry.host}/other/app`], { env });
    expect(other).toMatchObject({ code: 1, stderr: expect.stringContaining(`stowage login ${registry.host}`) });
    const logout = await stowage(["logout", `${registry.host}/team`], { env });
    expect(logout.stdout).toBe(`logged out of ${registry.host}/team\n`);
    expect(JSON.parse(await readFile(join(DOCKER_CONFIG, "config.json"), "utf8"))).toEqual({ auths: {} });
    expect((await stowage(["logout", registry.host], { env })).stdout).toBe(`not logged in to ${registry.host}\n`);
  });

  it("warns of a password among the arguments", async () => {
    const registry = await guarded("bot", "t0ken");
    const env = { DOCKER_CONFIG: join(directory.path, "argv") };
    const run = await stowage(["login", registry.host, "-u", "bot", "-p", "t0ken"], { env });
    expect(run).toMatchObject({ code: 0, stderr: expect.stringContaining("use --password-stdin") });
    expect(run.stdout + run.stderr).not.toContain("t0ken");
  });

  it("names the file that is damaged, and does not touch it", async () => {
    const registry = await guarded("bot", "t0ken");
    const DOCKER_CONFIG = join(directory.path, "damaged");
    await mkdir(DOCKER_CONFIG);
    await writeFile(join(DOCKER_CONFIG, "config.json"), '{"auths": {"h": {"auth": "c2VjcmV0"');
    for (const args of [
      ["login", registry.host, "-u", "bot"],
      ["list", `${registry.host}/a/b`],
    ]) {
      const run = await stowage(args, { env: { DOCKER_CONFIG, STOWAGE_PASSWORD: "t0ken" } });
      expect(run).toMatchObject({ code: 1, stdout: "" });
      expect(run.stderr).toContain(`${join(DOCKER_CONFIG, "config.json")} is not valid JSON`);
      expect(run.stderr).not.toContain("c2Vjcm");
    }
  });
});

describe("--attribution", () => {
  it("names the workflow to the registry, only where it is asked for and in Actions", async () => {
    const registry = await guarded("x", "y");
    const env = { GITHUB_ACTIONS: "true", GITHUB_REPOSITORY: "acme/app", GITHUB_WORKFLOW: "Release" };
    await stowage(["list", `${registry.host}/a/b`, "--attribution"], { env });
    await stowage(["list", `${registry.host}/a/b`], { env });
    const agents = registry.received.map(({ headers }) => headers["user-agent"]);
    expect(agents[0]).toMatch(/^stowage\/\d\S* \(GitHub Actions; acme\/app; Release\)$/);
    expect(agents.at(-1)).toMatch(/^stowage\/\d\S*$/);
  });
});
