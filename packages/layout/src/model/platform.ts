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

/**
 * Reads `os/architecture[/variant]`, or a bare architecture (`arm64`, then the system is `linux`), with an optional
 * `:osversion` behind it. Common aliases (`x86_64`, `aarch64`, `armhf`) become Go's names. Fails with `INVALID`.
 */
export function parsePlatform(text: string): Platform {
  const match = /^(?:([a-z0-9_.-]+)\/)?([a-zA-Z0-9_.-]+)(?:\/([a-zA-Z0-9_.]+))?(?::([a-zA-Z0-9._-]+))?$/.exec(text);
  if (match === null) {
    throw new OciError("INVALID", `not a platform: ${JSON.stringify(text)}`, {
      hint: "A platform looks like linux/amd64 or linux/arm/v7.",
    });
  }
  const [, os, architecture, variant, osVersion] = match;
  return normalizePlatform({
    os: os ?? "linux",
    architecture: architecture as string,
    ...(variant === undefined ? {} : { variant }),
    ...(osVersion === undefined ? {} : { "os.version": osVersion }),
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

/** True if `platform` is what `wanted` asks for. An os version that is not asked for is not compared. */
export function matchesPlatform(platform: Platform, wanted: Platform): boolean {
  const have = normalizePlatform(platform);
  const want = normalizePlatform(wanted);
  return (
    have.os === want.os &&
    have.architecture === want.architecture &&
    (have.variant ?? "") === (want.variant ?? "") &&
    (want["os.version"] === undefined || have["os.version"] === want["os.version"])
  );
}

/** The platform of a Linux container on this machine's processor. */
export function hostPlatform(): Platform {
  return normalizePlatform({ os: "linux", architecture: process.arch });
}
