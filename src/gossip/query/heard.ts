import { z } from 'zod';
import { joinGone, LIMITS, type ExpiredRun, type GoneRun } from '../../store/index.ts';
import {
  encodeMessage,
  expiredRun,
  parseMessage,
  type HoldingsKnown,
  type RunKnown,
  type Watermark,
  type Watermarks,
} from '../repair/index.ts';
import { requestAll, type Channel, type PeerId, type Transport } from '../transport/index.ts';
import { listOf, TIME_MS_MAX } from '../wire.ts';
import { rememberedOf, type Expectation } from './receipt.ts';

export const HEARD_PROTOCOL = '/logvine/heard/1';

/** Of one origin: runs of it before these are known to whoever was there in the meantime. */
const EPOCHS_MAX = 10;
const RUNS_MAX = LIMITS.expiredRunsMax;
const ANY_TIME = { min: { ms: -TIME_MS_MAX, sub: 0 }, max: { ms: TIME_MS_MAX, sub: 0 } };

const whole = z.number().int().nonnegative();
export const heardQuestion = listOf(
  z.object({ origin: z.string().max(128), upTo: listOf(z.tuple([whole, whole]), EPOCHS_MAX) }),
  LIMITS.membersMax,
);
export const heardAnswer = listOf(
  expiredRun.refine(({ from, to }) => from <= to, 'ends before it begins'),
  RUNS_MAX,
);

/** An origin, and the last seq of each of its newest epochs that the asker has heard of. */
type Asked = z.infer<typeof heardQuestion>[number];
type Existing = Pick<Expectation, 'watermarks' | 'remembered'>;

/**
 * Asks peers for batches of origins out of reach that they have heard of and the asker has not: it may have been started a moment ago, and
 * who else had them may have lost them since. Each run of an origin with the times that are known of it, or any time.
 */
export async function askWhatWasHeard(
  transport: Transport,
  peers: Iterable<PeerId>,
  origins: readonly PeerId[],
  existing: Existing,
  timeoutMs: number,
): Promise<ExpiredRun[]> {
  if (origins.length === 0) return [];
  const message = encodeMessage(origins.map((origin) => ({ origin, upTo: lastHeard(existing, origin) })));
  const heard: ExpiredRun[] = [];
  await requestAll(transport, peers, HEARD_PROTOCOL, message, timeoutMs, (bytes) => {
    for (const run of parseMessage(heardAnswer, bytes, 'heard')) heard.push(run);
  });
  return heard;
}

export async function serveHeard(
  channel: Channel,
  known: HoldingsKnown,
  watermarks: Watermarks,
): Promise<void> {
  const message = await channel.receive();
  if (!message) return;
  const asked = new Map(parseMessage(heardQuestion, message, 'heard').map((one) => [one.origin, one]));
  const isAsked = ({ origin }: { readonly origin: string }): boolean => asked.has(origin);
  const runs = Map.groupBy(known.runs().filter(isAsked), ({ origin }) => origin);
  const marks = Map.groupBy(watermarks.all().filter(isAsked), ({ origin }) => origin);
  const news: ExpiredRun[] = [];
  for (const one of asked.values())
    for (const run of newsOf(one, runs.get(one.origin) ?? [], marks.get(one.origin) ?? []))
      if (news.length < RUNS_MAX) news.push(run);
  await channel.send(encodeMessage(news));
  await channel.close();
}

function lastHeard({ remembered, watermarks }: Existing, origin: string): Asked['upTo'] {
  const last = new Map<number, number>();
  const note = (epoch: number, seq: number): void =>
    void last.set(epoch, Math.max(last.get(epoch) ?? 0, seq));
  for (const run of remembered) if (run.origin === origin) note(run.epoch, run.runs.at(-1)?.[1] ?? 0);
  for (const mark of watermarks) if (mark.origin === origin) note(mark.epoch, mark.durable);
  return [...last].sort(([a], [b]) => b - a).slice(0, EPOCHS_MAX);
}

/** What of each epoch comes after what the asker has heard of, as one run, the newest epoch first. */
function newsOf(
  { origin, upTo }: Asked,
  runs: readonly RunKnown[],
  marks: readonly Watermark[],
): ExpiredRun[] {
  const last = new Map(upTo);
  const oldest = Math.min(...last.keys());
  /** Of epochs before those that it named it knows all that it will. */
  const afterIn = (epoch: number): number =>
    last.get(epoch) ?? (last.size === EPOCHS_MAX && epoch < oldest ? Infinity : 0);
  const news = new Map<number, ExpiredRun>();
  for (const run of runs) {
    const after = afterIn(run.epoch);
    // Mostly the asker has heard of all.
    const one = (run.runs.at(-1)?.[1] ?? 0) > after && joined(rememberedOf(run), after);
    if (one) news.set(run.epoch, { origin, epoch: run.epoch, ...one });
  }
  for (const { epoch, durable } of marks) {
    const from = afterIn(epoch) + 1;
    if (durable >= from && durable > (news.get(epoch)?.to ?? 0))
      news.set(epoch, { origin, epoch, from, to: durable, ...ANY_TIME });
  }
  return [...news.values()].sort((a, b) => b.epoch - a.epoch);
}

/** From behind `after` to the last of them; where not all in between is known, it may be of any time. */
function joined(parts: readonly GoneRun[], after: number): GoneRun | undefined {
  const from = after + 1;
  const behind = parts.filter(({ to }) => to > after);
  const runs = joinGone(
    behind.map(({ from: first, to, min, max }) => ({ from: Math.max(first, from), to, min, max })),
  );
  const last = runs.at(-1);
  if (!last) return undefined;
  return runs.length === 1 && last.from === from ? last : { from, to: last.to, ...ANY_TIME };
}
