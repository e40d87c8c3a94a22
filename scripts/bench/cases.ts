import {
  askAllLines,
  askMetric,
  askNewest,
  EVERYTHING,
  printAllLines,
  WHOLE_RANGE,
  type Answer,
  type Sample,
} from './ask.ts';
import { JSON_FILES, type GeneratedFile } from './generate.ts';
import { COMMON_WORD, RARE_LEVEL, RARE_WORD } from './lines.ts';
import { sumOf, type NaiveScan } from './naive.ts';

/** A question to a node, and how it is answered without one. */
export interface QueryCase {
  readonly name: string;
  readonly query: string;
  /** How many times faster than the naive scan it is meant to be. */
  readonly aim?: number;
  /** Not one of those that are asked at once. */
  readonly isAlone?: boolean;
  ask(url: string): Promise<Answer>;
  /** The scan that is timed: what stands behind `zstdcat |`, for all files or only one. */
  readonly naive: { readonly filter: string; readonly only?: readonly string[] };
  /** What the answer has to be. */
  expected(scan: NaiveScan, files: readonly GeneratedFile[]): Promise<string>;
}

const LIMIT = 100;
const TOP = 10;
/** Both read it alike; the first has text that an index can look for, the second has hardly any. */
const REGEX = 'took=8[0-9]{2}ms';
const REGEX_ANYWHERE = '10\\.[0-9]+\\.[0-9]+\\.7[0-9] ';
const ERROR_LINES = 'level=error|"level":"error"| ERROR | error ';

/** Lines of a log query, all of them. */
function lines(name: string, query: string, filter: string, aim?: number): QueryCase {
  return {
    name,
    query,
    aim,
    ask: (url) => askAllLines(url, query),
    naive: { filter: `${filter} > "$1"` },
    expected: async (scan) => sumOf(await scan.scan(`${filter} | wc -l`)),
  };
}

/** The number of lines that a filter lets through. */
function count(name: string, lineFilter: string, filter: string, aim?: number): QueryCase {
  const query = `sum(count_over_time(${EVERYTHING} ${lineFilter} ${WHOLE_RANGE}))`;
  return {
    name,
    query,
    aim,
    ask: (url) => askMetric(url, query, (samples) => String(samples[0]?.value ?? 0)),
    naive: { filter },
    expected: async (scan) => sumOf(await scan.scan(filter)),
  };
}

function newest(): QueryCase {
  const only = JSON_FILES.slice(0, 1);
  const query = `{filename=~".*/${only[0].replaceAll('.', '[.]')}"}`;
  const filter = `tail -n ${LIMIT}`;
  return {
    name: `the newest ${LIMIT} lines of one stream`,
    query,
    ask: (url) => askNewest(url, query, LIMIT),
    naive: { filter, only },
    expected: async (scan) => {
      const [tail] = await scan.scan(filter, only);
      return tail.trimEnd().split('\n').sort().join('\n');
    },
  };
}

/** The naive side counts one level only: less than what is asked, so the ratio is a lower bound. */
function byLevel(): QueryCase {
  const query = `sum by (detected_level) (count_over_time(${EVERYTHING} ${WHOLE_RANGE}))`;
  return {
    name: 'all lines by level',
    query,
    aim: 100,
    ask: (url) =>
      askMetric(url, query, (samples) =>
        levelsText(samples.map(({ metric, value }) => [metric.detected_level, value])),
      ),
    naive: { filter: `rg -c '${ERROR_LINES}'` },
    async expected(scan, files) {
      const total = new Map<string, number>();
      for (const { linesByLevel } of files) {
        for (const [level, of] of Object.entries(linesByLevel))
          total.set(level, (total.get(level) ?? 0) + of);
      }
      const scanned = sumOf(await scan.scan(this.naive.filter));
      if (scanned !== String(total.get('error')))
        throw new Error(`rg counts ${scanned} errors, the generator ${total.get('error')}`);
      return levelsText([...total]);
    },
  };
}

function levelsText(counts: readonly (readonly [string, number])[]): string {
  return counts
    .map(([level, of]) => `${level}=${of}`)
    .sort()
    .join(' ');
}

function topTenants(): QueryCase {
  const query = `topk(${TOP}, sum by (tenant) (count_over_time({filename=~".*[.]json[.]log"} | json ${WHOLE_RANGE})))`;
  // Names are left out: of two with the same count either may be the last.
  const valueOf = (samples: readonly Sample[]): string => topText(samples.map(({ value }) => value));
  const filter = `rg -o '"tenant":"[^"]+"' | awk '{ n[$0]++ } END { for (k in n) print k, n[k] }'`;
  return {
    name: 'the ten largest of 1,000 tenants in the JSON files, by `\\| json`',
    query,
    ask: (url) => askMetric(url, query, valueOf),
    naive: { filter, only: JSON_FILES },
    async expected(scan) {
      const totals = new Map<string, number>();
      for (const output of await scan.scan(filter, JSON_FILES)) {
        for (const line of output.trimEnd().split('\n').filter(Boolean)) {
          const [tenant, of] = line.split(' ');
          totals.set(tenant, (totals.get(tenant) ?? 0) + Number(of));
        }
      }
      return topText([...totals.values()]);
    },
  };
}

function topText(counts: readonly number[]): string {
  return [...counts]
    .sort((a, b) => b - a)
    .slice(0, TOP)
    .join(' ');
}

export const CASES: readonly QueryCase[] = [
  lines('a rare word', `${EVERYTHING} |= "${RARE_WORD}"`, `rg -F '${RARE_WORD}'`, 50),
  lines(
    'a rare word behind `json` and a label filter',
    `${EVERYTHING} |= "${RARE_WORD}" | json | level="${RARE_LEVEL}"`,
    `rg -F '${RARE_WORD}' | rg -F '"level":"${RARE_LEVEL}"'`,
  ),
  count('a common word, counted', `|= "${COMMON_WORD}"`, `rg -c -F '${COMMON_WORD}'`, 2),
  count('a regex with a fixed beginning, counted', `|~ \`${REGEX}\``, `rg -c '${REGEX}'`),
  count('a regex of digits, counted', `|~ \`${REGEX_ANYWHERE}\``, `rg -c '${REGEX_ANYWHERE}'`),
  byLevel(),
  topTenants(),
  newest(),
  lines('all lines with a common word', `${EVERYTHING} |= "${COMMON_WORD}"`, `rg -F '${COMMON_WORD}'`),
  {
    ...lines(
      'the same, printed by `logvine query`',
      `${EVERYTHING} |= "${COMMON_WORD}"`,
      `rg -F '${COMMON_WORD}'`,
    ),
    isAlone: true,
    ask: (url) => printAllLines(url, `${EVERYTHING} |= "${COMMON_WORD}"`),
  },
];
