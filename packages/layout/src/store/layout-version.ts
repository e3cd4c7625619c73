import { join } from "node:path";
import { isOciError, OciError } from "../model/errors.js";
import { parseJsonObject } from "../model/json.js";
import { readSmallFile } from "./files.js";

/** image-spec v1.1.1, image-layout.md "oci-layout": the version stays 1.0.0 under image-spec 1.1. */
export const LAYOUT_VERSION = "1.0.0";

/** The largest `oci-layout` that is read, in bytes. */
export const MAXIMUM_LAYOUT_FILE_SIZE = 64 * 1024;

/** Fails with `INVALID` unless these are the bytes of an `oci-layout` of the version that is known here. */
export function checkLayoutVersion(bytes: Uint8Array, where: string): void {
  const { imageLayoutVersion } = parseJsonObject(bytes, where);
  if (imageLayoutVersion !== LAYOUT_VERSION) {
    throw new OciError(
      "INVALID",
      `${where} says imageLayoutVersion ${JSON.stringify(imageLayoutVersion)}; only ${LAYOUT_VERSION} is known`,
    );
  }
}

/** Fails with `INVALID` unless the directory has an `oci-layout` of the version that is known here. */
export async function checkLayoutFile(directory: string): Promise<void> {
  const file = join(directory, "oci-layout");
  let bytes: Uint8Array;
  try {
    bytes = await readSmallFile(file, MAXIMUM_LAYOUT_FILE_SIZE);
  } catch (error) {
    if (!isOciError(error, "NOT_FOUND") && !isOciError(error, "INVALID")) throw error;
    throw new OciError("INVALID", `${directory} is no OCI image layout: it has no file oci-layout`, { cause: error });
  }
  checkLayoutVersion(bytes, file);
}
