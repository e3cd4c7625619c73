import { collect } from "@stowage/layout";
import { type Answer, headerOf, withHeaders } from "../answer.js";

/** The body as a stream. */
export async function* bytesOf(body: Answer["body"]): AsyncGenerator<Uint8Array, void, undefined> {
  if (body === undefined) return;
  if (body instanceof Uint8Array) yield body;
  else yield* body;
}

/** The answer with a stream that `change` makes of its body; what is said of the length stays as it was. */
export function changedBody(
  answer: Answer,
  change: (bytes: AsyncIterable<Uint8Array>) => AsyncIterable<Uint8Array>,
): Answer {
  if (answer.body === undefined) return answer;
  const length = lengthOf(answer);
  const said = length === undefined ? answer : withHeaders(answer, { "Content-Length": length });
  return { ...said, body: change(bytesOf(answer.body)) };
}

/** The length in bytes that the answer declares, where it does. */
export function lengthOf(answer: Answer): number | undefined {
  const declared = headerOf(answer, "content-length");
  if (declared !== undefined) return Number(declared);
  return answer.body instanceof Uint8Array ? answer.body.byteLength : undefined;
}

/** The JSON object in the body of an answer or request; undefined where it holds none. */
export function jsonIn(bytes: Uint8Array): Record<string, unknown> | undefined {
  try {
    const value: unknown = JSON.parse(Buffer.from(bytes).toString());
    return typeof value === "object" && value !== null ? (value as Record<string, unknown>) : undefined;
  } catch {
    return undefined;
  }
}

/** The answer whose JSON body is what `change` makes of it. */
export async function changedJson(
  answer: Answer,
  change: (value: Record<string, unknown>) => Record<string, unknown>,
): Promise<Answer> {
  const value = jsonIn(await collect(bytesOf(answer.body), 64 * 1024 * 1024));
  if (value === undefined) return answer;
  return { ...withHeaders(answer, { "Content-Length": undefined }), body: Buffer.from(JSON.stringify(change(value))) };
}
