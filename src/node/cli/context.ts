import { z } from 'zod';
import { LogvineError, type Labels } from '../../store/index.ts';
import { parse, printMatchers, printStage, isLog, type Expr, type Stage } from '../../store/logql/index.ts';
import type { EntryRequest, ReceivedEntry, Receipt } from './client.ts';
import { getJson, type Endpoint } from './http.ts';
import { receiptOf } from './receipt.ts';
import type { Services } from './services.ts';

/** Each hit is two more queries. */
export const CONTEXT_HITS_MAX = 1000;

const seriesAnswer = z.object({
  data: z.array(z.record(z.string(), z.string())),
  logvine: z.unknown().optional(),
});

/** After these a hit is not the line that was written any more, or cannot be told to which stream it belongs. */
const CHANGING: readonly Stage['kind'][] = [
  'unpack',
  'lineFormat',
  'labelFormat',
  'decolorize',
  'drop',
  'keep',
];

/** The first stage of a query whose hits cannot be found among the lines around them. */
export function stageAgainstContext(expr: Expr): string | undefined {
  const stage = isLog(expr) ? expr.stages.find(({ kind }) => CHANGING.includes(kind)) : undefined;
  return stage && printStage(stage);
}

export interface ContextEntry {
  readonly entry: ReceivedEntry;
  readonly isHit: boolean;
}

/** Hits of one stream that stand near each other, and the lines around them, oldest first. */
export type ContextGroup = readonly ContextEntry[];

type Request = Omit<EntryRequest, 'signal' | 'limit' | 'direction'> & {
  readonly endNs: bigint;
  readonly signal: AbortSignal;
};

/**
 * The `lines` lines before and after each hit in its own stream, as grep's -C. Groups that touch are joined. Also gives the
 * receipts of everything that was asked. Lines of one time keep the order in which the node gives them.
 */
export async function* withContext(
  services: Services,
  endpoint: Endpoint,
  request: Request,
  hits: readonly ReceivedEntry[],
  lines: number,
  onReceipt: (receipt: Receipt) => void,
): AsyncGenerator<ContextGroup> {
  const series = await seriesOf(endpoint, request, onReceipt);
  const read = async (
    query: string,
    range: Pick<Request, 'startNs' | 'endNs'>,
    limit: number,
    direction: 'forward' | 'backward',
  ) => {
    const entries: ReceivedEntry[] = [];
    const answer = services.fetchEntries({ ...request, ...range, query, limit, direction });
    for (let step = await answer.next(); ; step = await answer.next()) {
      if (step.done) {
        onReceipt(step.value);
        return entries;
      }
      // As arguments of one call they may be too many.
      for (const entry of step.value) entries.push(entry);
    }
  };
  const byStream = Map.groupBy(hits, (hit) => streamQuery(series, hit.labels));
  for (const [query, own] of byStream) {
    const sorted = own.toSorted((a, b) => (a.timeNs < b.timeNs ? -1 : a.timeNs > b.timeNs ? 1 : 0));
    let group: ContextEntry[] = [];
    for (const hit of sorted) {
      // A node takes a limit of 0 for none.
      const isAlone = lines === 0;
      const before = isAlone
        ? []
        : await read(query, { startNs: MIN_NS, endNs: hit.timeNs }, lines, 'backward');
      // Every line of the hit's own time, and those after it.
      const same = await read(query, { startNs: hit.timeNs, endNs: hit.timeNs + 1n }, 0, 'forward');
      const after = isAlone
        ? []
        : await read(query, { startNs: hit.timeNs + 1n, endNs: MAX_NS }, lines, 'forward');
      const around = [...before.toReversed(), ...same, ...after];
      const at = around.findIndex((entry) => isSame(entry, hit));
      // It may be gone since it was found.
      const near = at < 0 ? [hit] : around.slice(Math.max(0, at - lines), at + lines + 1);
      const joined = joinInto(group, near, hit);
      if (joined) group = joined;
      else {
        if (group.length > 0) yield group;
        group = near.map((entry) => ({ entry, isHit: isSame(entry, hit) }));
      }
    }
    if (group.length > 0) yield group;
  }
}

/** The lines around a hit may lie outside of the range that was searched. */
const MIN_NS = 0n;
const MAX_NS = 2n ** 63n - 1n;

function isSame(a: ReceivedEntry, b: ReceivedEntry): boolean {
  return a.timeNs === b.timeNs && a.line.equals(b.line);
}

/** The group with what is near another hit, when they share a line; else undefined. */
function joinInto(
  group: ContextEntry[],
  near: readonly ReceivedEntry[],
  hit: ReceivedEntry,
): ContextEntry[] | undefined {
  const last = group.at(-1);
  const shared = last ? near.findIndex((entry) => isSame(entry, last.entry)) : -1;
  if (shared < 0) return undefined;
  const marked = group.map(({ entry, isHit }) => ({ entry, isHit: isHit || isSame(entry, hit) }));
  return [...marked, ...near.slice(shared + 1).map((entry) => ({ entry, isHit: isSame(entry, hit) }))];
}

/** The streams that the query selects: a hit's labels may be more than its stream's, when stages made some. */
async function seriesOf(
  endpoint: Endpoint,
  { query, startNs, endNs }: Request,
  onReceipt: (receipt: Receipt) => void,
): Promise<Labels[]> {
  const expr = parse(query);
  if (!isLog(expr)) throw new LogvineError('LV_QUERY_INVALID', '--context is for log queries');
  const parameters = new URLSearchParams({
    'match[]': printMatchers(expr.matchers),
    start: String(startNs),
    end: String(endNs),
  });
  const answer = seriesAnswer.safeParse(await getJson(endpoint, `/loki/api/v1/series?${parameters}`));
  if (!answer.success) throw new LogvineError('LV_PROTOCOL', 'the answer is not a list of series');
  const { data, logvine } = answer.data;
  // Another implementation of Loki's paths says nothing of it.
  if (logvine !== undefined) onReceipt(receiptOf(logvine, endpoint.addr));
  return data;
}

function streamQuery(series: readonly Labels[], labels: Labels): string {
  const matching = series.filter((stream) =>
    Object.entries(stream).every(([name, value]) => labels[name] === value),
  );
  const most = matching.reduce<Labels>((a, b) => (Object.keys(b).length > Object.keys(a).length ? b : a), {});
  const stream = Object.keys(most).length > 0 ? most : labels;
  return printMatchers(Object.entries(stream).map(([name, value]) => ({ name, op: '=', value })));
}
