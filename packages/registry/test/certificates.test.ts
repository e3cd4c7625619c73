import { copyFileSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer, type Server } from "node:https";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { TLSSocket } from "node:tls";
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import { certificateDirectories, readCertificates, usualAuthorities } from "../src/http/certificates.js";
import { type ClientOptions, RegistryClient } from "../src/index.js";
import { blobOf, failure, text } from "./support/artifacts.js";
import { type Authority, makeAuthority } from "./support/certificates.js";

let folder: string;
let authority: Authority;
let mutual: Server;
let plain: Server;
let stranger: { certFile: string; keyFile: string };
let client: { certFile: string; keyFile: string };
/** The names in the client certificates that were shown, by who saw them. */
const shown: string[] = [];
const opened: RegistryClient[] = [];

const hostOf = (server: Server): string => `127.0.0.1:${(server.address() as AddressInfo).port}`;
const content = blobOf("content");

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), "stowage-certificates-"));
  authority = makeAuthority(folder);
  const { certFile, keyFile } = authority.issue("server", ["127.0.0.1", "localhost"]);
  client = authority.issue("alice");
  stranger = makeAuthority(folder, "other").issue("mallory");
  const identity = { cert: readFileSync(certFile), key: readFileSync(keyFile), ca: readFileSync(authority.caFile) };
  const note = (who: string, socket: unknown): void => {
    shown.push(`${who} ${(socket as TLSSocket).getPeerCertificate().subject?.CN ?? "nobody"}`);
  };
  plain = createServer({ ...identity, requestCert: true, rejectUnauthorized: false }, (request, response) => {
    note("store", request.socket);
    response.end("content");
  });
  mutual = createServer({ ...identity, requestCert: true, rejectUnauthorized: true }, (request, response) => {
    note("registry", request.socket);
    if (request.url?.includes("/blobs/")) response.writeHead(307, { location: `https://${hostOf(plain)}/blob` }).end();
    else response.writeHead(404).end();
  });
  for (const server of [mutual, plain]) await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
});
afterEach(async () => {
  await Promise.all(opened.splice(0).map((one) => one.close()));
  shown.splice(0);
});
afterAll(() => {
  mutual.close();
  plain.close();
  rmSync(folder, { recursive: true });
});

function repository(host: string, options: ClientOptions) {
  const base = { credentials: false, environment: { HOME: folder }, certificateDirectories: [], tries: 1 } as const;
  const made = new RegistryClient({ ...base, plainHttp: false, ...options });
  opened.push(made);
  return made.repository(`${host}/some/repo`);
}

/** A certs.d directory with these files for one host. */
function certsD(name: string, host: string, files: Readonly<Record<string, string>>): string {
  const directory = join(folder, name);
  mkdirSync(join(directory, host), { recursive: true });
  for (const [file, from] of Object.entries(files)) copyFileSync(from, join(directory, host, file));
  return directory;
}

describe("a client certificate", () => {
  it("opens a registry that asks for one, and is not shown to where that redirects", async () => {
    const target = repository(hostOf(mutual), { caFile: authority.caFile, ...client });
    await expect(target.resolve("v1")).rejects.toMatchObject({ code: "NOT_FOUND" });
    expect(await text(target.fetch(content.descriptor))).toBe("content");
    expect(new Set(shown)).toEqual(new Set(["registry alice", "store nobody"]));
  });

  it("that is missing or of a stranger is what the hint names", async () => {
    for (const options of [{}, stranger]) {
      const error = await failure(repository(hostOf(mutual), { caFile: authority.caFile, ...options }).resolve("v1"));
      expect(error.hint).toContain("--cert");
    }
  });

  it("that cannot be used is an error that names the files", async () => {
    for (const pair of [
      { ...client, keyFile: stranger.keyFile },
      { certFile: client.keyFile, keyFile: client.certFile },
    ]) {
      const error = await failure(repository(hostOf(mutual), { caFile: authority.caFile, ...pair }).resolve("v1"));
      expect(error).toMatchObject({ code: "INVALID", message: expect.stringContaining(pair.keyFile) });
    }
    const absent = { ...client, keyFile: join(folder, "absent.key") };
    expect(await failure(repository(hostOf(mutual), absent).resolve("v1"))).toMatchObject({ code: "NOT_FOUND" });
  });
});

describe("certs.d", () => {
  it("gives a host its authorities and its client certificate", async () => {
    const files = { "ca.crt": authority.caFile, "client.cert": client.certFile, "client.key": client.keyFile };
    const certificateDirectories = [certsD("d1", hostOf(mutual), files)];
    const target = repository(hostOf(mutual), { certificateDirectories });
    await expect(target.resolve("v1")).rejects.toMatchObject({ code: "NOT_FOUND" });
    expect(shown).toEqual(["registry alice"]);
  });

  it("gives nothing to other hosts, and its client certificate to nobody who was only redirected to", async () => {
    const files = { "ca.crt": authority.caFile, "client.cert": client.certFile, "client.key": client.keyFile };
    const certificateDirectories = [certsD("d2", hostOf(mutual), files), certsD("d2", hostOf(plain), files)];
    expect(await text(repository(hostOf(mutual), { certificateDirectories }).fetch(content.descriptor))).toBe(
      "content",
    );
    expect(shown).toEqual(["registry alice", "store nobody"]);
    const other = [certsD("d3", "127.0.0.1:1", files)];
    const error = await failure(repository(hostOf(mutual), { certificateDirectories: other }).resolve("v1"));
    expect(error.message).toContain("not trusted");
  });

  it("is looked for where Podman and Docker look, the user's own first", () => {
    expect(certificateDirectories({ HOME: "/home/u" })).toEqual([
      "/home/u/.config/containers/certs.d",
      "/etc/containers/certs.d",
      "/etc/docker/certs.d",
    ]);
    expect(certificateDirectories({ HOME: "/home/u", XDG_CONFIG_HOME: "/cfg" })[0]).toBe("/cfg/containers/certs.d");
  });

  it("in the user's configuration is used without a word", async () => {
    certsD("config/containers/certs.d", hostOf(plain), { "ca.crt": authority.caFile });
    const environment = { HOME: folder, XDG_CONFIG_HOME: join(folder, "config") };
    const { certificateDirectories: _, ...rest } = { certificateDirectories: undefined };
    const made = new RegistryClient({ credentials: false, environment, plainHttp: false, tries: 1, ...rest });
    opened.push(made);
    expect(await text(made.repository(`${hostOf(plain)}/a/b`).fetch(content.descriptor))).toBe("content");
  });

  it("knows a host at port 443 with and without the port", () => {
    const directory = certsD("d4", "r.example:443", { "a.crt": authority.caFile });
    certsD("d4", "r.example", { "b.crt": authority.caFile });
    expect(readCertificates(new URL("https://r.example/"), [directory]).authorities).toHaveLength(2);
    expect(readCertificates(new URL("https://r.example:444/"), [directory]).authorities).toHaveLength(0);
  });

  it("with half a pair, or with what is no certificate, is an error that names the file", () => {
    const cases: [string, Readonly<Record<string, string>>, RegExp][] = [
      ["d5", { "client.cert": client.certFile }, /client\.cert has no client\.key/],
      ["d6", { "client.key": client.keyFile }, /client\.key has no client\.cert/],
      ["d7", { "ca.crt": client.keyFile }, /ca\.crt holds no certificates/],
    ];
    for (const [name, files, message] of cases) {
      const directory = certsD(name, "h", files);
      expect(() => readCertificates(new URL("https://h/"), [directory])).toThrow(message);
    }
  });
});

describe("the authorities that are trusted anyway", () => {
  it("stay so where others are named, NODE_EXTRA_CA_CERTS among them", () => {
    expect(usualAuthorities({}).length).toBeGreaterThan(50);
    if (Number(process.versions.node.split(".")[0]) > 20) return;
    const all = usualAuthorities({ NODE_EXTRA_CA_CERTS: authority.caFile });
    expect(all).toContain(readFileSync(authority.caFile, "utf8"));
  });

  it("are not what a file of rubbish says", async () => {
    writeFileSync(join(folder, "rubbish.pem"), "rubbish");
    const error = await failure(repository(hostOf(plain), { caFile: join(folder, "rubbish.pem") }).resolve("v1"));
    expect(error).toMatchObject({ code: "INVALID", message: expect.stringContaining("rubbish.pem") });
  });
});
