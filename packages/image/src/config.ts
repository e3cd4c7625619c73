import {
  type Digest,
  isJsonObject,
  type JsonObject,
  OciError,
  type Platform,
  parseDigest,
  parseJsonObject,
} from "@stowage/layout";

/** One step in the making of an image. image-spec v1.1.1, config.md "history". */
export interface History {
  readonly created?: string;
  readonly created_by?: string;
  readonly author?: string;
  readonly comment?: string;
  /** True for a step that has no layer. */
  readonly empty_layer?: boolean;
}

/** How a container of the image runs. image-spec v1.1.1, config.md "config". */
export interface ExecutionConfig {
  readonly User?: string;
  readonly ExposedPorts?: Readonly<Record<string, object>>;
  /** `NAME=VALUE` each. */
  readonly Env?: readonly string[];
  readonly Entrypoint?: readonly string[];
  readonly Cmd?: readonly string[];
  readonly Volumes?: Readonly<Record<string, object>>;
  readonly WorkingDir?: string;
  readonly Labels?: Readonly<Record<string, string>>;
  readonly StopSignal?: string;
  readonly Healthcheck?: Healthcheck;
}

/** How a container is asked whether it is well; times are in nanoseconds. Docker's; image-spec v1.1.1, config.md reserves the name. */
export interface Healthcheck {
  /** `["CMD", program, ...]`, `["CMD-SHELL", line]`, or `["NONE"]`. */
  readonly Test?: readonly string[];
  readonly Interval?: number;
  readonly Timeout?: number;
  readonly StartPeriod?: number;
  readonly StartInterval?: number;
  readonly Retries?: number;
}

/** An image configuration; members it does not know are kept. image-spec v1.1.1, config.md. */
export interface ImageConfig {
  readonly created?: string;
  readonly author?: string;
  readonly architecture: string;
  readonly os: string;
  readonly "os.version"?: string;
  readonly "os.features"?: readonly string[];
  readonly variant?: string;
  readonly config?: ExecutionConfig;
  readonly rootfs: { readonly type: "layers"; readonly diff_ids: readonly Digest[] };
  readonly history?: readonly History[];
  readonly [unknownMember: string]: unknown;
}

/** What to change in the configuration of a base, or to set in an empty one. */
export interface ConfigChanges {
  readonly platform?: Platform | undefined;
  /** RFC 3339. Absent: the configuration has no time, also where the base has one. */
  readonly created?: string | undefined;
  readonly author?: string | undefined;
  /** A name or number, optionally with a group: `app`, `1000:1000`. */
  readonly user?: string | undefined;
  /** `80`, `80/tcp`, `53/udp`; added to those of the base. */
  readonly exposedPorts?: readonly string[] | undefined;
  /** `NAME=VALUE`; one that the base has too is replaced where it stands, others are added behind. */
  readonly env?: readonly string[] | undefined;
  /** Replaces that of the base, and drops the base's `cmd`, which were arguments to the other program. */
  readonly entrypoint?: readonly string[] | undefined;
  readonly cmd?: readonly string[] | undefined;
  /** Absolute paths; added to those of the base. */
  readonly volumes?: readonly string[] | undefined;
  /** An absolute path. */
  readonly workdir?: string | undefined;
  /** Added to those of the base. */
  readonly labels?: Readonly<Record<string, string>> | undefined;
  /** `SIGTERM`, `SIGRTMIN+3`, `15`. */
  readonly stopSignal?: string | undefined;
  /** Members that are absent stay as the base has them. */
  readonly healthcheck?: Healthcheck | undefined;
}

/** A layer to add to a configuration. */
export interface ConfigLayer {
  readonly diffId: Digest;
  readonly history: History;
}

/** The members of a configuration in the order of the spec; others follow in the order in which the base has them. */
const ORDER = [
  "created",
  "author",
  "architecture",
  "os",
  "os.version",
  "os.features",
  "variant",
  "config",
  "rootfs",
  "history",
];
const EXECUTION_ORDER = [
  "User",
  "ExposedPorts",
  "Env",
  "Entrypoint",
  "Cmd",
  "Volumes",
  "WorkingDir",
  "Labels",
  "StopSignal",
];

/**
 * The configuration of an image: that of `base`, or an empty one, with the changes and the layers. Members are in a fixed
 * order, maps are sorted by key, absent and null members are left out: the same arguments give the same JSON. The history
 * has one entry per layer; where that of the base does not fit the layers of the base, layers that are added leave none.
 * Fails with `INVALID` where a value breaks the spec.
 */
export function makeConfig(changes: ConfigChanges, layers: readonly ConfigLayer[], base?: ImageConfig): ImageConfig {
  const { created: _created, ...inherited } = base ?? {};
  const config = ordered({ ...base?.config, ...executionChanges(changes, base?.config) }, EXECUTION_ORDER);
  const diffIds = [...(base?.rootfs.diff_ids ?? []), ...layers.map((layer) => layer.diffId)];
  const history =
    base === undefined || hasAlignedHistory(base)
      ? [...(base?.history ?? []), ...layers.map((layer) => layer.history)]
      : layers.length === 0
        ? base.history
        : undefined;
  return ordered(
    {
      ...inherited,
      ...changes.platform,
      created: changes.created,
      author: changes.author ?? base?.author,
      config: Object.keys(config).length === 0 ? undefined : config,
      rootfs: { type: "layers", diff_ids: diffIds },
      history,
    },
    ORDER,
  ) as unknown as ImageConfig;
}

function executionChanges(changes: ConfigChanges, base: ExecutionConfig = {}): Record<string, unknown> {
  const { user, exposedPorts, env, entrypoint, cmd, volumes, workdir, labels, stopSignal, healthcheck } = changes;
  if (healthcheck !== undefined) checkHealthcheck(healthcheck);
  if (workdir !== undefined && !isAbsolutePath(workdir))
    throw refuse("the working directory", workdir, "an absolute path");
  if (stopSignal !== undefined && !/^(?:SIG[A-Z0-9]+(?:[+-][0-9]+)?|[0-9]{1,3})$/.test(stopSignal))
    throw refuse("the stop signal", stopSignal, "one like SIGTERM or 15");
  return {
    ...(user === undefined ? {} : { User: user }),
    ...(exposedPorts === undefined
      ? {}
      : { ExposedPorts: sorted({ ...base.ExposedPorts, ...emptyObjects(exposedPorts.map(parsePort)) }) }),
    ...(env === undefined ? {} : { Env: mergeEnv(base.Env ?? [], env) }),
    ...(entrypoint === undefined ? {} : { Entrypoint: entrypoint, Cmd: undefined }),
    ...(cmd === undefined ? {} : { Cmd: cmd }),
    ...(volumes === undefined
      ? {}
      : { Volumes: sorted({ ...base.Volumes, ...emptyObjects(volumes.map(parseVolume)) }) }),
    ...(workdir === undefined ? {} : { WorkingDir: workdir }),
    ...(labels === undefined ? {} : { Labels: sorted({ ...base.Labels, ...labels }) }),
    ...(stopSignal === undefined ? {} : { StopSignal: stopSignal }),
    ...(healthcheck === undefined ? {} : { Healthcheck: { ...base.Healthcheck, ...healthcheck } }),
  };
}

function checkHealthcheck({ Test, ...numbers }: Healthcheck): void {
  if (Test !== undefined && !["NONE", "CMD", "CMD-SHELL"].includes(Test[0] ?? ""))
    throw refuse("the health check", JSON.stringify(Test), "one that starts with CMD, CMD-SHELL or NONE");
  for (const [key, value] of Object.entries(numbers)) {
    if (!Number.isSafeInteger(value) || value < 0)
      throw refuse(`the ${key} of the health check`, String(value), "a whole number");
  }
}

/**
 * Reads an image configuration. Fails with `INVALID` where a member this program relies on is wrong, with `UNSUPPORTED` where
 * `rootfs.type` is not `layers` (image-spec v1.1.1, config.md "rootfs"). Members that are null read as absent.
 */
export function parseConfig(bytes: Uint8Array, where: string): ImageConfig {
  const value = withoutNull(parseJsonObject(bytes, where));
  for (const key of ["architecture", "os"]) {
    if (typeof value[key] !== "string") throw new OciError("INVALID", `${where} has no ${key}`);
  }
  for (const key of ["created", "author", "os.version", "variant"]) {
    if (value[key] !== undefined && typeof value[key] !== "string")
      throw new OciError("INVALID", `${where} has a ${key} that is not a string`);
  }
  if (value["os.features"] !== undefined && !isListOfStrings(value["os.features"]))
    throw new OciError("INVALID", `${where} has os.features that are not a list of strings`);
  const { rootfs, history, config } = value;
  if (!isJsonObject(rootfs)) throw new OciError("INVALID", `${where} has no rootfs`);
  if (rootfs.type !== "layers")
    throw new OciError(
      "UNSUPPORTED",
      `${where} has a rootfs of the type ${JSON.stringify(rootfs.type)}, which is not known`,
    );
  if (history !== undefined && !(Array.isArray(history) && history.every(isJsonObject)))
    throw new OciError("INVALID", `${where} has a history that is not a list of objects`);
  if (config !== undefined && !isJsonObject(config))
    throw new OciError("INVALID", `${where} has a config that is not an object`);
  const diffIds = rootfs.diff_ids ?? [];
  if (!Array.isArray(diffIds)) throw new OciError("INVALID", `${where} has no list of diff_ids`);
  return {
    ...value,
    ...(config === undefined ? {} : { config: parseExecutionConfig(withoutNull(config), where) }),
    rootfs: { type: "layers", diff_ids: diffIds.map(parseDigest) },
  } as unknown as ImageConfig;
}

function parseExecutionConfig(config: JsonObject, where: string): ExecutionConfig {
  const checks: readonly [string, readonly string[], (value: unknown) => boolean][] = [
    ["a string", ["User", "WorkingDir", "StopSignal"], (value) => typeof value === "string"],
    ["a list of strings", ["Env", "Entrypoint", "Cmd"], isListOfStrings],
    ["an object", ["ExposedPorts", "Volumes", "Labels", "Healthcheck"], isJsonObject],
  ];
  for (const [what, keys, check] of checks) {
    for (const key of keys) {
      if (config[key] !== undefined && !check(config[key]))
        throw new OciError("INVALID", `${where} has a config whose ${key} is not ${what}`);
    }
  }
  const unset = (config as ExecutionConfig).Env?.find((text) => text.indexOf("=") < 1);
  if (unset !== undefined)
    throw new OciError(
      "INVALID",
      `${where} has an Env that holds ${JSON.stringify(unset.slice(0, 200))}, not NAME=VALUE`,
    );
  return config as ExecutionConfig;
}

function isListOfStrings(value: unknown): value is readonly string[] {
  return Array.isArray(value) && value.every((item) => typeof item === "string");
}

/** The platform a configuration is for. */
export function platformOf(config: ImageConfig): Platform {
  const { architecture, os, variant } = config;
  const version = config["os.version"];
  const features = config["os.features"];
  return {
    architecture,
    os,
    ...(version === undefined ? {} : { "os.version": version }),
    ...(features === undefined ? {} : { "os.features": features }),
    ...(variant === undefined || variant === "" ? {} : { variant }),
  };
}

/** True if the history has exactly one entry with a layer for every layer. image-spec v1.1.1, config.md "history". */
export function hasAlignedHistory(config: ImageConfig): boolean {
  const withLayer = (config.history ?? []).filter((entry) => entry.empty_layer !== true);
  return withLayer.length === config.rootfs.diff_ids.length;
}

function mergeEnv(base: readonly string[], changes: readonly string[]): readonly string[] {
  const merged = [...base];
  for (const text of changes) {
    const equals = text.indexOf("=");
    if (equals < 1 || text.includes("\0"))
      throw refuse("the environment variable", equals < 0 ? text : text.slice(0, equals + 1), "NAME=VALUE");
    const at = merged.findIndex((entry) => entry.startsWith(text.slice(0, equals + 1)));
    if (at < 0) merged.push(text);
    else merged[at] = text;
  }
  return merged;
}

/** `80` and `80/tcp` as `80/tcp`. Fails with `INVALID` where it is no port. */
export function parsePort(text: string): string {
  const match = /^([0-9]{1,5})(?:\/(tcp|udp|sctp))?$/.exec(text);
  const port = Number(match?.[1]);
  if (match === null || port < 1 || port > 65_535) throw refuse("the port", text, "one like 80, 80/tcp or 53/udp");
  return `${port}/${match[2] ?? "tcp"}`;
}

function parseVolume(text: string): string {
  if (!isAbsolutePath(text)) throw refuse("the volume", text, "an absolute path");
  return text;
}

function isAbsolutePath(text: string): boolean {
  return !text.includes("\0") && (text.startsWith("/") || /^[a-zA-Z]:[\\/]/.test(text));
}

function emptyObjects(keys: readonly string[]): Record<string, object> {
  return Object.fromEntries(keys.map((key) => [key, {}]));
}

/** The same object with its keys in order. `Object.fromEntries` takes `__proto__` for a key like any other. */
export function sorted<Value>(object: Readonly<Record<string, Value>>): Record<string, Value> {
  return Object.fromEntries(Object.entries(object).sort(([one], [other]) => (one < other ? -1 : one > other ? 1 : 0)));
}

function ordered(object: Readonly<Record<string, unknown>>, order: readonly string[]): JsonObject {
  const keys = [
    ...order.filter((key) => Object.hasOwn(object, key)),
    ...Object.keys(object).filter((key) => !order.includes(key)),
  ];
  return Object.fromEntries(
    keys.map((key) => [key, object[key]]).filter(([, value]) => value !== undefined && value !== null),
  );
}

function withoutNull(object: JsonObject): JsonObject {
  return Object.fromEntries(Object.entries(object).filter(([, value]) => value !== null));
}

function refuse(what: string, value: string, wanted: string): OciError {
  return new OciError("INVALID", `${what} ${JSON.stringify(value)} is not ${wanted}`);
}
