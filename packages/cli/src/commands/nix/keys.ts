import { existsSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { systemError } from "@stowage/layout";
import { type NixKey, parsePublicKey, parseSecretKey } from "@stowage/nix";
import { parsed } from "../../command.js";

/** Reads `--trusted-key`: `NAME:BASE64` each, or a file with such a line. */
export async function trustedKeys(texts: readonly string[] | undefined): Promise<readonly NixKey[]> {
  return Promise.all(
    (texts ?? []).map(async (text) => {
      const key = existsSync(text) ? await readKeyFile(text) : text;
      return parsed(() => parsePublicKey(key));
    }),
  );
}

/** Reads `--secret-key`: files, so that no key stands on a command line. */
export async function secretKeys(files: readonly string[] | undefined): Promise<readonly NixKey[]> {
  return Promise.all((files ?? []).map(async (file) => parseSecretKey(await readKeyFile(file))));
}

async function readKeyFile(path: string): Promise<string> {
  try {
    return await readFile(path, "utf8");
  } catch (error) {
    throw systemError(error, `cannot read the key ${path}`);
  }
}
