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
  const path = pathOf(repository, cache);
  if (path === undefined) return undefined;
  try {
    const report = parseJson(await readFile(path), path);
    return isReport(report, repository) ? report : undefined;
  } catch {
    return undefined;
  }
}

/** Remembers a report. What reads at the same time sees all of it or nothing. A cache that cannot be written is none. */
export async function writeProbe(report: ProbeReport, cache: string | false | undefined): Promise<void> {
  const path = pathOf(report.repository, cache);
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

/** Named after the repository alone: who asked is nobody's business. */
function pathOf(repository: string, cache: string | false | undefined): string | undefined {
  if (cache === false) return undefined;
  const base = process.env.XDG_CACHE_HOME;
  const directory =
    cache ?? join(base !== undefined && isAbsolute(base) ? base : join(homedir(), ".cache"), "stowage", "probes");
  return join(directory, `${createHash("sha256").update(repository).digest("hex")}.json`);
}

function isReport(value: unknown, repository: string): value is ProbeReport {
  if (!isJsonObject(value) || value.repository !== repository || typeof value.probed !== "string") return false;
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
