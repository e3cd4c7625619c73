import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";

/** A closure of six store paths that Nix 2.8 built, exported and signed; closure.nix made it. */
export const fixtures = fileURLToPath(new URL("fixtures", import.meta.url));

/** The bytes of a fixture. */
export function fixture(name: string): Buffer {
  return readFileSync(`${fixtures}/${name}`);
}

/** All of a stream. */
export async function all(bytes: AsyncIterable<Uint8Array> | Iterable<Uint8Array>): Promise<Buffer> {
  const chunks: Uint8Array[] = [];
  for await (const chunk of bytes) chunks.push(Buffer.from(chunk));
  return Buffer.concat(chunks);
}

/** The bytes in chunks of a size. */
export function* chunked(bytes: Uint8Array, size: number): Generator<Uint8Array> {
  for (let at = 0; at < bytes.byteLength; at += size) yield bytes.subarray(at, at + size);
}

export const SCRIPT = "/nix/store/bqy3xcn2d64va92hx2zw78cbp7bpvdbi-run-app";
export const LINK = "/nix/store/6ikd7wh853byc946wgmwxmw05bbsksnh-app-link";
export const APP = "/nix/store/yrlzdvlhlb763baxd4kr8144bdfn95hy-mini-app-2.0";
export const CONF = "/nix/store/ad2s95dw4109i8i619vxq229crk6zdlv-app.conf";
export const LIBC = "/nix/store/y01zkvngwx0iq8h6c5gayy0g32556b48-mini-libc-1.0";
export const ZLIB = "/nix/store/xhicinwbvk7vg21rqwh26jdbxb7f3512-mini-zlib-1.3";
