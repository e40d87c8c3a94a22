/** Runs a parser on hostile inputs. What may come of it: a value, or an error of the kind that it documents. */
import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { test } from 'node:test';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { LogvineError, type ErrorCode } from '../../src/store/errors.ts';
import type { Random } from '../../src/store/host/index.ts';
import { seededRandom } from '../helpers/sim-clock.ts';
import { arbitraryBytes, mutated, mutatedJson } from './mutate.ts';

/** What one parser may throw: `range` is RangeError, for those whose caller names the place. */
export type Refusal = ErrorCode | 'range';

export interface Target<Value> {
  /** Valid inputs, from which others are made. */
  readonly samples: readonly Buffer[];
  readonly refusals: readonly Refusal[];
  parse(bytes: Buffer): Value | Promise<Value>;
  /** What must hold for every value that came out: throws when it does not. */
  check?(value: Value, bytes: Buffer): void;
  /** The samples are JSON: half of the mutations change values instead of bytes. */
  readonly isJson?: boolean;
  /** Instead of the mutations of bytes: for inputs whose structure must be whole (checksums, signatures). */
  make?(random: Random): Buffer;
  /** Found once: tried on every run. */
  readonly found?: readonly Uint8Array[];
}

const SECONDS = Number(process.env.LOGVINE_FUZZ_SECONDS ?? 0);
/** Not a run among all other tests: there is time for large inputs. */
export const isLong = SECONDS > 0;
/** A file that holds the input under way: what to look at when a parser never comes back. */
const TRACE = process.env.LOGVINE_FUZZ_TRACE;
const ONLY_SEED = process.env.LOGVINE_TEST_SEED;
/** Inputs of a run in `npm test`; each has a seed of its own. */
const INPUTS = 150;
const CPU_MS_MAX = 1_000;
const SHOWN_BYTES_MAX = 400;

/** Lets what was reported before go out: parsers never give way by themselves. */
const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

const cpuMs = (): number => {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1000;
};

/** A test that feeds `target` its samples, what was found before, arbitrary bytes and mutations. */
export function fuzz<Value>(name: string, target: Target<Value>): void {
  test(name, async (t) => {
    await turn();
    for (const sample of target.samples) {
      const bytes = Buffer.from(sample);
      const value = await target.parse(bytes);
      target.check?.(value, bytes);
    }
    for (const [index, input] of (target.found ?? []).entries()) {
      await feed(target, Buffer.from(input), `${name}: the input found as number ${index}`);
    }
    if (ONLY_SEED !== undefined) {
      await feedSeed(name, target, Number(ONLY_SEED));
      return;
    }
    const startedMs = cpuMs();
    const first = SECONDS > 0 ? Date.now() % 1e9 : 1;
    const isOver = (inputs: number): boolean =>
      SECONDS > 0 ? cpuMs() - startedMs > SECONDS * 1000 : inputs >= INPUTS;
    let inputs = 0;
    let accepted = 0;
    for (; !isOver(inputs); inputs++) if (await feedSeed(name, target, first + inputs)) accepted++;
    t.diagnostic(`${inputs} inputs, ${accepted} of them accepted`);
  });
}

async function feedSeed<Value>(name: string, target: Target<Value>, seed: number): Promise<boolean> {
  const random = seededRandom(seed);
  const { samples } = target;
  let input: Buffer;
  if (target.make && random.unit() < 0.9) input = target.make(random);
  else if (samples.length === 0 || random.unit() < 0.1) input = arbitraryBytes(random);
  else {
    const sample = samples[Math.floor(random.unit() * samples.length)];
    const isJson = target.isJson === true && random.unit() < 0.5;
    input = isJson ? mutatedJson(random, JSON.parse(sample.toString())) : mutated(random, sample, samples);
  }
  return feed(target, input, `${name}: LOGVINE_TEST_SEED=${seed}`);
}

/** True when a value came out. */
async function feed<Value>(target: Target<Value>, input: Buffer, whence: string): Promise<boolean> {
  const copy = Buffer.from(input);
  if (TRACE !== undefined) writeFileSync(TRACE, `${whence}\n${copy.toString('base64')}\n`);
  let isAccepted = true;
  const startedMs = cpuMs();
  try {
    const value = await target.parse(input);
    target.check?.(value, copy);
  } catch (error) {
    isAccepted = false;
    if (!isAllowed(error, target.refusals)) {
      const shown = copy.subarray(0, SHOWN_BYTES_MAX);
      const more = copy.length > shown.length ? ` (the first of ${copy.length} bytes)` : '';
      throw new Error(`${whence}: ${JSON.stringify(shown.toString('latin1'))}${more}`, { cause: error });
    }
  }
  const tookMs = cpuMs() - startedMs;
  assert.ok(tookMs < CPU_MS_MAX, `${whence}: ${copy.length} bytes took ${tookMs} ms of CPU`);
  return isAccepted;
}

export function isAllowed(error: unknown, refusals: readonly Refusal[]): boolean {
  if (error instanceof LogvineError) return refusals.includes(error.code);
  // "Maximum call stack size exceeded" is a RangeError too, and never a refusal.
  return (
    error instanceof RangeError &&
    refusals.includes('range') &&
    !/call stack|Array buffer allocation/.test(error.message)
  );
}

/** Asserts that `run` throws one of `refusals`; a value is no answer to these inputs. */
export async function refuses(refusals: readonly Refusal[], run: () => unknown): Promise<void> {
  let value: unknown;
  try {
    value = await run();
  } catch (error) {
    if (isAllowed(error, refusals)) return;
    throw error;
  }
  assert.fail(`not refused: ${String(value).slice(0, 100)}`);
}

const REPEATS = 3;
/** Below this, timers and the collector say more than the parser does. */
const MEASURABLE_MS = 20;

/**
 * Finds time that grows faster than its input: `make(n)` is an input of about n bytes. Eight times the input may take
 * 24 times as long, the collector's whims included; quadratic would be 64. The least of several runs counts. Also asserts an end: `msMax` at `bytes`.
 */
export function growsLinearly(
  name: string,
  options: { bytes: number; msMax: number; make(bytes: number): Buffer; parse(input: Buffer): unknown },
): void {
  test(name, async () => {
    await turn();
    const { bytes, msMax, make, parse } = options;
    const timed = async (size: number): Promise<number> => {
      const input = make(size);
      let leastMs = Infinity;
      for (let repeat = 0; repeat < REPEATS && leastMs > MEASURABLE_MS; repeat++) {
        const startedMs = cpuMs();
        try {
          await parse(input);
        } catch (error) {
          if (!(error instanceof LogvineError) && !isAllowed(error, ['range'])) throw error;
        }
        leastMs = Math.min(leastMs, cpuMs() - startedMs);
        if (leastMs > msMax * 4) break;
      }
      return leastMs;
    };
    // The small ones first: a parser that is out of hand shows it before it takes an hour.
    for (const part of [512, 64]) {
      const partMs = await timed(Math.ceil(bytes / part));
      assert.ok(partMs < msMax / 4, `${Math.ceil(bytes / part)} bytes took ${partMs} ms`);
    }
    const eighthMs = await timed(Math.ceil(bytes / 8));
    assert.ok(eighthMs < msMax, `${Math.ceil(bytes / 8)} bytes took ${eighthMs} ms`);
    const wholeMs = await timed(bytes);
    assert.ok(wholeMs < msMax, `${bytes} bytes took ${wholeMs} ms, allowed are ${msMax}`);
    const isMeasurable = wholeMs > MEASURABLE_MS * 12;
    assert.ok(
      !isMeasurable || wholeMs < 24 * Math.max(eighthMs, 1),
      `${bytes / 8} bytes took ${eighthMs} ms, eight times as many ${wholeMs} ms`,
    );
  });
}

setFlagsFromString('--expose-gc');
const collectGarbage = runInNewContext('gc') as () => void;
const onLinux = process.platform === 'linux';

/** The highest that this process's memory has been: on Linux since it was last reset, elsewhere ever. */
function peakBytes(): number {
  if (!onLinux) return process.resourceUsage().maxRSS * 1024;
  return Number(/^VmHWM:\s+(\d+) kB$/m.exec(readFileSync('/proc/self/status', 'utf8'))![1]) * 1024;
}

/** Runs `work` and says by how many bytes the peak of this process's memory rose above what it had. */
export async function peakRise(work: () => unknown): Promise<number> {
  collectGarbage();
  if (onLinux) writeFileSync('/proc/self/clear_refs', '5');
  const before = peakBytes();
  try {
    await work();
  } catch (error) {
    if (!(error instanceof LogvineError) && !isAllowed(error, ['range'])) throw error;
  }
  return peakBytes() - before;
}
