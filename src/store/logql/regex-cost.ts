/**
 * What it costs V8 to compile a translated regex. Before each choice its compiler makes a quick check of up to four bytes,
 * for which it follows every path that far (deps/v8/src/regexp/regexp-compiler.cc, `GetQuickCheckDetails`): parts side by
 * side that may match nothing multiply, so that `(a?||b){16}cccc` takes 13 s and 30 of them hours. At a word boundary it
 * makes the code that follows twice: that of `(\b){21}` is more than V8 can hold, which ends the process.
 */
import { byteLengths, chunkOf, type EmitMode } from './regex-emit.ts';
import type { Assertion, RegexNode, RepeatNode } from './regex-parse.ts';
import { holds, minimumLength } from './regex-tree.ts';

const QUICK_CHECK_BYTES = 4;
/** V8 makes up to ten versions of what follows a choice, and code takes longer to make than a step of a quick check. */
const STEPS_PER_COPY = 10 * 15;
/** Up to here V8 may write a counted repetition out; else it is a loop with a counter. */
const UNROLLED_MAX = 3;

/** What is larger is taken for endless: repetitions and loops within others are walked through again and again. */
const WALKED_MAX = 200_000;

/** What follows a place in a pattern. */
interface Ahead {
  /** Steps of a quick check that still wants k bytes, k = 0…4. */
  readonly steps: readonly number[];
  /** Bytes that every match has from here on, up to 4: a quick check looks at no more. */
  readonly bytesMin: number;
  /** Code from here to the next byte or choice, in pieces: what stands between bytes is made once for each way to it. */
  readonly copies: number;
}

/** Undefined: no match goes on here. V8 takes such branches out before all else. */
type MaybeAhead = Ahead | undefined;

const END: Ahead = { steps: [0, 1, 1, 1, 1], bytesMin: 0, copies: 1 };

/** Steps of V8's compiler for the translation of this tree; many of them take up to 0.6 µs each. */
export function compileSteps(tree: RegexNode, mode: EmitMode): number {
  const cost = new Cost(mode);
  cost.walk(tree, END, 1);
  return cost.total;
}

class Cost {
  total = 0;
  #walked = 0;
  readonly #mode: EmitMode;
  readonly #lengths = new Map<RegexNode, readonly number[]>();

  constructor(mode: EmitMode) {
    this.#mode = mode;
  }

  /** From the end of the pattern to its start. `replication`: as in `emitRegex`. */
  walk(node: RegexNode, next: MaybeAhead, replication: number): MaybeAhead {
    if (++this.#walked > WALKED_MAX) this.total = Infinity;
    if (this.total === Infinity) return next;
    switch (node.kind) {
      case 'empty':
        return next;
      case 'class': {
        let lengths = this.#lengths.get(node);
        if (lengths === undefined) this.#lengths.set(node, (lengths = byteLengths(node.ranges, this.#mode)));
        return this.#bytes(lengths, next);
      }
      case 'group':
        return this.walk(node.item, next, replication);
      case 'concat':
        return node.items.reduceRight((ahead, item) => this.walk(item, ahead, replication), next);
      case 'alternate':
        return this.#choice(node.items.map((item) => [1, this.walk(item, next, replication)]));
      case 'repeat':
        return this.#repeat(node, next, replication);
      case 'assertion':
        return this.#assertion(node.what, next);
    }
  }

  #assertion(what: Assertion, next: MaybeAhead): MaybeAhead {
    if (next === undefined) return next;
    if (what === 'wordBoundary' || what === 'noWordBoundary') {
      const ahead = { ...next, copies: 2 * next.copies };
      this.#copy(1, ahead);
      return ahead;
    }
    if (this.#mode.block === 'loose') return next;
    const feed = this.#mode.block === 'anchored' ? this.#bytes([0, 1], next) : undefined;
    const here = { ...next, copies: next.copies + 1 };
    if (what === 'textEnd' || what === 'lineEnd') return feed ?? here;
    // Beyond the start nothing matches that goes through it: V8 takes that for any number of bytes.
    return this.#choice([
      [1, { ...here, bytesMin: QUICK_CHECK_BYTES }],
      [1, feed],
    ]);
  }

  /** As many branches as there are sequences of bytes; `lengths`: how many of each length. */
  #bytes(lengths: readonly number[], next: MaybeAhead): MaybeAhead {
    return this.#choice(
      lengths.flatMap((count, length): [number, MaybeAhead][] => {
        if (count === 0) return [];
        this.#copy(count, next);
        return [[count, next && afterBytes(length, next)]];
      }),
    );
  }

  /** What follows is made once more for each branch that goes on there: bytes and choices are shared, what is between is not. */
  #copy(count: number, next: MaybeAhead): void {
    if (next !== undefined) this.total += count * (next.copies - 1) * STEPS_PER_COPY;
  }

  /** Each branch with how many there are of its kind. */
  #choice(branches: readonly (readonly [count: number, branch: MaybeAhead])[]): MaybeAhead {
    const open = branches.filter((one): one is [number, Ahead] => one[1] !== undefined);
    if (open.length === 0) return undefined;
    if (open.length === 1 && open[0][0] === 1) return open[0][1];
    const steps = END.steps.map((_, wanted) =>
      wanted === 0 ? 0 : open.reduce((sum, [count, branch]) => sum + count * branch.steps[wanted], 1),
    );
    const bytesMin = Math.min(...open.map(([, branch]) => branch.bytesMin));
    this.total += steps[bytesMin];
    for (const [count, branch] of open) this.#copy(count, branch);
    return { steps, bytesMin, copies: 1 };
  }

  /** A quick check goes around a loop once, and ends before one whose rounds may match nothing. */
  #loop(item: RegexNode, next: MaybeAhead, replication: number): MaybeAhead {
    // V8 leaves out what matches nothing, and may do so any number of times.
    if (next === undefined || !holds(item, (node) => node.kind === 'class')) return next;
    const again = { ...END, bytesMin: next.bytesMin };
    const body = this.walk(item, again, replication);
    const loop = this.#choice([
      [1, body],
      [1, next],
    ]);
    if (body === undefined) return loop;
    if (minimumLength(item) === 0) return again;
    // The quick checks in its rounds go on behind it.
    this.walk(item, loop, replication);
    return loop;
  }

  #repeat(node: RepeatNode, next: MaybeAhead, replication: number): MaybeAhead {
    const { item, min, max } = node;
    if (max === 0) return next;
    const chunk = chunkOf(node, replication);
    const inner = replication * Math.min(chunk, Math.max(min, max === Infinity ? 1 : max));
    let ahead = next;
    if (max === Infinity) ahead = this.#loop(item, next, inner);
    else {
      for (let left = max - min; left > 0; left -= chunk)
        ahead = this.#upTo(item, Math.min(left, chunk), ahead, inner);
    }
    for (let left = min; left > 0; left -= chunk)
      ahead = this.#exactly(item, Math.min(left, chunk), ahead, inner);
    return ahead;
  }

  #exactly(item: RegexNode, count: number, next: MaybeAhead, replication: number): MaybeAhead {
    let ahead = next;
    // Each round has a byte at least: no quick check looks beyond the fourth.
    for (let i = Math.min(count, QUICK_CHECK_BYTES); i > 0; i--) ahead = this.walk(item, ahead, replication);
    // As a loop with a counter: its quick check is as long as what it has to go round, and follows what is after it as far.
    if (next !== undefined && ahead !== undefined) this.total += next.steps[ahead.bytesMin];
    return ahead;
  }

  #upTo(item: RegexNode, count: number, next: MaybeAhead, replication: number): MaybeAhead {
    if (count > UNROLLED_MAX || minimumLength(item) === 0) return this.#loop(item, next, replication);
    let ahead = next;
    for (let i = 0; i < count; i++)
      ahead = this.#choice([
        [1, this.walk(item, ahead, replication)],
        [1, next],
      ]);
    return ahead;
  }
}

function afterBytes(length: number, next: Ahead): Ahead {
  return {
    steps: next.steps.map((_, wanted) => (wanted === 0 ? 0 : 1 + next.steps[Math.max(0, wanted - length)])),
    bytesMin: Math.min(QUICK_CHECK_BYTES, length + next.bytesMin),
    copies: 1,
  };
}
