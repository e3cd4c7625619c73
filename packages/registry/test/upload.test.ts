import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type Content, type Descriptor, digestOf, Layout, mediaTypes } from "@stowage/layout";
import { afterEach, describe, expect, it, onTestFinished } from "vitest";
import { type ClientOptions, RegistryClient } from "../src/index.js";
import { blobOf, failure } from "./support/artifacts.js";
import { closeServers, sendError } from "./support/server.js";
import { serveUploads, type UploadFaults } from "./support/upload-registry.js";

const clients: RegistryClient[] = [];

afterEach(async () => {
  await Promise.all(clients.splice(0).map((client) => client.close()));
  await closeServers();
});

const MEBIBYTE = 1024 * 1024;

/** Each four bytes hold their own number: what is in the wrong place shows. */
function numbered(size: number): Buffer {
  return Buffer.from(Uint32Array.from({ length: size / 4 }, (_, at) => at).buffer);
}

/** Content in pieces of 64 KiB, and how often it was opened and from where. */
function pieces(bytes: Buffer, descriptor: Descriptor = blobOf(bytes).descriptor, fromOffset = true) {
  const opened: number[] = [];
  const from = (start: number) => {
    opened.push(start);
    return (function* () {
      for (let at = start; at < bytes.byteLength; at += 65_536) yield bytes.subarray(at, at + 65_536);
    })();
  };
  const content: Content = { descriptor, open: () => from(0), ...(fromOffset ? { openFrom: from } : {}) };
  return { content, opened };
}

async function prepared(faults: UploadFaults, options: ClientOptions = {}) {
  const registry = await serveUploads(faults);
  const client = new RegistryClient({ credentials: false, environment: {}, retryDelay: 1, tries: 3, ...options });
  clients.push(client);
  return { registry, repository: client.repository(`${registry.host}/some/repo`) };
}

const large = numbered(12 * MEBIBYTE);
const digest = digestOf(large);

describe("a blob in chunks", () => {
  it("goes in order, each where the answer before said, and is closed by a request without a body", async () => {
    const { registry, repository } = await prepared({}, { upload: { strategy: "chunked", chunkSize: 5 * MEBIBYTE } });
    const { content, opened } = pieces(large);
    let told = 0;
    expect(await repository.push(content, { onBytes: (count) => (told += count) })).toBe("written");
    expect(registry.transfers).toEqual(["PATCH 0-5242879", "PATCH 5242880-10485759", "PATCH 10485760-12582911", "PUT"]);
    const paths = registry.received.filter(({ method }) => method === "PATCH").map(({ path }) => path.split("?")[1]);
    expect(paths).toEqual(["at=0", "at=5242880", "at=10485760"]);
    expect(registry.blobs.get(digest)?.equals(large)).toBe(true);
    expect([told, opened]).toEqual([large.byteLength, [0]]);
  });

  it("takes chunks of 4 MiB unless told otherwise, and larger ones where the registry asks for them", async () => {
    for (const [faults, first] of [
      [{}, "PATCH 0-4194303"],
      [{ minimumChunk: 6 * MEBIBYTE }, "PATCH 0-6291455"],
      [{ minimumChunk: 100 }, "PATCH 0-4194303"],
    ] as const) {
      const { registry, repository } = await prepared(faults, { upload: { strategy: "chunked" } });
      await repository.push(pieces(large).content);
      expect(registry.transfers[0]).toBe(first);
    }
  });

  it("may be empty", async () => {
    const { registry, repository } = await prepared({}, { upload: { strategy: "chunked" } });
    expect(await repository.push(blobOf(""))).toBe("written");
    expect(registry.transfers).toEqual(["PUT"]);
  });

  it("stores nothing where the bytes are wrong, too few or too many, and cancels the session", async () => {
    const wrong = Buffer.from(large);
    wrong[large.byteLength - 1] = (wrong[large.byteLength - 1] as number) ^ 1;
    for (const bytes of [wrong, large.subarray(0, -4), Buffer.concat([large, large.subarray(0, 4)])]) {
      const { registry, repository } = await prepared({}, { upload: { strategy: "chunked" } });
      const { content } = pieces(bytes, blobOf(large).descriptor);
      await expect(repository.push(content)).rejects.toMatchObject({ code: "MISMATCH" });
      expect([registry.blobs.size, registry.sessions.size]).toEqual([0, 0]);
    }
  });

  it("tells the registry of an algorithm that it does not expect", async () => {
    const { registry, repository } = await prepared({}, { upload: { strategy: "chunked" } });
    const descriptor = { mediaType: mediaTypes.layer, digest: digestOf(large, "sha512"), size: large.byteLength };
    expect(await repository.push(pieces(large, descriptor).content)).toBe("written");
    expect(registry.received.find(({ method }) => method === "POST")?.path).toContain("?digest-algorithm=sha512");
    expect(registry.blobs.get(descriptor.digest)?.equals(large)).toBe(true);
  });
});

describe("a connection that is lost in an upload", () => {
  it("is taken up where the registry says it is, by a request for the rest", async () => {
    const { registry, repository } = await prepared({ cutEvery: 5 * MEBIBYTE, cuts: 1 });
    const { content, opened } = pieces(large);
    let told = 0;
    expect(await repository.push(content, { onBytes: (count) => (told += count) })).toBe("written");
    const [put, get, patch, last] = registry.transfers;
    expect([put, get, last]).toEqual(["PUT", "GET", "PUT"]);
    const start = Number(/^PATCH (\d+)-12582911$/.exec(patch as string)?.[1]);
    expect(start).toBeGreaterThanOrEqual(5 * MEBIBYTE);
    expect(registry.blobs.get(digest)?.equals(large)).toBe(true);
    expect(told).toBe(large.byteLength);
    // Read again from the last place where the state of the digest is known.
    expect(start - (opened[1] as number)).toBeLessThan(2 * MEBIBYTE);
    expect(registry.received.filter(({ method }) => method === "POST")).toHaveLength(1);
  });

  it("again and again ends well, however few tries there are, as long as each brings some of it", async () => {
    const { registry, repository } = await prepared({ cutEvery: MEBIBYTE }, { tries: 2 });
    await repository.push(pieces(large).content);
    expect(registry.blobs.get(digest)?.equals(large)).toBe(true);
    expect(registry.transfers.filter((line) => line === "GET").length).toBeGreaterThan(6);
  });

  it("costs no byte again where content can be read from the beginning only", async () => {
    const { registry, repository } = await prepared({ cutEvery: 5 * MEBIBYTE, cuts: 1 });
    const { content, opened } = pieces(large, blobOf(large).descriptor, false);
    await repository.push(content);
    expect(opened).toEqual([0, 0]);
    expect(registry.transfers[2]).toMatch(/^PATCH [1-9]/);
    expect(registry.blobs.get(digest)?.equals(large)).toBe(true);
  });

  it("leads to chunks in a new session, each on a connection of its own, where the registry has kept nothing", async () => {
    const { registry, repository } = await prepared({ cutEvery: 5 * MEBIBYTE, forgets: true });
    await repository.push(pieces(large).content);
    expect(registry.transfers).toEqual([
      "PUT",
      "GET",
      "PATCH 0-4194303",
      "PATCH 4194304-8388607",
      "PATCH 8388608-12582911",
      "PUT",
    ]);
    expect(registry.blobs.get(digest)?.equals(large)).toBe(true);
    const chunks = registry.received.filter(({ method }) => method === "PATCH");
    expect(chunks.map(({ headers }) => headers.connection)).toEqual(["close", "close", "close"]);
    expect(registry.sessions.size).toBe(0);
  });

  it("leads to the whole again where that is asked for", async () => {
    const { registry, repository } = await prepared(
      { cutEvery: 5 * MEBIBYTE, cuts: 1 },
      { upload: { strategy: "monolithic" } },
    );
    await repository.push(pieces(large).content);
    expect(registry.transfers).toEqual(["PUT", "PUT"]);
    expect(registry.sessions.size).toBe(0);
  });

  it("is final where nothing more arrives in the tries there are, and the session is cancelled", async () => {
    const { registry, repository } = await prepared({ cutEvery: 1, forgets: true });
    const error = await failure(repository.push(pieces(large).content));
    expect(error).toMatchObject({ code: "REGISTRY", temporary: true });
    expect([registry.blobs.size, registry.sessions.size]).toEqual([0, 0]);
  });

  it("when only the last answer is missing needs no byte again", async () => {
    let cut = true;
    const { registry, repository } = await prepared(
      {
        intercept: (request, _, { blobs, sessions }) => {
          if (request.method !== "PUT" || !cut) return false;
          cut = false;
          blobs.set(digest, sessions.get("1")?.bytes as Buffer);
          request.socket.destroy();
          return true;
        },
      },
      { upload: { strategy: "chunked", chunkSize: 12 * MEBIBYTE } },
    );
    expect(await repository.push(pieces(large).content)).toBe("written");
    expect(registry.transfers).toEqual(["PATCH 0-12582911", "PUT"]);
  });

  it("at the opening of the session, or when the registry is asked how far it is, is only one more request", async () => {
    let cuts = 2;
    const { registry, repository } = await prepared({
      cutEvery: 5 * MEBIBYTE,
      cuts: 1,
      intercept: (request) => {
        if (cuts === 0 || !(cuts === 2 ? request.method === "POST" : request.method === "GET")) return false;
        cuts--;
        request.socket.destroy();
        return true;
      },
    });
    await repository.push(pieces(large).content);
    expect(registry.blobs.get(digest)?.equals(large)).toBe(true);
    expect(registry.transfers.filter((line) => line === "GET")).toHaveLength(2);
  });
});

describe("a registry", () => {
  it("that wants a chunk from elsewhere gets it", async () => {
    let refuse = true;
    const { registry, repository } = await prepared(
      {
        intercept: (request, _, { sessions }) => {
          // Half of what it had is gone.
          if (!refuse || request.headers["content-range"]?.startsWith("0-") !== false) return false;
          refuse = false;
          const session = sessions.get("1") as { bytes: Buffer };
          session.bytes = session.bytes.subarray(0, 2 * MEBIBYTE);
          return false;
        },
      },
      { upload: { strategy: "chunked" } },
    );
    await repository.push(pieces(large).content);
    expect(registry.transfers.slice(0, 4)).toEqual([
      "PATCH 0-4194303",
      "PATCH 4194304-8388607",
      "GET",
      "PATCH 2097152-6291455",
    ]);
    expect(registry.blobs.get(digest)?.equals(large)).toBe(true);
  });

  it("that answers 416 to everything is given up", async () => {
    const { registry, repository } = await prepared(
      {
        intercept: (request, response) => {
          if (request.method !== "PATCH") return false;
          request.resume();
          response.writeHead(416).end();
          return true;
        },
      },
      { upload: { strategy: "chunked" } },
    );
    await expect(repository.push(pieces(large).content)).rejects.toMatchObject({ status: 416 });
    expect(registry.transfers.filter((line) => line.startsWith("PATCH"))).toHaveLength(3);
    expect(registry.sessions.size).toBe(0);
  });

  it("that takes nothing of the chunks it acknowledges is given up", async () => {
    const { registry, repository } = await prepared(
      {
        intercept: (request, response) => {
          if (request.method === "GET") response.writeHead(204, { range: "0-99" }).end();
          else if (request.method === "PATCH")
            request.resume().once("end", () => response.writeHead(202, { range: "0-99" }).end());
          return request.method === "GET" || request.method === "PATCH";
        },
      },
      { upload: { strategy: "chunked" } },
    );
    await expect(repository.push(pieces(large).content)).rejects.toMatchObject({ code: "REGISTRY" });
    expect(registry.transfers.filter((line) => line.startsWith("PATCH"))).toHaveLength(4);
    expect(registry.sessions.size).toBe(0);
  });

  it("that acknowledges a chunk with something else than what it has then is asked again", async () => {
    for (const range of ["0-9", "0-0"]) {
      const { registry, repository } = await prepared(
        {
          intercept: (request, response) => {
            const { writeHead } = response;
            if (request.method === "PATCH")
              response.writeHead = ((status: number, headers: Record<string, string>) =>
                writeHead.call(response, status, { ...headers, range })) as typeof writeHead;
            return false;
          },
        },
        { upload: { strategy: "chunked" } },
      );
      await repository.push(pieces(large).content);
      expect(registry.transfers.filter((line) => line.startsWith("PATCH"))).toHaveLength(3);
      expect(registry.blobs.get(digest)?.equals(large)).toBe(true);
    }
  });

  it("that takes no blob in one piece gets it in chunks; one that is told to get it so, fails", async () => {
    for (const status of [404, 405, 413, 416]) {
      const faults: UploadFaults = {
        intercept: (request, response) => {
          if (request.method !== "PUT" || request.headers["content-length"] === "0") return false;
          response.setHeader("connection", "close");
          sendError(response, status, "UNSUPPORTED");
          return true;
        },
      };
      const { registry, repository } = await prepared(faults);
      expect(await repository.push(pieces(large).content)).toBe("written");
      expect(registry.transfers.filter((line) => line.startsWith("PATCH"))).toHaveLength(3);
      expect(registry.sessions.size).toBe(0);
      const other = await prepared(faults, { upload: { strategy: "monolithic" } });
      await expect(other.repository.push(pieces(large).content)).rejects.toMatchObject({ status });
    }
  });

  it("that answers 401 in the midst of the chunks is shown a new token, and the chunk is sent again whole", async () => {
    let tokens = 0;
    const { registry, repository } = await prepared(
      {
        intercept: (request, response) => {
          if (request.url?.startsWith("/token")) {
            response.end(JSON.stringify({ token: `t${++tokens}` }));
            return true;
          }
          const late = request.headers["content-range"]?.startsWith("4194304") ?? false;
          if (request.headers.authorization === `Bearer t${late ? 2 : tokens}` && tokens > 0) return false;
          request.resume();
          const realm = `Bearer realm="http://${request.headers.host}/token",service="x"`;
          response.writeHead(401, { "www-authenticate": realm }).end();
          return true;
        },
      },
      { upload: { strategy: "chunked" }, credentials: { username: "alice", password: "s3cret" } },
    );
    await repository.push(pieces(large).content);
    expect(tokens).toBe(2);
    expect(registry.transfers.filter((line) => line === "PATCH 4194304-8388607")).toHaveLength(2);
    expect(registry.blobs.get(digest)?.equals(large)).toBe(true);
  });

  it("that fails for a while is asked how far it is", async () => {
    let failures = 2;
    const { registry, repository } = await prepared(
      {
        intercept: (request, response) => {
          if (request.method !== "PATCH" || request.headers["content-range"]?.startsWith("0-") || failures === 0)
            return false;
          failures--;
          request.resume();
          sendError(response, 503, "UNAVAILABLE");
          return true;
        },
      },
      { upload: { strategy: "chunked" } },
    );
    await repository.push(pieces(large).content);
    expect(registry.transfers.slice(0, 6)).toEqual([
      "PATCH 0-4194303",
      "PATCH 4194304-8388607",
      "GET",
      "PATCH 4194304-8388607",
      "GET",
      "PATCH 4194304-8388607",
    ]);
  });
});

describe("a large blob of a layout, which is read there while another thread hashes it", () => {
  async function stored(): Promise<{ content: Content; path: string }> {
    const directory = await mkdtemp(join(tmpdir(), "stowage-upload-"));
    onTestFinished(() => rm(directory, { recursive: true, force: true }));
    const layout = await Layout.create(directory);
    const descriptor = await layout.write([large], mediaTypes.layer);
    const open = (): never => {
      throw new Error("it is read otherwise all the same");
    };
    return { content: { descriptor, open, origin: layout }, path: layout.blobPath(descriptor.digest) };
  }

  it.each<[string, UploadFaults, ClientOptions]>([
    ["in one piece", {}, {}],
    ["in chunks that end anywhere", {}, { upload: { strategy: "chunked", chunkSize: 1_500_004 } }],
    ["over connections that break again and again", { cutEvery: MEBIBYTE }, { tries: 2 }],
  ])("arrives as it is %s", async (_how, faults, options) => {
    const { registry, repository } = await prepared(faults, options);
    const { content } = await stored();
    let told = 0;
    expect(await repository.push(content, { onBytes: (count) => (told += count) })).toBe("written");
    expect(registry.blobs.get(digest)?.equals(large)).toBe(true);
    expect(told).toBe(large.byteLength);
  });

  it("is not completed where it is damaged there: MISMATCH, and the session is cancelled", async () => {
    const { registry, repository } = await prepared({});
    const { content, path } = await stored();
    const damaged = Buffer.from(large);
    damaged[5 * MEBIBYTE] = 1;
    await writeFile(path, damaged);
    expect((await failure(repository.push(content))).code).toBe("MISMATCH");
    expect([registry.blobs.size, registry.sessions.size]).toEqual([0, 0]);
  });

  it("is sent from elsewhere where the layout has lost it", async () => {
    const { registry, repository } = await prepared({});
    const { content, path } = await stored();
    await rm(path);
    expect(await repository.push({ ...content, open: () => [large] })).toBe("written");
    expect(registry.blobs.get(digest)?.equals(large)).toBe(true);
  });
});

describe("a push that is given up", () => {
  it("between two chunks cancels the session and ends with the reason", async () => {
    const abort = new AbortController();
    const { registry, repository } = await prepared(
      {
        intercept: (request) => {
          if (request.headers["content-range"]?.startsWith("4194304")) abort.abort(new Error("enough"));
          return false;
        },
      },
      { upload: { strategy: "chunked" } },
    );
    await expect(repository.push(pieces(large).content, { signal: abort.signal })).rejects.toThrow("enough");
    expect([registry.blobs.size, registry.sessions.size]).toEqual([0, 0]);
  });
});

describe("a blob that another repository of the registry has", () => {
  it("is mounted from there when it was pushed or found there before, and sent once where both want it at once", async () => {
    const mounts: string[] = [];
    const { registry, repository } = await prepared({
      intercept: (request, response, { blobs }) => {
        const url = new URL(request.url ?? "", "http://x");
        if (request.method === "HEAD" && !url.pathname.startsWith("/v2/some/repo/")) {
          response.writeHead(404).end();
          return true;
        }
        if (!url.searchParams.has("mount")) return false;
        mounts.push(`${url.searchParams.get("from")}`);
        response.writeHead(blobs.has(url.searchParams.get("mount") ?? "") ? 201 : 202).end();
        return true;
      },
    });
    const second = (clients[0] as RegistryClient).repository(`${registry.host}/other/repo`);
    const { content } = pieces(large);
    expect(await Promise.all([repository.push(content), second.push(content)])).toEqual(["written", "mounted"]);
    expect(mounts).toEqual(["some/repo"]);
    expect(registry.transfers).toEqual(["PUT"]);
  });

  it("is mounted without a name only from registries that are known to find it", async () => {
    for (const known of [false, true]) {
      const paths: string[] = [];
      const { registry, repository } = await prepared(
        {
          intercept: (request, response, { received, blobs }) => {
            if (request.method !== "POST") return false;
            paths.push(received.at(-1)?.path.split("uploads/")[1] as string);
            if (!request.url?.includes("mount=")) return false;
            blobs.set(digest, large);
            response.writeHead(201).end();
            return true;
          },
        },
        {},
      );
      const client = new RegistryClient({
        credentials: false,
        environment: {},
        upload: known ? { anonymousMount: [registry.host] } : {},
      });
      clients.push(client);
      const target = known ? client.repository(`${registry.host}/some/repo`) : repository;
      expect(await target.push(pieces(large).content)).toBe(known ? "mounted" : "written");
      expect(paths).toEqual([known ? `?mount=${digest}` : ""]);
    }
  });
});
