/** A member of a tar made by hand, with whatever oddity a test needs. */
export interface TarMember {
  readonly name: string;
  readonly content?: Uint8Array | string;
  /** The type flag. Default: `0`, a regular file. */
  readonly type?: string;
  readonly link?: string;
  /** PAX records that stand before it. */
  readonly pax?: Readonly<Record<string, string>>;
  /** A GNU long name that stands before it, after the PAX records. */
  readonly longName?: string;
  /** Put the directories of the name into the prefix field. */
  readonly prefix?: boolean;
  /** A size in the header without content behind it. */
  readonly size?: number;
  /** The size field as it is to stand there. */
  readonly sizeField?: string;
  /** Default: 0644. */
  readonly mode?: number;
  /** Default: 0. */
  readonly uid?: number;
  readonly gid?: number;
  readonly mtime?: number;
  /** The numbers of a device. */
  readonly device?: readonly [major: number, minor: number];
}

/** The bytes of a tar with these members in this order. */
export function tarOf(members: readonly TarMember[]): Buffer {
  return Buffer.concat([...members.flatMap(member), Buffer.alloc(1024)]);
}

function member(item: TarMember): Buffer[] {
  const before: Buffer[] = [];
  if (item.pax !== undefined) {
    const records = Object.entries(item.pax).map(([key, value]) => paxRecord(key, value));
    before.push(...entry({ name: "PaxHeaders/x", type: "x", content: records.join("") }));
  }
  if (item.longName !== undefined)
    before.push(...entry({ name: "././@LongLink", type: "L", content: `${item.longName}\0` }));
  return [...before, ...entry(item)];
}

function entry({
  name,
  content = "",
  type = "0",
  link = "",
  prefix = false,
  size,
  sizeField,
  mode = 0o644,
  uid = 0,
  gid = 0,
  mtime = 0,
  device = [0, 0],
}: TarMember): Buffer[] {
  const bytes = Buffer.from(content as string);
  const header = Buffer.alloc(512);
  const slash = prefix ? name.lastIndexOf("/") : -1;
  header.write(name.slice(slash + 1), 0, 100);
  const octal = (value: number, digits: number): string => `${value.toString(8).padStart(digits, "0")}\0`;
  header.write(octal(mode, 7), 100);
  header.write(octal(uid, 7), 108);
  header.write(octal(gid, 7), 116);
  header.write(sizeField ?? `${(size ?? bytes.length).toString(8).padStart(11, "0")}\0`, 124, 12, "latin1");
  header.write(octal(mtime, 11), 136);
  header.write("        ", 148);
  header.write(type, 156);
  header.write(link, 157, 100);
  header.write("ustar\x0000", 257);
  header.write(octal(device[0], 7), 329);
  header.write(octal(device[1], 7), 337);
  if (slash > 0) header.write(name.slice(0, slash), 345, 155);
  const sum = header.reduce((total, byte) => total + byte, 0);
  header.write(`${sum.toString(8).padStart(6, "0")}\0 `, 148);
  return [header, bytes, Buffer.alloc((512 - (bytes.length % 512)) % 512)];
}

function paxRecord(key: string, value: string): string {
  const rest = Buffer.byteLength(` ${key}=${value}\n`);
  let length = rest + 1;
  while (String(length).length + rest !== length) length++;
  return `${length} ${key}=${value}\n`;
}

/** The regular files of a plain tar with short names, in its order. */
export function tarEntries(tar: Buffer): Map<string, Buffer> {
  const files = new Map<string, Buffer>();
  for (let at = 0; at + 512 <= tar.length && tar[at] !== 0; ) {
    const size = Number.parseInt(tar.toString("latin1", at + 124, at + 135), 8);
    const name = tar.toString("latin1", at, at + 100).replace(/\0.*$/s, "");
    files.set(name, tar.subarray(at + 512, at + 512 + size));
    at += 512 + Math.ceil(size / 512) * 512;
  }
  return files;
}
