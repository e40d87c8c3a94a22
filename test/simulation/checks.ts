import { crc32 } from 'node:zlib';
import { LIMITS, segmentName, type SealedBatch, type Segment } from '../../src/store/index.ts';
import { isOfTheMesh } from './asking.ts';
import type { Cluster } from './cluster.ts';
import { batchesIn, durableBatches, textsIn, type StoredBatch } from './disk-image.ts';
import type { SimHost, SimProcess } from './host.ts';
import type { Line } from './ledger.ts';
import { sourceOf } from './tail.ts';
import { Taken, type Copies } from './taken.ts';

const pathOf = ({ origin, epoch, index }: { origin: string; epoch: number; index: number }): string =>
  `/data/segments/${origin}/${epoch}-${index}.seg`;

/** A segment's file, also under the name that it gets before it goes while the disk is full. */
const isOfSegment = (path: string): boolean => path.endsWith('.seg') || path.includes('.gone_');

/** After a write that went wrong, until it is known what is lost by it. */
export const ACCOUNT_MS = 5_000;
/** Until the scrub has been over everything. */
const NOTICE_MS = 180_000;
/** From when somebody else hears of a batch until all have. */
const HEARD_MS = 5_000;
const CLOCK_ROUNDING_MS = 2_000;
/** From a decision of retention to the last removal that follows from it. */
const DECISION_MS = 10_000;
/** From the last look of a peer that leaves at what others have, until it has gone. */
const LOOKED_MS = 5_000;

const NO_COPIES: Copies = { holders: new Set(), taken: new Set() };

/** Whether a node that is up knows that a batch exists. */
function hasHeardOf({ core }: SimHost, id: string): boolean {
  if (!core) return false;
  const [origin = '', epoch, seq] = id.split('/');
  const { watermarks, repairer } = core;
  if ((watermarks.marks.get(origin, Number(epoch))?.durable ?? 0) >= Number(seq)) return true;
  const holdings = [...repairer.known.all()].map(([, holding]) => holding);
  return holdings.some(
    (one) =>
      one.origin === origin &&
      one.epoch === Number(epoch) &&
      one.runs.some(([from, to]) => from <= Number(seq) && Number(seq) <= to),
  );
}

/** When a node began to leave, and what was on its disk. */
export interface Leaves {
  readonly atMs: number;
  readonly held: ReadonlySet<string>;
}

/**
 * The invariants that hold at every moment, checked where they could break: at each acknowledgement (I1, I2, I3, I7), at
 * each removal of bytes (I8), at each look at the disks (I1, I4). They know nothing of what faults are under way but
 * which disks were harmed.
 */
export class Checks {
  readonly #cluster: Cluster;
  /** Checksum of every batch ever seen, by id: one id, one sequence of bytes (I1, I4). */
  readonly #contents = new Map<string, number>();
  /** Acknowledged batches, and the file that each is in. */
  readonly acknowledgedBatches = new Map<string, string>();
  /** Batches that retention has dropped from a disk: others may drop theirs, or keep them for a while. */
  readonly expired = new Set<string>();
  /** Batches that faults took from every disk. */
  readonly lost = new Set<string>();
  /** What faults took from which disk. */
  readonly #taken = new Taken();
  /** Batches that a fault took from a disk while only those that had them knew of them; when others were first seen to know, too. */
  readonly #unheard = new Map<string, { readonly knewIt: ReadonlySet<SimHost>; heardMs: number }>();
  /** Host and batch: a write of it went wrong there. */
  readonly #astray = new Set<string>();
  readonly #astrayMs: number[] = [];
  readonly #astrayBytes = new Map<SimHost, number>();
  /** Files that a host removed lately. */
  readonly #gone = new Map<SimHost, { atMs: number; bytes: number }[]>();
  /** Files that such a batch was in: what follows it may name its streams by it, and be of no use without. */
  readonly pathsOfLost = new Set<string>();
  /** Each batch that was on a disk when it was harmed, acknowledged or not, and its file. */
  readonly #harmed = new Map<string, { path: string; batch: StoredBatch }>();
  /** Batch → hosts whose retention has dropped it, and when. */
  readonly #expiredBy = new Map<string, Map<SimHost, number>>();
  /** Batches that retention dropped last from a disk that was put back to an older state since. */
  readonly #forgotten = new Set<string>();

  constructor(cluster: Cluster) {
    this.#cluster = cluster;
  }

  watch(host: SimHost): void {
    host.disk.beforeLoss = (path, newSize) => this.#beforeLoss(host, path, newSize);
  }

  #seen(id: string, checksum: number, where: string): void {
    const known = this.#contents.get(id);
    if (known === undefined) this.#contents.set(id, checksum);
    else if (known !== checksum) {
      this.#cluster.story.violated('I1', `batch ${id} has two contents; the second one is ${where}`, [id]);
    }
  }

  /** The replicator of `host` calls a batch acknowledged, at this very moment. */
  acknowledged(host: SimHost, process: SimProcess, batch: SealedBatch): void {
    const { story, ledger, clock, settings, hosts } = this.#cluster;
    const { id, record } = batch.segment;
    const name = `${id.origin}/${id.epoch}/${batch.seq}`;
    const frame = Buffer.concat(batch.frame);
    const path = pathOf(id);
    this.#seen(name, crc32(frame), `sealed by ${host.name}`);
    this.#noteHeard();
    this.acknowledgedBatches.set(name, path);
    const holds = (other: SimHost): boolean => other.disk.durableOf(path)?.includes(frame) === true;
    const holders = hosts.filter((other) => !other.retired && holds(other));
    const names = holders.map((holder) => holder.name).join(' ');
    story.tell(host.name, `acknowledged ${name} (${batch.entries} lines), durable on ${names}`);
    // A disk that lost something to a fault since the batch was sealed may have had it when it said so.
    // One that was wiped may have it again, under another identity than the one that said so.
    const harmed = hosts.filter(
      (other) => this.wasHarmed(other) && (!holders.includes(other) || other.identitiesLost > 0),
    );
    if (!holders.includes(host) && !harmed.includes(host)) {
      story.violated('I2', `${name} is acknowledged, and not on the disk of its origin ${host.name}`, [name]);
    }
    // An owner that was away for long is replaced by the peer that repaired around it; the origin counts as owner, or when the
    // segment is closed.
    const isOpen = process.core!.store.openSegment === batch.segment;
    const counted = holders.filter(
      (other) => other !== host || !isOpen || record.owners.includes(host.peer!),
    );
    const wanted = Math.min(settings.ack, process.core!.membership.members().length);
    // An owner may have had it, said so, and dropped it for want of room before the origin heard of enough others.
    if (counted.length + harmed.length < wanted && !this.expired.has(name)) {
      const owners = record.owners.map((peer) => this.#cluster.nameOf(peer)).join(' ');
      const message = `${name} is acknowledged with ${counted.length} of ${wanted} disks of its owners ${owners}`;
      story.violated('I2', message, [name]);
    }
    if (batch.seq > process.sealedAtSyncError) {
      story.violated(
        'I7',
        `${name} was sealed after an fsync of ${host.name} had failed, and is acknowledged`,
        [name],
      );
    }
    for (const { source, position } of batch.sources) {
      if (source !== sourceOf(host.file)) continue;
      const to = Number(position);
      if (to < process.acknowledgedTo) story.violated('I3', `${source} goes back to ${to}`, [name]);
      for (const line of ledger.linesOf(host.file).slice(process.acknowledgedTo, to)) {
        ledger.acknowledge(line, clock.monotonicMs(), !isOfTheMesh(this.#cluster, host));
      }
      process.acknowledgedTo = Math.max(process.acknowledgedTo, to);
    }
  }

  /** Hosts on whose disk a batch is, whole and durable. */
  holdersOf(id: string, path: string): SimHost[] {
    return this.#cluster.present.filter((host) => this.#has(host, id, path));
  }

  /**
   * Where an acknowledged line is; and whether at that moment only those knew of it that had it, after a fault had taken one of the
   * copies: then all W may be out of reach, though fewer seem to be.
   */
  copiesOf(line: Line): { holders: SimHost[]; isUnheard: (atMs: number) => boolean } {
    const holders: SimHost[] = [];
    let heardMs = -Infinity;
    for (const host of this.#cluster.present) {
      for (const [, { id, bytes }] of durableBatches(host.disk)) {
        if (!textsIn(bytes).includes(line.text)) continue;
        holders.push(host);
        heardMs = Math.max(heardMs, this.#unheard.get(id)?.heardMs ?? -Infinity);
      }
    }
    return { holders, isUnheard: (atMs) => atMs < heardMs + HEARD_MS };
  }

  #has(host: SimHost, id: string, path: string): boolean {
    const content = host.disk.durableOf(path);
    return content !== undefined && batchesIn(content).has(id);
  }

  /** What a fault took from a disk just now, its node may still believe to have, or have confirmed before. */
  #othersWith(host: SimHost, id: string, path: string): SimHost[] {
    const has = (other: SimHost): boolean =>
      (!other.retired && this.#has(other, id, path)) || this.wasHarmed(other);
    return this.#cluster.hosts.filter((other) => other !== host && has(other));
  }

  /** Whether a disk lost something to a fault so lately that its node may not have noticed. */
  wasHarmed(host: SimHost): boolean {
    return host.harmedMs >= this.#cluster.clock.monotonicMs() - NOTICE_MS;
  }

  /** A running node removes bytes on its own account. */
  #beforeLoss(host: SimHost, name: string, newSize: number): void {
    if (!isOfSegment(name)) return;
    const { story, settings, present, clock } = this.#cluster;
    const content = host.disk.durableOf(name);
    if (!content) return;
    // What a write that went astray has hidden from the node, it cannot keep.
    const seen = batchesIn(host.disk.file(name).content);
    const path = name.replace(/\.gone_[^/]*$/, '.seg');
    const batches = [...batchesIn(content).values()].filter(
      ({ id, offset, bytes }) => offset + bytes.length > newSize && seen.has(id),
    );
    const harmed = [...this.#harmed.values()].flatMap((one) => (one.path === path ? [one.batch] : []));
    // Where all is rotten, the node knows what was in it.
    const mayExpire = newSize === 0 && this.#mayExpire(host, batches.length > 0 ? batches : harmed);
    if (newSize === 0) {
      const atMs = clock.monotonicMs();
      const lately = (this.#gone.get(host) ?? []).filter((one) => atMs - one.atMs < DECISION_MS);
      this.#gone.set(host, [...lately, { atMs, bytes: content.length }]);
    }
    if (mayExpire) {
      const damaged = this.#taken.now(present);
      for (const batch of batches) {
        // What hides behind rot, its node does not know to have had.
        const isKnown = damaged.get(batch.id)?.taken.has(host) !== true;
        this.#expire(batch, isKnown ? host : undefined);
      }
      // Of what has rotted and nobody has noticed yet, the node believes that it has it, and drops it as well.
      for (const batch of harmed) this.#expire(batch);
      return;
    }
    // What follows a hole at the end of an origin's own file looks as if it had never been sent: see `tornOffset`.
    const isOwn = path.startsWith(`/data/segments/${host.peer}/`) && !host.process?.ready;
    const isTornOwn = isOwn && batches.every(({ offset }) => offset !== newSize);
    for (const batch of batches) {
      const { id } = batch;
      if (this.expired.has(id)) continue;
      const others = this.#othersWith(host, id, path);
      const kept = isTornOwn ? settings.ack - 1 : settings.replicas;
      const wanted = Math.min(kept, present.length - 1);
      if (others.length < wanted && this.acknowledgedBatches.has(id)) {
        story.violated('I8', `${host.name} drops ${id}, which ${others.length} other disks have`, [id]);
      }
      // A fault took the others since they confirmed theirs.
      if (!isTornOwn && !others.some((other) => this.#has(other, id, path))) this.#lose(path, batch);
    }
  }

  /**
   * Whether retention has a reason to drop a file: every batch in it has passed the age, as far as clocks are right, or the
   * node has more than it may keep. What others still have enough copies of is surplus, and owed as before.
   */
  #mayExpire(host: SimHost, batches: readonly StoredBatch[]): boolean {
    const { settings, clock, ledger } = this.#cluster;
    const { keptMsMax = Infinity, keptBytesMax = Infinity } = settings;
    // A clock that is ahead is only found out when it is far ahead; one that was behind gave the file too old a date.
    const aheadMs = Math.max(0, host.clock.nowMs() - clock.nowMs());
    const clockErrorMs = Math.min(aheadMs, LIMITS.clockSkewMsMax) + host.clockBehindMsMax + CLOCK_ROUNDING_MS;
    const latestMs = clock.monotonicMs() - keptMsMax + clockErrorMs;
    const isOld = ({ bytes }: StoredBatch): boolean =>
      textsIn(bytes).every((text) => (ledger.find(text)?.writtenMs ?? -Infinity) <= latestMs);
    if (batches.length > 0 && keptMsMax < Infinity && batches.every(isOld)) return true;
    // What a write that went wrong brought to no file, its node still believes to store.
    let stored = this.#astrayBytes.get(host) ?? 0;
    // What went since retention had made up its mind: surplus, or, on a full disk, others' segments before older ones of its own.
    for (const { atMs, bytes } of this.#gone.get(host) ?? [])
      if (clock.monotonicMs() - atMs < DECISION_MS) stored += bytes;
    for (const path of host.disk.files()) {
      if (isOfSegment(path)) stored += host.disk.file(path).content.length;
    }
    return stored > keptBytesMax;
  }

  /** `by`: who remembers that it did. */
  #expire({ id, bytes }: StoredBatch, by?: SimHost): void {
    const nowMs = this.#cluster.clock.monotonicMs();
    if (by) this.#expiredBy.set(id, (this.#expiredBy.get(id) ?? new Map()).set(by, nowMs));
    if (this.expired.has(id)) return;
    this.expired.add(id);
    for (const text of textsIn(bytes)) {
      const line = this.#cluster.ledger.find(text);
      if (line) line.expired = true;
    }
  }

  /** Whether a batch is in a file that lost one: what was sealed into it later may be of no use without, acknowledged or not. */
  isOfLostFile(id: string): boolean {
    const path = this.acknowledgedBatches.get(id) ?? this.#harmed.get(id)?.path;
    if (path !== undefined) return this.pathsOfLost.has(path);
    return [...this.pathsOfLost].some((lost) => this.holdersOf(id, lost).length > 0);
  }

  /** Nobody is left who remembers that retention dropped a batch: they are gone for good, or did not know that they had it. */
  isExpiryForgotten(id: string): boolean {
    const by = [...(this.#expiredBy.get(id)?.keys() ?? [])];
    if (this.#forgotten.has(id)) return true;
    return this.expired.has(id) && by.every(({ retired, identitiesLost }) => retired || identitiesLost > 0);
  }

  /** The disk of a host is as it was then: what its retention has dropped since it does not know. Others may have let go of surplus. */
  setBack(host: SimHost, toMs: number): void {
    for (const [id, by] of this.#expiredBy) {
      const droppedMs = by.get(host) ?? -Infinity;
      if (droppedMs > toMs && [...by.values()].every((ms) => ms <= droppedMs)) this.#forgotten.add(id);
    }
  }

  /** To be called when a node begins to leave. */
  leaving({ disk }: SimHost): Leaves {
    const held = new Set([...durableBatches(disk)].map(([, { id }]) => id));
    return { atMs: this.#cluster.clock.monotonicMs(), held };
  }

  /** A node has proved that others have all that it has. */
  handedOver(host: SimHost, leaves: Leaves): void {
    const { story, settings, present } = this.#cluster;
    // Those that have been out of its reach for the repair delay are not waited for, nor those that said
    // that they leave, too, nor those that came back when it had looked.
    const nowMs = host.process!.clock.monotonicMs();
    const inReach = host
      .process!.core!.membership.members()
      .filter(
        ({ peer, state, stateSinceMs, leaving }) =>
          peer !== host.peer &&
          !leaving &&
          ((state === 'alive' && nowMs - stateSinceMs > LOOKED_MS) ||
            state === 'suspect' ||
            (state === 'dead' && nowMs - stateSinceMs < settings.repairDelayMs)),
      );
    const staying = Math.min(present.filter((other) => other !== host).length, inReach.length);
    for (const [path, batch] of durableBatches(host.disk)) {
      const { id } = batch;
      if (!this.acknowledgedBatches.has(id)) continue;
      const others = this.#othersWith(host, id, path);
      // A fault took the others since they confirmed theirs.
      if (!this.expired.has(id) && !others.some((other) => this.#has(other, id, path)))
        this.#lose(path, batch);
      if (others.length >= Math.min(settings.replicas, staying)) continue;
      // A fault took its copy: it was fetched anew as it went, at most.
      const takenMs = this.#taken.atMs(host, path, id) ?? -Infinity;
      if (this.expired.has(id) || takenMs >= leaves.atMs || (takenMs > -Infinity && !leaves.held.has(id)))
        continue;
      story.violated('I8', `${host.name} leaves ${id} behind on ${others.length} disks`, [id]);
    }
  }

  /** Does something to a disk that may destroy what is on it, and notes what is then nowhere any more. */
  harm(host: SimHost, what: string, harm: () => void): void {
    const account = this.beforeHarm(host, what);
    harm();
    account();
  }

  /** Lines acknowledged after this may be in writes that went wrong on W disks at once, of which no account is taken yet. */
  get doubtfulSinceMs(): number {
    const fromMs = this.#cluster.clock.monotonicMs() - ACCOUNT_MS;
    const recent = this.#astrayMs.filter((atMs) => atMs >= fromMs);
    return recent.length >= this.#cluster.settings.ack ? recent[0]! : Infinity;
  }

  /** As `harm`, for what comes about later: to be called when it has. */
  beforeHarm(host: SimHost, what: string, underWay?: { path: string; bytes: Buffer }): () => void {
    const { story, clock } = this.#cluster;
    const before = new Map<string, { path: string; batch: StoredBatch }>();
    for (const [path, batch] of durableBatches(host.disk)) {
      before.set(batch.id, { path, batch: { ...batch, bytes: Buffer.from(batch.bytes) } });
    }
    // A write that comes to nothing is a batch that its node believes to have.
    for (const batch of underWay ? batchesIn(underWay.bytes).values() : []) {
      this.#astray.add(`${host.name} ${batch.id}`);
      this.#astrayMs.push(clock.monotonicMs());
      this.#taken.note(host, underWay!.path, batch.id, clock.monotonicMs());
      this.#astrayBytes.set(host, (this.#astrayBytes.get(host) ?? 0) + batch.bytes.length);
      before.set(batch.id, { path: underWay!.path, batch });
    }
    story.headline(host.name, what);
    host.harmedMs = clock.monotonicMs();
    host.hasHole = true;
    return () => this.#accountFor(host, before);
  }

  #accountFor(host: SimHost, before: ReadonlyMap<string, { path: string; batch: StoredBatch }>): void {
    const { story, clock, present } = this.#cluster;
    let lost = 0;
    for (const [id, { path, batch }] of before) {
      this.#harmed.set(id, { path, batch });
      if (!this.#has(host, id, path)) this.#taken.note(host, path, id, clock.monotonicMs());
    }
    const damaged = this.#taken.now(present);
    for (const id of before.keys()) {
      const { holders, taken } = damaged.get(id) ?? NO_COPIES;
      const knewIt = new Set([...holders, ...taken]);
      if (taken.has(host) && !this.#isHeardOf(id, knewIt))
        this.#unheard.set(id, { knewIt, heardMs: Infinity });
    }
    for (const [id, { path, batch }] of before) {
      const holders = [...(damaged.get(id)?.holders ?? this.holdersOf(id, path))];
      // Where it lies in a wrong place, its node will not find it.
      const sound = holders.filter(({ name }) => !this.#astray.has(`${name} ${id}`));
      if (sound.length > 0) continue;
      lost++;
      this.#lose(path, batch);
    }
    if (lost > 0) story.headline(host.name, `${lost} batches are on no disk any more`);
  }

  #lose(path: string, { id, bytes }: StoredBatch): void {
    this.lost.add(id);
    this.pathsOfLost.add(path);
    for (const text of textsIn(bytes)) {
      const line = this.#cluster.ledger.find(text);
      if (line) line.excused = true;
    }
  }

  /** Else a question would pass over its lines and call itself complete. */
  #areNamed(host: SimHost, { id, record: { batches, streams } }: Segment): void {
    for (const batch of batches) {
      if (batch.streams.every((stream) => streams[stream] !== undefined)) continue;
      const message = `${host.name} holds ${segmentName(id)} seq ${batch.seq} and does not know its streams`;
      this.#cluster.story.violated('I9', message, [host.name]);
    }
  }

  #isHeardOf(id: string, except: ReadonlySet<SimHost>): boolean {
    return this.#cluster.present.some((host) => !except.has(host) && hasHeardOf(host, id));
  }

  #noteHeard(): void {
    const nowMs = this.#cluster.clock.monotonicMs();
    for (const [id, unheard] of this.#unheard)
      if (unheard.heardMs === Infinity && this.#isHeardOf(id, unheard.knewIt)) unheard.heardMs = nowMs;
  }

  /** Looks at all disks: every id has one content everywhere (I1, I4), and whoever holds a batch knows its streams (I9). */
  disks(): void {
    for (const host of this.#cluster.present) {
      for (const segment of host.core?.store.segments() ?? []) this.#areNamed(host, segment);
      for (const [path, { id, checksum }] of durableBatches(host.disk)) {
        this.#seen(id, checksum, `in ${path} of ${host.name}`);
      }
    }
  }
}
