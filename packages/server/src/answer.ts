/** What a request is answered with, before any of it is sent. */
export interface Answer {
  readonly status: number;
  /** Names are compared without regard to case; write them as the specifications do. */
  readonly headers: Readonly<Record<string, string | number>>;
  /**
   * Bytes that are there already, or a stream. The length of the former is sent without being asked; that of a stream is
   * sent where the headers say it. HEAD leaves the body out.
   */
  readonly body?: Uint8Array | AsyncIterable<Uint8Array> | undefined;
}

/** An answer whose body is JSON. */
export function jsonAnswer(status: number, value: unknown, headers: Answer["headers"] = {}): Answer {
  return {
    status,
    headers: { "Content-Type": "application/json", ...headers },
    body: Buffer.from(JSON.stringify(value)),
  };
}

/** The value of a header of an answer, as text. */
export function headerOf(answer: Answer, name: string): string | undefined {
  const found = Object.entries(answer.headers).find(([one]) => one.toLowerCase() === name.toLowerCase());
  return found === undefined ? undefined : String(found[1]);
}

/** The answer with these headers instead of those of the same name; undefined takes one away. */
export function withHeaders(answer: Answer, headers: Readonly<Record<string, string | number | undefined>>): Answer {
  const replaced = new Set(Object.keys(headers).map((name) => name.toLowerCase()));
  const kept = Object.entries(answer.headers).filter(([name]) => !replaced.has(name.toLowerCase()));
  const added = Object.entries(headers).filter((entry): entry is [string, string | number] => entry[1] !== undefined);
  return { ...answer, headers: Object.fromEntries([...kept, ...added]) };
}
