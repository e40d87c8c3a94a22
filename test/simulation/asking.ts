import type { Receipt } from '../../src/gossip/index.ts';
import { LogvineError, lineOf, type EntryRun } from '../../src/store/index.ts';
import type { Chance } from './chance.ts';
import type { Cluster } from './cluster.ts';
import type { SimHost } from './host.ts';
import type { Line } from './ledger.ts';

const QUERY_TIMEOUT_MS = 60_000;
/** After one of two with one identity is gone, until others have what only it had. */
const TWINS_OVER_MS = 60_000;
const NO_LIMIT = 1_000_000;

export interface Question {
  readonly query: string;
  readonly matches: (line: Line) => boolean;
  /** Of the lines' times: from inclusive, to exclusive. */
  readonly fromMs: number;
  readonly toMs: number;
  readonly descending: boolean;
  readonly limit: number;
}

export interface Answer {
  readonly rows: readonly { readonly ms: number; readonly text: string }[];
  readonly receipt: Receipt;
  /** It knew of the mesh when it was asked: see `isOfTheMesh`. */
  readonly knewTheMesh: boolean;
}

const EVER = { fromMs: -(2 ** 50), toMs: 2 ** 50 };

export const EVERYTHING: Question = {
  query: '{job=~".+"}',
  matches: () => true,
  ...EVER,
  descending: false,
  limit: NO_LIMIT,
};

export function drawQuestion(chance: Chance, nowMs: number): Question {
  const word = chance.below(10);
  const [filter, matches] = chance.pick<[string, (line: Line) => boolean]>([
    ['', () => true],
    [` |= "w=${word} "`, (line) => line.word === word],
    [` != "w=${word} "`, (line) => line.word !== word],
    [` |~ "w=[${word}5] "`, (line) => line.word === word || line.word === 5],
  ]);
  const recentMs = nowMs - chance.between(0, 300_000);
  const range = chance.pick([
    EVER,
    { fromMs: recentMs, toMs: EVER.toMs },
    { fromMs: recentMs, toMs: recentMs + chance.between(1_000, 120_000) },
    { fromMs: EVER.fromMs, toMs: recentMs },
  ]);
  return {
    query: `{job=~".+"}${filter}`,
    matches,
    fromMs: Math.floor(range.fromMs),
    toMs: Math.floor(range.toMs),
    descending: chance.hits(0.6),
    limit: chance.hits(0.3) ? 1 + chance.below(40) : NO_LIMIT,
  };
}

/** Runs a query at a node; rejects as the node does, and never settles when the node dies under it. */
export async function ask(cluster: Cluster, host: SimHost, question: Question): Promise<Answer> {
  const { query, fromMs, toMs, descending, limit } = question;
  const process = host.process!;
  const knewTheMesh = isOfTheMesh(cluster, host);
  const controller = new AbortController();
  const timer = process.clock.after(QUERY_TIMEOUT_MS, () =>
    controller.abort(new LogvineError('LV_QUERY_TIMEOUT', 'the query took too long')),
  );
  const entries = process.core!.coordinator.entries({
    query,
    range: { from: { ms: fromMs, sub: 0 }, to: { ms: toMs, sub: 0 } },
    descending,
    limit,
    signal: controller.signal,
  });
  const runs: EntryRun[] = [];
  for (;;) {
    const step = await entries.next();
    if (!process.alive) return new Promise(() => undefined);
    if (step.done) {
      timer.cancel();
      return { rows: runs.flatMap(rowsOf), receipt: step.value, knewTheMesh };
    }
    runs.push(step.value);
  }
}

function rowsOf(run: EntryRun): Answer['rows'] {
  return Array.from({ length: run.count }, (_, row) => ({
    ms: run.ms[row]!,
    text: Buffer.from(lineOf(run, row)).toString(),
  }));
}

const isoOf = (ms: number): string => (Math.abs(ms) < 8.64e15 ? new Date(ms).toISOString() : 'ever');

/**
 * Holds an answer against what was written: no line that nobody wrote (I6), none twice (I10), in order and in range;
 * and when the receipt says `complete`, every line that was acknowledged before the question is in it (I9).
 */
export function checkAnswer(
  cluster: Cluster,
  host: SimHost,
  question: Question,
  answer: Answer,
  askedMs: number,
): void {
  const { story, ledger } = cluster;
  const { rows, receipt } = answer;
  const { matches, fromMs, toMs, descending, limit } = question;
  const range = `${isoOf(fromMs)} to ${isoOf(toMs)}`;
  const what = `${question.query} ${descending ? 'newest' : 'oldest'} ${limit}, ${range}, at ${host.name}`;
  const times = new Map<Line, number>();
  let lastMs = descending ? Infinity : -Infinity;
  for (const { ms, text } of rows) {
    const line = ledger.find(text);
    if (!line) {
      story.violated('I6', `${what} answered a line that nobody wrote: ${JSON.stringify(text)}`);
      continue;
    }
    const times_ = (times.get(line) ?? 0) + 1;
    times.set(line, times_);
    if (times_ > line.timesMax + (cluster.repeats.get(line.source)?.() ?? 0)) {
      story.violated('I10', `${what} answered ${line.source} line ${line.number} ${times_} times`, [
        line.source,
        host.name,
      ]);
    }
    const isOrdered = descending ? ms <= lastMs : ms >= lastMs;
    lastMs = ms;
    if (!isOrdered || ms !== line.ms || ms < fromMs || ms >= toMs || !matches(line)) {
      story.violated('order', `${what} answered ${line.source} line ${line.number} out of place`, [
        host.name,
      ]);
    }
  }
  if (rows.length > limit) story.violated('order', `${what} answered ${rows.length} lines`, [host.name]);
  if (!receipt.complete || !answer.knewTheMesh || !isOfTheMesh(cluster, host)) return;
  // See docs/decisions/0007, "What remains". A newcomer that one of two knew, and vouched for, its other self may not know of.
  const { twinsMs, newcomersMs } = cluster;
  const recent = twinsMs.filter(({ toMs }) => askedMs <= toMs + TWINS_OVER_MS);
  const wasTwins = (ackMs: number): boolean =>
    recent.some(({ fromMs, toMs }) =>
      [ackMs, ...newcomersMs.filter((ms) => ms < ackMs)].some((ms) => ms >= fromMs && ms <= toMs),
    );
  const hadTwins = (ackMs: number): boolean =>
    twinsMs.some(({ fromMs, toMs }) => ackMs >= fromMs && ackMs <= toMs);
  const isCut = rows.length >= limit;
  const { doubtfulSinceMs } = cluster.checks;
  for (const line of ledger.all()) {
    if (line.acknowledgedMs === undefined || line.acknowledgedMs >= askedMs) continue;
    if (line.excused || line.expired || line.apart || wasTwins(line.acknowledgedMs)) continue;
    if (line.acknowledgedMs >= doubtfulSinceMs) continue;
    if (line.ms < fromMs || line.ms >= toMs || !matches(line) || times.has(line)) continue;
    // At the limit, only what comes before the last line is owed.
    if (isCut && (descending ? line.ms <= lastMs : line.ms >= lastMs)) continue;
    const copies = cluster.checks.copiesOf(line);
    // One of W disks was taken away with the copy, and a partition has kept the other ones apart since.
    const peers = new Set(copies.holders.map(({ peer }) => peer));
    if (hadTwins(line.acknowledgedMs) && peers.size < cluster.settings.ack) continue;
    if (copies.isUnheard(askedMs)) continue;
    story.violated(
      'I9',
      `${what} says complete and lacks ${line.source} line ${line.number}, acknowledged at ${line.acknowledgedMs}`,
      [line.source, host.name],
    );
    return;
  }
}

/** Newcomers that have found only each other are a mesh of their own (docs/how-it-works.md, "What a receipt says"). */
export function isOfTheMesh({ size, hosts }: Cluster, { core, peer: self }: SimHost): boolean {
  const known = new Set<string>(core?.membership.members().map(({ peer }) => peer));
  // Those that have left since are known still.
  const joiners = hosts.filter((host, at) => at >= size || host.identitiesLost > 0);
  const newcomers = new Set(joiners.map(({ peer }) => peer as string | undefined));
  return !newcomers.has(self) || ![...known].every((peer) => newcomers.has(peer));
}
