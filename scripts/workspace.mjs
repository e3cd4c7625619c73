// Does what `npm start` and `npm test` need on a machine that has only Node and npm: brings the pinned pnpm, installs
// what the lock file says, builds, and runs the task.
import { spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { dirname } from "node:path";
import { fileURLToPath } from "node:url";

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const { packageManager, engines } = JSON.parse(readFileSync(new URL("../package.json", import.meta.url), "utf8"));
const windows = process.platform === "win32";

const tasks = {
  tour: [
    ["turbo", "run", "build"],
    ["node", "scripts/tour.mjs"],
  ],
  test: [
    ["turbo", "run", "build"],
    ["vitest", "run"],
  ],
  check: [
    ["turbo", "run", "build"],
    ["biome", "check", "."],
    ["tsc", "-p", "test/tsconfig.json"],
  ],
};

const [name, ...rest] = process.argv.slice(2);
const steps = tasks[name];
if (steps === undefined) fail(`usage: node scripts/workspace.mjs ${Object.keys(tasks).join("|")}`, 2);

const [major, minor] = process.versions.node.split(".").map(Number);
if (major < 20 || (major === 20 && minor < 19))
  fail(`Node ${engines.node} is needed; this is ${process.versions.node}.`, 1);

const pnpm = hasPnpm() ? ["pnpm"] : ["npx", "--yes", packageManager];
process.env.TURBO_TELEMETRY_DISABLED ??= "1";
process.env.DO_NOT_TRACK ??= "1";
run([...pnpm, "install", "--frozen-lockfile", "--prefer-offline", "--reporter=append-only"], true);
steps.forEach((step, at) => {
  const last = at === steps.length - 1;
  run([...pnpm, "exec", ...step, ...(last ? rest : [])], !last);
});

/** Another version of pnpm would read the lock file its own way. */
function hasPnpm() {
  const asked = spawnSync("pnpm", ["--version"], { cwd: root, encoding: "utf8", shell: windows });
  return asked.status === 0 && `pnpm@${asked.stdout.trim()}` === packageManager;
}

/** Runs a command to its end. A preparation that goes well says nothing. */
function run([command, ...args], quiet) {
  const result = spawnSync(command, args, {
    cwd: root,
    stdio: quiet ? ["ignore", "pipe", "pipe"] : "inherit",
    encoding: "utf8",
    shell: windows,
    maxBuffer: 1 << 28,
  });
  if (result.error !== undefined) fail(`cannot run ${command}: ${result.error.message}`, 1);
  if (result.status === 0) return;
  if (quiet) process.stderr.write(`${result.stdout}${result.stderr}`);
  fail(`${[command, ...args].join(" ")} failed`, result.status ?? 1);
}

function fail(message, code) {
  process.stderr.write(`${message}\n`);
  process.exit(code);
}
