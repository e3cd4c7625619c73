import { createHash, randomBytes } from "node:crypto";
import { mkdir, readFile, rename, rm, writeFile } from "node:fs/promises";
import { homedir } from "node:os";
import { dirname, isAbsolute, join } from "node:path";
import { isJsonObject, parseJson } from "@stowage/layout";
import { capabilityNames, type ProbeReport } from "./probe.js";

/** How long an answer is believed, in ms: a day. Registries change, and so do the rights on them. */
const LIFETIME = 24 * 60 * 60_000;

/** What was found out about `HOST/REPO` less than a day ago; undefined where nothing was, or nothing that can be read. */
export async function readProbe(
  repository: string,
  cache: string | false | undefined,
): Promise<ProbeReport | undefined> {
  const report = await readReport(repository, cache);
  return report?.repository === repository ? report : undefined;
}

/**
 * True where the last probe that wrote to some repository of the host found that a mount that does not say from where is answered as
 * it should be. `host` is as the user names it.
 */
export async function mountsAnonymously(host: string, cache: string | false | undefined): Promise<boolean> {
  const report = await readReport(host, cache);
  return report?.repository.startsWith(`${host}/`) === true && report.capabilities.anonymousMount.support === "yes";
}

/** Remembers a report. What reads at the same time sees all of it or nothing. A cache that cannot be written is none. */
export async function writeProbe(report: ProbeReport, cache: string | false | undefined): Promise<void> {
  await writeReport(report, pathOf(report.repository, cache));
  // What a registry makes of mounts it makes of them in each of its repositories.
  if (report.wrote) await writeReport(report, pathOf(report.repository.split("/", 1)[0] as string, cache));
}

async function readReport(name: string, cache: string | false | undefined): Promise<ProbeReport | undefined> {
  const path = pathOf(name, cache);
  if (path === undefined) return undefined;
  try {
    const report = parseJson(await readFile(path), path);
    return isReport(report) ? report : undefined;
  } catch {
    return undefined;
  }
}

async function writeReport(report: ProbeReport, path: string | undefined): Promise<void> {
  if (path === undefined) return;
  const temporary = `${path}.${randomBytes(6).toString("hex")}`;
  try {
    await mkdir(dirname(path), { recursive: true });
    await writeFile(temporary, JSON.stringify(report));
    await rename(temporary, path);
  } catch {
    await rm(temporary, { force: true }).catch(() => {});
  }
}

/** Named after the repository or the host alone: who asked is nobody's business. */
function pathOf(name: string, cache: string | false | undefined): string | undefined {
  if (cache === false) return undefined;
  const base = process.env.XDG_CACHE_HOME;
  const directory =
    cache ?? join(base !== undefined && isAbsolute(base) ? base : join(homedir(), ".cache"), "stowage", "probes");
  return join(directory, `${createHash("sha256").update(name).digest("hex")}.json`);
}

function isReport(value: unknown): value is ProbeReport {
  if (!isJsonObject(value) || typeof value.repository !== "string" || typeof value.probed !== "string") return false;
  const { capabilities } = value;
  const age = Date.now() - Date.parse(value.probed);
  return (
    age >= 0 &&
    age < LIFETIME &&
    typeof value.wrote === "boolean" &&
    Array.isArray(value.leftBehind) &&
    isJsonObject(capabilities) &&
    capabilityNames.every((name) => isJsonObject(capabilities[name]))
  );
}
