import { isJsonObject } from "@stowage/layout";

/** A member that two JSON values do not have in common. */
export interface FieldChange {
  /** Where it is: `config.Env[2]`, `annotations["org.opencontainers.image.created"]`. */
  readonly path: string;
  /** Absent where it is not there. */
  readonly a?: unknown;
  readonly b?: unknown;
}

/** Where two JSON values differ, each difference as deep as it goes, the members of objects in bytewise order. */
export function compareJson(a: unknown, b: unknown, path = ""): readonly FieldChange[] {
  if (isJsonObject(a) && isJsonObject(b)) {
    const keys = [...new Set([...Object.keys(a), ...Object.keys(b)])].sort();
    return keys.flatMap((key) => compareJson(own(a, key), own(b, key), member(path, key)));
  }
  if (Array.isArray(a) && Array.isArray(b)) {
    const length = Math.max(a.length, b.length);
    return Array.from({ length }, (_, at) => compareJson(a[at], b[at], `${path}[${at}]`)).flat();
  }
  if (Object.is(a, b)) return [];
  return [{ path, ...(a === undefined ? {} : { a }), ...(b === undefined ? {} : { b }) }];
}

function own(value: Readonly<Record<string, unknown>>, key: string): unknown {
  return Object.hasOwn(value, key) ? value[key] : undefined;
}

function member(path: string, key: string): string {
  if (!/^[A-Za-z_][A-Za-z0-9_]*$/.test(key)) return `${path}[${JSON.stringify(key)}]`;
  return path === "" ? key : `${path}.${key}`;
}
