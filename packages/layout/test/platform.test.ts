import {
  descriptorOf,
  formatPlatform,
  hostPlatform,
  MemoryStore,
  matchesPlatform,
  mediaTypes,
  normalizePlatform,
  type Platform,
  parsePlatform,
  selectPlatform,
} from "@stowage/layout";
import { describe, expect, it } from "vitest";
import { failure, pushImage, pushIndex, pushManifest, utf8 } from "./support.js";

describe("a platform as text", () => {
  it.each<[string, Platform]>([
    ["linux/amd64", { os: "linux", architecture: "amd64" }],
    ["amd64", { os: "linux", architecture: "amd64" }],
    ["linux/arm/v7", { os: "linux", architecture: "arm", variant: "v7" }],
    ["linux/arm/6", { os: "linux", architecture: "arm", variant: "v6" }],
    ["linux/arm/v5", { os: "linux", architecture: "arm", variant: "v5" }],
    ["wasip1/wasm", { os: "wasip1", architecture: "wasm" }],
    ["windows/amd64:10.0.17763.1", { os: "windows", architecture: "amd64", "os.version": "10.0.17763.1" }],
    ["linux/x86_64", { os: "linux", architecture: "amd64" }],
    ["linux/aarch64", { os: "linux", architecture: "arm64" }],
    ["linux/armhf", { os: "linux", architecture: "arm", variant: "v7" }],
    ["linux/armel", { os: "linux", architecture: "arm", variant: "v6" }],
    ["macos/arm64", { os: "darwin", architecture: "arm64" }],
  ])("%s", (text, platform) => {
    expect(parsePlatform(text)).toEqual(platform);
    expect(parsePlatform(formatPlatform(platform))).toEqual(platform);
  });

  it("may have version and features of the system in it, as containerd writes them", () => {
    const windows = { os: "windows", architecture: "amd64" };
    expect(parsePlatform("windows(10.0.17763)/amd64")).toEqual({ ...windows, "os.version": "10.0.17763" });
    expect(parsePlatform("windows(10.0.17763+win32k+x)/amd64")).toEqual({
      ...windows,
      "os.version": "10.0.17763",
      "os.features": ["win32k", "x"],
    });
    expect(parsePlatform("linux(+gpu)/arm64")).toEqual({
      os: "linux",
      architecture: "arm64",
      "os.features": ["gpu"],
    });
    expect(() => parsePlatform("windows(10)/amd64:11")).toThrow(/not a platform/);
  });

  it.each(["", "/", "linux/", "linux//v7", "linux/arm/v7/x", "linux amd64", "linux/amd64\n"])(
    "%j is refused",
    async (text) => {
      await failure(() => parsePlatform(text), "INVALID");
    },
  );
});

describe("two platforms are the same", () => {
  it.each([
    ["linux/arm64", "linux/arm64/v8"],
    ["linux/amd64", "linux/amd64/v1"],
    ["linux/arm", "linux/arm/v7"],
    ["linux/x86_64", "linux/amd64"],
  ])("%s and %s", (a, b) => {
    expect(matchesPlatform(parsePlatform(a), parsePlatform(b))).toBe(true);
    expect(matchesPlatform(parsePlatform(b), parsePlatform(a))).toBe(true);
  });

  it.each([
    ["linux/arm/v6", "linux/arm/v7"],
    ["linux/amd64/v3", "linux/amd64"],
    ["windows/amd64", "linux/amd64"],
    ["linux/arm64/v9", "linux/arm64"],
  ])("but not %s and %s", (a, b) => {
    expect(matchesPlatform(parsePlatform(a), parsePlatform(b))).toBe(false);
  });

  it("whatever the os version, unless one is asked for", () => {
    const have = parsePlatform("windows/amd64:10.0.1");
    expect(matchesPlatform(have, parsePlatform("windows/amd64"))).toBe(true);
    expect(matchesPlatform(have, parsePlatform("windows/amd64:10.0.2"))).toBe(false);
  });

  it("whatever comes behind the os version that is asked for, and with the features that are", () => {
    const have = parsePlatform("windows(10.0.17763.4131+win32k+x)/amd64");
    for (const [wanted, matches] of [
      ["windows/amd64:10.0.17763", true],
      ["windows/amd64:10.0.1776", false],
      ["windows(+win32k)/amd64", true],
      ["windows(+win32k+y)/amd64", false],
    ] as const)
      expect(matchesPlatform(have, parsePlatform(wanted)), wanted).toBe(matches);
    expect(matchesPlatform(parsePlatform("windows/amd64"), parsePlatform("windows/amd64:10"))).toBe(false);
  });

  it("keeping the members that are not compared", () => {
    const platform = { os: "windows", architecture: "amd64", "os.features": ["win32k"], "os.version": "10" };
    expect(normalizePlatform(platform)).toEqual(platform);
    expect(hostPlatform().os).toBe("linux");
  });
});

describe("choosing a platform", () => {
  const arm = { os: "linux", architecture: "arm64" };
  const amd = { os: "linux", architecture: "amd64" };

  it("takes the first that matches, in nested indexes too, and passes over unknown/unknown", async () => {
    const store = new MemoryStore();
    const first = { ...(await pushImage(store, { platform: arm })), platform: { ...arm, variant: "v8" } };
    const second = { ...(await pushImage(store, { platform: arm, layers: ["other"] })), platform: arm };
    const attestation = { ...first, platform: { os: "unknown", architecture: "unknown" } };
    const inner = await pushIndex(store, [attestation, first, second]);
    const root = await pushIndex(store, [{ ...(await pushImage(store, { platform: amd })), platform: amd }, inner]);
    expect(await selectPlatform(store, root, arm)).toEqual(first);
    const error = await failure(selectPlatform(store, root, parsePlatform("linux/s390x")), "NOT_FOUND");
    expect(error.hint).toContain("linux/amd64, linux/arm64/v8");
    expect(error.hint).not.toContain("unknown");
  });

  it("returns a single image where its config agrees, and an artifact as it is", async () => {
    const store = new MemoryStore();
    const image = await pushImage(store, { platform: amd });
    expect(await selectPlatform(store, image, amd)).toEqual(image);
    await failure(selectPlatform(store, image, arm), "NOT_FOUND");
    const artifact = await pushManifest(store, {
      config: descriptorOf(utf8("not json"), "application/x-chart"),
      layers: [],
    });
    expect(await selectPlatform(store, artifact, arm)).toEqual(artifact);
  });

  it.each([
    ["linux/arm/v7", ["linux/arm/v7", "linux/arm/v6", "linux/arm/v5"]],
    ["linux/amd64/v3", ["linux/amd64/v3", "linux/amd64/v2", "linux/amd64"]],
    ["linux/arm64/v9", ["linux/arm64/v9", "linux/arm64"]],
    ["linux/riscv64", ["linux/riscv64"]],
  ])("for %s takes the best there is of what that runs", async (text, order) => {
    const store = new MemoryStore();
    const wanted = parsePlatform(text);
    const entries = await Promise.all(
      order.map(async (name) => {
        const platform = parsePlatform(name);
        return { ...(await pushImage(store, { platform, layers: [name] })), platform };
      }),
    );
    // The worst first: it is not the order of the index that counts.
    for (let best = 0; best < entries.length; best++) {
      const root = await pushIndex(store, [await pushIndex(store, entries.slice(best).reverse())]);
      expect(await selectPlatform(store, root, wanted)).toEqual(entries[best]);
    }
  });

  it("of indexes that nest too deep fails with LIMIT", async () => {
    const store = new MemoryStore();
    let root = await pushImage(store);
    for (let depth = 0; depth < 200; depth++) root = await pushIndex(store, [root]);
    expect(root.mediaType).toBe(mediaTypes.index);
    await failure(selectPlatform(store, root, arm), "LIMIT");
  });
});
