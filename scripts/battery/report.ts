import { execFileSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import type { Fault } from './fault.ts';
import { seconds, type Result } from './result.ts';

const PAGE = new URL('../../docs/reliability.md', import.meta.url);
const [BEGIN, END] = ['<!-- battery -->', '<!-- /battery -->'];
const HEAD =
  '| fault | rounds | acknowledged | lost | doubled | sent again and twice | answers | of them complete | false completes | false incompletes | time to heal: median | at most | run |\n' +
  '| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | --- |\n';

interface Ran {
  readonly fault: Fault;
  readonly result: Result;
}

const COMMIT = commit();

/** Puts the rows of these faults into the page's table; rows of others stay. */
export function writeTable(ran: readonly Ran[]): void {
  const page = readFileSync(PAGE, 'utf8');
  const [start, end] = [page.indexOf(BEGIN), page.indexOf(END)];
  if (start < 0 || end < start) throw new Error(`docs/reliability.md has no ${BEGIN} … ${END}`);
  const [rows, notes] = [new Map<string, string>(), new Map<string, string>()];
  for (const line of page.slice(start, end).split('\n')) {
    const [, rowOf] = /^\| (.+?) +\|/.exec(line) ?? [];
    const [, noteOf] = /^- (.+?) — /.exec(line) ?? [];
    if (rowOf && rowOf !== 'fault' && !rowOf.startsWith('-')) rows.set(rowOf, line);
    if (noteOf) notes.set(noteOf, line);
  }
  for (const one of ran) {
    const { fault, result } = one;
    rows.set(fault.title, row(one));
    if (result.notes.length > 0) notes.set(fault.title, `- ${fault.title} — ${result.notes.join('; ')}`);
  }
  const table = `${HEAD}${[...rows.values()].join('\n')}`;
  const content = `${BEGIN}\n\n${table}\n\n${[...notes.values()].join('\n')}\n\n`;
  writeFileSync(PAGE, page.slice(0, start) + content + page.slice(end));
}

function row({ fault, result }: Ran): string {
  const when = `${new Date().toISOString().slice(0, 10)}, ${availableParallelism()} cores, ${COMMIT}`;
  const numbers = [
    result.rounds,
    result.acknowledged,
    result.lost.size,
    result.doubled.size,
    result.retriedTwice.size,
    result.answers,
    result.complete,
    result.falseCompletes,
    result.falseIncompletes,
  ].map((value) => value.toLocaleString('en'));
  const cells = [fault.title, ...numbers, seconds(result.healMedianMs), seconds(result.healMaxMs), when];
  return `| ${cells.join(' | ')} |`;
}

/** What ran, as it was when it was loaded. `+`: with changes that are not committed. */
function commit(): string {
  const git = (...argv: string[]): string => {
    try {
      return execFileSync('git', argv, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] }).trim();
    } catch {
      return '';
    }
  };
  const changes = git('status', '--porcelain', '--untracked-files=no', '--', 'src');
  return `${git('rev-parse', '--short', 'HEAD') || 'no commit'}${changes === '' ? '' : '+'}`;
}
