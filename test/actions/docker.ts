import { type ChildProcess, spawn } from "node:child_process";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { attempt, findTool } from "../interop/peers.js";

/** A Docker daemon of this test's own. */
export interface DockerDaemon {
  /** What a step needs in its environment to reach it. */
  readonly env: Readonly<Record<string, string>>;
  stop(): Promise<void>;
}

/** Starts a daemon that only loads and shows images: no networks, no privileges but root's. Or says why it cannot. */
export async function startDocker(): Promise<DockerDaemon | string> {
  const daemon = findTool("dockerd");
  if (daemon === undefined || findTool("docker") === undefined)
    return "docker is not installed (.ci/install-peers does it)";
  if (process.getuid?.() !== 0) return "a Docker daemon needs root";
  const directory = await mkdtemp(join(tmpdir(), "stowage-docker-"));
  const host = `unix://${join(directory, "socket")}`;
  const child = spawn(
    daemon,
    [
      ...["--data-root", join(directory, "data"), "--exec-root", join(directory, "exec"), "-H", host],
      ...["--pidfile", join(directory, "pid"), "--iptables=false", "--bridge=none", "--storage-driver=vfs"],
    ],
    { stdio: "ignore" },
  );
  const stop = async (): Promise<void> => {
    const ended = new Promise((resolve) => child.once("exit", resolve));
    if (isRunning(child)) {
      child.kill("SIGTERM");
      await Promise.race([ended, sleep(10_000)]);
      if (isRunning(child)) child.kill("SIGKILL");
    }
    await rm(directory, { recursive: true, force: true, maxRetries: 5 });
  };
  const env = { DOCKER_HOST: host };
  for (let tries = 0; tries < 60 && isRunning(child); tries++) {
    if ((await attempt("docker", ["version"], { env, timeout: 5_000 })).code === 0) return { env, stop };
    await sleep(250);
  }
  await stop();
  return "a Docker daemon does not start here";
}

function isRunning(child: ChildProcess): boolean {
  return child.pid !== undefined && child.exitCode === null && child.signalCode === null;
}
