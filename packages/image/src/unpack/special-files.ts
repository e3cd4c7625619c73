import { execFileSync } from "node:child_process";
import { OciError, systemErrorCode, type TarReadHeader } from "@stowage/layout";

/** What to do with devices and FIFOs: `refuse` the image, `skip` them, or `create` them, which takes root for devices. */
export type SpecialFiles = "refuse" | "skip" | "create";

/** All values of {@link SpecialFiles}, the default first. */
export const specialFiles: readonly SpecialFiles[] = ["refuse", "skip", "create"];

/** True for the types Node cannot make: devices and FIFOs. */
export function isSpecial(header: TarReadHeader): boolean {
  return header.type === "character-device" || header.type === "block-device" || header.type === "fifo";
}

/**
 * Makes a device or FIFO with mknod(1), mode 0600. Fails with `UNSUPPORTED` where there is no such program or its name is
 * not UTF-8, with `DENIED` where it is not allowed.
 */
export function makeSpecial(location: string | Buffer, header: TarReadHeader, what: string): void {
  const shown = `${what}: the ${header.type} ${JSON.stringify(header.name)}`;
  if (typeof location !== "string") throw new OciError("UNSUPPORTED", `${shown} cannot be made: its name is not UTF-8`);
  const { major, minor } = header.device ?? { major: 0, minor: 0 };
  const type = header.type === "fifo" ? ["p"] : [header.type === "block-device" ? "b" : "c", `${major}`, `${minor}`];
  // The descriptors of this process, not of the child.
  const path = location.replace("/proc/self/", `/proc/${process.pid}/`);
  try {
    execFileSync("mknod", ["--mode=0600", path, ...type], { stdio: ["ignore", "ignore", "pipe"], timeout: 10_000 });
  } catch (error) {
    const missing = systemErrorCode(error) === "ENOENT";
    const text = (error as { stderr?: Buffer }).stderr?.toString().trim();
    throw new OciError(
      missing ? "UNSUPPORTED" : "DENIED",
      `${shown} cannot be made: ${missing ? "there is no mknod here" : text}`,
      {
        cause: error,
        hint: "It takes root; --special-files skip leaves devices and FIFOs out.",
      },
    );
  }
}
