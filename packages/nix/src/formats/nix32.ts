import { OciError } from "@stowage/layout";

/** Base 32 without `e`, `o`, `t` and `u`, so that no hash spells a word. */
const ALPHABET = "0123456789abcdfghijklmnpqrsvwxyz";

/** The base-32 text in which Nix writes hashes: digits of 5 bits, those of the last bytes first. 32 bytes are 52 characters, 20 are 32. */
export function encodeNix32(bytes: Uint8Array): string {
  let text = "";
  for (let at = Math.ceil((bytes.byteLength * 8) / 5) - 1; at >= 0; at--) {
    const bit = at * 5;
    const low = bytes[bit >> 3] as number;
    const high = bytes[(bit >> 3) + 1] ?? 0;
    text += ALPHABET[((low >> (bit & 7)) | (high << (8 - (bit & 7)))) & 31];
  }
  return text;
}

/** The bytes that {@link encodeNix32} made the text of. Fails with `INVALID` where it made no such text. */
export function decodeNix32(text: string): Uint8Array {
  const bytes = new Uint8Array(Math.floor((text.length * 5) / 8));
  for (let at = 0; at < text.length; at++) {
    const digit = ALPHABET.indexOf(text[text.length - 1 - at] as string);
    const bit = at * 5;
    const value = digit << (bit & 7);
    const index = bit >> 3;
    const rest = value >> 8;
    if (digit < 0 || (index >= bytes.byteLength ? value : index + 1 === bytes.byteLength ? rest : 0) !== 0)
      throw new OciError("INVALID", `not base 32 as Nix writes it: ${JSON.stringify(text.slice(0, 100))}`);
    bytes[index] = (bytes[index] as number) | value;
    if (rest !== 0) bytes[index + 1] = (bytes[index + 1] as number) | rest;
  }
  if (encodeNix32(bytes).length !== text.length)
    throw new OciError("INVALID", `not base 32 as Nix writes it: ${JSON.stringify(text.slice(0, 100))}`);
  return bytes;
}
