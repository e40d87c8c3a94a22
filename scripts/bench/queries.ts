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
    this.#report.table(
      'query',
      'answered',
      'ms',
      'CPU-s',
      'batches read',
      '`zstdcat \\| rg` ms',
      'faster',
      'aim',
    );
    for (const item of CASES) await this.#one(mesh, item);
    await this.#atOnce(mesh);
  }

  async #one(mesh: BenchMesh, item: QueryCase): Promise<void> {
    const naive = await this.#naiveOf(item);
    let answer: Answer | undefined;
    const before = await mesh.cpuSeconds();
    const { ms, runs } = await medianMs(async () => {
      answer = await this.#ask(mesh, item);
    });
    const cpuSeconds = ((await mesh.cpuSeconds()) - before) / runs;
    this.#report.row(
      item.name,
      figure(answer?.items ?? 0),
      figure(ms),
      figure(cpuSeconds, 2),
      batchesText(answer?.receipt),
      figure(naive.ms),
      times(naive.ms / ms),
      item.aim === undefined ? '' : `≥ ${item.aim} ×`,
    );
  }

  async #atOnce(mesh: BenchMesh): Promise<void> {
    const cases = CASES.filter(({ isAlone }) => !isAlone);
    const asked = Array.from({ length: AT_ONCE }, (_, index) => cases[index % cases.length]);
    this.#naiveAtOnceMs ??= await timeMs(() => this.#scan.scanTogether(asked.map(({ naive }) => naive)));
    const naiveMs = this.#naiveAtOnceMs;
    const before = await mesh.cpuSeconds();
    const ms = await timeMs(() => Promise.all(asked.map((item) => this.#ask(mesh, item))));
    const cpuSeconds = (await mesh.cpuSeconds()) - before;
    const name = `${AT_ONCE} of these at once`;
    this.#report.row(
      name,
      '',
      figure(ms),
      figure(cpuSeconds, 2),
      '',
      figure(naiveMs),
      times(naiveMs / ms),
      '',
    );
  }

  async #naiveOf(item: QueryCase): Promise<Naive> {
    const known = this.#naive.get(item);
    if (known) return known;
    const expected = await item.expected(this.#scan, this.#files);
    const { filter, only } = item.naive;
    const { ms } = await medianMs(() => this.#scan.scan(filter, only));
    const naive = { ms, expected };
    this.#naive.set(item, naive);
    return naive;
  }

  async #ask(mesh: BenchMesh, item: QueryCase): Promise<Answer> {
    const answer = await item.ask(mesh.nodes[0].url);
    const { expected } = await this.#naiveOf(item);
    this.#report.check(`${item.name}, ${item.query}`, answer.value, expected);
    if (answer.receipt) this.#report.check(`${item.name}: complete`, String(answer.receipt.complete), 'true');
    return answer;
  }
}

function batchesText(receipt: Answer['receipt']): string {
  if (!receipt) return '';
  const { read, fromIndex, expected } = receipt;
  return `${figure(read - fromIndex)} of ${figure(expected)}`;
}
