/** What a fault did to the promises. Lines and answers are counted once they were compared with what was written. */
export class Result {
  rounds = 0;
  acknowledged = 0;
  readonly lost = new Set<string>();
  readonly doubled = new Set<string>();
  /** Of pushes that were not answered 204, sent again, and stored both times (docs/decisions/0008). */
  readonly retriedTwice = new Set<string>();
  readonly altered = new Set<string>();
  /** Answers in all, and those of them that called themselves complete. */
  answers = 0;
  complete = 0;
  falseCompletes = 0;
  /** Incomplete, or none at all, although every node was up and at rest. */
  falseIncompletes = 0;
  /** From the end of a fault until nothing is owed. */
  readonly healMs: number[] = [];
  /** Everything that is wrong, in words. */
  readonly violations: string[] = [];
  /** Figures that only this fault has. */
  readonly notes: string[] = [];

  get isGood(): boolean {
    return this.violations.length === 0;
  }

  get healMedianMs(): number | undefined {
    return this.healMs.length === 0 ? undefined : median(this.healMs);
  }

  get healMaxMs(): number | undefined {
    return this.healMs.length === 0 ? undefined : Math.max(...this.healMs);
  }

  get text(): string {
    const { acknowledged, lost, doubled, retriedTwice, altered, falseCompletes, falseIncompletes } = this;
    return (
      `${acknowledged} acknowledged, ${lost.size} lost, ${doubled.size} doubled, ${retriedTwice.size} sent again and twice, ` +
      `${altered.size} altered; ${this.answers} answers, ${this.complete} complete, ${falseCompletes} of them falsely, ` +
      `${falseIncompletes} falsely incomplete`
    );
  }

  /** Adds what happened in another mesh; `name` tells its lines from those of others. */
  add(other: Result, name: string): void {
    this.rounds += other.rounds;
    this.acknowledged += other.acknowledged;
    for (const kind of ['lost', 'doubled', 'retriedTwice', 'altered'] as const)
      for (const line of other[kind]) this[kind].add(`${name} ${line}`);
    for (const kind of ['answers', 'complete', 'falseCompletes', 'falseIncompletes'] as const)
      this[kind] += other[kind];
    this.healMs.push(...other.healMs);
    this.violations.push(...other.violations);
    this.notes.push(...other.notes);
  }
}

export function median(values: readonly number[]): number {
  return [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)];
}

export function seconds(ms: number | undefined): string {
  return ms === undefined ? '–' : `${(ms / 1000).toFixed(1)} s`;
}
