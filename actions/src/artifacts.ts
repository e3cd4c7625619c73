import { appendFile } from "node:fs/promises";
import { type Digest, digestAlgorithm, parseReference, systemError } from "@stowage/layout";

/**
 * Tells the runner what was published, in the file that `GITHUB_ARTIFACTS` names, so that actions/attest finds it in a later step without
 * being told. Of several tags in one repository only the first is declared: they are one image. Does nothing where the
 * runner has no such file. Fails as the file system does.
 */
export async function declareArtifacts(references: readonly string[], digest: Digest): Promise<void> {
  const file = process.env.GITHUB_ARTIFACTS;
  // The runner takes sha256 only.
  if (file === undefined || file === "" || digestAlgorithm(digest) !== "sha256") return;
  const first = new Map<string, string>();
  for (const text of references) {
    const { host, repository, tag } = parseReference(text);
    const name = `${host}/${repository}`;
    if (!first.has(name)) first.set(name, tag === undefined ? name : `${name}:${tag}`);
  }
  if (first.size === 0) return;
  try {
    await appendFile(file, [...first.values()].map((name) => `oci://${name}@${digest}\n`).join(""));
  } catch (error) {
    throw systemError(error, `cannot write to ${file}`);
  }
}
