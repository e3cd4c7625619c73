import { type Descriptor, digestOf, mediaTypes } from "@stowage/layout";
import { afterEach, describe, expect, it } from "vitest";
import { RegistryClient } from "../src/index.js";
import { blobOf, failure, manifestOf, text } from "./support/artifacts.js";
import { closeServers, type Handler, sendError, serve } from "./support/server.js";

const clients: RegistryClient[] = [];

afterEach(async () => {
  await Promise.all(clients.splice(0).map((client) => client.close()));
  await closeServers();
});

async function repositoryWith(handler: Handler) {
  const server = await serve(handler);
  const client = new RegistryClient({ credentials: false, environment: {}, tries: 1 });
  clients.push(client);
  return { repository: client.repository(`${server.host}/some/repo`), server };
}

const image = manifestOf([blobOf("layer")]);
const { descriptor } = image;
const bytes = Buffer.from([...(image.open() as Iterable<Uint8Array>)][0] as Uint8Array);
const headers = {
  "content-type": descriptor.mediaType,
  "content-length": String(descriptor.size),
  "docker-content-digest": descriptor.digest as string,
};

/** Answers with the manifest; `change` takes away or replaces headers, for HEAD only or always. */
const answering =
  (change: Partial<Record<keyof typeof headers, string | undefined>>, only?: "HEAD", body: Buffer = bytes): Handler =>
  (request, response) => {
    const merged = only === undefined || request.method === only ? { ...headers, ...change } : headers;
    response.writeHead(
      200,
      Object.fromEntries(Object.entries(merged).filter(([, value]) => value !== undefined)) as Record<string, string>,
    );
    response.end(request.method === "HEAD" ? undefined : body);
  };

const other = digestOf("something else");

describe("resolve", () => {
  it("needs one HEAD where the registry tells all", async () => {
    const { repository, server } = await repositoryWith(answering({}));
    expect(await repository.resolve("v1")).toEqual(descriptor);
    expect(server.received.map(({ method }) => method)).toEqual(["HEAD"]);
    const accept = server.received[0]?.headers.accept ?? "";
    for (const type of [
      mediaTypes.manifest,
      mediaTypes.index,
      mediaTypes.dockerManifest,
      mediaTypes.dockerManifestList,
    ])
      expect(accept).toContain(type);
  });

  it("ignores parameters of the type", async () => {
    const { repository } = await repositoryWith(
      answering({ "content-type": `${descriptor.mediaType}; charset=utf-8` }),
    );
    expect(await repository.resolve("v1")).toEqual(descriptor);
  });

  it("reads and hashes where HEAD does not tell digest, size or type", async () => {
    for (const name of ["docker-content-digest", "content-length", "content-type"] as const) {
      for (const value of [undefined, ...(name === "content-length" ? [] : ["rubbish"])]) {
        const { repository, server } = await repositoryWith(answering({ [name]: value }, "HEAD"));
        expect([name, value, await repository.resolve("v1")]).toEqual([name, value, descriptor]);
        expect(server.received.map(({ method }) => method)).toEqual(["HEAD", "GET"]);
      }
    }
  });

  it("reads where HEAD is not allowed", async () => {
    const { repository } = await repositoryWith((request, response, body) =>
      request.method === "HEAD" ? response.writeHead(405).end() : answering({})(request, response, body),
    );
    expect(await repository.resolve("v1")).toEqual(descriptor);
  });

  it("reports what GET says where HEAD fails without a word", async () => {
    const { repository } = await repositoryWith((request, response) =>
      request.method === "HEAD" ? response.writeHead(403).end() : sendError(response, 403, "DENIED", "not for you"),
    );
    await expect(repository.resolve("v1")).rejects.toMatchObject({
      code: "DENIED",
      diagnostics: [{ code: "DENIED", message: "not for you" }],
    });
  });

  it("does not believe a digest that the bytes do not have", async () => {
    const { repository } = await repositoryWith(
      answering({ "docker-content-digest": other, "content-length": undefined }),
    );
    await expect(repository.resolve("v1")).rejects.toMatchObject({ code: "MISMATCH" });
  });

  it("does not believe bytes that are not those of the digest asked for", async () => {
    const { repository } = await repositoryWith(
      answering({ "docker-content-digest": undefined, "content-type": undefined }),
    );
    await expect(repository.resolve(other)).rejects.toMatchObject({ code: "MISMATCH" });
    const second = await repositoryWith(answering({}));
    await expect(second.repository.resolve(other)).rejects.toMatchObject({ code: "MISMATCH" });
  });

  it("lets nobody fetch other bytes than those a lying HEAD promised", async () => {
    const { repository } = await repositoryWith(answering({ "docker-content-digest": other }));
    const resolved = await repository.resolve("v1");
    await expect(text(repository.fetch(resolved))).rejects.toMatchObject({ code: "MISMATCH" });
  });

  it("refuses a manifest that calls itself something else than its header does", async () => {
    const { repository } = await repositoryWith(
      answering({ "content-type": mediaTypes.index, "docker-content-digest": undefined }),
    );
    await expect(repository.resolve("v1")).rejects.toMatchObject({ code: "INVALID" });
  });

  it("refuses what is no manifest", async () => {
    const body = Buffer.from('{"schemaVersion":1,"fsLayers":[]}');
    const { repository } = await repositoryWith(
      answering(
        {
          "content-type": "application/vnd.docker.distribution.manifest.v1+prettyjws",
          "content-length": String(body.byteLength),
          "docker-content-digest": undefined,
        },
        undefined,
        body,
      ),
    );
    const error = await failure(repository.resolve("v1"));
    expect(error).toMatchObject({ code: "UNSUPPORTED", hint: expect.stringContaining("schema 1") });
    const html = await repositoryWith((request, response) =>
      response.end(request.method === "HEAD" ? undefined : "<html>"),
    );
    await expect(html.repository.resolve("v1")).rejects.toMatchObject({ code: "INVALID" });
  });

  it("stops reading a manifest without end", async () => {
    let sent = 0;
    const { repository } = await repositoryWith((request, response) => {
      if (request.method === "HEAD") return response.end();
      const chunk = Buffer.alloc(1024 * 1024, "x");
      const more = (): void => {
        for (; sent < 300 && !response.destroyed; ) {
          sent++;
          if (!response.write(chunk)) return void response.once("drain", more);
        }
        response.end();
      };
      return more();
    });
    await expect(repository.resolve("v1")).rejects.toMatchObject({ code: "LIMIT" });
    expect(sent).toBeLessThan(100);
  });

  it("fails with NOT_FOUND and says that HEAD carries no explanation", async () => {
    const { repository } = await repositoryWith((_, response) => sendError(response, 404, "MANIFEST_UNKNOWN"));
    const error = await failure(repository.resolve("v1"));
    expect(error).toMatchObject({ code: "NOT_FOUND", status: 404, method: "HEAD" });
    expect(error.message).toContain("HEAD");
  });

  it("refuses what is neither tag nor digest before anything is sent", async () => {
    const { repository, server } = await repositoryWith(answering({}));
    for (const reference of ["", "../../x", "a b", "sha256:short", "x".repeat(129), "v1?x"]) {
      await expect(repository.resolve(reference)).rejects.toMatchObject({ code: "INVALID" });
    }
    expect(server.received).toEqual([]);
  });

  it("asks for docker.io where Docker Hub really is", () => {
    const client = new RegistryClient();
    clients.push(client);
    expect(client.repository("alpine").name).toBe("docker.io/library/alpine");
    expect(client.repository("alpine")).toBe(client.repository("docker.io/library/alpine:3"));
  });
});

describe("fetch", () => {
  const content = blobOf("0123456789");
  const sending =
    (body: string, extra: Record<string, string> = {}): Handler =>
    (_, response) => {
      response.writeHead(200, { "content-length": String(body.length), ...extra });
      response.end(body);
    };
  const fetched = async (handler: Handler, wanted: Descriptor = content.descriptor, from?: number) => {
    const { repository } = await repositoryWith(handler);
    return text(repository.fetch(wanted, from === undefined ? {} : { from }));
  };

  it("refuses bytes that are fewer, more or other than declared", async () => {
    for (const body of ["012345678", "01234567890", "012345678X", ""]) {
      await expect(fetched(sending(body))).rejects.toMatchObject({ code: "MISMATCH" });
    }
  });

  it("withholds the last bytes until all are known to be right", async () => {
    const { repository } = await repositoryWith(sending("012345678X"));
    let seen = "";
    const reading = (async () => {
      for await (const chunk of repository.fetch(content.descriptor)) seen += Buffer.from(chunk).toString();
    })();
    await expect(reading).rejects.toMatchObject({ code: "MISMATCH" });
    expect(seen).not.toContain("X");
  });

  it("refuses a header that names another digest at once", async () => {
    await expect(fetched(sending("0123456789", { "docker-content-digest": other }))).rejects.toMatchObject({
      code: "MISMATCH",
    });
  });

  it("starts in the middle, with a server that knows ranges and with one that does not", async () => {
    const ranged: Handler = (request, response) => {
      expect(request.headers.range).toBe("bytes=4-");
      response.writeHead(206, { "content-range": "bytes 4-9/10" }).end("456789");
    };
    expect(await fetched(ranged, content.descriptor, 4)).toBe("456789");
    expect(await fetched(sending("0123456789"), content.descriptor, 4)).toBe("456789");
  });

  it("sends nothing where nothing is left to fetch", async () => {
    const { repository, server } = await repositoryWith(sending(""));
    expect(await text(repository.fetch(content.descriptor, { from: 10 }))).toBe("");
    expect(server.received).toEqual([]);
    await expect(text(repository.fetch(content.descriptor, { from: 11 }))).rejects.toThrow(TypeError);
  });

  it("refuses a part that is not the one asked for, or does not end where it should", async () => {
    const part =
      (status: number, range: string, body: string): Handler =>
      (_, response) =>
        response.writeHead(status, { "content-range": range }).end(body);
    await expect(fetched(part(206, "bytes 3-9/10", "3456789"), content.descriptor, 4)).rejects.toMatchObject({
      code: "REGISTRY",
    });
    await expect(fetched(part(206, "", "456789"), content.descriptor, 4)).rejects.toMatchObject({ code: "REGISTRY" });
    await expect(fetched(part(206, "bytes 4-8/9", "45678"), content.descriptor, 4)).rejects.toMatchObject({
      code: "MISMATCH",
    });
    await expect(fetched(part(206, "bytes 4-10/11", "456789A"), content.descriptor, 4)).rejects.toMatchObject({
      code: "MISMATCH",
    });
    await expect(fetched(part(416, "bytes */3", ""), content.descriptor, 4)).rejects.toMatchObject({
      code: "MISMATCH",
    });
  });

  it("reads a manifest once, and keeps it", async () => {
    const { repository, server } = await repositoryWith(answering({}));
    for (let count = 0; count < 3; count++) expect(await text(repository.fetch(descriptor))).toBe(bytes.toString());
    expect(server.received).toHaveLength(1);
    await expect(text(repository.fetch({ ...descriptor, size: descriptor.size - 1 }))).rejects.toMatchObject({
      code: "MISMATCH",
    });
  });

  it("refuses a manifest that is declared too large before anything is sent", async () => {
    const { repository, server } = await repositoryWith(answering({}));
    await expect(text(repository.fetch({ ...descriptor, size: 300_000_000 }))).rejects.toMatchObject({ code: "LIMIT" });
    expect(server.received).toEqual([]);
  });

  it("lets go of the connection when its reader stops early", async () => {
    let closed: () => void = () => {};
    const gone = new Promise<void>((resolve) => (closed = resolve));
    const { repository } = await repositoryWith((request, response) => {
      request.socket.on("close", closed);
      response.writeHead(200, { "content-length": "100000000" });
      response.write(Buffer.alloc(200_000));
    });
    for await (const _ of repository.fetch({ ...content.descriptor, size: 100_000_000 })) break;
    await gone;
  });
});

describe("has", () => {
  it("is true only where the size is right", async () => {
    for (const [length, expected] of [
      ["10", true],
      ["9", false],
      [undefined, true],
    ] as const) {
      const { repository } = await repositoryWith((_, response) => {
        if (length !== undefined) response.setHeader("content-length", length);
        response.writeHead(200).end();
      });
      expect([length, await repository.has(blobOf("0123456789").descriptor)]).toEqual([length, expected]);
    }
  });
});
