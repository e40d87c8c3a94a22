import { randomBytes } from 'node:crypto';
import { crc32 } from 'node:zlib';

/** A run of a source's lines whose acknowledgement is learnt together: a file, or all pushes of a client. */
export interface Piece {
  readonly from: number;
  /** Lines written so far. */
  count: number;
  /** So many of them, from the first on, are acknowledged. */
  acknowledged: number;
  /** The rest of it was destroyed with its disk before anybody had it: it need not be there. */
  isGone: boolean;
}

/** Numbered lines of one writer. */
export class Source {
  readonly id: string;
  /** When each line was written: what stands in it. Never falls. */
  readonly timesMs: number[] = [];
  readonly pieces: Piece[] = [];
  /** Random bytes in each line, as hex, to fill disks with. */
  paddingBytes = 0;

  constructor(id: string) {
    this.id = id;
  }

  newPiece(): Piece {
    const piece = { from: this.timesMs.length, count: 0, acknowledged: 0, isGone: false };
    this.pieces.push(piece);
    return piece;
  }

  /** The next line of the newest piece, without its newline. */
  nextLine(nowMs: number): string {
    const number = this.timesMs.length;
    const timeMs = Math.max(nowMs, this.timesMs.at(-1) ?? 0);
    this.timesMs.push(timeMs);
    this.pieces.at(-1)!.count++;
    const padding = this.paddingBytes > 0 ? ` ${randomBytes(this.paddingBytes).toString('hex')}` : '';
    const words = FILLER[number % FILLER.length] + padding;
    const text = `${new Date(timeMs).toISOString()} source=${this.id} n=${number} ${words}`;
    return `${text} sum=${crc32(text).toString(16)}`;
  }

  get acknowledged(): number {
    return this.pieces.reduce((sum, { acknowledged }) => sum + acknowledged, 0);
  }
}

const FILLER = [
  'level=info msg="request served" path=/index.html',
  'level=warn msg="slow answer" path=/cart',
  'level=error msg="connection refused" peer=db-2',
  'level=debug msg="cache miss" key=user:42',
];
const LINE = /^(\S+ source=(\S+) n=(\d+) .*) sum=([0-9a-f]+)$/;

export interface TimeRangeMs {
  readonly fromMs: number;
  /** Exclusive. */
  readonly toMs: number;
}

export interface Findings {
  /** Acknowledged before it was asked, in the range, and not in the answer. */
  readonly lost: readonly string[];
  readonly doubled: readonly string[];
  /** Lines that nobody wrote like that. */
  readonly altered: readonly string[];
  readonly lines: number;
}

/** How far each piece was acknowledged at a moment. */
export type Snapshot = ReadonlyMap<Piece, number>;

/** Knows every line that was written, and which of them a node has acknowledged. */
export class Ledger {
  readonly #sources = new Map<string, Source>();
  /** With retention: lines this young must still be there; others may have expired. */
  keptMs = Infinity;

  source(id: string): Source {
    const existing = this.#sources.get(id);
    if (existing) return existing;
    const source = new Source(id);
    this.#sources.set(id, source);
    return source;
  }

  get acknowledged(): number {
    let sum = 0;
    for (const source of this.#sources.values()) sum += source.acknowledged;
    return sum;
  }

  snapshot(): Snapshot {
    const taken = new Map<Piece, number>();
    for (const { pieces } of this.#sources.values())
      for (const piece of pieces) taken.set(piece, piece.acknowledged);
    return taken;
  }

  /** Everything that was written and can still be there: what an answer must hold once all is at rest. */
  everything(): Snapshot {
    const taken = new Map<Piece, number>();
    for (const { pieces } of this.#sources.values())
      for (const piece of pieces) taken.set(piece, piece.isGone ? piece.acknowledged : piece.count);
    return taken;
  }

  /** Compares an answer with what must at least be in it. */
  compare(lines: Iterable<string>, range: TimeRangeMs, required: Snapshot, hasExpired = false): Findings {
    const seen = new Map<Source, Set<number>>();
    const [lost, doubled, altered]: [string[], string[], string[]] = [[], [], []];
    let count = 0;
    for (const line of lines) {
      count++;
      const match = LINE.exec(line);
      const source = match ? this.#sources.get(match[2]) : undefined;
      const number = Number(match?.[3]);
      if (!match || !source || crc32(match[1]).toString(16) !== match[4] || number >= source.timesMs.length) {
        altered.push(line.slice(0, 200));
        continue;
      }
      let numbers = seen.get(source);
      if (!numbers) seen.set(source, (numbers = new Set()));
      if (numbers.has(number)) doubled.push(`${source.id} ${number}`);
      numbers.add(number);
    }
    for (const source of this.#sources.values()) {
      const numbers = seen.get(source);
      for (const piece of source.pieces) {
        const end = piece.from + (required.get(piece) ?? 0);
        const keptFromMs = hasExpired ? Date.now() - this.keptMs : 0;
        const first = firstAtOrAfter(source.timesMs, Math.max(range.fromMs, keptFromMs));
        for (let n = Math.max(piece.from, first); n < end; n++) {
          if (source.timesMs[n] >= range.toMs) break;
          if (!numbers?.has(n)) lost.push(`${source.id} ${n}`);
        }
      }
    }
    return { lost, doubled, altered, lines: count };
  }
}

function firstAtOrAfter(timesMs: readonly number[], timeMs: number): number {
  let [low, high] = [0, timesMs.length];
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (timesMs[middle] < timeMs) low = middle + 1;
    else high = middle;
  }
  return low;
}

/** `a 1, a 2, a 3, b 7` as `a 1–3, b 7`; the first ten runs. */
export function asRuns(names: readonly string[]): string {
  const runs: { id: string; from: number; to: number }[] = [];
  for (const name of names) {
    const [id, text] = name.split(' ');
    const number = Number(text);
    const last = runs.at(-1);
    if (last && last.id === id && last.to + 1 === number) last.to = number;
    else runs.push({ id, from: number, to: number });
  }
  const texts = runs
    .slice(0, 10)
    .map(({ id, from, to }) => (from === to ? `${id} ${from}` : `${id} ${from}–${to}`));
  return texts.join(', ') + (runs.length > 10 ? `, … (${runs.length} runs)` : '');
}
