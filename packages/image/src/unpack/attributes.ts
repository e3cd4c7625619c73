import { spawn } from "node:child_process";
import { once } from "node:events";
import { encodeTarName, OciError, systemErrorCode } from "@stowage/layout";

/** What to do with extended attributes: `skip` them, as Node cannot set them, or `set` them with setfattr(1). */
export type ExtendedAttributes = "skip" | "set";

/** What the system gives files itself, or what would mean something else to an overlay file system. */
const NOT_OURS = /^(?:security\.selinux$|trusted\.overlay\.|user\.overlay\.)/;

/** True where the attribute is one to set. */
export function isSettable(name: string): boolean {
  return !NOT_OURS.test(name) && !/[\n=\0]/.test(name);
}

/**
 * Sets extended attributes of what is at these paths, each relative to `directory`; links are not followed at the end of a path. Fails
 * with `UNSUPPORTED` where there is no setfattr or the file system takes none, with `DENIED` where it is not allowed.
 */
export async function setAttributes(
  directory: string,
  attributes: ReadonlyMap<string, ReadonlyMap<string, Uint8Array>>,
): Promise<void> {
  const child = spawn("setfattr", ["--no-dereference", "--restore=-"], {
    cwd: directory,
    stdio: ["pipe", "ignore", "pipe"],
  });
  let problems = "";
  child.stderr.setEncoding("utf8").on("data", (text: string) => {
    problems = (problems + text).slice(0, 2000);
  });
  // It may end before it has read all; its exit code tells why.
  child.stdin.on("error", () => {});
  const closed = once(child, "close");
  for (const [path, values] of attributes) {
    const lines = [...values].map(([name, value]) => `${escaped(name)}=0s${Buffer.from(value).toString("base64")}\n`);
    if (!child.stdin.write(`# file: ${escaped(path === "" ? "." : path)}\n${lines.join("")}\n`))
      await Promise.race([once(child.stdin, "drain"), closed]);
  }
  child.stdin.end();
  try {
    const [code] = await closed;
    if (code === 0) return;
  } catch (error) {
    const missing = systemErrorCode(error) === "ENOENT";
    throw new OciError(
      "UNSUPPORTED",
      `cannot set extended attributes: ${missing ? "there is no setfattr here" : error}`,
      {
        cause: error,
        hint: "It comes with the package attr.",
      },
    );
  }
  const code = /not supported/i.test(problems) ? "UNSUPPORTED" : "DENIED";
  throw new OciError(code, `cannot set extended attributes: ${problems.trim().split("\n")[0]}`);
}

/** In the form of getfattr(1): every byte but plain ones in octal. */
function escaped(text: string): string {
  const encoded = encodeTarName(text);
  const bytes = typeof encoded === "string" ? Buffer.from(encoded) : encoded;
  return [...bytes]
    .map((byte) =>
      /[A-Za-z0-9_./-]/.test(String.fromCharCode(byte))
        ? String.fromCharCode(byte)
        : `\\${byte.toString(8).padStart(3, "0")}`,
    )
    .join("");
}
