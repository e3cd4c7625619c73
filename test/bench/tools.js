// The commands with which each tool moves an image between a layout and a registry that speaks plain HTTP.
import { findTool, run, stowage } from "./measure.js";

/**
 * For each tool `{ push(layout, name), pull(name, layout) }`: command lines that move the tag v1 between a layout's directory and
 * `HOST/REPOSITORY:TAG`. `referrers` has those along that a tool can move; the ones that cannot are missing then. A tool that is not
 * installed is missing too, and named. `hosts` are those that speak plain HTTP, for the tools that have to be told beforehand.
 */
export function tools({ referrers = false, hosts = [], env } = {}) {
  const regctl = findTool("regctl");
  if (regctl !== undefined)
    for (const host of hosts)
      run(regctl, ["registry", "set", host, "--tls", "disabled", "--skip-check"], { env, stdio: "pipe" });
  const all = {
    crane: referrers
      ? undefined
      : {
          push: (layout, name) => ["push", "--insecure", layout, name],
          pull: (name, layout) => ["pull", "--insecure", "--format", "oci", name, layout],
        },
    oras: {
      push: (layout, name) => {
        const flags = ["cp", ...(referrers ? ["-r"] : []), "--from-oci-layout", "--to-plain-http"];
        return [...flags, `${layout}:v1`, name];
      },
      pull: (name, layout) => {
        const flags = ["cp", ...(referrers ? ["-r"] : []), "--to-oci-layout", "--from-plain-http"];
        return [...flags, name, `${layout}:v1`];
      },
    },
    regctl: {
      push: (layout, name) => ["image", "copy", ...(referrers ? ["--referrers"] : []), `ocidir://${layout}:v1`, name],
      pull: (name, layout) => ["image", "copy", ...(referrers ? ["--referrers"] : []), name, `ocidir://${layout}:v1`],
    },
    skopeo: referrers
      ? undefined
      : {
          push: (layout, name) => ["copy", "-q", "--dest-tls-verify=false", `oci:${layout}:v1`, `docker://${name}`],
          pull: (name, layout) => ["copy", "-q", "--src-tls-verify=false", `docker://${name}`, `oci:${layout}:v1`],
        },
  };
  const flags = referrers ? [] : ["--referrers", "none"];
  const found = {
    stowage: {
      push: (layout, name) => [...stowage, "copy", "-q", ...flags, `oci:${layout}:v1`, name],
      pull: (name, layout) => [...stowage, "copy", "-q", ...flags, name, `oci:${layout}:v1`],
    },
  };
  for (const [name, verbs] of Object.entries(all)) {
    const path = findTool(name);
    if (path === undefined) process.stderr.write(`left out: ${name} is not installed\n`);
    else if (verbs !== undefined)
      found[name] = {
        push: (layout, to) => [path, ...verbs.push(layout, to)],
        pull: (from, layout) => [path, ...verbs.pull(from, layout)],
      };
  }
  return found;
}
