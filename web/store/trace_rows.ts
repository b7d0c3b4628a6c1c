/**
 * Calls of a trace by the million: numbers in typed arrays, names as codes into dictionaries, texts not at all (they are
 * asked for by recorded_at, slot and line when they are shown). In: blocks of /traces/{id}/events in their order; out: row
 * numbers that pass a filter, in an order. Owns its arrays, which grow by half; unknown is NaN, or code 0.
 */
import { type BlockColumn, columnOf, isNull, readBlock } from '../../src/wire/block.js';

/** Distinct names of a column. Code 0: unknown. Full: what has no code counts as `overflow`. */
export class Dictionary {
  readonly names: string[] = ['', '(more)'];
  readonly #byHash = new Map<number, number>();
  readonly #byText = new Map<string, number>();
  readonly #bytes: (Uint8Array | undefined)[] = [undefined, undefined];
  static readonly overflow = 1;
  readonly #decoder = new TextDecoder();

  constructor(readonly most: number) {}

  codeOfText(text: string): number {
    const known = this.#byText.get(text);
    if (known !== undefined) return known;
    if (this.names.length >= this.most) return Dictionary.overflow;
    const code = this.names.length;
    this.names.push(text);
    this.#byText.set(text, code);
    return code;
  }

  /** Decodes nothing that was seen before. */
  codeOfBytes(bytes: Uint8Array, from: number, to: number): number {
    let hash = 0x811c9dc5 ^ (to - from);
    for (let at = from; at < to; at += 1) hash = Math.imul(hash ^ (bytes[at] as number), 0x01000193);
    const code = this.#byHash.get(hash);
    if (code !== undefined && sameBytes(this.#bytes[code], bytes, from, to)) return code;
    const fresh = this.codeOfText(this.#decoder.decode(bytes.subarray(from, to)));
    if (code === undefined && fresh !== Dictionary.overflow) {
      this.#byHash.set(hash, fresh);
      this.#bytes[fresh] = bytes.slice(from, to);
    }
    return fresh;
  }
}

function sameBytes(known: Uint8Array | undefined, bytes: Uint8Array, from: number, to: number): boolean {
  if (known === undefined || known.length !== to - from) return false;
  for (let at = from; at < to; at += 1) if (known[at - from] !== bytes[at]) return false;
  return true;
}

export const numberColumns = ['end_time', 'exec_us', 'line', 'rows'] as const;
export const smallColumns = ['pid', 'slot', 'level'] as const;
export const nameColumns = ['database', 'username', 'application', 'tag', 'sqlstate', 'fingerprint'] as const;
export type NumberColumn = (typeof numberColumns)[number];
export type SmallColumn = (typeof smallColumns)[number];
export type NameColumn = (typeof nameColumns)[number];
/** What each page of calls is asked for. */
export const loadedColumns = ['recorded_at', ...numberColumns, ...smallColumns, ...nameColumns];

const allRows = 4_294_967_295;

export class TraceRows {
  count = 0;
  readonly numbers: Record<NumberColumn, Float64Array>;
  readonly small: Record<SmallColumn, Int32Array>;
  readonly codes: Record<NameColumn, Uint16Array | Uint32Array>;
  readonly dictionaries: Record<NameColumn, Dictionary>;
  /** recorded_at (µs) of each group of rows that has one, and where it begins. */
  readonly #moments: number[] = [];
  readonly #momentStarts: number[] = [];
  #capacity: number;

  constructor(expected: number) {
    this.#capacity = Math.max(1024, expected);
    const make = <K extends string, V>(names: readonly K[], maker: (name: K) => V): Record<K, V> =>
      Object.fromEntries(names.map((name) => [name, maker(name)])) as Record<K, V>;
    this.numbers = make(numberColumns, () => new Float64Array(this.#capacity));
    this.small = make(smallColumns, () => new Int32Array(this.#capacity));
    this.codes = make(nameColumns, (name) =>
      name === 'fingerprint' ? new Uint32Array(this.#capacity) : new Uint16Array(this.#capacity),
    );
    this.dictionaries = make(
      nameColumns,
      (name) => new Dictionary(name === 'fingerprint' ? 1_000_000 : 65_535),
    );
  }

  #grow(rows: number): void {
    if (rows <= this.#capacity) return;
    this.#capacity = Math.max(rows, Math.ceil(this.#capacity * 1.5));
    const larger = <T extends Float64Array | Int32Array | Uint16Array | Uint32Array>(old: T): T => {
      const Maker = old.constructor as new (length: number) => T;
      const grown = new Maker(this.#capacity);
      grown.set(old.subarray(0, this.count) as never);
      return grown;
    };
    for (const name of numberColumns) this.numbers[name] = larger(this.numbers[name]);
    for (const name of smallColumns) this.small[name] = larger(this.small[name]);
    for (const name of nameColumns) this.codes[name] = larger(this.codes[name]);
  }

  /** Takes a page. @returns its rows */
  add(bytes: Uint8Array): number {
    const block = readBlock(bytes);
    const { rows } = block;
    this.#grow(this.count + rows);
    const moments = columnOf(block, 'recorded_at');
    if (moments !== undefined) this.#addMoments(moments, rows);
    for (const name of numberColumns) {
      const column = columnOf(block, name);
      if (column !== undefined) fillNumbers(this.numbers[name], this.count, column, rows);
    }
    for (const name of smallColumns) {
      const column = columnOf(block, name);
      if (column?.values != null) {
        const values = column.values as Int32Array;
        const into = this.small[name];
        for (let row = 0; row < rows; row += 1) into[this.count + row] = values[row] as number;
      }
    }
    for (const name of nameColumns) {
      const column = columnOf(block, name);
      if (column !== undefined) this.#fillCodes(name, column, rows);
    }
    this.count += rows;
    return rows;
  }

  #addMoments(column: BlockColumn, rows: number): void {
    const words = new Int32Array(
      (column.values as BigInt64Array).buffer,
      (column.values as BigInt64Array).byteOffset,
      rows * 2,
    );
    let last = this.#moments.at(-1) ?? -1;
    for (let row = 0; row < rows; row += 1) {
      const us = (words[2 * row + 1] as number) * 4_294_967_296 + ((words[2 * row] as number) >>> 0);
      if (us === last) continue;
      last = us;
      this.#moments.push(us);
      this.#momentStarts.push(this.count + row);
    }
  }

  #fillCodes(name: NameColumn, column: BlockColumn, rows: number): void {
    const dictionary = this.dictionaries[name];
    const into = this.codes[name];
    const { offsets, bytes, values } = column;
    if (offsets !== null && bytes !== null) {
      // Mostly a row has the name of the one before.
      let lastAt = 0;
      let lastSize = -1;
      let lastCode = 0;
      for (let row = 0, from = offsets[0] as number; row < rows; row += 1) {
        const to = offsets[row + 1] as number;
        const size = to - from;
        if (size === 0 && isNull(column, row)) into[this.count + row] = 0;
        else {
          let same = size === lastSize;
          for (let at = 0; same && at < size; at += 1) same = bytes[from + at] === bytes[lastAt + at];
          if (!same) {
            lastCode = dictionary.codeOfBytes(bytes, from, to);
            lastAt = from;
            lastSize = size;
          }
          into[this.count + row] = lastCode;
        }
        from = to;
      }
    } else if (values !== null) {
      // A BigInt a row would cost more than all else: two words are compared with those a code stands for.
      const words = new Int32Array(values.buffer, values.byteOffset, rows * 2);
      const seen = new Map<number, { low: number; high: number; code: number }>();
      for (let row = 0; row < rows; row += 1) {
        const low = words[2 * row] as number;
        const high = words[2 * row + 1] as number;
        if ((low === 0 && high === 0) || isNull(column, row)) {
          into[this.count + row] = 0;
          continue;
        }
        const hash = Math.imul(low, 31) ^ high;
        let known = seen.get(hash);
        if (known === undefined || known.low !== low || known.high !== high) {
          known = { low, high, code: dictionary.codeOfText(String((values as BigInt64Array)[row])) };
          seen.set(hash, known);
        }
        into[this.count + row] = known.code;
      }
    }
  }

  /** recorded_at of a row, µs. */
  recordedUs(row: number): number {
    let low = 0;
    let high = this.#momentStarts.length - 1;
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if ((this.#momentStarts[middle] as number) <= row) low = middle;
      else high = middle - 1;
    }
    return this.#moments[low] ?? 0;
  }

  name(column: NameColumn, row: number): string {
    return this.dictionaries[column].names[this.codes[column][row] as number] ?? '';
  }
}

/** int8 and timestamptz without a BigInt for each: two words make a number that is exact to 2^53. */
function fillNumbers(into: Float64Array, at: number, column: BlockColumn, rows: number): void {
  const values = column.values as BigInt64Array;
  const words = new Int32Array(values.buffer, values.byteOffset, rows * 2);
  for (let row = 0; row < rows; row += 1) {
    into[at + row] = (words[2 * row + 1] as number) * 4_294_967_296 + ((words[2 * row] as number) >>> 0);
  }
  if (column.nulls === null) return;
  for (let row = 0; row < rows; row += 1) if (isNull(column, row)) into[at + row] = Number.NaN;
}

export interface RowFilter {
  readonly fromUs?: number | undefined;
  readonly toUs?: number | undefined;
  readonly leastUs?: number | undefined;
  readonly mostUs?: number | undefined;
  readonly errors?: boolean | undefined;
  readonly pid?: number | undefined;
  /** One value of a column; '' is unknown. */
  readonly names?: Partial<Record<NameColumn, string>> | undefined;
  /** Typed words: each must be in a name of the row, or in the normal form that its fingerprint stands for. */
  readonly find?: string | undefined;
  /** Calls (`callNumber`) that a search found: no others pass. */
  readonly only?: ReadonlySet<number> | undefined;
}

/** One number for a call of a trace, from its slot and line: exact for 2^21 slots. */
export const callNumber = (slot: number, line: number): number => slot * 4_294_967_296 + line;

/** For each code of a column whether its name holds a word. */
function holding(dictionary: Dictionary, word: string, texts?: ReadonlyMap<string, string>): Uint8Array {
  return Uint8Array.from(dictionary.names, (name) =>
    (texts?.get(name) ?? name).toLowerCase().includes(word) ? 1 : 0,
  );
}

/** Numbers of the rows that pass, in the order in which they came. `texts`: normal form by fingerprint. */
export function selectRows(
  rows: TraceRows,
  filter: RowFilter,
  texts: ReadonlyMap<string, string> = new Map(),
): Uint32Array {
  const { end_time: ends, exec_us: times } = rows.numbers;
  const fromUs = filter.fromUs ?? Number.NEGATIVE_INFINITY;
  const toUs = filter.toUs ?? Number.POSITIVE_INFINITY;
  const bounded = filter.leastUs !== undefined || filter.mostUs !== undefined;
  const leastUs = filter.leastUs ?? Number.NEGATIVE_INFINITY;
  const mostUs = filter.mostUs ?? Number.POSITIVE_INFINITY;
  const wanted = Object.entries(filter.names ?? {}).map(([name, value]) => {
    const column = name as NameColumn;
    const code = value === '' ? 0 : rows.dictionaries[column].names.indexOf(value, 2);
    return { codes: rows.codes[column], code };
  });
  const words = (filter.find ?? '')
    .trim()
    .toLowerCase()
    .split(/\s+/)
    .filter((word) => word !== '');
  const found = words.map((word) =>
    nameColumns.map((column) => ({
      codes: rows.codes[column],
      holds: holding(rows.dictionaries[column], word, column === 'fingerprint' ? texts : undefined),
    })),
  );
  const states = rows.codes.sqlstate;
  const { pid: pids, slot: slots } = rows.small;
  const { line: lines } = rows.numbers;
  const { only } = filter;
  const passed = new Uint32Array(rows.count);
  let count = 0;
  next: for (let row = 0; row < rows.count; row += 1) {
    const end = ends[row] as number;
    if (!(end >= fromUs && end < toUs)) continue;
    if (bounded) {
      const us = times[row] as number;
      if (!(us >= leastUs && us < mostUs)) continue;
    }
    if (filter.errors === true && states[row] === 0) continue;
    if (filter.pid !== undefined && pids[row] !== filter.pid) continue;
    if (only !== undefined && !only.has(callNumber(slots[row] as number, lines[row] as number))) continue;
    for (const { codes, code } of wanted) if (codes[row] !== code) continue next;
    for (const columns of found) {
      let there = false;
      for (const { codes, holds } of columns) {
        if (holds[codes[row] as number] === 1) {
          there = true;
          break;
        }
      }
      if (!there) continue next;
    }
    passed[count] = row;
    count += 1;
  }
  return passed.slice(0, count);
}

/** Calls come nearly in the order of their end: often there is nothing to do. */
function isAscending(values: Float64Array | Int32Array, selected: Uint32Array): boolean {
  for (let at = 1; at < selected.length; at += 1) {
    const before = values[selected[at - 1] as number] as number;
    if (!(before <= (values[selected[at] as number] as number))) return false;
  }
  return true;
}

/**
 * Row numbers in the order of a value, those without one last: a radix sort, stable, in time linear in the rows. Names are
 * put in order once, then sorted by their rank.
 */
export function sortRows(
  rows: TraceRows,
  selected: Uint32Array,
  column: NumberColumn | SmallColumn | NameColumn,
  descending: boolean,
): Uint32Array {
  const n = selected.length;
  const high = new Uint32Array(n);
  const low = new Uint32Array(n);
  if (column in rows.codes) {
    const { names } = rows.dictionaries[column as NameColumn];
    const ranked = names
      .map((_, code) => code)
      .sort((a, b) => ((names[a] as string) < (names[b] as string) ? -1 : 1));
    const rank = new Uint32Array(names.length);
    ranked.forEach((code, place) => {
      rank[code] = place;
    });
    const codes = rows.codes[column as NameColumn];
    for (let at = 0; at < n; at += 1) {
      const code = codes[selected[at] as number] as number;
      low[at] =
        code === 0 ? allRows : descending ? allRows - 1 - (rank[code] as number) : (rank[code] as number);
    }
  } else {
    const values: Float64Array | Int32Array =
      column in rows.numbers ? rows.numbers[column as NumberColumn] : rows.small[column as SmallColumn];
    if (!descending && isAscending(values, selected)) return selected;
    const one = new Float64Array(1);
    const words = new Uint32Array(one.buffer);
    for (let at = 0; at < n; at += 1) {
      const value = values[selected[at] as number] as number;
      if (Number.isNaN(value)) {
        high[at] = allRows;
        low[at] = allRows;
        continue;
      }
      // The bits of a double in the order of its value; −0 and 0 are one.
      one[0] = descending ? -value + 0 : value + 0;
      const top = words[1] as number;
      if (top >>> 31 === 1) {
        high[at] = ~top >>> 0;
        low[at] = ~(words[0] as number) >>> 0;
      } else {
        high[at] = (top | 0x80000000) >>> 0;
        low[at] = words[0] as number;
      }
    }
  }
  let from = new Uint32Array(n);
  for (let at = 0; at < n; at += 1) from[at] = at;
  let to = new Uint32Array(n);
  const counts = new Uint32Array(65_536);
  for (let pass = 0; pass < 4; pass += 1) {
    const keys = pass < 2 ? low : high;
    const shift = (pass & 1) * 16;
    counts.fill(0);
    for (let at = 0; at < n; at += 1) {
      const digit = ((keys[at] as number) >>> shift) & 0xffff;
      counts[digit] = (counts[digit] as number) + 1;
    }
    // A digit that all have in common moves nothing.
    if (n === 0 || counts[((keys[0] as number) >>> shift) & 0xffff] === n) continue;
    let sum = 0;
    for (let digit = 0; digit < 65_536; digit += 1) {
      const many = counts[digit] as number;
      counts[digit] = sum;
      sum += many;
    }
    for (let at = 0; at < n; at += 1) {
      const index = from[at] as number;
      const digit = ((keys[index] as number) >>> shift) & 0xffff;
      to[counts[digit] as number] = index;
      counts[digit] = (counts[digit] as number) + 1;
    }
    [from, to] = [to, from];
  }
  for (let at = 0; at < n; at += 1) to[at] = selected[from[at] as number] as number;
  return to;
}
