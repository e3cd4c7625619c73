import { writeFile } from "node:fs/promises";
import { connect } from "node:net";
import { join } from "node:path";
import { digestOf, encodeJson, mediaTypes } from "@stowage/layout";
import { afterEach, describe, expect, it } from "vitest";
import { type Served, startServe, temporaryDirectory } from "./stowage.js";

const ending: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const end of ending.splice(0).reverse()) await end();
});

async function start(args: readonly string[], cwd?: string): Promise<{ served: Served; err: () => string }> {
  const served = await startServe(args, cwd === undefined ? {} : { cwd });
  ending.push(() => served.stop());
  let text = "";
  served.process.stderr?.setEncoding("utf8").on("data", (chunk: string) => (text += chunk));
  return { served, err: () => text };
}

async function directory(): Promise<string> {
  const { path, remove } = await temporaryDirectory();
  ending.push(remove);
  return path;
}

const blank = encodeJson({});
const manifest = (extra: Readonly<Record<string, unknown>> = {}): Uint8Array =>
  encodeJson({
    schemaVersion: 2,
    mediaType: mediaTypes.manifest,
    artifactType: "application/example",
    config: { mediaType: mediaTypes.empty, digest: digestOf(blank), size: 2 },
    layers: [],
    ...extra,
  });

describe("stowage serve", () => {
  it("lets in who has an account, and tells of each request as JSON", async () => {
    const cwd = await directory();
    await writeFile(join(cwd, "accounts"), "alice:$2b$05$UxXN4k1Jb2ynKymkXDcTQ.tW/6YQ6eos3ltBgy3Dth.1T4vjuE6FS\n");
    const { served, err } = await start(["--memory", "--auth", "htpasswd", "accounts", "--log", "json"], cwd);
    const ask = (password: string) =>
      fetch(`http://${served.host}/v2/?secret=x`, {
        headers: { Authorization: `Basic ${Buffer.from(`alice:${password}`).toString("base64")}` },
      });
    expect([(await ask("wrong")).status, (await ask("s3cret")).status]).toEqual([401, 200]);
    await served.stop();
    const records = err()
      .trim()
      .split("\n")
      .map((line) => JSON.parse(line));
    expect(records).toMatchObject([
      { method: "GET", path: "/v2/", status: 401, client: "127.0.0.1", complete: true },
      { method: "GET", path: "/v2/", status: 200, sent: 2 },
    ]);
    expect(err()).not.toContain("secret");
  });

  it("takes sparse manifests, embeds referrers and deletes blobs where it is told to, and tells of requests as text", async () => {
    const { served, err } = await start([
      ...["--memory", "--sparse", "--delete-blobs", "--embed-referrers", "4096", "--log", "text"],
    ]);
    const base = `http://${served.host}/v2/team/app`;
    const put = async (reference: string, body: Uint8Array) =>
      (
        await fetch(`${base}/manifests/${reference}`, {
          method: "PUT",
          body,
          headers: { "Content-Type": mediaTypes.manifest },
        })
      ).status;
    const [image, size] = [digestOf(manifest()), manifest().byteLength];
    expect(await put("v1", manifest())).toBe(201);
    const refers = manifest({ subject: { mediaType: mediaTypes.manifest, digest: image, size } });
    expect(await put(digestOf(refers), refers)).toBe(201);
    const { manifests } = (await (await fetch(`${base}/referrers/${image}`)).json()) as {
      manifests: { data: string }[];
    };
    expect(manifests.map(({ data }) => Buffer.from(data, "base64").equals(refers))).toEqual([true]);
    const blob = digestOf("blob");
    expect((await fetch(`${base}/blobs/uploads/?digest=${blob}`, { method: "POST", body: "blob" })).status).toBe(201);
    expect((await fetch(`${base}/blobs/${blob}`, { method: "DELETE" })).status).toBe(202);
    await served.stop();
    expect(err().split("\n")).toContainEqual(
      expect.stringMatching(/^\d{4}-\S+Z 127\.0\.0\.1 PUT \/v2\/team\/app\/manifests\/v1 201 in \d+ out 0 \d+ ms$/),
    );
  });

  it("finishes an upload that is running when it is interrupted, takes nobody new, and ends with 0", async () => {
    const cwd = await directory();
    const { served } = await start(["store"], cwd);
    const [host, port] = served.host.split(":");
    const digest = digestOf("slow body");
    const upload = connect(Number(port), host);
    let answer = "";
    upload.setEncoding("utf8").on("data", (text: string) => (answer += text));
    const closed = new Promise((resolve) => upload.once("close", resolve));
    upload.write(`POST /v2/a/blobs/uploads/?digest=${digest} HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nslow `);
    while ((await metric(served.host, "requests_running")) < 2);
    const ended = served.stop();
    while (
      await fetch(`http://${served.host}/v2/`).then(
        () => true,
        () => false,
      )
    );
    upload.write("body");
    await closed;
    expect(answer).toMatch(/^HTTP\/1\.1 201 /);
    expect(await ended).toBe(0);
    const { served: next } = await start(["store"], cwd);
    expect(await (await fetch(`http://${next.host}/v2/a/blobs/${digest}`)).text()).toBe("slow body");
  });
});

async function metric(host: string, name: string): Promise<number> {
  const text = await (await fetch(`http://${host}/metrics`)).text();
  return Number(new RegExp(`^stowage_${name} (\\d+)$`, "m").exec(text)?.[1]);
}
