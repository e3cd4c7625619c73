import { type Abortable, type Bytes, OciError } from "@stowage/layout";
import { BitBuffer } from "./bit-buffer.js";

const BLOCK_MAGIC = 0x314159265359;
const END_MAGIC = 0x177245385090;
/** The most symbols, and tables of code lengths, that a block can have. */
const MAXIMUM_CODE_LENGTH = 20;
const GROUP_SIZE = 50;
/**
 * No block has more compressed bytes than this: 900,000 symbols of 20 bits, and tables of less than 40 kB. So much is read
 * ahead, so that a block can be decoded in one go.
 */
const MAXIMUM_BLOCK = 2.5 * 1024 * 1024;

/**
 * The content of a bzip2 stream, of however many streams behind each other, a block of at most 900 kB at a time. Fails with
 * `INVALID` where it is damaged or cut off; `what` names it in the message. Written here because the libraries there are
 * take a whole file, or expand as much as a few bytes ask for, before the first byte comes out.
 */
export async function* unbzip2(
  bytes: Bytes,
  what: string,
  options: Abortable = {},
): AsyncGenerator<Uint8Array, void, undefined> {
  const input = new BitBuffer(bytes, (problem) => {
    throw new OciError("INVALID", `${what} is not readable bzip2: ${problem}`);
  });
  try {
    do {
      await input.fill(MAXIMUM_BLOCK);
      const level = startOfStream(input);
      let combined = 0;
      for (;;) {
        await input.fill(MAXIMUM_BLOCK);
        const magic = input.bits(24) * 2 ** 24 + input.bits(24);
        const checksum = (input.bits(16) * 65_536 + input.bits(16)) >>> 0;
        if (magic === END_MAGIC) {
          if (checksum !== combined) input.fail("its checksum is wrong");
          break;
        }
        if (magic !== BLOCK_MAGIC) input.fail("no block begins where one should");
        const block = decodeBlock(input, level * 100_000);
        if (checksumOf(block) !== checksum) input.fail("the checksum of a block is wrong");
        combined = (((combined << 1) | (combined >>> 31)) ^ checksum) >>> 0;
        options.signal?.throwIfAborted();
        if (block.byteLength > 0) yield block;
      }
      input.align();
    } while (await input.more());
  } finally {
    await input.close();
  }
}

function startOfStream(input: BitBuffer): number {
  const level = input.bits(24) === 0x425a68 ? input.bits(8) - 0x30 : 0;
  if (level < 1 || level > 9) input.fail("it does not begin with BZh");
  return level;
}

/** One block: Huffman codes, move to front, runs of zeros, Burrows-Wheeler, runs of four. */
function decodeBlock(input: BitBuffer, limit: number): Uint8Array {
  if (input.bits(1) === 1) input.fail("a block is randomised, as bzip2 before 1.0 wrote them");
  const origin = input.bits(24);
  const { table, count } = readSymbols(input, limit);
  if (origin >= count) input.fail("a block begins outside of itself");
  return undoRuns(undoTransform(table, count, origin));
}

function readSymbols(input: BitBuffer, limit: number): { table: Uint32Array; count: number } {
  const used = readUsedBytes(input);
  const groups = input.bits(3);
  const selectorCount = input.bits(15);
  if (groups < 2 || groups > 6 || selectorCount === 0) input.fail("a block has no codes");
  const selectors = readSelectors(input, groups, selectorCount);
  const codes = Array.from({ length: groups }, () => readCode(input, used.length + 2));
  const table = new Uint32Array(limit);
  let [count, run, weight] = [0, 0, 1];
  const endOfBlock = used.length + 1;
  for (let at = 0; ; at++) {
    const selector = selectors[Math.floor(at / GROUP_SIZE)];
    if (selector === undefined) input.fail("a block has no end");
    const symbol = (codes[selector as number] as Code).read(input);
    if (symbol <= 1) {
      run += weight << symbol;
      weight <<= 1;
      if (run > limit) input.fail("a block is too large");
      continue;
    }
    if (run > 0) {
      if (count + run > limit) input.fail("a block is too large");
      table.fill(used[0] as number, count, count + run);
      count += run;
      [run, weight] = [0, 1];
    }
    if (symbol === endOfBlock) return { table, count };
    if (count === limit) input.fail("a block is too large");
    const byte = used[symbol - 1] as number;
    used.copyWithin(1, 0, symbol - 1);
    used[0] = byte;
    table[count++] = byte;
  }
}

function readUsedBytes(input: BitBuffer): Uint8Array {
  const ranges = input.bits(16);
  const used: number[] = [];
  for (let range = 0; range < 16; range++) {
    if ((ranges & (0x8000 >> range)) === 0) continue;
    const bytes = input.bits(16);
    for (let byte = 0; byte < 16; byte++) if ((bytes & (0x8000 >> byte)) !== 0) used.push(range * 16 + byte);
  }
  if (used.length === 0) input.fail("a block uses no byte");
  return Uint8Array.from(used);
}

function readSelectors(input: BitBuffer, groups: number, count: number): Uint8Array {
  const order = Array.from({ length: groups }, (_, group) => group);
  return Uint8Array.from({ length: count }, () => {
    let at = 0;
    while (input.bits(1) === 1) if (++at >= groups) input.fail("a block names a code that it does not have");
    const [group] = order.splice(at, 1) as [number];
    order.unshift(group);
    return group;
  });
}

function readCode(input: BitBuffer, symbols: number): Code {
  let length = input.bits(5);
  const lengths = Uint8Array.from({ length: symbols }, () => {
    for (;;) {
      if (length < 1 || length > MAXIMUM_CODE_LENGTH) input.fail("a code has a length that cannot be");
      if (input.bits(1) === 0) return length;
      length += input.bits(1) === 0 ? 1 : -1;
    }
  });
  return new Code(lengths);
}

/** A canonical Huffman code. */
class Code {
  /** By length: the first code that is too large for it, and what to take from a code to have the place of its symbol. */
  readonly #limits = new Int32Array(MAXIMUM_CODE_LENGTH + 2);
  readonly #bases = new Int32Array(MAXIMUM_CODE_LENGTH + 2);
  readonly #symbols: Uint16Array;
  readonly #shortest: number;

  constructor(lengths: Uint8Array) {
    const order = Array.from(lengths.keys()).sort((a, b) => (lengths[a] as number) - (lengths[b] as number) || a - b);
    this.#symbols = Uint16Array.from(order);
    this.#shortest = lengths[order[0] as number] as number;
    let [code, at] = [0, 0];
    for (let length = 1; length <= MAXIMUM_CODE_LENGTH; length++) {
      const first = at;
      while (at < order.length && lengths[order[at] as number] === length) at++;
      this.#bases[length] = code - first;
      code += at - first;
      this.#limits[length] = code;
      code <<= 1;
    }
  }

  read(input: BitBuffer): number {
    let length = this.#shortest;
    let code = input.bits(length);
    while (code >= (this.#limits[length] as number)) {
      if (++length > MAXIMUM_CODE_LENGTH) input.fail("a code stands for nothing");
      code = (code << 1) | input.bits(1);
    }
    const symbol = this.#symbols[code - (this.#bases[length] as number)];
    if (symbol === undefined) input.fail("a code stands for nothing");
    return symbol as number;
  }
}

/** The bytes in the order in which they were, from those of the last column. The table is used up. */
function undoTransform(table: Uint32Array, count: number, origin: number): Uint8Array {
  const starts = new Uint32Array(257);
  for (let at = 0; at < count; at++) {
    const next = (table[at] as number) + 1;
    starts[next] = (starts[next] as number) + 1;
  }
  for (let byte = 1; byte < 257; byte++) starts[byte] = (starts[byte] as number) + (starts[byte - 1] as number);
  // The upper 24 bits of each become the place of the next byte.
  for (let at = 0; at < count; at++) {
    const byte = (table[at] as number) & 0xff;
    const place = starts[byte] as number;
    starts[byte] = place + 1;
    table[place] = (table[place] as number) | (at << 8);
  }
  const bytes = new Uint8Array(count);
  let place = (table[origin] as number) >>> 8;
  for (let at = 0; at < count; at++) {
    const entry = table[place] as number;
    bytes[at] = entry & 0xff;
    place = entry >>> 8;
  }
  return bytes;
}

/** Four equal bytes are followed by how many more of them there are. */
function undoRuns(bytes: Uint8Array): Uint8Array {
  let size = 0;
  eachRun(bytes, (_byte, count) => {
    size += count;
  });
  const output = new Uint8Array(size);
  let to = 0;
  eachRun(bytes, (byte, count) => {
    output.fill(byte, to, to + count);
    to += count;
  });
  return output;
}

function eachRun(bytes: Uint8Array, use: (byte: number, count: number) => void): void {
  for (let at = 0; at < bytes.byteLength; ) {
    const byte = bytes[at] as number;
    let count = 1;
    while (count < 4 && bytes[at + count] === byte) count++;
    at += count;
    if (count === 4) count += bytes[at++] ?? 0;
    use(byte, count);
  }
}

const CHECKSUMS = Uint32Array.from({ length: 256 }, (_, byte) => {
  let value = byte << 24;
  for (let bit = 0; bit < 8; bit++) value = value & 0x80000000 ? (value << 1) ^ 0x04c11db7 : value << 1;
  return value >>> 0;
});

/** CRC-32 with the highest bit first, unlike that of gzip. */
function checksumOf(bytes: Uint8Array): number {
  let value = -1;
  for (const byte of bytes) value = (value << 8) ^ (CHECKSUMS[(value >>> 24) ^ byte] as number);
  return ~value >>> 0;
}
