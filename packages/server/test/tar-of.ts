/** An entry of {@link tarOf}. */
interface Entry {
  readonly name: string;
  readonly type?: "file" | "symlink";
  readonly linkname?: string;
  /** What the header claims, in bytes; no content follows it. Default: 0. */
  readonly size?: number;
}

/** A tar of empty files. Names of any length and any characters stand in PAX records. */
export function tarOf(entries: readonly Entry[]): Buffer {
  const blocks = entries.flatMap(({ name, type = "file", linkname, size = 0 }) => {
    const pax = [["path", name], ...(linkname === undefined ? [] : [["linkpath", linkname]])]
      .map(([key, value]) => record(`${key}=${value}\n`))
      .join("");
    const bytes = Buffer.from(pax);
    const padded = Buffer.concat([bytes, Buffer.alloc((512 - (bytes.length % 512)) % 512)]);
    return [header("x", bytes.length), padded, header(type === "symlink" ? "2" : "0", size)];
  });
  return Buffer.concat([...blocks, Buffer.alloc(1024)]);
}

function record(text: string): string {
  const size = Buffer.byteLength(text) + 1;
  const length = size + String(size + String(size).length).length;
  return `${length} ${text}`;
}

function header(type: string, size: number): Buffer {
  const block = Buffer.alloc(512);
  block.write("name", 0);
  block.write("0000644\0", 100);
  block.write(`${size.toString(8).padStart(11, "0")}\0`, 124);
  block.write("00000000000\0", 136);
  block.write("        ", 148);
  block.write(type, 156);
  block.write("ustar\x0000", 257);
  block.write(
    `${[...block]
      .reduce((sum, byte) => sum + byte, 0)
      .toString(8)
      .padStart(6, "0")}\0 `,
    148,
  );
  return block;
}
