import { OciError } from "./errors.js";

/** The platform an image runs on. image-spec v1.1.1, image-index.md "platform"; the field names hold literal dots. */
export interface Platform {
  readonly architecture: string;
  readonly os: string;
  readonly "os.version"?: string;
  readonly "os.features"?: readonly string[];
  readonly variant?: string;
}

const ARCHITECTURES: ReadonlyMap<string, { architecture: string; variant?: string }> = new Map([
  ["x86_64", { architecture: "amd64" }],
  ["x86-64", { architecture: "amd64" }],
  ["x64", { architecture: "amd64" }],
  ["i386", { architecture: "386" }],
  ["ia32", { architecture: "386" }],
  ["aarch64", { architecture: "arm64" }],
  ["armhf", { architecture: "arm", variant: "v7" }],
  ["armel", { architecture: "arm", variant: "v6" }],
]);
const OPERATING_SYSTEMS: ReadonlyMap<string, string> = new Map([
  ["macos", "darwin"],
  ["win32", "windows"],
]);

const PLATFORM =
  /^(?:([a-z0-9_.-]+)(?:\(([a-zA-Z0-9._-]*)((?:\+[a-zA-Z0-9._-]+)*)\))?\/)?([a-zA-Z0-9_.-]+)(?:\/([a-zA-Z0-9_.]+))?(?::([a-zA-Z0-9._-]+))?$/;

/**
 * Reads `os/architecture[/variant]`, or a bare architecture (`arm64`, then the system is `linux`), with an optional
 * `:osversion` behind it, or as containerd writes it `os(osversion+feature)/architecture[/variant]`. Common aliases (`x86_64`,
 * `aarch64`, `armhf`) become Go's names. Fails with `INVALID`.
 */
export function parsePlatform(text: string): Platform {
  const match = PLATFORM.exec(text);
  const [, os, inside, features = "", architecture, variant, behind] = match ?? [];
  const osVersion = behind ?? (inside || undefined);
  if (match === null || (behind !== undefined && inside)) {
    throw new OciError("INVALID", `not a platform: ${JSON.stringify(text)}`, {
      hint: "A platform looks like linux/amd64 or linux/arm/v7.",
    });
  }
  return normalizePlatform({
    os: os ?? "linux",
    architecture: architecture as string,
    ...(variant === undefined ? {} : { variant }),
    ...(osVersion === undefined ? {} : { "os.version": osVersion }),
    ...(features === "" ? {} : { "os.features": features.slice(1).split("+") }),
  });
}

/** The same platform under Go's names and without the variants that are the default (`arm64/v8`, `amd64/v1`; plain `arm` means `v7`). */
export function normalizePlatform(platform: Platform): Platform {
  const alias = ARCHITECTURES.get(platform.architecture.toLowerCase());
  const architecture = alias?.architecture ?? platform.architecture;
  const os = OPERATING_SYSTEMS.get(platform.os) ?? platform.os;
  let variant = platform.variant || alias?.variant;
  if (architecture === "arm64" && (variant === "v8" || variant === "8")) variant = undefined;
  if (architecture === "amd64" && variant === "v1") variant = undefined;
  if (architecture === "arm")
    variant = variant === undefined ? "v7" : variant.startsWith("v") ? variant : `v${variant}`;
  const { architecture: _architecture, os: _os, variant: _variant, ...rest } = platform;
  return { architecture, os, ...rest, ...(variant === undefined ? {} : { variant }) };
}

/** `os/architecture[/variant][:osversion]`, the form that {@link parsePlatform} reads. */
export function formatPlatform(platform: Platform): string {
  const version = platform["os.version"] ? `:${platform["os.version"]}` : "";
  return `${platform.os}/${platform.architecture}${platform.variant ? `/${platform.variant}` : ""}${version}`;
}

/**
 * True if `platform` is what `wanted` asks for. An os version that is not asked for is not compared; `10.0.17763` asks for any
 * `10.0.17763.x`, as a Windows host does. Features that are asked for must be among those there are.
 */
export function matchesPlatform(platform: Platform, wanted: Platform): boolean {
  const have = normalizePlatform(platform);
  const want = normalizePlatform(wanted);
  const version = want["os.version"];
  return (
    have.os === want.os &&
    have.architecture === want.architecture &&
    (have.variant ?? "") === (want.variant ?? "") &&
    (version === undefined || `${have["os.version"]}.`.startsWith(`${version}.`)) &&
    (want["os.features"] ?? []).every((feature) => have["os.features"]?.includes(feature) === true)
  );
}

/**
 * What a machine for this platform can run, the best first: itself, then the lower variants of its architecture, as containerd
 * orders them.
 */
export function runnablePlatforms(wanted: Platform): readonly [Platform, ...Platform[]] {
  const platform = normalizePlatform(wanted);
  const { variant, ...plain } = platform;
  const number = Number(/^v([0-9]+)$/.exec(variant ?? "")?.[1] ?? 0);
  const lowest = platform.architecture === "arm" ? 5 : platform.architecture === "amd64" ? 2 : number;
  const lower: Platform[] = [];
  for (let at = number - 1; at >= lowest; at--) lower.push({ ...plain, variant: `v${at}` });
  if (variant !== undefined && platform.architecture !== "arm") lower.push(plain);
  return [platform, ...lower];
}

/** The platform of a Linux container on this machine's processor. */
export function hostPlatform(): Platform {
  return normalizePlatform({ os: "linux", architecture: process.arch });
}
