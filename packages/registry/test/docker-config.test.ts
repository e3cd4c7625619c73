import { chmod, mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { delimiter, join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { askCredentialHelper } from "../src/auth/credential-helper.js";
import { dockerConfiguration, dockerCredentials } from "../src/auth/docker-config.js";

let folder: string;
let environment: Record<string, string>;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "stowage-config-"));
  environment = { DOCKER_CONFIG: folder, PATH: `${folder}${delimiter}${process.env.PATH}` };
});
afterEach(() => rm(folder, { recursive: true, force: true }));

const base64 = (text: string) => Buffer.from(text).toString("base64");

async function lookUp(config: unknown, host: string, repository = "team/app") {
  await writeFile(join(folder, "config.json"), typeof config === "string" ? config : JSON.stringify(config));
  return dockerCredentials({ environment })(host, repository);
}

/** A credential helper that writes what it was asked to a file. */
async function helper(name: string, script: string): Promise<void> {
  const path = join(folder, `docker-credential-${name}`);
  await writeFile(path, `#!/bin/sh\nread -r server\nprintf '%s %s' "$1" "$server" > "${folder}/asked"\n${script}\n`);
  await chmod(path, 0o755);
}

describe("dockerCredentials", () => {
  it("finds nothing where there is no file, or an empty one", async () => {
    expect(await dockerCredentials({ environment })("ghcr.io", "a/b")).toBeUndefined();
    expect(await lookUp("", "ghcr.io")).toBeUndefined();
    expect(await lookUp({}, "ghcr.io")).toBeUndefined();
  });

  it("reads all forms of an entry", async () => {
    const auths = {
      "a.example": { auth: base64("alice:pass:word") },
      "b.example": { username: "bob", password: "pw" },
      "c.example": { auth: base64("x:"), identitytoken: "id" },
      "d.example": { registrytoken: "rt" },
      "e.example": {},
    };
    expect(await lookUp({ auths }, "a.example")).toEqual({ username: "alice", password: "pass:word" });
    expect(await lookUp({ auths }, "b.example")).toEqual({ username: "bob", password: "pw" });
    expect(await lookUp({ auths }, "c.example")).toEqual({ identityToken: "id" });
    expect(await lookUp({ auths }, "d.example")).toEqual({ registryToken: "rt" });
    expect(await lookUp({ auths }, "e.example")).toBeUndefined();
    expect(await lookUp({ auths }, "constructor")).toBeUndefined();
  });

  it("takes the longest path that fits", async () => {
    const entry = (name: string) => ({ auth: base64(`${name}:p`) });
    const auths = {
      "h.example": entry("host"),
      "h.example/team": entry("team"),
      "h.example/team/app": entry("app"),
      "h.example/tea": entry("wrong"),
    };
    expect(await lookUp({ auths }, "h.example", "team/app")).toMatchObject({ username: "app" });
    expect(await lookUp({ auths }, "h.example", "team/app/sub")).toMatchObject({ username: "app" });
    expect(await lookUp({ auths }, "h.example", "team/other")).toMatchObject({ username: "team" });
    expect(await lookUp({ auths }, "h.example", "teams/app")).toMatchObject({ username: "host" });
  });

  it("knows Docker Hub and other hosts by their older spellings", async () => {
    const entry = { auth: base64("hub:p") };
    for (const key of ["https://index.docker.io/v1/", "docker.io", "index.docker.io", "registry-1.docker.io"]) {
      expect(await lookUp({ auths: { [key]: entry } }, "docker.io", "library/alpine")).toMatchObject({
        username: "hub",
      });
    }
    for (const key of ["h.example:5000", "https://h.example:5000", "https://h.example:5000/v2/", "h.example:5000/"]) {
      expect(await lookUp({ auths: { [key]: entry } }, "h.example:5000")).toMatchObject({ username: "hub" });
    }
    expect(await lookUp({ auths: { "h.example": entry } }, "h.example:5000")).toBeUndefined();
  });

  it("asks the helper of the host, then the store for all, then its own entries", async () => {
    await helper("one", `echo '{"ServerURL":"x","Username":"from-one","Secret":"s"}'`);
    await helper("all", `echo 'credentials not found in native keychain'; exit 1`);
    const config = {
      credHelpers: { "a.example": "one" },
      credsStore: "all",
      auths: { "b.example": { auth: base64("own:p") } },
    };
    expect(await lookUp(config, "a.example")).toEqual({ username: "from-one", password: "s" });
    expect(await lookUp(config, "b.example")).toEqual({ username: "own", password: "p" });
    expect(await lookUp(config, "c.example")).toBeUndefined();
  });

  it("asks a helper for Docker Hub by the name it is filed under", async () => {
    await helper(
      "hub",
      `if [ "$server" = https://index.docker.io/v1/ ] && [ "$1" = get ]; then echo '{"Username":"<token>","Secret":"refresh"}'; fi`,
    );
    expect(await lookUp({ credsStore: "hub" }, "docker.io", "library/alpine")).toEqual({ identityToken: "refresh" });
  });

  it("fails on a damaged file with its path, without quoting it", async () => {
    await expect(lookUp('{"auths": {"h": {"auth": "c2VjcmV0"', "h")).rejects.toThrow(/config\.json is not valid JSON/);
    const failed = lookUp({ auths: { h: { auth: base64("secretwithoutcolon") } } }, "h");
    await expect(failed).rejects.toMatchObject({ code: "INVALID" });
    await expect(failed).rejects.toThrow(/^(?!.*secretwithoutcolon)/);
  });

  it("says what is wrong with a file and which, and never what stands in it", async () => {
    const secret = base64("alice:s3cret");
    for (const [config, problem] of [
      [`{"auths": {"h": {"auth": "${secret}" "x"}}}`, "is not valid JSON"],
      [`{"auths": {"h": ${secret}}}`, "is not valid JSON"],
      [`["${secret}"]`, "is not a JSON object"],
      [{ auths: secret }, "auths in"],
      [{ credHelpers: [secret] }, "credHelpers in"],
      [{ credsStore: { secret } }, "credsStore in"],
    ] as const) {
      const failed = lookUp(config, "h");
      await expect(failed).rejects.toMatchObject({ code: "INVALID" });
      await expect(failed).rejects.toThrow(problem);
      await expect(failed).rejects.toThrow(join(folder, "config.json"));
      const { message, cause } = await failed.catch((error) => error);
      expect(`${message} ${cause}`).not.toContain(secret.slice(0, 6));
    }
  });

  it("looks in the home directory where DOCKER_CONFIG is not set", async () => {
    await mkdir(join(folder, ".docker"));
    await writeFile(
      join(folder, ".docker", "config.json"),
      JSON.stringify({ auths: { h: { auth: base64("home:p") } } }),
    );
    expect(await dockerCredentials({ environment: { HOME: folder } })("h", "a")).toMatchObject({ username: "home" });
  });
});

describe("the files that are asked", () => {
  const account = (name: string) => ({ auths: { h: { auth: base64(`${name}:p`) } } });
  const write = async (path: string, value: unknown) => {
    await mkdir(join(folder, path, ".."), { recursive: true });
    await writeFile(join(folder, path), JSON.stringify(value));
  };
  const nameFor = async (variables: Record<string, string>, repository = "a") => {
    const found = await dockerCredentials({ environment: { HOME: folder, ...variables } })("h", repository);
    return found !== undefined && "username" in found ? found.username : undefined;
  };
  beforeEach(async () => {
    await write("named/auth.json", account("named"));
    await write("docker/config.json", account("docker"));
    await write("empty/config.json", {});
    await write("run/containers/auth.json", account("podman"));
    await write("config/containers/auth.json", account("podman-config"));
  });

  it("are the text in DOCKER_AUTH_CONFIG, the file of REGISTRY_AUTH_FILE and Docker's, in this order", async () => {
    const named = { REGISTRY_AUTH_FILE: join(folder, "named/auth.json"), DOCKER_CONFIG: join(folder, "docker") };
    expect(await nameFor({ ...named, DOCKER_AUTH_CONFIG: JSON.stringify(account("text")) })).toBe("text");
    expect(await nameFor(named)).toBe("named");
    expect(await nameFor({ DOCKER_CONFIG: join(folder, "docker") })).toBe("docker");
    // One that has nothing for the host leaves it to the next.
    expect(await nameFor({ ...named, DOCKER_AUTH_CONFIG: JSON.stringify({ auths: {} }) })).toBe("named");
    expect(await nameFor({ ...named, REGISTRY_AUTH_FILE: join(folder, "absent.json") })).toBe("docker");
  });

  it("are Podman's as well, where no variable names a file", async () => {
    const podman = { XDG_RUNTIME_DIR: join(folder, "run"), XDG_CONFIG_HOME: join(folder, "config") };
    expect(await nameFor(podman)).toBe("podman");
    expect(await nameFor({ ...podman, XDG_RUNTIME_DIR: join(folder, "absent") })).toBe("podman-config");
    expect(await nameFor({ ...podman, DOCKER_CONFIG: join(folder, "empty") })).toBeUndefined();
    await write(".config/containers/auth.json", account("podman-home"));
    expect(await nameFor({ XDG_RUNTIME_DIR: join(folder, "absent") })).toBe("podman-home");
    await write(".docker/config.json", account("docker-home"));
    expect(await nameFor(podman)).toBe("docker-home");
  });

  it("are named in the message where DOCKER_AUTH_CONFIG is damaged", async () => {
    await expect(nameFor({ DOCKER_AUTH_CONFIG: "{" })).rejects.toThrow(
      "the variable DOCKER_AUTH_CONFIG is not valid JSON",
    );
  });
});

describe("HttpHeaders", () => {
  const headers = async (value: unknown) => {
    await writeFile(join(folder, "config.json"), JSON.stringify({ HttpHeaders: value }));
    return dockerConfiguration({ environment }).headers();
  };

  it("are read without those that are the client's own business", async () => {
    expect(
      await headers({ "X-Meta": "v", Authorization: "Basic abc", Cookie: "c", Host: "evil", "Content-Length": "0" }),
    ).toEqual({ "x-meta": "v" });
    expect(await headers(undefined)).toEqual({});
  });

  it("fail with the name of what is no header, and not its value", async () => {
    for (const value of [
      { "X-A": "secret\r\nx: y" },
      { "X A": "secret" },
      { "X-A": 1 },
      { "": "secret" },
      ["secret"],
    ]) {
      const failed = headers(value);
      await expect(failed).rejects.toMatchObject({ code: "INVALID" });
      await expect(failed).rejects.toThrow(/^(?!.*secret).*HttpHeaders/);
      await expect(failed).rejects.toThrow(join(folder, "config.json"));
    }
  });
});

describe("askCredentialHelper", () => {
  it("says which helper is not installed", async () => {
    await expect(askCredentialHelper("absent", "h", { environment })).rejects.toThrow(/docker-credential-absent/);
  });

  it("stops a helper that gives no answer", async () => {
    await helper("slow", "exec sleep 60");
    await expect(askCredentialHelper("slow", "h", { environment, timeout: 300 })).rejects.toMatchObject({
      code: "UNAUTHORIZED",
    });
  });

  it("fails where a helper fails, without quoting it", async () => {
    await helper("broken", "echo secret; exit 3");
    const failed = askCredentialHelper("broken", "h", { environment });
    await expect(failed).rejects.toThrow(/^(?!.*secret).*status 3/);
    await helper("rubbish", "echo secret");
    await expect(askCredentialHelper("rubbish", "h", { environment })).rejects.toThrow(/^(?!.*secret).*not JSON/);
  });

  it("refuses a name that would be a path", async () => {
    for (const name of ["../evil", "a/b", "", "-x"]) {
      await expect(askCredentialHelper(name, "h", { environment })).rejects.toMatchObject({ code: "INVALID" });
    }
  });
});
