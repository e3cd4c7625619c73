// Damages archives in every way and reads them; prints how many were read and how many refused. Another end is a defect.
import { Buffer } from "node:buffer";
import { open, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import fc from "fast-check";

const [, , packageUrl, archive, directory, runs] = process.argv;
const { ArchiveSource, OciError } = await import(packageUrl);
const { readTarEntries } = await import(new URL("archive/tar-reader.js", packageUrl).href);
const whole = await readFile(archive);
const counts = { read: 0, refused: 0 };

const numbers = [0, 1, 7, 511, 512, 513, 0o777777777, 2 ** 31, 2 ** 33, Number.MAX_SAFE_INTEGER];
/** A change of one header block: its field, what goes there, and whether the checksum fits afterwards. */
const headerChange = fc.record({
  block: fc.nat(),
  field: fc.constantFrom([0, 100], [124, 12], [156, 1], [157, 100], [257, 6], [345, 155], [148, 8]),
  value: fc.oneof(
    fc.uint8Array({ minLength: 1, maxLength: 100 }),
    fc.constantFrom(...numbers).map((number) => Buffer.from(number.toString(8).padStart(11, "0"))),
    fc
      .constantFrom(
        "x",
        "g",
        "L",
        "K",
        "S",
        "1",
        "2",
        "5",
        "7",
        "../../etc/passwd",
        "/etc/passwd",
        "index.json",
        "blobs",
      )
      .map(Buffer.from),
    fc.constant(Buffer.from([0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff])),
  ),
  mend: fc.boolean(),
});
const byteChange = fc.record({ at: fc.nat(), bytes: fc.uint8Array({ maxLength: 16 }) });
const change = fc.record({
  headers: fc.array(headerChange, { maxLength: 3 }),
  bytes: fc.array(byteChange, { maxLength: 3 }),
  cut: fc.option(fc.nat()),
  doubled: fc.option(fc.nat()),
});

await fc.assert(
  fc.asyncProperty(change, async (how) => {
    const path = join(directory, "damaged.tar");
    const bytes = damaged(how);
    await writeFile(path, bytes);
    await attempt(async () => {
      const handle = await open(path);
      try {
        let last = 0;
        for await (const { offset, size } of readTarEntries(handle, path)) {
          if (!(offset > last && size >= 0 && offset + size <= bytes.length))
            throw new Error(`reads outside: ${offset} ${size}`);
          last = offset;
        }
      } finally {
        await handle.close();
      }
    });
    await attempt(async () => {
      const source = await ArchiveSource.open(path);
      try {
        for (const entry of (await source.index()).manifests) {
          for await (const _referrer of source.referrers(entry));
          for await (const _chunk of source.fetch(entry));
        }
        for await (const tag of source.tags()) await source.resolve(tag);
      } finally {
        await source.close();
      }
    });
  }),
  { numRuns: Number(runs) },
);
console.log(JSON.stringify(counts));

async function attempt(work) {
  try {
    await work();
    counts.read++;
  } catch (error) {
    if (!(error instanceof OciError)) throw error;
    counts.refused++;
  }
}

function damaged({ headers, bytes, cut, doubled }) {
  let result = Buffer.from(whole);
  for (const { block, field, value, mend } of headers) {
    const starts = headerBlocks(whole);
    const start = starts[block % starts.length];
    result.set(Buffer.from(value).subarray(0, field[1]), start + field[0]);
    if (mend) sum(result.subarray(start, start + 512));
  }
  for (const { at, bytes: put } of bytes)
    result.set(put.subarray(0, result.length - (at % result.length)), at % result.length);
  if (doubled !== null) result = Buffer.concat([result.subarray(0, (doubled % (result.length / 512)) * 512), result]);
  return cut === null ? result : result.subarray(0, cut % (result.length + 1));
}

function headerBlocks(tar) {
  const found = [];
  for (let at = 0; at + 512 <= tar.length; at += 512)
    if (tar.toString("latin1", at + 257, at + 262) === "ustar") found.push(at);
  return found;
}

function sum(header) {
  header.fill(0x20, 148, 156);
  const total = header.reduce((all, byte) => all + byte, 0);
  header.write(`${total.toString(8).padStart(6, "0")}\0 `, 148);
}
