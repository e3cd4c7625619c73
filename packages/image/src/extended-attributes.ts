import { spawn } from "node:child_process";
import { once } from "node:events";
import { type Abortable, OciError, systemErrorCode } from "@stowage/layout";

/** What the system gives files itself, what belongs to another machine, or what an overlay file system writes. */
const NOT_OURS = /^(?:security\.(?:selinux|ima|evm)$|system\.|trusted\.overlay\.|user\.overlay\.)/;
/** Bytes of paths in one command line; Linux takes 2 MiB with the environment. */
const PATHS_AT_ONCE = 128 * 1024;

/**
 * The extended attributes of what is at these absolute paths, links not followed, read with getfattr(1), as Node cannot. What has none
 * is not in the result. Fails with `UNSUPPORTED` where there is no getfattr, with `DENIED` where it may not read one.
 */
export async function readExtendedAttributes(
  paths: readonly string[],
  options: Abortable = {},
): Promise<ReadonlyMap<string, ReadonlyMap<string, Uint8Array>>> {
  const found = new Map<string, ReadonlyMap<string, Uint8Array>>();
  let batch: string[] = [];
  let size = 0;
  for (const [at, path] of paths.entries()) {
    batch.push(path);
    size += Buffer.byteLength(path) + 1;
    if (size < PATHS_AT_ONCE && at < paths.length - 1) continue;
    for (const [file, attributes] of parseDump(await dump(batch, options))) found.set(file, attributes);
    batch = [];
    size = 0;
  }
  return found;
}

async function dump(paths: readonly string[], { signal }: Abortable): Promise<string> {
  const options = ["--absolute-names", "--no-dereference", "--dump", "--match=-", "--encoding=hex", "--"];
  const child = spawn("getfattr", [...options, ...paths], { stdio: ["ignore", "pipe", "pipe"], signal });
  const chunks: Buffer[] = [];
  let problems = "";
  child.stdout.on("data", (chunk: Buffer) => chunks.push(chunk));
  child.stderr.setEncoding("utf8").on("data", (text: string) => {
    problems = (problems + text).slice(0, 2000);
  });
  try {
    const [code] = await once(child, "close");
    if (code === 0) return Buffer.concat(chunks).toString("latin1");
  } catch (error) {
    signal?.throwIfAborted();
    const missing = systemErrorCode(error) === "ENOENT";
    throw new OciError(
      "UNSUPPORTED",
      `cannot read extended attributes: ${missing ? "there is no getfattr here" : error}`,
      { cause: error, hint: "It comes with the package attr." },
    );
  }
  throw new OciError("DENIED", `cannot read extended attributes: ${problems.trim().split("\n")[0]}`);
}

/** Reads the form of getfattr(1): a line that names the file, a line for each attribute, an empty line. */
function parseDump(text: string): Map<string, Map<string, Uint8Array>> {
  const found = new Map<string, Map<string, Uint8Array>>();
  for (const block of text.split("\n\n")) {
    const [first = "", ...lines] = block.split("\n").filter((line) => line !== "");
    if (!first.startsWith("# file: ")) continue;
    const attributes = new Map<string, Uint8Array>();
    for (const line of lines) {
      const equals = line.indexOf("=");
      const name = unescaped(line.slice(0, equals < 0 ? undefined : equals));
      const value = equals < 0 ? "" : line.slice(equals + 1).replace(/^0x|^""$/, "");
      if (!NOT_OURS.test(name)) attributes.set(name, Buffer.from(value, "hex"));
    }
    if (attributes.size > 0) found.set(unescaped(first.slice("# file: ".length)), attributes);
  }
  return found;
}

/** Octal numbers behind backslashes become bytes; the whole is UTF-8. */
function unescaped(text: string): string {
  const bytes = text.replace(/\\([0-7]{3})/g, (_match, digits: string) =>
    String.fromCharCode(Number.parseInt(digits, 8)),
  );
  return Buffer.from(bytes, "latin1").toString("utf8");
}
