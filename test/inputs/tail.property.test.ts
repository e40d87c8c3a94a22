import assert from 'node:assert/strict';
import * as fs from 'node:fs';
import { test } from 'node:test';
import * as fc from 'fast-check';
import { Bench } from './harness.ts';

/*
 * A program writes lines, numbered without end; its log is rotated by renaming or copytruncate, cut into
 * half-written lines, and the tail is stopped at any time, for a while. At the end every line must have come once.
 */

type Step =
  | { readonly do: 'write'; readonly lines: number }
  | { readonly do: 'half' }
  | { readonly do: 'rotate' }
  | { readonly do: 'poll' }
  | { readonly do: 'acknowledge' }
  | { readonly do: 'stop' };

const step: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 5,
    arbitrary: fc.record({ do: fc.constant('write' as const), lines: fc.integer({ min: 1, max: 60 }) }),
  },
  { weight: 2, arbitrary: fc.constant({ do: 'half' } as const) },
  { weight: 3, arbitrary: fc.constant({ do: 'rotate' } as const) },
  { weight: 4, arbitrary: fc.constant({ do: 'poll' } as const) },
  { weight: 1, arbitrary: fc.constant({ do: 'acknowledge' } as const) },
  { weight: 2, arbitrary: fc.constant({ do: 'stop' } as const) },
);
class Writer {
  readonly written: string[] = [];
  /** Lines of files that are compressed by now. */
  readonly compressed = new Set<string>();
  readonly #bench: Bench;
  readonly #mark: string;
  #half = '';

  constructor(bench: Bench, mark: string) {
    this.#bench = bench;
    this.#mark = mark;
    bench.write('app.log', '');
  }

  write(lines: number): void {
    for (let at = 0; at < lines; at++) {
      const line = this.#half || this.#next();
      this.#bench.append('app.log', this.#half === '' ? `${line}\n` : `${line.slice(3)}\n`);
      this.#half = '';
    }
  }

  half(): void {
    if (this.#half !== '') return;
    this.#half = this.#next();
    this.#bench.append('app.log', this.#half.slice(0, 3));
  }

  #next(): string {
    const line = `${this.#mark}-${this.written.length}-${'#'.repeat((this.written.length * 7) % 40)}`;
    this.written.push(line);
    return line;
  }

  /** A program doesn't reopen its log in the middle of a line. */
  endLine(): void {
    if (this.#half !== '') this.write(1);
  }

  #shift(): void {
    for (let at = 8; at >= 1; at--) {
      for (const suffix of ['', '.gz']) {
        const [from, to] = [`app.log.${at}${suffix}`, `app.log.${at + 1}${suffix}`];
        if (fs.existsSync(this.#bench.path(from))) this.#bench.rename(from, to);
      }
    }
  }

  rename(): void {
    this.endLine();
    this.#shift();
    this.#bench.rename('app.log', 'app.log.1');
    this.#bench.write('app.log', '');
  }

  /** What was renamed the last time is compressed first (delaycompress); the new file may get its inode. */
  renameAndCompress(): void {
    const path = this.#bench.path('app.log.1');
    if (fs.existsSync(path)) {
      for (const line of fs.readFileSync(path, 'latin1').split('\n')) this.compressed.add(line);
      this.#bench.write('app.log.1.gz', 'compressed');
      fs.unlinkSync(path);
    }
    this.rename();
  }

  /** The new file may get the inode of the old one. */
  copyAndDelete(): void {
    this.endLine();
    this.#shift();
    fs.copyFileSync(this.#bench.path('app.log'), this.#bench.path('app.log.1'));
    fs.unlinkSync(this.#bench.path('app.log'));
    this.#bench.write('app.log', '');
  }

  copyAndTruncate(): void {
    this.endLine();
    this.#shift();
    fs.copyFileSync(this.#bench.path('app.log'), this.#bench.path('app.log.1'));
    fs.truncateSync(this.#bench.path('app.log'), 0);
  }
}

async function run(
  pattern: string,
  rotation: 'rename' | 'compress' | 'copy' | 'delete while down',
  steps: readonly Step[],
): Promise<{ bench: Bench; written: string[]; compressed: Set<string> }> {
  const limits = { readBytes: 256, lineBytesMax: 512, turnBytesMax: 1024, openFilesMax: 8, readersMax: 2 };
  const bench = new Bench(undefined, [pattern], { limits });
  const writer = new Writer(bench, 'w');
  // What a node never read a line of, it cannot know to have missed while it was down.
  writer.write(1);
  await bench.pass();
  let rotations = 0;
  let isDown = false;
  const start = async (): Promise<void> => {
    if (isDown) await bench.restart();
    isDown = false;
  };
  for (const one of steps) {
    if (one.do === 'write') writer.write(one.lines);
    else if (one.do === 'half') writer.half();
    else if (one.do === 'rotate' && rotations++ < 7) {
      if (rotation === 'copy') writer.copyAndTruncate();
      else if (rotation === 'compress') writer.renameAndCompress();
      else if (rotation === 'delete while down' && isDown) writer.copyAndDelete();
      else writer.rename();
    } else if (one.do === 'poll') {
      await start();
      await bench.pass(250);
    } else if (one.do === 'acknowledge') bench.acknowledgeAll();
    else if (one.do === 'stop') {
      await bench.tail.close();
      isDown = true;
    }
  }
  await start();
  writer.endLine();
  for (let round = 0; round < 4; round++) await bench.pass();
  return { bench, written: writer.written, compressed: writer.compressed };
}

for (const pattern of ['app.log', '*.log', 'app.log*']) {
  test(`renaming loses nothing and repeats nothing, under ${pattern}`, async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(step, { maxLength: 30 }), async (steps) => {
        const { bench, written } = await run(pattern, 'rename', steps);
        try {
          assert.deepEqual(bench.sink.lines().sort(), written.sort());
          assert.deepEqual(bench.sink.gaps(), []);
        } finally {
          await bench.dispose();
        }
      }),
      { numRuns: 60 },
    );
  });

  test(`renaming and compressing repeats nothing, and loses only what was compressed, under ${pattern}`, async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(step, { maxLength: 30 }), async (steps) => {
        const { bench, written, compressed } = await run(pattern, 'compress', steps);
        try {
          const lines = bench.sink.lines();
          assert.equal(new Set(lines).size, lines.length, 'a line came twice');
          const isKept = (line: string): boolean => !compressed.has(line);
          assert.deepEqual(lines.filter(isKept).sort(), written.filter(isKept).sort());
        } finally {
          await bench.dispose();
        }
      }),
      { numRuns: 60 },
    );
  });

  test(`copying and deleting while the node is down loses nothing and repeats nothing, under ${pattern}`, async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(step, { maxLength: 30 }), async (steps) => {
        const { bench, written } = await run(pattern, 'delete while down', steps);
        try {
          assert.deepEqual(bench.sink.lines().sort(), written.sort());
          assert.equal(bench.tail.totals().gaps, 0);
        } finally {
          await bench.dispose();
        }
      }),
      { numRuns: 60 },
    );
  });

  test(`copytruncate repeats nothing, and what it loses is told, under ${pattern}`, async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(step, { maxLength: 30 }), async (steps) => {
        const { bench, written } = await run(pattern, 'copy', steps);
        try {
          const lines = bench.sink.lines();
          assert.equal(new Set(lines).size, lines.length, 'a line came twice');
          const known = new Set(written);
          for (const line of lines) assert(known.has(line), `never written: ${line}`);
          if (lines.length < written.length)
            assert(bench.sink.gaps().length > 0, 'lost without a gap record');
        } finally {
          await bench.dispose();
        }
      }),
      { numRuns: 60 },
    );
  });
}
