import { type Content, digestOf, mediaTypes } from "@stowage/layout";
import { afterEach, describe, expect, it } from "vitest";
import { type ClientOptions, RegistryClient } from "../src/index.js";
import { blobOf, emptyBlob, failure, jsonOf, manifestOf } from "./support/artifacts.js";
import { closeServers, sendError, serve } from "./support/server.js";
import { type SmallRegistry, type SmallRegistryOptions, serveRegistry } from "./support/small-registry.js";

const clients: RegistryClient[] = [];

afterEach(async () => {
  await Promise.all(clients.splice(0).map((client) => client.close()));
  await closeServers();
});

function client(options: ClientOptions = {}): RegistryClient {
  const made = new RegistryClient({ credentials: false, environment: {}, tries: 1, ...options });
  clients.push(made);
  return made;
}

async function repositoryWith(options: SmallRegistryOptions = {}, clientOptions: ClientOptions = {}) {
  const registry = await serveRegistry(options);
  return { registry, repository: client(clientOptions).repository(`${registry.host}/some/repo`) };
}

const content = blobOf(Buffer.alloc(400_000, "0123456789"));
const chunks = Array.from({ length: 4 }, () => Buffer.alloc(100_000, "0123456789"));
const chunked = { descriptor: content.descriptor, open: () => chunks };

describe("pushing a small blob", () => {
  const blobs = Array.from({ length: 4 }, (_, at) => blobOf(`small ${at}`));
  const sent = (registry: SmallRegistry): string[] =>
    registry.received.map(
      ({ method, path }) =>
        `${method} ${path.replace(/^\/v2\/some\/repo\//, "").replace(/\/uploads\/[0-9a-f-]{36}.*/, "/uploads/ID")}`,
    );
  const single = ({ descriptor }: Content): string =>
    `POST blobs/uploads/?digest=${encodeURIComponent(descriptor.digest)}`;
  const head = ({ descriptor }: Content): string => `HEAD blobs/${descriptor.digest}`;
  const takesPosts: SmallRegistryOptions["intercept"] = async (request, response, { blobs: stored }) => {
    const digest = new URL(request.url ?? "", "http://registry.invalid").searchParams.get("digest");
    if (request.method !== "POST" || digest === null) return false;
    const parts: Buffer[] = [];
    for await (const part of request) parts.push(part);
    stored.set(`some/repo ${digest}`, Buffer.concat(parts));
    response.writeHead(201).end();
    return true;
  };

  it("takes one request where the registry takes it so, of which is made sure with the first", async () => {
    const { registry, repository } = await repositoryWith({ intercept: takesPosts });
    for (const blob of blobs) expect(await repository.push(blob)).toBe("written");
    const [first, ...others] = blobs as [Content, ...Content[]];
    expect(sent(registry)).toEqual([
      head(first),
      single(first),
      head(first),
      ...others.flatMap((one) => [head(one), single(one)]),
    ]);
  });

  it("goes on with the session that the registry opens instead, and is not tried again", async () => {
    const { registry, repository } = await repositoryWith();
    for (const blob of blobs) expect(await repository.push(blob)).toBe("written");
    const [first, ...others] = blobs as [Content, ...Content[]];
    const usual = "POST blobs/uploads/";
    expect(sent(registry)).toEqual([
      head(first),
      single(first),
      "PUT blobs/uploads/ID",
      ...others.flatMap((one) => [head(one), usual, "PUT blobs/uploads/ID"]),
    ]);
    expect(registry.blobs.size).toBe(blobs.length);
  });

  it("is sent as usual where the registry refuses that, or says it has what it has not", async () => {
    for (const status of [201, 400, 404, 405, 500]) {
      const { registry, repository } = await repositoryWith({
        intercept: (request, response) => {
          if (request.method !== "POST" || !request.url?.includes("digest=")) return false;
          request.resume();
          response.writeHead(status).end();
          return true;
        },
      });
      for (const blob of blobs) expect(await repository.push(blob)).toBe("written");
      expect(registry.blobs.size).toBe(blobs.length);
      expect(sent(registry).filter((line) => line.includes("digest=") && line.startsWith("POST"))).toHaveLength(1);
    }
  });

  it("is not sent where its bytes are wrong", async () => {
    const { registry, repository } = await repositoryWith({ intercept: takesPosts });
    const [blob] = blobs as [Content];
    const wrong = repository.push({ ...blob, open: () => [Buffer.from("small x")] });
    await expect(wrong).rejects.toMatchObject({ code: "MISMATCH" });
    expect(sent(registry)).toEqual([head(blob)]);
  });
});

describe("pushing a blob", () => {
  it("does not read what is there already", async () => {
    const { registry, repository } = await repositoryWith();
    registry.blobs.set(`some/repo ${content.descriptor.digest}`, Buffer.concat(chunks));
    const unreadable = {
      ...content,
      open: () => {
        throw new Error("read");
      },
    };
    expect(await repository.push(unreadable)).toBe("present");
    expect(registry.received.map(({ method }) => method)).toEqual(["HEAD"]);
  });

  it("sends it with its length and the digest behind a query that is kept as it is", async () => {
    const { registry, repository } = await repositoryWith();
    expect(await repository.push(chunked)).toBe("written");
    const [, post, put] = registry.received;
    expect(post).toMatchObject({ method: "POST", path: "/v2/some/repo/blobs/uploads/" });
    expect(post?.headers["content-length"]).toBe("0");
    expect(put?.path).toMatch(new RegExp(`\\?state=a%2Bb~&digest=sha256%3A${content.descriptor.digest.slice(7)}$`));
    expect(put?.headers).toMatchObject({ "content-length": "400000", "content-type": "application/octet-stream" });
    expect(put?.headers["transfer-encoding"]).toBeUndefined();
  });

  it("stores nothing where the bytes are wrong, and cancels the session", async () => {
    for (const wrong of [
      [chunks[0], chunks[1], chunks[2], Buffer.alloc(100_000, "x")],
      chunks.slice(1),
      [...chunks, Buffer.from("x")],
      [],
      [Buffer.alloc(400_000)],
    ]) {
      const { registry, repository } = await repositoryWith();
      await expect(repository.push({ ...chunked, open: () => wrong as Buffer[] })).rejects.toMatchObject({
        code: "MISMATCH",
      });
      expect(registry.blobs.size).toBe(0);
      expect(registry.received.filter(({ method }) => method === "DELETE")).toHaveLength(1);
      expect(registry.uploads.size).toBe(0);
    }
    const { registry, repository } = await repositoryWith();
    await expect(repository.push({ ...blobOf(""), open: () => [Buffer.from("x")] })).rejects.toMatchObject({
      code: "MISMATCH",
    });
    expect(registry.blobs.size).toBe(0);
  });

  it("fails with the source's own error, once, and cancels the session", async () => {
    const { registry, repository } = await repositoryWith({}, { tries: 5 });
    const failing = {
      ...chunked,
      open: async function* () {
        yield chunks[0] as Buffer;
        throw new Error("the disk is gone");
      },
    };
    await expect(repository.push(failing)).rejects.toThrow("the disk is gone");
    expect(registry.received.filter(({ method }) => method === "POST")).toHaveLength(1);
    expect(registry.uploads.size).toBe(0);
  });

  it("that is given up ends with the signal's reason, and cancels the session", async () => {
    const { registry, repository } = await repositoryWith();
    const abort = new AbortController();
    const endless = {
      ...chunked,
      open: async function* () {
        yield chunks[0] as Buffer;
        yield chunks[1] as Buffer;
        abort.abort(new Error("enough"));
        await new Promise((resolve) => setTimeout(resolve, 50));
        yield chunks[2] as Buffer;
      },
    };
    await expect(repository.push(endless, { signal: abort.signal })).rejects.toThrow("enough");
    expect(registry.uploads.size).toBe(0);
    expect(registry.blobs.size).toBe(0);
  });

  it("reports what the registry says before it has read everything", async () => {
    const { repository } = await repositoryWith({
      intercept: (request, response) => {
        if (request.method !== "PUT") return false;
        response.setHeader("connection", "close");
        sendError(response, 413, "SIZE_INVALID", "too large");
        return true;
      },
    });
    await expect(repository.push(content)).rejects.toMatchObject({ code: "LIMIT", status: 413 });
  });

  it("refuses a registry that stored something else", async () => {
    const { repository } = await repositoryWith({
      intercept: async (request, response) => {
        if (request.method !== "PUT") return false;
        for await (const _ of request);
        response.writeHead(201, { "docker-content-digest": digestOf("else") }).end();
        return true;
      },
    });
    await expect(repository.push(content)).rejects.toMatchObject({ code: "MISMATCH" });
  });

  it("needs to be told where to go on", async () => {
    const { repository } = await repositoryWith({
      intercept: (request, response) => {
        if (request.method !== "POST") return false;
        response.writeHead(202).end();
        return true;
      },
    });
    await expect(repository.push(content)).rejects.toMatchObject({
      code: "REGISTRY",
      message: expect.stringContaining("Location"),
    });
  });

  it("sends no credential where the registry says to go on at another host", async () => {
    const authorization = `Basic ${Buffer.from("alice:s3cret").toString("base64")}`;
    const bodies: number[] = [];
    const elsewhere = await serve(async (_, response, body) => {
      bodies.push((await body()).byteLength);
      response.writeHead(201).end();
    });
    const { registry, repository } = await repositoryWith(
      {
        intercept: (request, response) => {
          if (request.headers.authorization !== authorization) {
            response.writeHead(401, { "www-authenticate": "Basic realm=r" }).end();
            return true;
          }
          if (request.method !== "POST") return false;
          response
            .writeHead(202, { location: `${elsewhere.url}/upload?sig=1`, "set-cookie": "sticky=1; Path=/" })
            .end();
          return true;
        },
      },
      { credentials: { username: "alice", password: "s3cret" }, headers: { "x-tenant": "acme" } },
    );
    expect(await repository.push(content)).toBe("written");
    expect(bodies).toEqual([400_000]);
    const { authorization: shown, cookie, "x-tenant": tenant } = elsewhere.received[0]?.headers ?? {};
    expect([shown, cookie, tenant]).toEqual([undefined, undefined, undefined]);
    expect(registry.received.some(({ headers }) => headers.authorization === authorization)).toBe(true);
  });

  it("refuses to go on at an address nearer than the registry", async () => {
    const { repository } = await repositoryWith({
      intercept: (request, response) => {
        if (request.method !== "POST") return false;
        response.writeHead(202, { location: "http://169.254.169.254/upload" }).end();
        return true;
      },
    });
    await expect(repository.push(content)).rejects.toMatchObject({
      code: "DENIED",
      message: expect.stringContaining("link-local address"),
    });
  });

  it("shows the cookies of its session again, to the same origin", async () => {
    const { registry, repository } = await repositoryWith({
      intercept: (request, response) => {
        if (request.method === "POST") response.setHeader("set-cookie", ["node=3; Path=/; HttpOnly", "b=2"]);
        return false;
      },
    });
    await repository.push(content);
    expect(registry.received.map(({ method, headers }) => [method, headers.cookie])).toEqual([
      ["HEAD", undefined],
      ["POST", undefined],
      ["PUT", "node=3; b=2"],
    ]);
  });
});

describe("mounting a blob", () => {
  const pushFrom = async (options: SmallRegistryOptions) => {
    const registry = await serveRegistry(options);
    const one = client();
    const source = one.repository(`${registry.host}/from/here`);
    await source.push(content);
    registry.received.length = 0;
    const presence = await one.repository(`${registry.host}/to/there`).push({ ...content, origin: source });
    return { registry, presence, source };
  };
  const answerMount = (status: number, headers?: (path: string) => Record<string, string>): SmallRegistryOptions => ({
    intercept: (request, response) => {
      if (!request.url?.includes("mount=")) return false;
      if (headers === undefined) sendError(response, status, "DENIED");
      else response.writeHead(status, headers(request.url)).end();
      return true;
    },
  });

  it("takes one request and no bytes", async () => {
    const { registry, presence } = await pushFrom({});
    expect(presence).toBe("mounted");
    expect(registry.received.map(({ method }) => method)).toEqual(["HEAD", "POST"]);
    expect(registry.received[1]?.path).toBe(
      `/v2/to/there/blobs/uploads/?mount=${content.descriptor.digest}&from=from%2Fhere`,
    );
  });

  it("goes on in the session that a registry opens instead", async () => {
    const { registry, presence } = await pushFrom({
      intercept: (request, response, { uploads }) => {
        if (!request.url?.includes("mount=")) return false;
        uploads.set("instead", "to/there");
        response.writeHead(202, { location: "/v2/to/there/blobs/uploads/instead" }).end();
        return true;
      },
    });
    expect(presence).toBe("written");
    expect(registry.received.map(({ method }) => method)).toEqual(["HEAD", "POST", "PUT"]);
    expect(registry.uploads.size).toBe(0);
  });

  it("that is refused is followed by a plain push", async () => {
    for (const status of [400, 401, 403, 404, 405]) {
      const { registry, presence } = await pushFrom(answerMount(status));
      expect([status, presence]).toEqual([status, "written"]);
      expect(registry.blobs.has(`to/there ${content.descriptor.digest}`)).toBe(true);
    }
  });

  it("is not believed where the registry names another blob", async () => {
    await expect(
      pushFrom(answerMount(201, () => ({ "docker-content-digest": digestOf("else") }))),
    ).rejects.toMatchObject({ code: "MISMATCH" });
  });

  it("is not tried from another registry", async () => {
    const { source } = await pushFrom({});
    const { registry, repository } = await repositoryWith();
    expect(await repository.push({ ...content, origin: source })).toBe("written");
    expect(registry.received.every(({ path }) => !path.includes("mount"))).toBe(true);
  });
});

describe("pushing a manifest", () => {
  it("sends exactly its bytes, by digest, with its type", async () => {
    const { registry, repository } = await repositoryWith();
    const odd = blobOf(
      '{ "schemaVersion":2,\n "layers":[],  "config": {"mediaType":"a/b","digest":"sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a","size":2} }\n',
      mediaTypes.manifest,
    );
    expect(await repository.push(odd)).toBe("written");
    const put = registry.received.find(({ method }) => method === "PUT");
    expect(put?.path).toBe(`/v2/some/repo/manifests/${odd.descriptor.digest}`);
    expect(put?.headers["content-type"]).toBe(mediaTypes.manifest);
    expect(digestOf(registry.manifests.get(`some/repo ${odd.descriptor.digest}`)?.bytes as Buffer)).toBe(
      odd.descriptor.digest,
    );
  });

  it("sends nothing where its bytes are wrong or too many", async () => {
    const { registry, repository } = await repositoryWith();
    const manifest = manifestOf([]);
    await expect(repository.push({ ...manifest, open: () => [Buffer.from("{}")] })).rejects.toMatchObject({
      code: "MISMATCH",
    });
    await expect(
      repository.push({ ...manifest, descriptor: { ...manifest.descriptor, size: 100_000_000 } }),
    ).rejects.toMatchObject({ code: "LIMIT" });
    expect(registry.received.every(({ method }) => method === "HEAD")).toBe(true);
  });

  it("refuses a registry that names another digest", async () => {
    const { repository } = await repositoryWith({
      intercept: async (request, response) => {
        if (request.method !== "PUT") return false;
        for await (const _ of request);
        response.writeHead(201, { "docker-content-digest": digestOf("else") }).end();
        return true;
      },
    });
    await expect(repository.push(manifestOf([]))).rejects.toMatchObject({ code: "MISMATCH" });
  });
});

describe("tagging", () => {
  it("needs no GET after a push, and sends the same bytes", async () => {
    const { registry, repository } = await repositoryWith();
    const manifest = manifestOf([]);
    await repository.push(emptyBlob);
    await repository.push(manifest);
    for (const tag of ["v1", "latest"]) await repository.tag(tag, manifest.descriptor);
    expect(registry.received.filter(({ method, path }) => method === "GET" && path.includes("/manifests/"))).toEqual(
      [],
    );
    expect(await repository.resolve("latest")).toEqual(manifest.descriptor);
  });

  it("fetches what is there, and fails with NOT_FOUND where it is not", async () => {
    const { registry, repository } = await repositoryWith();
    const manifest = manifestOf([]);
    await repository.push(manifest);
    const second = client().repository(`${registry.host}/some/repo`);
    await second.tag("v1", manifest.descriptor);
    expect(await second.resolve("v1")).toEqual(manifest.descriptor);
    await expect(second.tag("v1", manifestOf([content]).descriptor)).rejects.toMatchObject({ code: "NOT_FOUND" });
    expect(await second.resolve("v1")).toEqual(manifest.descriptor);
  });

  it("refuses what is no tag and what is no manifest", async () => {
    const { registry, repository } = await repositoryWith();
    for (const tag of ["", ".x", "a/b", "a:b", "x".repeat(129), manifestOf([]).descriptor.digest]) {
      await expect(repository.tag(tag, manifestOf([]).descriptor)).rejects.toMatchObject({ code: "INVALID" });
      await expect(repository.untag(tag)).rejects.toMatchObject({ code: "INVALID" });
    }
    await expect(repository.tag("v1", content.descriptor)).rejects.toMatchObject({ code: "INVALID" });
    expect(registry.received).toEqual([]);
  });

  it("is content with a registry that keeps its tags, where the tag is right already", async () => {
    let locked = false;
    const { repository } = await repositoryWith({
      intercept: (request, response) => {
        if (!locked || request.method !== "PUT" || !request.url?.endsWith("/v1")) return false;
        sendError(response, 400, "TAG_INVALID", "tag is immutable");
        return true;
      },
    });
    const [one, two] = [manifestOf([]), manifestOf([content])];
    await repository.push(one);
    await repository.push(two);
    await repository.tag("v1", one.descriptor);
    locked = true;
    await repository.tag("v1", one.descriptor);
    await expect(repository.tag("v1", two.descriptor)).rejects.toMatchObject({
      diagnostics: [{ message: "tag is immutable" }],
    });
  });
});

describe("untagging", () => {
  it("deletes the tag and leaves the manifest", async () => {
    const { repository } = await repositoryWith();
    const manifest = manifestOf([]);
    await repository.push(manifest);
    await repository.tag("v1", manifest.descriptor);
    await repository.untag("v1");
    expect(await repository.has(manifest.descriptor)).toBe(true);
    await expect(repository.untag("v1")).rejects.toMatchObject({ code: "NOT_FOUND" });
  });

  it("fails with UNSUPPORTED where the registry refuses, and deletes nothing else", async () => {
    for (const status of [400, 405]) {
      const { registry, repository } = await repositoryWith({
        intercept: (request, response) => {
          if (request.method !== "DELETE") return false;
          sendError(response, status, "UNSUPPORTED");
          return true;
        },
      });
      const error = await failure(repository.untag("v1"));
      expect(error).toMatchObject({ code: "UNSUPPORTED" });
      expect(registry.received.filter(({ method }) => method === "DELETE")).toHaveLength(1);
    }
  });
});

describe("an index", () => {
  it("is pushed and resolved as one", async () => {
    const { repository } = await repositoryWith();
    const index = jsonOf({ schemaVersion: 2, mediaType: mediaTypes.index, manifests: [] }, mediaTypes.index);
    await repository.push(index);
    await repository.tag("v1", index.descriptor);
    expect(await repository.resolve("v1")).toEqual(index.descriptor);
  });
});
