import { readFileSync, writeFileSync } from 'node:fs';
import { availableParallelism, cpus, loadavg, totalmem } from 'node:os';

const PAGE = new URL('../../docs/benchmarks.md', import.meta.url);

/** Of what else the machine did: one busy process adds one. */
const LOAD_BEFORE = loadavg()[0];

/** Prints what is measured as it comes, and keeps it for the page. */
export class Report {
  /** Wrong answers: one makes the whole run fail. */
  readonly wrong = new Set<string>();
  readonly #sections = new Map<string, string[]>();
  #section: string[] = [];

  /** From here on lines belong to this section: a part of the page between `<!-- bench NAME -->` and `<!-- /bench NAME -->`. */
  begin(name: string, facts: string): void {
    const begun: string[] = [];
    this.#section = begun;
    this.#sections.set(name, begun);
    this.#say(`${new Date().toISOString().slice(0, 10)}, ${machine()}. ${facts}`);
  }

  table(...columns: string[]): void {
    this.#say('');
    this.row(...columns);
    this.row(...columns.map(() => '---'));
  }

  row(...cells: string[]): void {
    this.#say(`| ${cells.join(' | ')} |`);
  }

  /** Notes an answer that is not what it has to be. */
  check(what: string, found: string, expected: string): void {
    if (found !== expected) this.fail(what, `${shortened(found)} instead of ${shortened(expected)}`);
  }

  /** Notes what is wrong, once. */
  fail(what: string, how: string): void {
    const problem = `WRONG: ${what}: ${how}`;
    if (!this.wrong.has(problem)) console.error(problem);
    this.wrong.add(problem);
  }

  /** Puts each section in its place on the page. */
  write(): void {
    let page = readFileSync(PAGE, 'utf8');
    for (const [name, lines] of this.#sections) {
      const [begin, end] = [`<!-- bench ${name} -->\n`, `<!-- /bench ${name} -->`];
      const from = page.indexOf(begin);
      const to = page.indexOf(end);
      if (from < 0 || to < from) throw new Error(`docs/benchmarks.md has no place for ${name}`);
      page = `${page.slice(0, from + begin.length)}\n${lines.join('\n')}\n\n${page.slice(to)}`;
    }
    writeFileSync(PAGE, page);
  }

  #say(line: string): void {
    this.#section.push(line);
    console.log(line);
  }
}

function machine(): string {
  const model = cpus()[0]?.model ?? 'unknown';
  return `${availableParallelism()} cores (${model}), ${Math.round(totalmem() / 1e9)} GB of memory, Node ${process.versions.node}, load ${figure(LOAD_BEFORE, 1)} before the run`;
}

function shortened(text: string): string {
  return text.length > 300 ? `${text.slice(0, 300)}…` : text;
}

/** A number with commas, so many digits behind the point. */
export function figure(value: number, digits = 0): string {
  return value.toLocaleString('en-US', { minimumFractionDigits: digits, maximumFractionDigits: digits });
}

/** How many times faster. */
export function times(ratio: number): string {
  const digits = ratio < 1 ? 2 : ratio < 10 ? 1 : 0;
  return `${figure(ratio, digits)} ×`;
}
