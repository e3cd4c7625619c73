import { cp, mkdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { type CopyReport, type Inspection, isAttestation } from "@stowage/layout";
import { stowageJson } from "../cli/stowage.js";
import { type ArtifactTree, attach, type Discovered, digestsOf, orasGraph, regctlGraph } from "./images.js";
import { attempt, launch, run, runJson, scratch, stop } from "./peers.js";
import { freePort } from "./registries.js";

/** Where the tools work: a directory with our layout `out`, and a registry with its image at `app:v1`. */
export interface Place {
  readonly directory: string;
  readonly registry: string;
}

/** What a tool put into a layout. */
export interface Written {
  /** The image, as a location of ours has it behind the directory: `:TAG` or `@DIGEST`. */
  readonly reference: string;
  readonly digest: string;
  /** The digests of what it attached, which `stowage tree` shows as referrers. */
  readonly referrers: readonly string[];
  /** The digests of what it put beside the image in a way of its own, which `stowage tree` shows as related. */
  readonly related?: readonly string[];
}

/** A tool that writes layouts, in its own way. */
export interface LayoutWriter {
  readonly tools: readonly string[];
  /** False where it makes an index.json of its own, whatever is there. */
  readonly adds: boolean;
  /** Puts an image into the layout, which may be there already, and attaches something to it where it can. */
  write(place: Place, layout: string, tag: string): Promise<Written>;
  /** The image and what refers to it, by digest, as the tool itself finds them in the layout; sorted. */
  sees(place: Place, layout: string, written: Written): Promise<readonly string[]>;
}

const type = ["--artifact-type", "application/vnd.example.note"];

const oras: LayoutWriter = {
  tools: ["oras"],
  adds: true,
  async write({ directory: cwd }, layout, tag) {
    const target = `${layout}:${tag}`;
    await run("oras", ["cp", "--from-oci-layout", "out:v1", "--to-oci-layout", target], { cwd });
    const args = ["attach", "--oci-layout", ...type, target, "signature.json:application/json", "--format", "json"];
    const { digest: note } = await runJson<{ digest: string }>("oras", args, { cwd });
    const digest = (await run("oras", ["resolve", "--oci-layout", target], { cwd })).trim();
    return { reference: `:${tag}`, digest, referrers: [note] };
  },
  async sees({ directory: cwd }, layout, { digest }) {
    const args = ["discover", "--oci-layout", `${layout}@${digest}`, "--format", "json"];
    return digestsOf(orasGraph(await runJson<Discovered>("oras", args, { cwd })));
  },
};

const regctl: LayoutWriter = {
  tools: ["regctl"],
  adds: true,
  async write({ directory: cwd }, layout, tag) {
    const target = `ocidir://${layout}:${tag}`;
    await run("regctl", ["image", "copy", "ocidir://out:v1", target], { cwd });
    const put = ["artifact", "put", "--subject", target, ...type, "--file", "signature.json"];
    const note = await run("regctl", [...put, "--format", "{{.Manifest.GetDescriptor.Digest}}"], { cwd });
    const digest = (await run("regctl", ["manifest", "head", target], { cwd })).trim();
    return { reference: `:${tag}`, digest, referrers: [note.trim()] };
  },
  async sees({ directory: cwd }, layout, { digest }) {
    const args = ["artifact", "tree", `ocidir://${layout}@${digest}`, "--format", "{{json .}}"];
    return digestsOf(regctlGraph(await runJson<ArtifactTree>("regctl", args, { cwd }), digest));
  },
};

const olareg: LayoutWriter = {
  tools: ["olareg"],
  adds: true,
  async write({ directory: cwd }, layout, tag) {
    return withOlareg(cwd, async (host) => {
      const target = `${host}/${layout}:${tag}`;
      const { descriptor } = await stowageJson<CopyReport>(["push", "oci:out:v1", target, "--referrers", "none"], {
        cwd,
      });
      const note = await attach(cwd, target, "signature.json", ...type);
      return { reference: `:${tag}`, digest: descriptor.digest, referrers: [note] };
    });
  },
  async sees({ directory }, layout, { digest }) {
    // It changes what it serves, and has its own idea of what may be collected.
    const data = await scratch();
    await cp(join(directory, layout), join(data, layout), { recursive: true });
    return withOlareg(data, async (host) => {
      const image = await fetch(`http://${host}/v2/${layout}/manifests/${digest}`, { headers: { accept: "*/*" } });
      await image.arrayBuffer();
      const answer = await fetch(`http://${host}/v2/${layout}/referrers/${digest}`);
      const { manifests } = (await answer.json()) as { manifests: { digest: string }[] };
      return [...(image.status === 200 ? [digest] : []), ...manifests.map((one) => one.digest)].sort();
    });
  },
};

/** Serves the layouts in a directory with olareg for as long as the work takes. */
async function withOlareg<T>(directory: string, work: (host: string) => Promise<T>): Promise<T> {
  const port = await freePort();
  const place = ["--addr", "127.0.0.1", "--port", String(port), "--dir", directory];
  const server = await launch("olareg", ["serve", ...place], directory);
  try {
    const host = `127.0.0.1:${port}`;
    for (let trial = 0; ; trial++) {
      const answer = await fetch(`http://${host}/v2/`).catch(() => undefined);
      await answer?.arrayBuffer();
      if (answer?.status === 200) return await work(host);
      if (trial === 200 || server.exitCode !== null) throw new Error(`olareg did not start on ${host}`);
      await sleep(50);
    }
  } finally {
    await stop(server);
  }
}

const skopeo: LayoutWriter = {
  tools: ["skopeo"],
  adds: true,
  async write({ directory: cwd }, layout, tag) {
    const target = `oci:${layout}:${tag}`;
    await run("skopeo", ["--insecure-policy", "copy", "--quiet", "oci:out:v1", target], { cwd });
    const digest = await run("skopeo", ["inspect", "--format", "{{.Digest}}", target], { cwd });
    return { reference: `:${tag}`, digest: digest.trim(), referrers: [] };
  },
  async sees({ directory: cwd }, layout, { reference }) {
    await run("skopeo", ["--insecure-policy", "copy", "--quiet", `oci:${layout}${reference}`, `dir:${layout}.dir`], {
      cwd,
    });
    const digest = await run("skopeo", ["inspect", "--format", "{{.Digest}}", `oci:${layout}${reference}`], { cwd });
    return [digest.trim()];
  },
};

const umoci: LayoutWriter = {
  tools: ["umoci"],
  adds: true,
  async write({ directory: cwd }, layout, tag) {
    const isThere = await readFile(join(cwd, layout, "oci-layout")).catch(() => undefined);
    if (isThere === undefined) await run("umoci", ["init", "--layout", layout], { cwd });
    await run("umoci", ["new", "--image", `${layout}:${tag}`], { cwd });
    await run("umoci", ["insert", "--image", `${layout}:${tag}`, "hello.txt", "/hello.txt"], { cwd });
    return { reference: `:${tag}`, digest: await resolved(cwd, layout, tag), referrers: [] };
  },
  async sees({ directory: cwd }, layout, { reference }) {
    await run("umoci", ["stat", "--image", `${layout}${reference}`, "--json"], { cwd });
    await run("umoci", ["unpack", "--rootless", "--image", `${layout}${reference}`, await unused(cwd)], { cwd });
    return [await resolved(cwd, layout, reference.slice(1))];
  },
};

async function resolved(cwd: string, layout: string, tag: string): Promise<string> {
  const { descriptor } = await stowageJson<Inspection>(["inspect", `oci:${layout}:${tag}`], { cwd });
  return descriptor.digest;
}

let bundles = 0;
async function unused(directory: string): Promise<string> {
  return join(directory, `bundle-${++bundles}`);
}

const crane: LayoutWriter = {
  tools: ["crane"],
  adds: true,
  async write({ directory: cwd, registry }, layout) {
    const source = `${registry}/app:v1`;
    await run("crane", ["pull", "--insecure", "--format", "oci", "--annotate-ref", source, layout], { cwd });
    const digest = (await run("crane", ["digest", "--insecure", source])).trim();
    // It names the entry in full, with a port in the name.
    return { reference: `@${digest}`, digest, referrers: [] };
  },
  async sees({ directory: cwd, registry }, layout, { digest }) {
    const target = `${registry}/from-crane:latest`;
    await run("crane", ["push", "--insecure", "--index", layout, target], { cwd });
    await run("crane", ["validate", "--insecure", "--remote", `${registry}/from-crane@${digest}`]);
    const { manifests } = await runJson<{ manifests: { digest: string }[] }>("crane", ["manifest", target]);
    return manifests.map((one) => one.digest).filter((one) => one === digest);
  },
};

const cosign: LayoutWriter = {
  tools: ["cosign"],
  adds: false,
  async write({ directory: cwd, registry }, layout) {
    // Nothing that has to do with the services of sigstore: a key in a file, and no transparency log.
    const env = { COSIGN_PASSWORD: "" };
    const offline = [
      "--key",
      "cosign.key",
      "--allow-http-registry",
      "--tlog-upload=false",
      "--use-signing-config=false",
    ];
    const old = ["--new-bundle-format=false", "--yes"];
    const { digest } = (await stowageJson<Inspection>(["inspect", `${registry}/app:v1`], { cwd })).descriptor;
    const image = `${registry}/app@${digest}`;
    await run("cosign", ["generate-key-pair"], { cwd, env });
    await run("cosign", ["sign", ...offline, ...old, image], { cwd, env });
    await writeFile(join(cwd, "predicate.json"), '{"checked":"yes"}');
    const predicate = ["--predicate", "predicate.json", "--type", "custom"];
    await run("cosign", ["attest", ...offline, ...old, ...predicate, image], { cwd, env });
    await run("cosign", ["save", "--allow-http-registry", "--dir", layout, image], { cwd, env });
    const { manifests } = JSON.parse(await readFile(join(cwd, layout, "index.json"), "utf8")) as {
      manifests: { digest: string }[];
    };
    const related = manifests.map((one) => one.digest).filter((one) => one !== digest);
    return { reference: `@${digest}`, digest, referrers: [], related };
  },
  async sees({ directory: cwd }, layout, { digest, related = [] }) {
    const checks = ["--key", "cosign.pub", "--insecure-ignore-tlog", "--local-image", layout];
    await run("cosign", ["verify", ...checks], { cwd });
    return [digest, ...related].sort();
  },
};

let daemon: Promise<string> | undefined;

/** The address of a BuildKit that builds without a network, from nothing but local files. */
function buildkitAddress(): Promise<string> {
  daemon ??= (async () => {
    const root = await scratch();
    const address = `unix://${join(root, "socket")}`;
    const worker = ["--oci-worker-snapshotter=native", "--oci-worker-net=host", "--containerd-worker=false"];
    const server = await launch("buildkitd", ["--addr", address, "--root", join(root, "state"), ...worker], root);
    for (let trial = 0; ; trial++) {
      const answer = await attempt("buildctl", ["--addr", address, "debug", "workers"]);
      if (answer.code === 0) return address;
      if (trial === 100 || server.exitCode !== null) throw new Error(`buildkitd did not start: ${answer.stderr}`);
      await sleep(100);
    }
  })();
  return daemon;
}

async function buildWithBuildkit(cwd: string, dockerfile: string, ...options: readonly string[]): Promise<void> {
  const context = await unused(cwd);
  await mkdir(context);
  await writeFile(join(context, "Dockerfile"), dockerfile);
  await writeFile(join(context, "hello.txt"), "hello\n");
  const local = ["--local", `context=${context}`, "--local", `dockerfile=${context}`];
  const address = ["--addr", await buildkitAddress()];
  await run("buildctl", [...address, "build", "--frontend", "dockerfile.v0", ...local, ...options], { cwd });
}

const buildkit: LayoutWriter = {
  tools: ["buildkitd", "buildctl"],
  adds: true,
  async write({ directory: cwd }, layout, tag) {
    const attested = ["--opt", "attest:provenance=mode=max", "--opt", "platform=linux/amd64,linux/arm64"];
    const output = ["--output", `type=oci,tar=false,dest=${layout},name=registry.example/app:${tag}`];
    await buildWithBuildkit(cwd, "FROM scratch\nCOPY hello.txt /hello.txt\n", ...attested, ...output);
    const { descriptor, manifests = [] } = await stowageJson<Inspection>(["inspect", `oci:${layout}:${tag}`], { cwd });
    const related = manifests.filter(isAttestation).map((one) => one.digest);
    return { reference: `:${tag}`, digest: descriptor.digest, referrers: [], related };
  },
  async sees({ directory: cwd }, layout, { digest, related = [] }) {
    const context = `context:made=oci-layout://made@${digest}`;
    await buildWithBuildkit(cwd, "FROM made\n", "--oci-layout", `made=${layout}`, "--opt", context);
    return [digest, ...related].sort();
  },
};

export const layoutWriters = { oras, regctl, olareg, skopeo, umoci, crane, cosign, buildkit } satisfies Record<
  string,
  LayoutWriter
>;
