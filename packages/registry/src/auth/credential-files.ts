import { homedir } from "node:os";
import { join } from "node:path";
import type { Environment } from "../http/proxy.js";

/**
 * The files that may hold credentials, in the order in which they are asked:
 *
 * 1. the file that `REGISTRY_AUTH_FILE` names, as Podman and Skopeo take it;
 * 2. `config.json` in the directory that `DOCKER_CONFIG` names, or else in `~/.docker`;
 * 3. `containers/auth.json` in `XDG_RUNTIME_DIR` (on Linux `/run/containers/UID/auth.json` without it), where `podman login` writes;
 * 4. `containers/auth.json` in `XDG_CONFIG_HOME`, or else in `~/.config`.
 *
 * Whoever names a file means that file: where `REGISTRY_AUTH_FILE` or `DOCKER_CONFIG` is set, the files of default places are not asked.
 */
export function credentialFiles(environment: Environment): readonly string[] {
  const { REGISTRY_AUTH_FILE: file, DOCKER_CONFIG: directory, XDG_RUNTIME_DIR: runtime } = environment;
  const named = [...(file ? [file] : []), ...(directory ? [join(directory, "config.json")] : [])];
  if (named.length > 0) return named;
  const home = environment.HOME || environment.USERPROFILE || homedir();
  const uid = process.platform === "linux" ? process.getuid?.() : undefined;
  const running = runtime ? join(runtime, "containers") : uid === undefined ? undefined : `/run/containers/${uid}`;
  return [
    join(home, ".docker", "config.json"),
    ...(running === undefined ? [] : [join(running, "auth.json")]),
    join(environment.XDG_CONFIG_HOME || join(home, ".config"), "containers", "auth.json"),
  ];
}

/** The file that a login is written to: the first that is asked. */
export function loginFile(environment: Environment): string {
  return credentialFiles(environment)[0] as string;
}
