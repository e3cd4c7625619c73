import { inflateSync } from "node:zlib";

/** The colours of a picture, as `#rrggbb`, row by row. */
export class Picture {
  readonly width: number;
  readonly height: number;
  readonly #pixels: Buffer;
  readonly #depth: number;

  /** Reads a PNG of 8 bits for each of red, green, blue, and perhaps alpha. PNG (Third Edition), section 9. */
  constructor(png: Buffer) {
    const parts: Buffer[] = [];
    for (let at = 8; at < png.length; ) {
      const size = png.readUInt32BE(at);
      if (png.toString("latin1", at + 4, at + 8) === "IDAT") parts.push(png.subarray(at + 8, at + 8 + size));
      at += size + 12;
    }
    this.width = png.readUInt32BE(16);
    this.height = png.readUInt32BE(20);
    this.#depth = png[25] === 6 ? 4 : 3;
    this.#pixels = unfiltered(inflateSync(Buffer.concat(parts)), this.width * this.#depth, this.#depth);
  }

  at(x: number, y: number): string {
    const start = (y * this.width + x) * this.#depth;
    return `#${this.#pixels.toString("hex", start, start + 3)}`;
  }

  /** How many pixels have each colour. */
  colours(): Map<string, number> {
    const counts = new Map<string, number>();
    for (let y = 0; y < this.height; y++)
      for (let x = 0; x < this.width; x++) {
        const colour = this.at(x, y);
        counts.set(colour, (counts.get(colour) ?? 0) + 1);
      }
    return counts;
  }
}

function unfiltered(bytes: Buffer, stride: number, depth: number): Buffer {
  const rows = bytes.length / (stride + 1);
  const out = Buffer.alloc(rows * stride);
  for (let row = 0; row < rows; row++) {
    const filter = bytes[row * (stride + 1)] as number;
    for (let x = 0; x < stride; x++) {
      const at = row * stride + x;
      const left = x < depth ? 0 : (out[at - depth] as number);
      const up = row === 0 ? 0 : (out[at - stride] as number);
      const corner = row === 0 || x < depth ? 0 : (out[at - stride - depth] as number);
      const guess = [0, left, up, (left + up) >> 1, paeth(left, up, corner)][filter] as number;
      out[at] = (bytes[row * (stride + 1) + 1 + x] as number) + guess;
    }
  }
  return out;
}

function paeth(left: number, up: number, corner: number): number {
  const [a, b, c] = [left, up, corner].map((one) => Math.abs(left + up - corner - one)) as [number, number, number];
  if (a <= b && a <= c) return left;
  return b <= c ? up : corner;
}
