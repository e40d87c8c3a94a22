import type { Answer } from './ask.ts';
import { CASES, type QueryCase } from './cases.ts';
import type { GeneratedFile } from './generate.ts';
import type { NaiveScan } from './naive.ts';
import type { BenchMesh } from './nodes.ts';
import { figure, times, type Report } from './report.ts';
import { medianMs, timeMs } from './shell.ts';

const AT_ONCE = 20;

interface Naive {
  readonly ms: number;
  readonly expected: string;
}

/** Asks a mesh and scans naively, case by case; what the naive side takes is measured once for all meshes. */
export class QueryBench {
  readonly #report: Report;
  readonly #scan: NaiveScan;
  readonly #files: readonly GeneratedFile[];
  readonly #naive = new Map<QueryCase, Naive>();
  #naiveAtOnceMs: number | undefined;

  constructor(report: Report, scan: NaiveScan, files: readonly GeneratedFile[]) {
    this.#report = report;
    this.#scan = scan;
    this.#files = files;
  }

  async run(mesh: BenchMesh): Promise<void> {
    const cpu = mesh.nodes.length === 1 ? 'CPU-s' : 'CPU-s (of the busiest node)';
    this.#report.table(
      'query',
      'answered',
      'ms, first',
      cpu,
      'batches read',
      'ms, again',
      '`zstdcat \\| rg` ms',
      'faster, first',
      'again',
      'aim',
    );
    for (const item of CASES) await this.#one(mesh, item);
    await this.#atOnce(mesh);
  }

  async #one(mesh: BenchMesh, item: QueryCase): Promise<void> {
    const naive = await this.#naiveOf(item);
    const before = await mesh.cpuSeconds();
    let answer: Answer | undefined;
    const firstMs = await timeMs(async () => {
      answer = await this.#ask(mesh, item);
    });
    const cpu = cpuText(before, await mesh.cpuSeconds());
    const againMs = await medianMs(() => this.#ask(mesh, item));
    const answered = answer ? figure(answer.items) : 'FAILED';
    const aim = item.aim === undefined ? '' : `≥ ${item.aim} ×`;
    const { receipt } = answer ?? {};
    const batches = receipt ? batchesText(receipt) : '';
    const [first, again] = [firstMs, againMs].map((ms) => times(naive.ms / ms));
    this.#report.row(
      item.name,
      answered,
      figure(firstMs),
      cpu,
      batches,
      figure(againMs),
      figure(naive.ms),
      first,
      again,
      aim,
    );
  }

  async #atOnce(mesh: BenchMesh): Promise<void> {
    const cases = CASES.filter(({ isAlone }) => !isAlone);
    const asked = Array.from({ length: AT_ONCE }, (_, index) => cases[index % cases.length]);
    this.#naiveAtOnceMs ??= await timeMs(() => this.#scan.scanTogether(asked.map(({ naive }) => naive)));
    const before = await mesh.cpuSeconds();
    const ms = await timeMs(() => Promise.all(asked.map((item) => this.#ask(mesh, item))));
    const cpu = cpuText(before, await mesh.cpuSeconds());
    const naiveMs = this.#naiveAtOnceMs;
    const faster = times(naiveMs / ms);
    this.#report.row(
      `${AT_ONCE} of these at once`,
      '',
      '',
      cpu,
      '',
      figure(ms),
      figure(naiveMs),
      '',
      faster,
      '',
    );
  }

  async #naiveOf(item: QueryCase): Promise<Naive> {
    const known = this.#naive.get(item);
    if (known) return known;
    const expected = await item.expected(this.#scan, this.#files);
    const { filter, only } = item.naive;
    const ms = await medianMs(() => this.#scan.scan(filter, only));
    const naive = { ms, expected };
    this.#naive.set(item, naive);
    return naive;
  }

  /** Undefined when there is no answer, which is noted like a wrong one. */
  async #ask(mesh: BenchMesh, item: QueryCase): Promise<Answer | undefined> {
    const { expected } = await this.#naiveOf(item);
    const what = `${item.name}, ${item.query}`;
    try {
      const answer = await item.ask(mesh.nodes[0].url);
      this.#report.check(what, answer.value, expected);
      if (answer.receipt) this.#report.check(`${what}: complete`, String(answer.receipt.complete), 'true');
      return answer;
    } catch (error) {
      this.#report.fail(what, String(error));
      return undefined;
    }
  }
}

/** What was taken of all nodes together and, where there are several, of the busiest. */
function cpuText(before: readonly number[], after: readonly number[]): string {
  const each = after.map((seconds, index) => seconds - before[index]);
  const all = figure(
    each.reduce((sum, seconds) => sum + seconds, 0),
    2,
  );
  return each.length === 1 ? all : `${all} (${figure(Math.max(...each), 2)})`;
}

function batchesText({ read, fromIndex, expected }: NonNullable<Answer['receipt']>): string {
  return `${figure(read - fromIndex)} of ${figure(expected)}`;
}
