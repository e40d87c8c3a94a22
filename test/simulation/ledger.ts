import { hash } from 'node:crypto';

/** One line that somebody wrote into a file, or pushed. */
export interface Line {
  readonly source: string;
  readonly number: number;
  readonly text: string;
  /** Its time, which it carries in its text. */
  readonly ms: number;
  /** Simulated time at which it was written. */
  readonly writtenMs: number;
  /** A digit that queries filter by. */
  readonly word: number;
  /** Simulated time at which the mesh promised to keep it. */
  acknowledgedMs: number | undefined;
  /** Acknowledged by newcomers that had found only each other: the others cannot know of it yet. */
  apart: boolean;
  /** Every disk that had it was destroyed by a fault, after the acknowledgement. */
  excused: boolean;
  /** Its batch was dropped somewhere because of its age, or for want of room. */
  expired: boolean;
  /** How often it may stand in an answer. */
  timesMax: number;
}

const LINE = /^\S+ o=(\S+) n=(\d+) /;

/** What was written, by whom, and what the mesh has promised: the truth that answers are held against. */
export class Ledger {
  readonly #sources = new Map<string, Line[]>();
  readonly #waiting = new Map<string, () => void>();
  acknowledged = 0;
  written = 0;

  /** The lines of a source so far, in their order. */
  linesOf(source: string): readonly Line[] {
    return this.#sources.get(source) ?? [];
  }

  /** Calls `run` once, with the next line of that source. */
  whenAppended(source: string, run: () => void): void {
    this.#waiting.set(source, run);
  }

  /** `wallMs`: what its host's clock shows. */
  append(source: string, wallMs: number, writtenMs: number): Line {
    let lines = this.#sources.get(source);
    if (!lines) this.#sources.set(source, (lines = []));
    const number = lines.length;
    const ms = Math.floor(wallMs);
    const digits = hash('md5', `${source} ${number} ${ms}`).slice(0, 12);
    const word = Number.parseInt(digits[0]!, 16) % 10;
    const text = `${new Date(ms).toISOString()} o=${source} n=${number} w=${word} h=${digits} level=info`;
    const line: Line = {
      source,
      number,
      text,
      ms,
      writtenMs,
      word,
      acknowledgedMs: undefined,
      apart: false,
      excused: false,
      expired: false,
      timesMax: 1,
    };
    lines.push(line);
    this.#waiting.get(source)?.();
    this.#waiting.delete(source);
    this.written++;
    return line;
  }

  /** The line with exactly this text; undefined when nobody ever wrote it. */
  find(text: string): Line | undefined {
    const match = LINE.exec(text);
    const line = match ? this.#sources.get(match[1]!)?.[Number(match[2])] : undefined;
    return line?.text === text ? line : undefined;
  }

  acknowledge(line: Line, nowMs: number, apart: boolean): void {
    if (line.acknowledgedMs !== undefined) return;
    line.apart = apart;
    line.acknowledgedMs = nowMs;
    this.acknowledged++;
  }

  *all(): IterableIterator<Line> {
    for (const lines of this.#sources.values()) yield* lines;
  }
}
