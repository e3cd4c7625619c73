/** Numbers of 32 bits that are put one behind the other. */
export class GrowingWords {
  #words = new Uint32Array(16 * 1024);
  length = 0;

  put(...words: readonly number[]): void {
    if (this.length + words.length > this.#words.length) {
      const larger = new Uint32Array(this.#words.length * 2);
      larger.set(this.#words);
      this.#words = larger;
    }
    for (const word of words) this.#words[this.length++] = word;
  }

  take(): Uint32Array {
    return this.#words.slice(0, this.length);
  }
}

/** A first word of 32 bits and a number of a row below this one fit into what a number holds exactly. */
export const MAXIMUM_ROWS = 2 ** 21;

/** The rows of `width` words each in ascending order, as lists of numbers are compared. At most {@link MAXIMUM_ROWS}. */
export function sortedRows(rows: Uint32Array, width: number): Uint32Array {
  const count = rows.length / width;
  // The first word of a row and the number of the row as one number: sorting numbers takes a tenth of the time that
  // sorting by a function takes.
  const order = new Float64Array(count);
  for (let at = 0; at < count; at++) order[at] = (rows[at * width] as number) * MAXIMUM_ROWS + at;
  order.sort();
  const numbers = Uint32Array.from(order, (one) => one % MAXIMUM_ROWS);
  const result = new Uint32Array(rows.length);
  const first = (at: number): number => rows[(numbers[at] as number) * width] as number;
  for (let start = 0, end = 0; start < count; start = end) {
    for (end = start + 1; end < count && first(end) === first(start); ) end++;
    if (end - start > 1) sortAlike(rows, width, numbers.subarray(start, end));
  }
  for (let at = 0; at < count; at++) {
    const from = (numbers[at] as number) * width;
    for (let word = 0; word < width; word++) result[at * width + word] = rows[from + word] as number;
  }
  return result;
}

/** Rows that begin alike, by the rest of them. Mostly they stand right already: then nothing but comparing is done. */
function sortAlike(rows: Uint32Array, width: number, numbers: Uint32Array): void {
  const compare = (a: number, b: number): number => compareRows(rows, a * width, rows, b * width, width);
  for (let at = 1; at < numbers.length; at++) {
    if (compare(numbers[at - 1] as number, numbers[at] as number) <= 0) continue;
    numbers.sort(compare);
    return;
  }
}

/** Compares `width` words of a row with those of another one. */
export function compareRows(a: Uint32Array, atA: number, b: Uint32Array, atB: number, width: number): number {
  for (let word = 0; word < width; word++) {
    const difference = (a[atA + word] as number) - (b[atB + word] as number);
    if (difference !== 0) return difference;
  }
  return 0;
}

/** The number of the first row that is not smaller than one that begins with `words`. */
export function firstRow(rows: Uint32Array, width: number, words: readonly number[]): number {
  const wanted = Uint32Array.from(words);
  let [low, high] = [0, rows.length / width];
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (compareRows(rows, middle * width, wanted, 0, wanted.length) < 0) low = middle + 1;
    else high = middle;
  }
  return low;
}

/** Sorted rows with some more of them in their places, each once. */
export function withRows(rows: Uint32Array, width: number, added: readonly (readonly number[])[]): Uint32Array {
  const more = sortedRows(Uint32Array.from(added.flat()), width);
  const result = new Uint32Array(rows.length + more.length);
  let length = 0;
  let from = 0;
  for (let at = 0; at < more.length; at += width) {
    const row = more.subarray(at, at + width);
    const to = firstRow(rows, width, [...row]) * width;
    result.set(rows.subarray(from, to), length);
    length += to - from;
    from = to;
    if (to < rows.length && compareRows(rows, to, row, 0, width) === 0) continue;
    if (length > 0 && compareRows(result, length - width, row, 0, width) === 0) continue;
    result.set(row, length);
    length += width;
  }
  result.set(rows.subarray(from), length);
  return result.subarray(0, length + rows.length - from);
}
