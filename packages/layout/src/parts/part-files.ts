import type { ArchiveFiles } from "../archive/archive-files.js";
import { readFile } from "../archive/docker-archive.js";
import { blobPath } from "../archive/docker-manifest.js";
import type { Abortable } from "../content.js";
import type { SizedDigest } from "../delta/sized-digest.js";
import { type Digest, Hasher, isDigest, isVerifiable } from "../model/digest.js";
import { isOciError, OciError } from "../model/errors.js";
import { mediaTypes } from "../model/media-types.js";
import { verified } from "../model/verified.js";
import { compareText } from "../store/index-json.js";
import { type DamagedPart, DamagedPartsError } from "./damage.js";
import type { OpenedPart } from "./opened-part.js";
import type { PartContent, PartList } from "./part-list.js";
import { parsePartName, pieceDigestPath, piecePath } from "./part-names.js";

/** A piece of a blob, or all of it, and where it may be. */
interface Place {
  /** The part that has it. */
  readonly number: number;
  /** The name of the file in that part. */
  readonly name: string;
  readonly from: number;
  readonly length: number;
  readonly isPiece: boolean;
}

/** The content of a set of parts by its digest. */
interface Listed extends SizedDigest {
  readonly places: readonly Place[];
}

/**
 * The files of an archive that was cut into parts, as those of one archive. Parts may be missing or damaged: what stands in the
 * others can be read, and what every part repeats is read from one where it is right.
 */
export class PartFiles implements ArchiveFiles {
  readonly #parts: readonly OpenedPart[];
  readonly #list: PartList;
  readonly #repeated: ReadonlyMap<string, SizedDigest>;
  readonly #content: ReadonlyMap<Digest, Listed>;
  readonly #names: ReadonlyMap<string, Listed>;
  /** The numbers of the parts in which content was found damaged or missing. */
  readonly #damage = new Map<Digest, Set<number>>();
  /** Content that was read to its end. */
  readonly #good = new Set<Digest>();
  /** Of files that stand in several parts, the one that is right. */
  readonly #chosen = new Map<string, OpenedPart>();

  private constructor(parts: readonly OpenedPart[], list: PartList) {
    this.#parts = parts;
    this.#list = list;
    this.#repeated = new Map(list.files.map((file) => [file.name, file]));
    this.#content = contentOf(list);
    this.#names = new Map([...this.#content.values()].map((content) => [blobPath(content.digest), content]));
  }

  /**
   * Takes parts of one archive for one archive. Fails with `INVALID` where they are of different ones, naming two, or where none
   * of them can be read; the files are the caller's then.
   */
  static of(parts: readonly OpenedPart[], where: string): PartFiles {
    for (const { path, number, problem } of parts)
      if (number === undefined && problem === undefined)
        throw new OciError("INVALID", `${path} is no part of an archive`, {
          hint: "Several files are taken together only where they are parts of one archive.",
        });
    const [first] = parts.flatMap((part) => (part.list === undefined ? [] : [{ part, list: part.list }]));
    if (first === undefined) {
      const problem = parts.find((part) => part.problem !== undefined)?.problem;
      throw new OciError(
        "INVALID",
        `none of the parts in ${where} can be read${problem === undefined ? "" : `: ${problem}`}`,
      );
    }
    for (const { path, list } of parts) {
      if (list === undefined || list.set === first.list.set) continue;
      throw new OciError(
        "INVALID",
        `${path} is a part of another archive (${list.set}) than ${first.part.path} (${first.list.set})`,
        { hint: "Parts go together when one export has written them." },
      );
    }
    return new PartFiles(parts, first.list.read);
  }

  /** How many parts the archive has. */
  get count(): number {
    return this.#list.parts.length;
  }

  size(name: string): number | undefined {
    const repeated = this.#repeated.get(name);
    if (repeated !== undefined) return this.#holders(name, repeated.size).length > 0 ? repeated.size : undefined;
    const listed = this.#names.get(name);
    if (listed === undefined) return undefined;
    return listed.places.every((place) => this.#holders(place.name, place.length).length > 0) ? listed.size : undefined;
  }

  async *read(name: string, from = 0, signal?: AbortSignal): AsyncGenerator<Uint8Array, void, undefined> {
    const repeated = this.#repeated.get(name);
    if (repeated !== undefined) {
      const bytes = this.#open(name, repeated.size, repeated.digest, signal, from);
      yield* from > 0 ? bytes : verified(bytes, { ...repeated, mediaType: mediaTypes.octetStream }, name);
      return;
    }
    const listed = this.#names.get(name);
    if (listed === undefined) throw new TypeError(`no file ${name}`);
    for (const place of listed.places) {
      if (place.from + place.length <= from && place.length > 0) continue;
      const skip = Math.max(0, from - place.from);
      if (place.isPiece) yield* this.#readPiece(listed, place, skip, signal);
      else yield* this.#open(place.name, place.length, listed.digest, signal, skip);
    }
    if (from === 0) this.#good.add(listed.digest);
  }

  /** What stands in several parts is known by its digest. */
  async sameInAll(): Promise<boolean> {
    return true;
  }

  async close(): Promise<void> {
    for (const { files } of this.#parts) await files?.close();
  }

  /** True where one of the parts has the content, or had it. */
  lists(digest: Digest): boolean {
    return this.#content.has(digest);
  }

  /** Notes that content could not be had. */
  lost(digest: Digest): void {
    const listed = this.#content.get(digest);
    if (listed === undefined || this.#damage.has(digest)) return;
    const missing = listed.places.filter(({ name, length }) => this.#holders(name, length).length === 0);
    this.#note(digest, listed.places.length === 1 ? listed.places : missing);
  }

  /** True where content could not be had. */
  get isDamaged(): boolean {
    return this.#damage.size > 0;
  }

  /**
   * Reads all content that was not read yet, but for what `has` says is not needed, and says which parts have to be fetched again
   * and for what.
   */
  async survey(
    has: (content: SizedDigest) => Promise<boolean>,
    cause: unknown,
    { signal }: Abortable,
  ): Promise<DamagedPartsError> {
    for (const listed of this.#content.values()) {
      signal?.throwIfAborted();
      const { digest } = listed;
      if (this.#good.has(digest) && !this.#damage.has(digest)) continue;
      if (!this.#damage.has(digest) && ((await has(listed)) || (await this.#isRight(listed, signal)))) continue;
      this.lost(digest);
      await this.#checkPieces(listed, signal);
    }
    return new DamagedPartsError(this.#damaged(), this.count, cause);
  }

  async #isRight({ digest, size }: Listed, signal: AbortSignal | undefined): Promise<boolean> {
    const name = blobPath(digest);
    if (this.size(name) !== size) return false;
    if (!isVerifiable(digest)) return true;
    return isReadable(verified(this.read(name, 0, signal), { mediaType: mediaTypes.octetStream, digest, size }));
  }

  /** Finds out which pieces of a blob that could not be had are to blame; all of them where each by itself is right. */
  async #checkPieces(listed: Listed, signal: AbortSignal | undefined): Promise<void> {
    const { digest, places } = listed;
    for (const place of places) {
      if (!place.isPiece || this.#damage.get(digest)?.has(place.number) === true) continue;
      if (!(await isReadable(this.#readPiece(listed, place, 0, signal)))) this.#note(digest, [place]);
    }
    if (this.#damage.get(digest)?.size === 0) this.#note(digest, places);
  }

  #damaged(): readonly DamagedPart[] {
    const byNumber = new Map<number, SizedDigest[]>();
    for (const [digest, numbers] of this.#damage) {
      const { size } = this.#content.get(digest) as Listed;
      for (const number of numbers) byNumber.set(number, [...(byNumber.get(number) ?? []), { digest, size }]);
    }
    return [...byNumber]
      .sort(([a], [b]) => a - b)
      .map(([number, content]) => {
        const file = this.#parts.find((part) => part.number === number);
        return {
          number,
          path: file?.path ?? this.#nameOf(number),
          state: file === undefined ? "missing" : "damaged",
          content: content.sort((a, b) => compareText(a.digest, b.digest)),
        };
      });
  }

  #nameOf(number: number): string {
    for (const { path } of this.#parts) {
      const name = parsePartName(path);
      if (name?.count === this.count) return name.other(number);
    }
    return `part ${number} of ${this.count}`;
  }

  #note(digest: Digest, places: readonly Place[]): void {
    const numbers = this.#damage.get(digest) ?? new Set();
    for (const { number } of places) numbers.add(number);
    this.#damage.set(digest, numbers);
  }

  /** The parts that have a file of this name and size, by what their tars say. */
  #holders(name: string, size: number): readonly (OpenedPart & { readonly files: ArchiveFiles })[] {
    return this.#parts.flatMap((part) => (part.files?.size(name) === size ? [{ ...part, files: part.files }] : []));
  }

  /** A file from a part that has it; where several have it, from one in which it is right. */
  async *#open(
    name: string,
    size: number,
    digest: Digest | undefined,
    signal: AbortSignal | undefined,
    from = 0,
  ): AsyncGenerator<Uint8Array, void, undefined> {
    const holders = this.#holders(name, size);
    let [chosen] = holders;
    if (holders.length > 1 && digest !== undefined && isVerifiable(digest)) {
      const known = this.#chosen.get(name);
      for (const holder of holders) {
        if (known !== undefined && known.path !== holder.path) continue;
        chosen = holder;
        if (known !== undefined || (await digestIn(holder.files, name, digest, signal)) === digest) break;
      }
      if (chosen !== undefined) this.#chosen.set(name, chosen);
    }
    if (chosen === undefined) throw new TypeError(`no file ${name}`);
    yield* chosen.files.read(name, from, signal);
  }

  /** A piece, checked as far as it was read from its beginning: the blob as a whole does not tell which one is damaged. */
  async *#readPiece(
    { digest }: Listed,
    place: Place,
    skip: number,
    signal: AbortSignal | undefined,
  ): AsyncGenerator<Uint8Array, void, undefined> {
    const expected = await this.#pieceDigest(digest, place, signal);
    const hasher = new Hasher();
    for await (const chunk of this.#open(place.name, place.length, expected, signal, skip)) {
      hasher.update(chunk);
      yield chunk;
    }
    if (skip > 0 || hasher.digest() === expected) return;
    this.#note(digest, [place]);
    throw new OciError(
      "MISMATCH",
      `the bytes of ${digest} from ${place.from} on, in part ${place.number}, are damaged`,
    );
  }

  /** The digest that was written behind a piece; undefined where that is damaged. */
  async #pieceDigest(digest: Digest, place: Place, signal: AbortSignal | undefined): Promise<Digest | undefined> {
    const name = pieceDigestPath(digest, place.from);
    for (const { files } of this.#holders(place.name, place.length)) {
      signal?.throwIfAborted();
      if ((files.size(name) ?? 0) === 0 || (files.size(name) as number) > 200) continue;
      const text = Buffer.from(await readFile(files, name, `part ${place.number}`)).toString("latin1");
      if (isDigest(text)) return text;
    }
    return undefined;
  }
}

function contentOf(list: PartList): ReadonlyMap<Digest, Listed> {
  const content = new Map<Digest, { digest: Digest; size: number; places: Place[] }>();
  for (const [at, part] of list.parts.entries())
    for (const one of part) {
      const listed = content.get(one.digest) ?? { digest: one.digest, size: one.size, places: [] };
      listed.places.push(placeOf(one, at + 1));
      content.set(one.digest, listed);
    }
  return content;
}

function placeOf({ digest, size, piece }: PartContent, number: number): Place {
  if (piece === undefined) return { number, name: blobPath(digest), from: 0, length: size, isPiece: false };
  return { number, name: piecePath(digest, piece.from), ...piece, isPiece: true };
}

/** True for a stream that comes to its end. */
async function isReadable(bytes: AsyncIterable<Uint8Array>): Promise<boolean> {
  try {
    for await (const _ of bytes);
    return true;
  } catch (error) {
    if (isOciError(error)) return false;
    throw error;
  }
}

async function digestIn(
  files: ArchiveFiles,
  name: string,
  like: Digest,
  signal: AbortSignal | undefined,
): Promise<Digest | undefined> {
  const hasher = Hasher.for(like);
  for await (const chunk of files.read(name, 0, signal)) hasher.update(chunk);
  return hasher.digest();
}
