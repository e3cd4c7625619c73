import { join } from "node:path";
import * as core from "@actions/core";
import { find } from "@actions/tool-cache";
import { bundledTool, checkTool, downloadedTool, TOOL, type ToolArchive } from "./command-line.js";
import { flag, InputError, text } from "./inputs.js";
import { info } from "./log.js";
import { setOutputs } from "./outputs.js";
import { run } from "./run.js";
import { writeSummary } from "./summary.js";
import { version as ownVersion } from "./version.js";

await run("setup", async () => {
  const { version, archive, summary } = readInputs();
  const cached = await cachedTool(version);
  const path =
    cached ??
    (version === ownVersion && archive.url === undefined
      ? await bundledTool(version)
      : await downloadedTool(version, archive));
  core.addPath(join(path, "bin"));
  // Runners need not have a Node of their own; the one that runs the actions is always there.
  core.exportVariable("STOWAGE_NODE", process.execPath);
  const hit = cached !== undefined;
  setOutputs({ version, path: join(path, "bin"), "cache-hit": String(hit) });
  info(`stowage ${version} is in ${join(path, "bin")}${hit ? ", from the tool cache" : ""}`);
  if (summary)
    await writeSummary({
      heading: "Command line installed",
      columns: ["Version", "From", "Path"],
      rows: [[version, hit ? "the tool cache" : (archive.url ?? "this action"), join(path, "bin")]],
    });
});

/** What the tool cache of the runner has, unless it is damaged. */
async function cachedTool(version: string): Promise<string | undefined> {
  const path = find(TOOL, version);
  if (path === "") return undefined;
  const problem = await checkTool(path, version);
  if (problem === undefined) return path;
  core.warning(`${path} is damaged and is installed anew: ${problem}`, { title: "stowage setup: Damaged tool cache" });
  return undefined;
}

function readInputs(): { version: string; archive: ToolArchive; summary: boolean } {
  const version = (text("version") ?? ownVersion).replace(/^v/, "");
  if (!/^(?:0|[1-9]\d*)(?:\.(?:0|[1-9]\d*)){2}(?:-[0-9A-Za-z.-]+)?$/.test(version))
    throw new InputError("version", `${JSON.stringify(version)} is no version`, {
      hint: `Write one in full, as version: ${ownVersion}.`,
    });
  const url = text("url");
  if (url !== undefined && !/^https?:$/.test(URL.canParse(url) ? new URL(url).protocol : ""))
    throw new InputError("url", `${JSON.stringify(url)} is no http or https URL`, {
      hint: "Write the URL of a file stowage-VERSION.tgz.",
    });
  const checksum = text("checksum")
    ?.replace(/^sha256:/, "")
    .toLowerCase();
  if (checksum !== undefined && !/^[0-9a-f]{64}$/.test(checksum))
    throw new InputError("checksum", `${JSON.stringify(text("checksum"))} is no SHA-256`, {
      hint: "Write sha256: and 64 hexadecimal digits.",
    });
  return { version, archive: { url, checksum }, summary: flag("summary", true) };
}
