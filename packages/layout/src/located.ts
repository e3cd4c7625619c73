import { isOciError, type OciError, withContext } from "./model/errors.js";
import type { GraphPath } from "./walk.js";

const locatedErrors = new WeakSet<OciError>();

/** Says where in the graph an error happened, once. */
export function located(error: unknown, path: GraphPath): unknown {
  if (!isOciError(error) || locatedErrors.has(error)) return error;
  const result = withContext(error, path.join(" > "));
  locatedErrors.add(result as OciError);
  return result;
}
