// The tour: the main job from end to end, on real files, with the commands a user would type. A step that fails ends it.
//
// It packs this repository's own CLI, with its production dependencies, into an image; on Linux the Node binary that runs
// this script goes in too, with the libraries it loads, so that the image needs no base and runs as it is.
import { spawn, spawnSync } from "node:child_process";
import { cpSync, mkdirSync, readdirSync, readFileSync, realpathSync, rmSync, writeFileSync } from "node:fs";
import { basename, dirname, join, relative } from "node:path";
import { fileURLToPath } from "node:url";

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const directory = join(root, "tour");
const command = join(root, "packages", "cli", "bin", "stowage.js");
const started = Date.now();
const servers = new Set();

process.on("exit", stopServers);

rmSync(directory, { recursive: true, force: true });
mkdirSync(directory);
process.env.SOURCE_DATE_EPOCH = commitTime();

say("The files: this repository's command line with what it needs to run");
const packages = collectProgram(join(directory, "app"));
console.log(`${packages.length} packages in tour/app, Node ${process.versions.node}\n`);

say("Build an image of them, reproducibly, into a layout directory");
const files = ["app:/app", ...nodeRuntime()];
const entrypoint = [
  "--entrypoint",
  "/usr/local/bin/node",
  "--entrypoint",
  "/app/packages/cli/bin/stowage.js",
  "--cmd=--help",
];
const built = stowageJson(
  "build",
  ...files,
  "-t",
  "oci:out:v1",
  ...entrypoint,
  "--workdir",
  "/work",
  "--env",
  "NODE_ENV=production",
);

say("The same files again: the digest is the same");
const again = stowage(
  "build",
  ...files,
  "-t",
  "oci:again:v1",
  ...entrypoint,
  "--workdir",
  "/work",
  "--env",
  "NODE_ENV=production",
  "--quiet",
);
expectEqual("digest of the second build", again.trim(), built.descriptor.digest);

say("Attach an SBOM and a provenance statement, offline: the image keeps its digest");
writeFileSync(join(directory, "sbom.spdx.json"), JSON.stringify(sbom(packages), null, 2));
writeFileSync(join(directory, "provenance.intoto.json"), JSON.stringify(provenance(built.descriptor), null, 2));
stowage("attach", "oci:out:v1", "sbom.spdx.json");
stowage("attach", "oci:out:v1", "provenance.intoto.json");

say("Start a registry, and publish the image with its referrers");
const url = await startRegistry("serve", "--memory", "--listen", "127.0.0.1:0");
const repository = `${url.replace("http://", "")}/acme/stowage`;
stowage("publish", "oci:out:v1", `${repository}:v1`, `${repository}:latest`);
stowage("list", repository, "--details");

say("Pull it into another layout");
stowage("pull", `${repository}:v1`, "oci:pulled:v1");

say("Verify both: every size and digest, referrers included");
stowage("verify", "oci:out");
stowage("verify", "oci:pulled");
const [here, there] = ["out", "pulled"].map((layout) => JSON.parse(stowage("list", `oci:${layout}`, "--json"))[0]);
expectEqual("digest of what was pulled", there.descriptor.digest, here.descriptor.digest);
expectEqual("number of referrers", there.referrers, here.referrers);

say("What the image consists of, and what refers to it");
stowage("tree", "oci:pulled:v1");

stopServers();
console.log(
  `The tour took ${((Date.now() - started) / 1000).toFixed(1)} s. Its layouts are in tour/out and tour/pulled.`,
);

/**
 * Copies the CLI, its packages and their production dependencies, laid out as Node finds them: one copy at the top, another
 * version below the package that wants it. Returns what was packed.
 */
function collectProgram(target) {
  const found = new Map();
  const visit = (folder, place) => {
    const manifest = JSON.parse(readFileSync(join(folder, "package.json"), "utf8"));
    if (found.has(place)) return;
    found.set(place, { name: manifest.name, version: manifest.version, license: manifest.license });
    cpSync(folder, place, { recursive: true, dereference: true, filter: (path) => wanted(relative(folder, path)) });
    for (const name of Object.keys(manifest.dependencies ?? {})) {
      const source = realpathSync(findPackage(folder, name));
      const { version } = JSON.parse(readFileSync(join(source, "package.json"), "utf8"));
      const top = join(target, "node_modules", name);
      visit(source, (found.get(top)?.version ?? version) === version ? top : join(place, "node_modules", name));
    }
  };
  visit(join(root, "packages", "cli"), join(target, "packages", "cli"));
  const packed = new Map([...found.values()].map((item) => [`${item.name}@${item.version}`, item]));
  return [...packed.keys()].sort().map((key) => packed.get(key));
}

function wanted(path) {
  const [first] = path.split(/[\\/]/);
  return (
    !["node_modules", "src", "test", "tsconfig.json", "tsconfig.tsbuildinfo", ".turbo"].includes(first) &&
    !path.endsWith(".map")
  );
}

function findPackage(folder, name) {
  for (let at = folder; ; at = dirname(at)) {
    const candidate = join(at, "node_modules", name);
    try {
      if (readdirSync(candidate).includes("package.json")) return candidate;
    } catch {}
    if (at === dirname(at)) fail(`cannot find ${name}, which ${folder} depends on`);
  }
}

/** The Node binary and the shared libraries that it has loaded, each where it expects them. Empty where this is not Linux. */
function nodeRuntime() {
  if (process.platform !== "linux") return [];
  process.report.excludeNetwork = true;
  const libraries = process.report
    .getReport()
    .sharedObjects.filter((path) => path.startsWith("/") && path !== process.execPath && !path.endsWith(".node"));
  // Under `node_modules/node` and the like the binary lies elsewhere; in the image it is where Debian's images have it.
  return [
    `${realpathSync(process.execPath)}:/usr/local/bin/node`,
    ...libraries.map((path) => `${realpathSync(path)}:${path}`),
  ];
}

function sbom(contents) {
  const name = "stowage";
  return {
    spdxVersion: "SPDX-2.3",
    dataLicense: "CC0-1.0",
    SPDXID: "SPDXRef-DOCUMENT",
    name,
    documentNamespace: `https://spdx.org/spdxdocs/${name}-${built.descriptor.digest.slice(7, 19)}`,
    creationInfo: {
      created: new Date(Number(process.env.SOURCE_DATE_EPOCH) * 1000).toISOString().replace(".000Z", "Z"),
      creators: ["Tool: stowage-tour"],
    },
    packages: contents.map((item) => ({
      SPDXID: `SPDXRef-Package-${`${item.name}-${item.version}`.replace(/[^A-Za-z0-9.-]/g, "-")}`,
      name: item.name,
      versionInfo: item.version,
      downloadLocation: "NOASSERTION",
      licenseDeclared: item.license ?? "NOASSERTION",
      externalRefs: [
        {
          referenceCategory: "PACKAGE-MANAGER",
          referenceType: "purl",
          referenceLocator: `pkg:npm/${item.name.replace("@", "%40")}@${item.version}`,
        },
      ],
    })),
  };
}

function provenance(descriptor) {
  return {
    _type: "https://in-toto.io/Statement/v1",
    subject: [{ name: "stowage", digest: { sha256: descriptor.digest.slice("sha256:".length) } }],
    predicateType: "https://slsa.dev/provenance/v1",
    predicate: {
      buildDefinition: {
        buildType: "https://stowage.dev/tour/v1",
        externalParameters: { command: "stowage build", node: process.versions.node },
        resolvedDependencies: packages.map((item) => ({
          uri: `pkg:npm/${item.name.replace("@", "%40")}@${item.version}`,
        })),
      },
      runDetails: { builder: { id: "https://stowage.dev/tour" } },
    },
  };
}

/** The time of the commit that is checked out, so that the image depends on it and not on today. */
function commitTime() {
  const asked = spawnSync("git", ["log", "-1", "--format=%ct"], { cwd: root, encoding: "utf8" });
  return asked.status === 0 && asked.stdout.trim() !== "" ? asked.stdout.trim() : "0";
}

/** Runs a command as a user would, shows it with its output, and returns that. */
function stowage(...args) {
  console.log(`$ stowage ${shown(args)}`);
  const run = spawnSync(process.execPath, [command, ...args], {
    cwd: directory,
    encoding: "utf8",
    stdio: ["ignore", "pipe", "inherit"],
  });
  process.stdout.write(`${run.stdout}\n`);
  if (run.status !== 0) fail(`stowage ${args[0]} ended with ${run.status ?? run.signal}`);
  return run.stdout;
}

/** The same, for the sake of the JSON; what is shown is what a person reads. */
function stowageJson(...args) {
  stowage(...args);
  const run = spawnSync(process.execPath, [command, "inspect", "oci:out:v1", "--json"], {
    cwd: directory,
    encoding: "utf8",
  });
  if (run.status !== 0) fail(`stowage inspect ended with ${run.status}`);
  return JSON.parse(run.stdout);
}

async function startRegistry(...args) {
  console.log(`$ stowage ${shown(args)} &`);
  const server = spawn(process.execPath, [command, ...args], { cwd: directory, stdio: ["ignore", "pipe", "inherit"] });
  servers.add(server);
  for await (const line of server.stdout) {
    process.stdout.write(`${line}\n`);
    const url = /http:\/\/\S+/.exec(String(line));
    if (url !== null) return url[0];
  }
  return fail("the registry did not start");
}

function stopServers() {
  for (const server of servers) server.kill();
  servers.clear();
}

/** The arguments as a shell would want them; the many libraries of Node are counted, not listed. */
function shown(args) {
  const libraries = args.filter((arg) => /\.so[.0-9]*:/.test(arg));
  const words = args
    .filter((arg) => !libraries.slice(1).includes(arg))
    .map((arg) => (libraries.includes(arg) ? `${basename(arg)} (and ${libraries.length - 1} more libraries)` : arg));
  return words.map((word) => (/^[\w@%+=:,./() -]+$/.test(word) ? word : `'${word}'`)).join(" ");
}

function expectEqual(what, actual, expected) {
  if (actual !== expected) fail(`${what}: ${actual}, expected ${expected}`);
  console.log(`${what}: ${actual}, as expected\n`);
}

function say(text) {
  console.log(`\n## ${text}\n`);
}

function fail(message) {
  console.error(`\nThe tour failed: ${message}`);
  process.exit(1);
}
