import { type JsonObject, OciError } from "@stowage/layout";
import { type Document, isAlias, isMap, isScalar, isSeq, type LineCounter, type Node } from "yaml";

/** How many mistakes are told of at once. */
const MAXIMUM_MISTAKES = 20;
/** How many values a file may have, aliases followed. */
const MAXIMUM_VALUES = 200_000;

/** What a part of a file may look like: for editors as a JSON schema, and for reading it. Both come from one description, so they agree. */
export interface Shape<T> {
  readonly schema: JsonObject;
  /** The value, or undefined where it was wrong and the reader has been told. */
  read(node: Node | null, reader: Reader, at: number): T | undefined;
}

/** What a shape reads. */
export type Read<S> = S extends Shape<infer T> ? T : never;

/** Gathers the mistakes of one file, each with its line and column. */
export class Reader {
  readonly #path: string;
  readonly #document: Document;
  readonly #lines: LineCounter;
  readonly #mistakes: { readonly at: number; readonly text: string }[] = [];
  readonly #places = new WeakMap<object, ReadonlyMap<string, number>>();
  #values = 0;

  constructor(path: string, document: Document, lines: LineCounter) {
    this.#path = path;
    this.#document = document;
    this.#lines = lines;
  }

  /** `FILE:LINE:COLUMN` of an offset. */
  place(at: number): string {
    const { line, col } = this.#lines.linePos(at);
    return `${this.#path}:${line}:${col}`;
  }

  /** Remembers a mistake: what is wrong, and what to write. */
  mistake(at: number, text: string): undefined {
    this.#mistakes.push({ at, text });
    return undefined;
  }

  /** The node itself, behind an alias too. Fails with `LIMIT` where the file has too many values. */
  follow(node: Node | null): Node | null {
    if (++this.#values > MAXIMUM_VALUES)
      throw new OciError("LIMIT", `${this.#path} has more than ${MAXIMUM_VALUES} values`);
    if (!isAlias(node)) return node;
    return (node.resolve(this.#document) as Node | undefined) ?? null;
  }

  remember(value: object, places: ReadonlyMap<string, number>): void {
    this.#places.set(value, places);
  }

  /** Where the member of a mapping that was read stands, or else the mapping. */
  placeOf(value: object, key: string, otherwise: number): number {
    return this.#places.get(value)?.get(key) ?? otherwise;
  }

  /** Fails with `INVALID` where there was a mistake, with a line for each in the order of the file. */
  finish(): void {
    if (this.#mistakes.length === 0) return;
    const told = [...this.#mistakes].sort((a, b) => a.at - b.at).map(({ at, text }) => `${this.place(at)}: ${text}`);
    const more = told.length - MAXIMUM_MISTAKES;
    const lines = more > 0 ? [...told.slice(0, MAXIMUM_MISTAKES), `and ${more} more mistakes`] : told;
    throw new OciError("INVALID", lines.join("\n"));
  }
}

/** What is in the file, for messages. */
function shown(node: Node | null): string {
  if (isMap(node)) return "a mapping";
  if (isSeq(node)) return "a list";
  if (isScalar(node) && node.value !== "") return JSON.stringify(String(node.value).slice(0, 100));
  return "nothing";
}

/** A text; a number without quotes is taken as it is written, so that `3.20` stays `3.20`. `check` says what is wrong with it. */
export function text(
  description: string,
  write: string,
  options: { readonly maximum?: number; readonly check?: (text: string) => string | undefined } = {},
): Shape<string> {
  const maximum = options.maximum ?? 1000;
  return {
    schema: { description, type: ["string", "number"], minLength: 1, maxLength: maximum },
    read(node, reader, at) {
      if (!isScalar(node) || node.value === "" || isReserved(node.type, node.value))
        return reader.mistake(at, `${shown(node)} where a text belongs; write ${write}`);
      const value = String(node.value);
      if (value.length > maximum) return reader.mistake(at, `the text is longer than ${maximum} characters`);
      const problem = options.check?.(value);
      return problem === undefined ? value : reader.mistake(at, problem);
    },
  };
}

/** Editors read these as something else than a text unless they are quoted. */
function isReserved(type: unknown, value: unknown): boolean {
  return type === "PLAIN" && /^(?:true|false|null|~)$/i.test(String(value));
}

/** One of a few words. */
export function word<const T extends string>(description: string, words: readonly T[]): Shape<T> {
  return {
    schema: { description, enum: [...words] },
    read(node, reader, at) {
      const found = isScalar(node) ? words.find((one) => one === node.value) : undefined;
      return found ?? reader.mistake(at, `${shown(node)} where ${words.join(" or ")} belongs`);
    },
  };
}

export function flag(description: string): Shape<boolean> {
  return {
    schema: { description, type: "boolean" },
    read(node, reader, at) {
      if (isScalar(node) && node.type === "PLAIN" && (node.value === "true" || node.value === "false"))
        return node.value === "true";
      return reader.mistake(at, `${shown(node)} where true or false belongs`);
    },
  };
}

export function whole(description: string, minimum: number, maximum: number): Shape<number> {
  return {
    schema: { description, type: "integer", minimum, maximum },
    read(node, reader, at) {
      const digits = isScalar(node) && node.type === "PLAIN" ? String(node.value) : "";
      const value = /^(?:0|[1-9][0-9]{0,8})$/.test(digits) ? Number(digits) : Number.NaN;
      if (value >= minimum && value <= maximum) return value;
      return reader.mistake(at, `${shown(node)} where a whole number from ${minimum} to ${maximum} belongs`);
    },
  };
}

/** A list of at least one; anything else than a list is read as a list of one. */
export function list<T>(description: string, item: Shape<T>, maximum: number): Shape<readonly T[]> {
  return {
    schema: {
      description,
      anyOf: [item.schema, { type: "array", items: item.schema, minItems: 1, maxItems: maximum }],
    },
    read(node, reader, at) {
      const nodes = isSeq(node) ? (node.items as Node[]) : [node];
      if (nodes.length === 0) return reader.mistake(at, "an empty list; write at least one, or leave it out");
      if (nodes.length > maximum)
        return reader.mistake(at, `a list of ${nodes.length}; at most ${maximum} are allowed`);
      return nodes.flatMap((one) => {
        const read = item.read(reader.follow(one), reader, one?.range?.[0] ?? at);
        return read === undefined ? [] : [read];
      });
    },
  };
}

/** A mapping whose keys are free texts, in the order of the file. */
export function pairs(description: string, value: Shape<string>, maximum: number): Shape<readonly Pair[]> {
  return {
    schema: {
      description,
      type: "object",
      minProperties: 1,
      maxProperties: maximum,
      additionalProperties: value.schema,
    },
    read(node, reader, at) {
      if (!isMap(node) || node.items.length === 0 || node.items.length > maximum)
        return reader.mistake(at, `${shown(node)} where a mapping of one to ${maximum} pairs belongs`);
      return node.items.flatMap((pair) => {
        const [key, keyAt] = keyOf(pair.key, at);
        const one = pair.value as Node | null;
        const read = value.read(reader.follow(one), reader, startOf(one, keyAt));
        return read === undefined ? [] : [{ key, value: read, at: keyAt }];
      });
    },
  };
}

/** A pair of {@link pairs}, and where it stands. */
export interface Pair {
  readonly key: string;
  readonly value: string;
  readonly at: number;
}

/** Whichever of the two fits: what is no mapping is read as a text. */
export function either<A, B>(description: string, scalar: Shape<A>, mapping: Shape<B>): Shape<A | B> {
  return {
    schema: { description, anyOf: [scalar.schema, mapping.schema] },
    read: (node, reader, at) => (isMap(node) ? mapping : scalar).read(node, reader, at),
  };
}

/** A mapping with these keys. `advice` says of keys of other tools what to write instead. */
export function mapping<F extends Readonly<Record<string, Shape<unknown>>>>(
  description: string,
  fields: F,
  options: {
    readonly required?: readonly (keyof F & string)[];
    readonly advice?: Readonly<Record<string, string>>;
  } = {},
): Shape<{ readonly [K in keyof F]?: Read<F[K]> }> {
  const names = Object.keys(fields);
  const required = options.required ?? [];
  return {
    schema: {
      description,
      type: "object",
      properties: Object.fromEntries(names.map((name) => [name, (fields[name] as Shape<unknown>).schema])),
      ...(required.length === 0 ? { minProperties: 1 } : { required: [...required] }),
      additionalProperties: false,
    },
    read(node, reader, at) {
      if (!isMap(node))
        return reader.mistake(at, `${shown(node)} where a mapping belongs; its keys are ${names.join(", ")}`);
      if (node.items.length === 0) return reader.mistake(at, `an empty mapping; its keys are ${names.join(", ")}`);
      const value: Record<string, unknown> = {};
      const places = new Map<string, number>();
      for (const pair of node.items) {
        const [key, keyAt] = keyOf(pair.key, at);
        if (!Object.hasOwn(fields, key)) {
          reader.mistake(keyAt, unknownKey(key, names, options.advice ?? {}));
          continue;
        }
        const member = pair.value as Node | null;
        places.set(key, startOf(member, keyAt));
        const read = (fields[key] as Shape<unknown>).read(reader.follow(member), reader, startOf(member, keyAt));
        if (read !== undefined) value[key] = read;
      }
      for (const key of required)
        if (!places.has(key)) reader.mistake(at, `${JSON.stringify(key)} is missing; write ${key}: and its value`);
      reader.remember(value, places);
      return value as { readonly [K in keyof F]?: Read<F[K]> };
    },
  };
}

function keyOf(key: unknown, otherwise: number): readonly [string, number] {
  return isScalar(key) ? [String(key.value), key.range?.[0] ?? otherwise] : ["", otherwise];
}

/** A value that is not there stands where its key does. */
function startOf(node: Node | null, otherwise: number): number {
  return isScalar(node) && node.value === "" && node.type === "PLAIN" ? otherwise : (node?.range?.[0] ?? otherwise);
}

function unknownKey(key: string, names: readonly string[], advice: Readonly<Record<string, string>>): string {
  const known = Object.hasOwn(advice, key) ? advice[key] : undefined;
  const close = names.find((name) => isClose(name.toLowerCase(), key.toLowerCase()));
  const rather = known ?? (close === undefined ? `the keys here are ${names.join(", ")}` : `write ${close}`);
  return `unknown key ${JSON.stringify(key.slice(0, 100))}; ${rather}`;
}

/** The same but for one or two letters, or an ending. */
function isClose(a: string, b: string): boolean {
  if (b.length > 2 && (a.startsWith(b) || b.startsWith(a))) return true;
  if (Math.abs(a.length - b.length) > 2) return false;
  let row = Array.from({ length: b.length + 1 }, (_none, at) => at);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++)
      next.push(
        Math.min((row[j] ?? 0) + 1, (next[j - 1] ?? 0) + 1, (row[j - 1] ?? 0) + (a[i - 1] === b[j - 1] ? 0 : 1)),
      );
    row = next;
  }
  return (row[b.length] ?? 9) <= 2;
}
