import { placeableUp, placeOn, standingLosses, type Member } from '../gossip/index.ts';
import { ExpiredRuns, ROOM_TEXT, segmentName, type Clock } from '../store/index.ts';
import {
  batchConflictProblems,
  clockProblems,
  identityProblems,
  INTRODUCTION_PROBLEM,
  leftOutText,
  lossProblems,
  memoryProblems,
  peerProblems,
  vanishedText,
} from './alarms.ts';
import type { Core } from './core.ts';
import type { Input } from './inputs/index.ts';
import type { Status } from './status.ts';
import { VERSION } from './version.ts';

const SHARE_SAMPLES = 2000;
const RATE_WINDOW_MS = 5000;
/** What is held and known is looked through at most this often. */
const LOOK_EVERY_MS = 2000;

export interface ReporterOptions {
  readonly clock: Clock;
  readonly core: Core;
  readonly replicas: number;
  /** The data directory. */
  readonly directory: string;
  /** Addresses of the mesh to join. */
  readonly seeds: readonly string[];
  inputs(): readonly Input[];
}

interface LookedThrough {
  readonly atMs: number;
  readonly toFetch: Status['upkeep']['toFetch'];
  /** On no disk that is known to have them. */
  readonly batchesNowhere: number;
}

/** Puts the status together. */
export class Reporter {
  readonly #options: ReporterOptions;
  readonly #startedMs: number;
  #lookedThrough: LookedThrough | undefined;
  #rate = { atMs: 0, bytes: 0, perSecond: 0 };
  #shares: { members: readonly Member[]; of: Map<string, number> } | undefined;

  constructor(options: ReporterOptions) {
    this.#options = options;
    this.#startedMs = options.clock.monotonicMs();
  }

  status(): Status {
    const { clock, core } = this.#options;
    const { store, membership, replicator, repairer, watermarks, batcher } = core;
    const inputs = this.#options.inputs().flatMap((input) => input.status());
    const debt = repairer.debt();
    const cpu = process.cpuUsage();
    return {
      peer: membership.self,
      version: VERSION,
      uptimeSeconds: Math.round((clock.monotonicMs() - this.#startedMs) / 1000),
      epoch: store.epoch,
      members: this.#members(),
      replication: {
        k: this.#options.replicas,
        w: replicator.quorum,
        ...debt,
        unacknowledgedBytes: replicator.unacknowledgedBytes,
        repairedBytes: repairer.fetchedBytes,
      },
      store: { ...store.totals },
      upkeep: this.#upkeep(),
      origins: watermarks.marks.latest().map(({ origin, epoch, sealed, durable }) => ({
        peer: origin,
        epoch,
        sealedSeq: sealed,
        durableSeq: durable,
      })),
      inputs,
      ingest: { bytesTaken: batcher.bytesTaken, bytesPerSecond: this.#bytesPerSecond() },
      process: { rssBytes: process.memoryUsage.rss(), cpuSeconds: (cpu.user + cpu.system) / 1e6 },
      problems: this.#problems(debt.batchesBelowK, inputs),
    };
  }

  #upkeep(): Status['upkeep'] {
    const { core } = this.#options;
    const { freeBytes, room } = core.space;
    return {
      toFetch: this.#lookThrough().toFetch,
      surplusDroppedBytes: core.dropper.droppedBytes,
      expiredBytes: core.retention.expiredBytes,
      scrub: { ...core.scrubber.done },
      disk: { freeBytes: Number.isFinite(freeBytes) ? freeBytes : null, room },
    };
  }

  /** What takes a look at everything that is held or known. */
  #lookThrough(): LookedThrough {
    const { clock, core } = this.#options;
    const nowMs = clock.monotonicMs();
    if (this.#lookedThrough && nowMs - this.#lookedThrough.atMs < LOOK_EVERY_MS) return this.#lookedThrough;
    const { store, repairer, membership } = core;
    const { batches, bytes, seconds } = repairer.backlog();
    const lost = new ExpiredRuns();
    const members = membership.members();
    lost.add(standingLosses(store.dropped.losses, members).runs);
    const remembered = new Set(members.map(({ peer }) => peer));
    const batchesNowhere = repairer.known.countNowhere(store, remembered, lost);
    const toFetch = { batches, bytes, seconds: seconds ?? null };
    return (this.#lookedThrough = { atMs: nowMs, toFetch, batchesNowhere });
  }

  /** Says so while no peer of the mesh to join has answered. */
  seedsUnanswered(): string | undefined {
    const { core, seeds } = this.#options;
    const { membership } = core;
    if (seeds.length === 0 || membership.members().length > 1) return undefined;
    return `no peer to join has answered (${seeds.join(', ')}): is it up, and does it hold the same secret?`;
  }

  #members(): Status['members'] {
    const { membership, repairer, store } = this.#options.core;
    const members = membership.members();
    const shares = this.#sharesOf(members);
    return members.map((member) => {
      const isSelf = member.peer === membership.self;
      const heldBytes = isSelf ? store.totals.storedBytes : repairer.known.bytesOf(member.peer);
      const { peer, zone, weight, epoch, http, addresses, version } = member;
      const state = member.leaving && member.state === 'alive' ? 'leaving' : member.state;
      return {
        peer,
        state,
        zone,
        weight,
        epoch,
        http,
        mesh: addresses,
        version,
        share: shares.get(peer) ?? 0,
        heldBytes,
        clockSkewMs: membership.clockSkewMs(peer) ?? null,
      };
    });
  }

  /** Measured over sampled segments, so that zones and weights are in it as they really work. */
  #sharesOf(members: readonly Member[]): Map<string, number> {
    if (this.#shares?.members === members) return this.#shares.of;
    const alive = placeableUp(members);
    const counts = new Map<string, number>();
    let total = 0;
    for (let sample = 0; sample < SHARE_SAMPLES; sample++) {
      const id = segmentName({ origin: 'sample', epoch: 0, index: sample });
      for (const peer of placeOn(id, alive, this.#options.replicas)) {
        counts.set(peer, (counts.get(peer) ?? 0) + 1);
        total++;
      }
    }
    const of = new Map([...counts].map(([peer, count]) => [peer, count / total]));
    this.#shares = { members, of };
    return of;
  }

  #bytesPerSecond(): number {
    const now = this.#options.clock.monotonicMs();
    const bytes = this.#options.core.batcher.bytesTaken;
    const elapsedMs = now - this.#rate.atMs;
    if (elapsedMs >= RATE_WINDOW_MS || (elapsedMs >= 1000 && this.#rate.perSecond === 0)) {
      this.#rate = {
        atMs: now,
        bytes,
        perSecond: Math.round(((bytes - this.#rate.bytes) / elapsedMs) * 1000),
      };
    }
    return this.#rate.perSecond;
  }

  #problems(batchesBelowK: number, inputs: Status['inputs']): Status['problems'] {
    const { store, membership, replicator } = this.#options.core;
    const problems: { code: string; message: string }[] = [];
    const failure = store.health.failure ?? this.#options.core.batcher.failure;
    const identities = [
      ...identityProblems(membership.identityConflicts(), {
        peer: membership.self,
        epoch: store.epoch,
        directory: this.#options.directory,
      }),
    ];
    problems.push(...identities);
    if (failure) {
      const code = (failure as { code?: string }).code ?? 'LV_DATA_UNSAFE';
      // Said above, with both addresses, for as long as the other one is heard.
      const isSaid = code === 'LV_IDENTITY_CONFLICT' && identities.length > 0;
      if (!isSaid) problems.push({ code, message: `nothing more is stored here: ${failure.message}` });
    }
    const { diskFull } = store;
    if (diskFull) problems.push({ code: diskFull.code, message: diskFull.message });
    problems.push(...memoryProblems(store.streams.size, store.totals.batches));
    const { leftOut } = this.#options.core.watermarks;
    if (leftOut > 0) problems.push({ code: 'LV_OVERLOADED', message: leftOutText(leftOut) });
    const { leftOut: vanished } = this.#options.core.repairer.known.vanished;
    if (vanished > 0) problems.push({ code: 'LV_OVERLOADED', message: vanishedText(vanished) });
    const { room } = this.#options.core.space;
    if (room !== 'all')
      problems.push({ code: 'LV_DISK_FULL', message: `the disk is filling up: ${ROOM_TEXT[room]}` });
    problems.push(...lossProblems(this.#lookThrough().batchesNowhere));
    problems.push(...batchConflictProblems(store.conflicts));
    const members = membership.members();
    problems.push(...clockProblems(members, membership.self, (peer) => membership.clockSkewMs(peer)));
    const lonely = this.seedsUnanswered();
    if (lonely) problems.push({ code: 'LV_PEER_UNREACHABLE', message: lonely });
    else if (!membership.isIntroduced()) problems.push(INTRODUCTION_PROBLEM);
    const lost = standingLosses(store.dropped.losses, members).peers;
    problems.push(...peerProblems(members, lost, replicator.quorum, batchesBelowK));
    for (const { path, problem } of inputs) {
      if (problem) problems.push({ code: 'LV_INPUT_UNREADABLE', message: `${path}: ${problem}` });
    }
    return problems;
  }
}
