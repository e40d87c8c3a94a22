import assert from 'node:assert/strict';
import { appendFileSync } from 'node:fs';

const WORDS = [
  'accepted',
  'connection',
  'refused',
  'retrying',
  'timeout',
  'user=ada',
  'GET /index.html',
  'ok',
];
const ODD_BYTES = Buffer.from([0xff, 0xfe, 0x00, 0x80, 0xc3, 0x28]);

/** Lines `from` ≤ n < `to`, each with its number; some hold bytes that are not UTF-8, and some empty lines between. */
export function numberedLines(from: number, to: number): Buffer {
  const chunks: Buffer[] = [];
  let text = '';
  for (let n = from; n < to; n++) {
    text += `line ${n} ${WORDS[n % 8]} ${WORDS[(n >> 3) % 8]} id=${(n * 2654435761) % 4294967296}`;
    if (n % 1009 === 0) {
      chunks.push(Buffer.from(text), ODD_BYTES);
      text = '';
    }
    text += n % 997 === 0 ? '\n\n' : '\n';
  }
  chunks.push(Buffer.from(text));
  return Buffer.concat(chunks);
}

/** Fails unless every number from 0 to `count` − 1 is on exactly one line. */
export function assertEachOnce(answer: Buffer, count: number): void {
  const seen = new Uint8Array(count);
  const strange: string[] = [];
  for (const line of answer.toString('latin1').split('\n')) {
    if (line === '') continue;
    const match = /^line (\d+) /.exec(line);
    if (!match || Number(match[1]) >= count) strange.push(line.slice(0, 100));
    else seen[Number(match[1])]++;
  }
  const ranges = (wanted: (times: number) => boolean): string => {
    const found: string[] = [];
    let from = -1;
    for (let n = 0; n <= count; n++) {
      const hit = n < count && wanted(seen[n]);
      if (hit && from < 0) from = n;
      if (!hit && from >= 0) {
        found.push(`${from}–${n - 1}`);
        from = -1;
      }
    }
    return found.slice(0, 10).join(', ');
  };
  const lost = ranges((times) => times === 0);
  const repeated = ranges((times) => times > 1);
  assert.equal(
    `lost: ${lost}; repeated: ${repeated}; strange: ${strange.slice(0, 3).join(' | ')}`,
    'lost: ; repeated: ; strange: ',
  );
}

/** Appends numbered lines to a file, some every few milliseconds, as a program that logs does. */
export class Writer {
  written = 0;
  readonly #linesPerTurn: number;
  #path: string;
  #timer: NodeJS.Timeout | undefined;

  constructor(path: string, linesPerTurn: number) {
    this.#path = path;
    this.#linesPerTurn = linesPerTurn;
  }

  start(everyMs: number): void {
    this.#timer = setInterval(() => this.write(), everyMs);
  }

  write(): void {
    appendFileSync(this.#path, numberedLines(this.written, this.written + this.#linesPerTurn));
    this.written += this.#linesPerTurn;
  }

  /** From now on to another file. */
  turnTo(path: string): void {
    this.#path = path;
  }

  stop(): number {
    clearInterval(this.#timer);
    return this.written;
  }
}
