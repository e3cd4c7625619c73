import { digestOf, encodeJson, formatTime, isOciError } from "@stowage/layout";
import { describe, expect, it } from "vitest";
import {
  type ConfigChanges,
  hasAlignedHistory,
  type ImageConfig,
  makeConfig,
  parseConfig,
  platformOf,
} from "../src/config.js";

const platform = { architecture: "arm", os: "linux", variant: "v7" };
const layer = (text: string) => ({ diffId: digestOf(text), history: { created_by: text } });
const invalid = (error: unknown): boolean => isOciError(error, "INVALID");

function fails(changes: ConfigChanges): boolean {
  try {
    makeConfig({ platform, ...changes }, []);
  } catch (error) {
    return invalid(error);
  }
  return false;
}

describe("an image configuration", () => {
  it("is the same JSON for the same arguments, in the order of the spec", () => {
    const changes: ConfigChanges = {
      stopSignal: "SIGRTMIN+3",
      labels: { z: "1", a: "2" },
      workdir: "/srv",
      volumes: ["/data"],
      cmd: ["serve"],
      entrypoint: ["/bin/app"],
      env: ["B=2", "A=1"],
      exposedPorts: ["8080", "53/udp"],
      user: "app",
      author: "somebody",
      created: "1970-01-01T00:00:00Z",
      platform,
    };
    const text = JSON.stringify(makeConfig(changes, [layer("a")]));
    expect(text).toBe(
      `{"created":"1970-01-01T00:00:00Z","author":"somebody","architecture":"arm","os":"linux","variant":"v7","config":{"User":"app","ExposedPorts":{"53/udp":{},"8080/tcp":{}},"Env":["B=2","A=1"],"Entrypoint":["/bin/app"],"Cmd":["serve"],"Volumes":{"/data":{}},"WorkingDir":"/srv","Labels":{"a":"2","z":"1"},"StopSignal":"SIGRTMIN+3"},"rootfs":{"type":"layers","diff_ids":["${digestOf("a")}"]},"history":[{"created_by":"a"}]}`,
    );
    expect(JSON.stringify(makeConfig({ ...changes, labels: { a: "2", z: "1" } }, [layer("a")]))).toBe(text);
  });

  it("has no config where nothing is set", () => {
    expect(makeConfig({ platform }, [])).toEqual({
      ...platform,
      rootfs: { type: "layers", diff_ids: [] },
      history: [],
    });
  });

  it("is refused where a value breaks the spec", () => {
    for (const changes of [
      { env: ["NOVALUE"] },
      { env: ["=x"] },
      { env: ["A=\0"] },
      { exposedPorts: ["http"] },
      { exposedPorts: ["0"] },
      { exposedPorts: ["70000/tcp"] },
      { exposedPorts: ["80/icmp"] },
      { volumes: ["data"] },
      { workdir: "srv" },
      { stopSignal: "TERM" },
    ]) {
      expect(fails(changes), JSON.stringify(changes)).toBe(true);
    }
    expect(fails({ env: ["A=", "B=x=y"] })).toBe(false);
  });

  it("takes any key for a label", () => {
    const labels = JSON.parse('{"__proto__":"x","constructor":"y"}') as Record<string, string>;
    expect(JSON.stringify(makeConfig({ platform, labels }, []))).toContain(
      '"Labels":{"__proto__":"x","constructor":"y"}',
    );
  });
});

describe("a configuration on top of another", () => {
  const base = parseConfig(
    encodeJson({
      architecture: "arm",
      os: "linux",
      variant: "v7",
      "os.features": ["x"],
      created: "2020-01-01T00:00:00Z",
      docker_version: "1.2.3",
      author: null,
      config: {
        Env: ["PATH=/bin", "A=1"],
        Entrypoint: ["/old"],
        Cmd: ["old"],
        Labels: { old: "1" },
        Volumes: null,
        Healthcheck: { Test: ["NONE"] },
        ArgsEscaped: true,
      },
      rootfs: { type: "layers", diff_ids: [digestOf("base")] },
      history: [{ created_by: "base" }, { created_by: "ENV", empty_layer: true }],
    }),
    "the base",
  );

  it("keeps what is not changed, also what it does not know", () => {
    expect(makeConfig({ env: ["A=2", "B=3"], labels: { new: "2" } }, [layer("top")], base)).toEqual({
      architecture: "arm",
      os: "linux",
      "os.features": ["x"],
      variant: "v7",
      config: {
        Env: ["PATH=/bin", "A=2", "B=3"],
        Entrypoint: ["/old"],
        Cmd: ["old"],
        Labels: { new: "2", old: "1" },
        Healthcheck: { Test: ["NONE"] },
        ArgsEscaped: true,
      },
      rootfs: { type: "layers", diff_ids: [digestOf("base"), digestOf("top")] },
      history: [{ created_by: "base" }, { created_by: "ENV", empty_layer: true }, { created_by: "top" }],
      docker_version: "1.2.3",
    });
  });

  it("drops the cmd with the entrypoint it belonged to", () => {
    expect(makeConfig({ entrypoint: ["/new"] }, [], base).config).not.toHaveProperty("Cmd");
    expect(makeConfig({ entrypoint: ["/new"], cmd: ["x"] }, [], base).config).toMatchObject({
      Entrypoint: ["/new"],
      Cmd: ["x"],
    });
    expect(makeConfig({ cmd: ["x"] }, [], base).config).toMatchObject({ Entrypoint: ["/old"], Cmd: ["x"] });
  });

  it("has a history only where that of the base fits its layers", () => {
    expect(hasAlignedHistory(base)).toBe(true);
    const { history: _history, ...silent } = base;
    expect(makeConfig({}, [layer("top")], silent as ImageConfig)).not.toHaveProperty("history");
    const extended = makeConfig({}, [layer("top")], base);
    expect(hasAlignedHistory(extended)).toBe(true);
  });
});

describe("reading a configuration", () => {
  it("fails where what is relied on is wrong", () => {
    const right = { architecture: "a", os: "o", rootfs: { type: "layers", diff_ids: [] } };
    const read = (value: unknown): ImageConfig => parseConfig(encodeJson(value), "it");
    expect(platformOf(read({ ...right, variant: "" }))).toEqual({ architecture: "a", os: "o" });
    for (const wrong of [
      [],
      { ...right, os: undefined },
      { ...right, architecture: 5 },
      { ...right, rootfs: undefined },
      { ...right, rootfs: { type: "layers", diff_ids: ["sha256:short"] } },
      { ...right, rootfs: { type: "layers", diff_ids: "x" } },
      { ...right, history: {} },
      { ...right, history: [null] },
      { ...right, config: [] },
      { ...right, config: { Env: [1] } },
      { ...right, config: { Labels: [] } },
      { ...right, config: { User: {} } },
    ]) {
      expect(() => read(wrong), JSON.stringify(wrong)).toThrow();
    }
    expect(() => read({ ...right, rootfs: { type: "other" } })).toThrow(/not known/);
  });
});

describe("a time", () => {
  it("is written in UTC, and refused where RFC 3339 has no room for it", () => {
    expect(formatTime(new Date(0))).toBe("1970-01-01T00:00:00Z");
    expect(formatTime(new Date(1500))).toBe("1970-01-01T00:00:01.500Z");
    expect(() => formatTime(new Date(Number.NaN))).toThrow(/not a time/);
    expect(() => formatTime(new Date(8e15))).toThrow(/beyond/);
  });
});
