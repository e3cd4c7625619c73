import { type ConfigChanges, type ExecutionConfig, type ImageConfig, makeConfig, parsePort } from "../config.js";

/** What can be taken away from a configuration as a whole. */
export type ConfigMember =
  | "author"
  | "created"
  | "user"
  | "entrypoint"
  | "cmd"
  | "workdir"
  | "stop-signal"
  | "healthcheck";

/** All values of {@link ConfigMember}. */
export const configMembers: readonly ConfigMember[] = [
  "author",
  "created",
  "user",
  "entrypoint",
  "cmd",
  "workdir",
  "stop-signal",
  "healthcheck",
];

/** What to take away from a configuration, and then to set in it. What is not there to be taken away is no failure. */
export interface ConfigEdits extends Omit<ConfigChanges, "platform"> {
  /** RFC 3339. Default: as it is. */
  readonly created?: string | undefined;
  readonly clear?: readonly ConfigMember[] | undefined;
  readonly removeLabels?: readonly string[] | undefined;
  /** Names. */
  readonly removeEnv?: readonly string[] | undefined;
  /** `80`, `80/tcp`, `53/udp`. */
  readonly removeExposedPorts?: readonly string[] | undefined;
  readonly removeVolumes?: readonly string[] | undefined;
}

const EXECUTION_MEMBERS: Readonly<Partial<Record<ConfigMember, keyof ExecutionConfig>>> = {
  user: "User",
  entrypoint: "Entrypoint",
  cmd: "Cmd",
  workdir: "WorkingDir",
  "stop-signal": "StopSignal",
  healthcheck: "Healthcheck",
};

/** The configuration with the edits. Layers and history stay. Fails with `INVALID` where a value breaks the spec. */
export function changeConfig(config: ImageConfig, edits: ConfigEdits): ImageConfig {
  const clear = new Set(edits.clear ?? []);
  const { author, created, ...rest } = config;
  const left = {
    ...rest,
    ...(author === undefined || clear.has("author") ? {} : { author }),
    config: withoutRemoved(config.config ?? {}, edits, clear),
  } as ImageConfig;
  return makeConfig({ ...edits, created: edits.created ?? (clear.has("created") ? undefined : created) }, [], left);
}

function withoutRemoved(
  config: ExecutionConfig,
  edits: ConfigEdits,
  clear: ReadonlySet<ConfigMember>,
): Readonly<Record<string, unknown>> {
  const members: Record<string, unknown> = { ...config };
  for (const member of clear) {
    const key = EXECUTION_MEMBERS[member];
    if (key !== undefined) delete members[key];
  }
  const { removeEnv } = edits;
  if (removeEnv !== undefined)
    members.Env = notEmpty(config.Env?.filter((text) => !removeEnv.includes(text.slice(0, text.indexOf("=")))));
  for (const [key, removed] of [
    ["Labels", edits.removeLabels],
    ["ExposedPorts", edits.removeExposedPorts?.map(parsePort)],
    ["Volumes", edits.removeVolumes],
  ] as const) {
    if (removed === undefined) continue;
    const kept = Object.entries(config[key] ?? {}).filter(([name]) => !removed.includes(name));
    members[key] = kept.length === 0 ? undefined : Object.fromEntries(kept);
  }
  return members;
}

function notEmpty<T>(list: readonly T[] | undefined): readonly T[] | undefined {
  return list?.length === 0 ? undefined : list;
}
