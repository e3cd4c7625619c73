import { isOciError } from "@stowage/layout";
import { type Answer, jsonAnswer } from "./answer.js";

/** The codes of distribution-spec v1.1.1, "Error Codes", and `UNKNOWN`, which registries use where the fault is theirs. */
export type RegistryErrorCode =
  | "BLOB_UNKNOWN"
  | "BLOB_UPLOAD_INVALID"
  | "BLOB_UPLOAD_UNKNOWN"
  | "DIGEST_INVALID"
  | "MANIFEST_BLOB_UNKNOWN"
  | "MANIFEST_INVALID"
  | "MANIFEST_UNKNOWN"
  | "NAME_INVALID"
  | "NAME_UNKNOWN"
  | "SIZE_INVALID"
  | "UNAUTHORIZED"
  | "DENIED"
  | "UNSUPPORTED"
  | "TOOMANYREQUESTS"
  | "UNKNOWN";

/** A request that is answered with an error. The message goes to the client and names nothing of this machine. */
export class Refusal extends Error {
  readonly status: number;
  readonly code: RegistryErrorCode;
  readonly headers: Readonly<Record<string, string>>;

  constructor(
    status: number,
    code: RegistryErrorCode,
    message: string,
    headers: Readonly<Record<string, string>> = {},
  ) {
    super(message);
    this.status = status;
    this.code = code;
    this.headers = headers;
  }

  /** distribution-spec v1.1.1, "Error Codes". */
  toJSON(): unknown {
    return { errors: [{ code: this.code, message: this.message }] };
  }
}

/**
 * The answer to a request that failed with `error`. What a client got wrong was refused where it was found, so anything
 * else is a fault of this side: its message may name paths and stays here.
 */
export function refusalOf(error: unknown): Refusal {
  if (error instanceof Refusal) return error;
  if (isOciError(error, "LIMIT")) return new Refusal(507, "UNKNOWN", "there is no room for this content");
  if (isOciError(error, "DENIED")) return new Refusal(403, "DENIED", "this server may not do that itself");
  if (isOciError(error, "CONFLICT")) return new Refusal(409, "DENIED", "something else is in the way in the store");
  if (isOciError(error, "REGISTRY") || isOciError(error, "UNAUTHORIZED"))
    return new Refusal(502, "UNKNOWN", "the registry behind this one does not answer as it should");
  return new Refusal(500, "UNKNOWN", "this server failed");
}

/** distribution-spec v1.1.1, "Error Codes". */
export function refusalAnswer(refusal: Refusal): Answer {
  return jsonAnswer(refusal.status, refusal, refusal.headers);
}
