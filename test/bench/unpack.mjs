/**
 * How long an image takes to unpack, beside umoci and tar: one of a Debian root file system, and one of 30,000 files (about 300 MB).
 *
 *   node test/bench/unpack.mjs [--runs 5] [--tar FILE] [--json FILE]
 *
 * The Debian tar is the one that .ci/install-peers makes; `--tar` names another. Each run unpacks into a directory that is not there yet.
 */
import { existsSync, rmSync } from "node:fs";
import { homedir } from "node:os";
import { join } from "node:path";
import { makeTree } from "./files.js";
import {
  bench,
  benchOptions,
  findTool,
  inTurn,
  row,
  run,
  scratch,
  stowage,
  timed,
  toolEnvironment,
} from "./measure.js";

const peers = process.env.STOWAGE_PEERS ?? join(homedir(), ".cache", "stowage-peers");
const options = benchOptions({
  tar: { type: "string", default: join(peers, "debian-bookworm-minbase.tar") },
});

await bench(options, async function* () {
  const cwd = scratch();
  const env = toolEnvironment(cwd);
  const umoci = findTool("umoci");
  const rootless = process.getuid() === 0 ? [] : ["--rootless"];
  const unpacked = async (tar) => {
    rmSync(join(cwd, "image"), { recursive: true, force: true });
    const build = [...stowage, "build", "--layer", tar, "-t", "oci:image:v1", "--compression", "gzip-native"];
    run(build[0], build.slice(1), { cwd, env });
    const inspect = [...stowage, "inspect", "oci:image:v1", "--json"];
    const { layers } = JSON.parse(run(inspect[0], inspect.slice(1), { cwd, env }));
    const blob = join("image", "blobs", layers[0].digest.replace(":", "/"));
    const contender = (command) => () => {
      rmSync(join(cwd, "out"), { recursive: true, force: true });
      return timed(command, { cwd, env });
    };
    return inTurn(
      {
        stowage: contender([...stowage, "unpack", "oci:image:v1", "out", "--special-files", "create", "-q"]),
        umoci:
          umoci === undefined
            ? undefined
            : contender([umoci, "raw", "unpack", ...rootless, "--image", "image:v1", "out"]),
        tar: contender(["sh", "-c", `mkdir out && tar -xpzf ${blob} -C out`]),
      },
      options.runs,
    );
  };
  const goal = { target: 1, against: "umoci" };
  if (existsSync(options.tar)) yield row("unpack a Debian root file system", await unpacked(options.tar), goal);
  else process.stderr.write(`left out: ${options.tar} is not there; .ci/install-peers makes it\n`);
  makeTree(join(cwd, "tree"));
  run("tar", ["-cf", "layer.tar", "-C", "tree", "."], { cwd });
  rmSync(join(cwd, "tree"), { recursive: true });
  yield row("unpack 30,000 files", await unpacked("layer.tar"), goal);
});
