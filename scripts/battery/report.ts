import { execFileSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import type { Fault } from './fault.ts';
import { seconds, type Result } from './result.ts';

const PAGE = new URL('../../docs/reliability.md', import.meta.url);
const [BEGIN, END] = ['<!-- battery -->', '<!-- /battery -->'];
const HEAD =
  '| fault | rounds | acknowledged | lost | doubled | sent again and twice | answers | false completes | false incompletes | time to heal: median | at most | run |\n' +
  '| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | --- |\n';

interface Ran {
  readonly fault: Fault;
  readonly result: Result;
}

/** Puts the rows of these faults into the page's table; rows of others stay. */
export function writeTable(ran: readonly Ran[]): void {
  const page = readFileSync(PAGE, 'utf8');
  const [start, end] = [page.indexOf(BEGIN), page.indexOf(END)];
  if (start < 0 || end < start) throw new Error(`docs/reliability.md has no ${BEGIN} … ${END}`);
  const rows = new Map<string, string>();
  for (const line of page.slice(start, end).split('\n')) {
    const title = /^\| (.+?) +\|/.exec(line)?.[1];
    if (title && title !== 'fault' && !title.startsWith('-')) rows.set(title, line);
  }
  for (const one of ran) rows.set(one.fault.title, row(one));
  const table = `${BEGIN}\n\n${HEAD}${[...rows.values()].join('\n')}\n\n`;
  writeFileSync(PAGE, page.slice(0, start) + table + page.slice(end));
}

function row({ fault, result }: Ran): string {
  const when = `${new Date().toISOString().slice(0, 10)}, ${availableParallelism()} cores, ${commit()}`;
  const numbers = [
    result.rounds,
    result.acknowledged,
    result.lost.size,
    result.doubled.size,
    result.retriedTwice.size,
    result.answers,
    result.falseCompletes,
    result.falseIncompletes,
  ].map((value) => value.toLocaleString('en'));
  const cells = [fault.title, ...numbers, seconds(result.healMedianMs), seconds(result.healMaxMs), when];
  return `| ${cells.join(' | ')} |`;
}

/** `+`: with changes that are not committed. */
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
