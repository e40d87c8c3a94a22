import {
  countRuns,
  LogvineError,
  messageOf,
  segmentName,
  subtractRuns,
  type Clock,
  type Run,
  type Store,
} from '../../store/index.ts';
import type { PeerId } from '../transport/index.ts';
import type { MeshView } from '../view.ts';
import type { Holding } from './inventory.ts';
import type { HoldingsKnown } from './knowledge.ts';

const PARALLEL = 8;
const PAUSE_MS = 50;

interface OwnRecovery {
  readonly clock: Clock;
  readonly view: MeshView;
  readonly store: Store;
  readonly known: HoldingsKnown;
  /** Members are waited for up to `findMs`; all of it takes no longer than `totalMs`. */
  readonly findMs: number;
  readonly totalMs: number;
  isClosed(): boolean;
  poll(peer: PeerId): Promise<void>;
  fetch(peer: PeerId, holding: Holding, missing: readonly Run[], signal: AbortSignal): Promise<void>;
  log(level: 'info' | 'warn', message: string): void;
}

/**
 * Brings back what others hold of this peer's earlier runs and it lost itself: a file that was cut, an older image of its
 * disk. To be waited for before anything is read on, else the lost lines would be read and sealed a second time. What has not come
 * when the time is over is left to repair.
 */
export async function recoverOwn(options: OwnRecovery): Promise<void> {
  const { clock, totalMs } = options;
  const over = new AbortController();
  const late = (): void =>
    over.abort(
      new LogvineError('LV_PEER_TIMEOUT', `not all came within ${totalMs} ms: reading goes on without`),
    );
  const timer = clock.after(totalMs, late);
  await askAll(options, over.signal).finally(() => timer.cancel());
}

async function askAll(options: OwnRecovery, signal: AbortSignal): Promise<void> {
  const { clock, view, findMs, totalMs } = options;
  const startedMs = clock.monotonicMs();
  const asked = new Set<PeerId>();
  const answered = new Set<PeerId>();
  options.log('info', 'asking the members of the mesh for what this peer may have lost');
  while (!options.isClosed()) {
    const others = view.members().filter(({ peer, state }) => peer !== view.self && state === 'alive');
    // Those that were not asked yet come first; who did not answer is asked again.
    const next = others
      .filter(({ peer }) => !answered.has(peer))
      .sort((a, b) => Number(asked.has(a.peer)) - Number(asked.has(b.peer)))
      .slice(0, PARALLEL);
    const elapsedMs = clock.monotonicMs() - startedMs;
    const isAllAsked = others.every(({ peer }) => asked.has(peer));
    if (isAllAsked && (answered.size > 0 || elapsedMs >= findMs)) return;
    if (signal.aborted) return;
    const polls = next.map(async ({ peer }) => {
      asked.add(peer);
      await options.poll(peer);
      answered.add(peer);
    });
    await within(clock, findMs, Promise.allSettled(polls));
    const leftMs = totalMs - (clock.monotonicMs() - startedMs);
    await within(clock, leftMs, fetchOwn(next, options, signal));
    await within(clock, PAUSE_MS, undefined);
  }
}

/** Waits for `done`, or for `ms`; without `done`, for `ms`. */
async function within(clock: Clock, ms: number, done: Promise<unknown> | undefined): Promise<void> {
  const over = Promise.withResolvers<void>();
  const timer = clock.after(ms, () => over.resolve());
  await Promise.race(done ? [done, over.promise] : [over.promise]);
  timer.cancel();
}

/**
 * From one after the other, since most of them hold the same; the newest first: reading goes on where the last batch says, also
 * when there is no time for all. Never rejects.
 */
async function fetchOwn(
  members: readonly { readonly peer: PeerId }[],
  options: OwnRecovery,
  signal: AbortSignal,
): Promise<void> {
  const { store, view, known, log } = options;
  const offered = members.flatMap(({ peer }) => [...known.of(peer)].map((holding) => ({ peer, holding })));
  offered.sort(({ holding: a }, { holding: b }) => b.epoch - a.epoch || b.index - a.index);
  for (const { peer, holding } of offered) {
    if (signal.aborted || options.isClosed()) return;
    // Of this run, which has sealed nothing yet, or a later one, what comes is not kept, but tells the store of it.
    if (holding.origin !== view.self || store.isReleased(holding)) continue;
    const missing = subtractRuns(holding.runs, store.segment(holding)?.intervals() ?? []);
    if (missing.length === 0) continue;
    const what = `${countRuns(missing)} own batches of ${segmentName(holding)}`;
    log('warn', `${what} are lost here and fetched from ${peer}`);
    await options.fetch(peer, holding, missing, signal).catch((error: unknown) => {
      log('warn', `${what} did not come from ${peer}: ${messageOf(error)}`);
    });
  }
}
