import { generateKeyPairSync } from "node:crypto";
import { readdirSync } from "node:fs";
import { describe, expect, it } from "vitest";
import {
  type ExportedPath,
  findSigner,
  fingerprint,
  formatNixHash,
  type PathInfo,
  parseGraph,
  parseNarInfo,
  parsePathInfo,
  parsePublicKey,
  parseSecretKey,
  printNarInfo,
  printRegistration,
  readExport,
  readNar,
  signPath,
  writeExport,
} from "../src/index.js";
import { APP, all, chunked, fixture, fixtures } from "./fixtures.js";

const v0 = JSON.parse(fixture("path-info.json").toString()) as Record<string, unknown>[];
const infos = parsePathInfo(v0, "path-info.json");
const app = infos.find(({ path }) => path === APP) as PathInfo;
const base = (path: unknown): string => String(path).replace("/nix/store/", "");
const narinfos = readdirSync(`${fixtures}/cache`).filter((name) => name.endsWith(".narinfo"));
const key = parsePublicKey(fixture("public.key").toString());

describe("path-info", () => {
  it("as a list has everything Nix knows", () => {
    expect(infos).toHaveLength(6);
    expect(app).toEqual({
      path: APP,
      narHash: "sha256:7b75d1c0e18a85c7977023cd23d17ffca7599acd768498f8ab7611526c164402",
      narSize: 1536,
      references: [
        "xhicinwbvk7vg21rqwh26jdbxb7f3512-mini-zlib-1.3",
        "y01zkvngwx0iq8h6c5gayy0g32556b48-mini-libc-1.0",
        "yrlzdvlhlb763baxd4kr8144bdfn95hy-mini-app-2.0",
      ],
      deriver: "wvd7fmis4s44c93bdrnfhp4nmz6y8ln2-mini-app-2.0.drv",
      signatures: [],
    });
  });

  it("is the same in the three later shapes", () => {
    const v1 = Object.fromEntries(v0.map(({ path, ...rest }) => [path, rest]));
    const based = v0.map(({ path, references, deriver, ca, ...rest }) => [
      base(path),
      {
        ...rest,
        references: (references as string[]).map(base),
        deriver: deriver === undefined ? null : base(deriver),
        ca: ca === undefined ? null : { method: "text", hash: String(ca).slice("text:".length) },
      },
    ]);
    const structured = based.map(([name, info]) => [
      name,
      { ...(info as object), signatures: [{ keyName: "k-1", sig: "AAAA" }] },
    ]);
    expect(parsePathInfo(v1, "v1")).toEqual(infos);
    expect(parsePathInfo({ version: 2, storeDir: "/nix/store", info: Object.fromEntries(based) }, "v2")).toEqual(infos);
    expect(parsePathInfo({ version: 3, storeDir: "/nix/store", info: Object.fromEntries(structured) }, "v3")).toEqual(
      infos.map((info) => ({ ...info, signatures: ["k-1:AAAA"] })),
    );
  });

  it("of a path that is not valid says so", () => {
    expect(() => parsePathInfo([{ path: APP, valid: false }], "it")).toThrow(`${APP} is not valid`);
    expect(() => parsePathInfo({ [APP]: null }, "it")).toThrow(`${APP} is not valid`);
  });

  it.each([
    7,
    [7],
    [{ path: "/etc/passwd" }],
    [{ path: APP }],
    [{ path: APP, narSize: -1 }],
    [{ path: APP, narSize: 1, narHash: "sha256:x", references: [] }],
    [{ path: APP, narSize: 1, narHash: formatNixHash(app.narHash), references: ["../x"] }],
    [{ path: APP, narSize: 1, narHash: formatNixHash(app.narHash), references: [], signatures: ["a b"] }],
    [{ path: APP, narSize: 1, narHash: formatNixHash(app.narHash), references: [], ca: "x\nStorePath: y" }],
  ])("is refused where it is %j", (value) => {
    expect(() => parsePathInfo(value, "it")).toThrow();
  });
});

describe("a narinfo", () => {
  it.each(narinfos)("%s is read, and printed to the same bytes", (name) => {
    const text = fixture(`cache/${name}`).toString();
    expect(printNarInfo(parseNarInfo(text, name))).toBe(text);
  });

  it.each(narinfos)("%s was signed by its key, and by no other", (name) => {
    const info = parseNarInfo(fixture(`cache/${name}`).toString(), name);
    expect(findSigner(info, [key])).toBe("exp-cache-1");
    expect(findSigner({ ...info, narSize: info.narSize + 1 }, [key])).toBeUndefined();
    const other = generateKeyPairSync("ed25519").publicKey;
    expect(findSigner(info, [{ name: "exp-cache-1", key: other }])).toBeUndefined();
    expect(findSigner(info, [{ ...key, name: "somebody-else" }])).toBeUndefined();
  });

  it("has a fingerprint with the whole paths of its references", () => {
    expect(fingerprint(app)).toBe(
      `1;${APP};sha256:00j42rn544bnmgw9i13nrnd5k9zwgz8j7k93f2bwg1caw70d2xbv;1536;${app.references.map((name) => `/nix/store/${name}`).join(",")}`,
    );
  });

  const good = fixture(`cache/${base(APP).slice(0, 32)}.narinfo`).toString();
  it.each([
    ["without an end", good.slice(0, -1), "cut off"],
    ["without a StorePath", good.replace(/^StorePath.*\n/m, ""), "no StorePath"],
    ["without a URL", good.replace(/^URL.*\n/m, ""), "no URL"],
    ["without a NarHash", good.replace(/^NarHash.*\n/m, ""), "no NarHash"],
    ["with a NarSize of 0", good.replace(/^NarSize.*$/m, "NarSize: 0"), "the NarSize 0"],
    ["with a CA twice", `${good}CA: text:sha256:x\nCA: text:sha256:x\n`, "twice"],
    ["with a line that is none", `${good}nonsense\n`, "the line"],
    ["with a reference elsewhere", good.replace(/^References: /m, "References: ../x "), "no base name"],
    ["with a path elsewhere", good.replace(/^StorePath.*$/m, "StorePath: /etc/passwd"), "no store path"],
  ])("%s is refused", (_what, text, problem) => {
    expect(() => parseNarInfo(text, "it")).toThrow(problem);
  });

  it("without a compression is bzip2, and unknown keys and derivers are passed over", () => {
    const text = good
      .replace(/^Compression.*\n/m, "")
      .replace(/^Deriver.*$/m, "Deriver: unknown-deriver")
      .concat("Future: yes\n");
    const info = parseNarInfo(text, "it");
    expect(info.compression).toBe("bzip2");
    expect(info.deriver).toBeUndefined();
  });
});

describe("a key of Nix", () => {
  it("signs as Nix does, and its signature is found to be good", () => {
    const { publicKey, privateKey } = generateKeyPairSync("ed25519");
    const seed = privateKey.export({ format: "der", type: "pkcs8" }).subarray(-32);
    const open = publicKey.export({ format: "der", type: "spki" }).subarray(-32);
    const secret = parseSecretKey(`test-1:${Buffer.concat([seed, open]).toString("base64")}\n`);
    const signed = { ...app, signatures: ["other-1:AAAA", signPath(app, secret)] };
    expect(findSigner(signed, [key, parsePublicKey(`test-1:${open.toString("base64")}`)])).toBe("test-1");
    expect(signPath(app, secret)).toBe(signPath(app, secret));
  });

  it("that is none is refused without telling it", () => {
    expect(() => parseSecretKey("name:c2VjcmV0")).toThrow(/^not a secret key of Nix$/);
    expect(() => parsePublicKey("nothing")).toThrow("not a public key of Nix");
  });
});

describe("a description of a closure", () => {
  const withoutSigs = (info: PathInfo): unknown => ({ ...info, signatures: [] });

  it("as registration has the paths, hashes and references", () => {
    const plain = infos.map(({ deriver: _deriver, ca: _ca, ...info }) => info);
    expect(parseGraph(fixture("registration"), "registration")).toEqual(plain);
    expect(printRegistration(plain)).toBe(fixture("registration").toString());
  });

  it("as nix-store --dump-db prints it has bare hashes and derivers", () => {
    const dump = printRegistration(infos).replace(/^sha256:.*$/gm, (hash) => {
      const info = infos.find(({ narHash }) => formatNixHash(narHash) === hash) as PathInfo;
      return info.narHash.slice(7);
    });
    expect(parseGraph(Buffer.from(dump), "dump")).toEqual(infos.map(({ ca: _ca, ...info }) => info));
  });

  it("as text of exportReferencesGraph has the paths and references", () => {
    const text = infos.map(
      ({ path, references }) =>
        `${path}\n\n${references.length}\n${references.map((name) => `/nix/store/${name}\n`).join("")}`,
    );
    expect(parseGraph(Buffer.from(text.join("")), "graph")).toEqual(
      infos.map(({ path, references }) => ({ path, references, signatures: [] })),
    );
  });

  it("as JSON of exportReferencesGraph is found in the attributes of a derivation", () => {
    const graph = parseGraph(fixture("attrs.json"), "attrs.json");
    expect(graph).toEqual(infos.map(({ deriver: _deriver, ...info }) => info));
  });

  it("may be path-info as well", () => {
    expect(parseGraph(fixture("path-info.json"), "path-info.json")).toEqual(infos);
  });

  it.each([
    "/nix/store\n",
    `${APP}\n\nx\n`,
    `${APP}\n\n2\n${APP}\n`,
    `${APP}\nsha256:x\n1\n\n0\n`,
    "{",
    `${APP}\n\n999999999\n`,
  ])("is refused where it is %j", (text) => {
    expect(() => parseGraph(Buffer.from(text), "it")).toThrow();
  });

  it("from an export is what Nix knows, and can be written again, references first", async () => {
    const bytes = fixture("closure.export");
    const exported: ExportedPath[] = [];
    for await (const path of readExport(chunked(bytes, 1000), "closure.export")) exported.push(path);
    const plain = exported.map(({ offset: _offset, ...info }) => info).sort((a, b) => (a.path < b.path ? -1 : 1));
    expect(plain).toEqual(infos.map(({ ca: _ca, ...info }) => withoutSigs(info)));
    const objects = exported.map((info) => ({
      info,
      tree: () => readNar([bytes.subarray(info.offset, info.offset + info.narSize)], info.path),
    }));
    const again = await all(writeExport(objects));
    expect(again.byteLength).toBe(bytes.byteLength);
    const order: string[] = [];
    for await (const { path, references } of readExport([again], "again")) {
      const others = references.map((name) => `/nix/store/${name}`).filter((reference) => reference !== path);
      expect(order).toEqual(expect.arrayContaining(others));
      order.push(path);
    }
    expect(order.sort()).toEqual(exported.map(({ path }) => path).sort());
  });

  it("from an export is refused where it is cut off or goes on", async () => {
    const bytes = fixture("closure.export");
    const read = async (part: Uint8Array): Promise<void> => {
      for await (const _ of readExport([part], "it"));
    };
    await expect(read(bytes.subarray(0, 500))).rejects.toMatchObject({ code: "INVALID" });
    await expect(read(bytes.subarray(0, -8))).rejects.toMatchObject({ code: "INVALID" });
    await expect(read(Buffer.concat([bytes, Buffer.alloc(8)]))).rejects.toMatchObject({ code: "INVALID" });
  });
});
