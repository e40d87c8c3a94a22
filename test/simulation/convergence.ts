import type { Receipt } from '../../src/gossip/index.ts';
import { ask, checkAnswer, EVERYTHING, type Answer } from './asking.ts';
import type { Cluster } from './cluster.ts';
import { batchesIn } from './disk-image.ts';
import type { SimHost } from './host.ts';

/** How long after the last fault everything must be as if there had been none. */
const CONVERGENCE_MS = 600_000;
const LOOK_EVERY_MS = 5_000;

/** Why the mesh has not settled yet, or undefined: members agreed (M3), every batch on k disks (I2), no debt. */
function unsettled(cluster: Cluster): { invariant: string; why: string; about: string[] } | undefined {
  const { present, settings, checks } = cluster;
  for (const host of present) {
    if (!host.core) return { invariant: 'up', why: `${host.name} is not up`, about: [host.name] };
  }
  const peers = new Set<string>(cluster.peersOf(present));
  for (const { name, core } of present) {
    const members = core!.membership.members();
    const alive = new Set<string>(members.filter(({ state }) => state === 'alive').map(({ peer }) => peer));
    const unseen = [...peers].filter((peer) => !alive.has(peer));
    const ghosts = [...alive].filter((peer) => !peers.has(peer));
    if (unseen.length + ghosts.length > 0) {
      const why = `${name} does not see ${unseen.map((peer) => cluster.nameOf(peer)).join(' ')}, and sees ${ghosts.map((peer) => cluster.nameOf(peer)).join(' ')} wrongly`;
      return { invariant: 'membership', why, about: [name] };
    }
  }
  const wanted = Math.min(settings.replicas, present.length);
  // Owners that have dropped a batch of a file cannot take nor confirm the rest; who has it keeps it until its own time.
  const isPartlyExpired = new Set([...checks.expired].map((id) => checks.acknowledgedBatches.get(id)));
  let surplus: ReturnType<typeof unsettled>;
  for (const [id, path] of checks.acknowledgedBatches) {
    if (checks.pathsOfLost.has(path) || isPartlyExpired.has(path)) continue;
    const holders = checks.holdersOf(id, path);
    const count = `${holders.length} disks, ${holders.map(({ name }) => name).join(' ')}, instead of ${wanted}`;
    const about = [id, path.split('/').slice(-2).join('/').replace('.seg', '')];
    if (holders.length < wanted) return { invariant: 'copies', why: `${id} is on ${count}`, about };
    // A copy that its node cannot read is none that it has to let go of, nor is one in a file with rot.
    const kept = holders.filter((host) => holdsReadable(host, id, path));
    if (kept.length > wanted && !checks.lost.size)
      surplus ??= { invariant: 'surplus', why: `${id} is on ${count}`, about };
  }
  // What follows a batch that is lost for good cannot be copied.
  for (const { name, core } of present) {
    const { room } = core!.space;
    if (room !== 'all') return { invariant: 'room', why: `${name} still takes ${room}`, about: [name] };
    const { failure } = core!.store.health;
    if (failure)
      return { invariant: 'health', why: `${name} is not well: ${failure.message}`, about: [name] };
  }
  for (const { name, core } of checks.lost.size > 0 ? [] : present) {
    const { batchesBelowK } = core!.repairer.debt();
    if (batchesBelowK > 0)
      return { invariant: 'debt', why: `${name} says ${batchesBelowK} batches are owed`, about: [name] };
  }
  return surplus;
}

/** Whether a node counts a batch among what it has, in a file without rot: one that refers to labels in a rotten one is of no use. */
function holdsReadable({ core }: SimHost, id: string, path: string): boolean {
  const [origin = '', epoch, seq] = id.split('/');
  const index = Number(/-(\d+)\.seg$/.exec(path)?.[1]);
  const segment = core?.store.segment({ origin, epoch: Number(epoch), index });
  return segment?.entry(Number(seq)) !== undefined && segment.record.quarantined.length === 0;
}

/** The operator does as the alarm says: the copy is gone, so the node that it stopped is restarted. */
function restartFenced(cluster: Cluster): void {
  for (const host of cluster.present) {
    const isFenced = host.core?.store.health.failure?.code === 'LV_IDENTITY_CONFLICT';
    if (isFenced && !host.twin) void cluster.stop(host);
  }
}

/** Waits until the mesh has settled, then asks every node for everything. */
export async function converge(cluster: Cluster): Promise<void> {
  const { clock, story } = cluster;
  const startedMs = clock.monotonicMs();
  for (const host of cluster.present) if (!host.isUp) cluster.start(host);
  let reason = unsettled(cluster);
  for (let calm = 0; calm < 2;) {
    if (!(await cluster.advance(LOOK_EVERY_MS))) return;
    restartFenced(cluster);
    reason = unsettled(cluster);
    calm = reason ? 0 : calm + 1;
    if (reason && clock.monotonicMs() - startedMs > CONVERGENCE_MS) {
      const { invariant, why, about } = reason;
      story.violated(
        `convergence (${invariant})`,
        `${why}, ${CONVERGENCE_MS / 1000} s after the last fault`,
        about,
      );
      return;
    }
  }
  story.tell('checker', `settled after ${clock.monotonicMs() - startedMs} ms`);
  cluster.checks.disks();
  await askEveryone(cluster);
}

const batchIdsOf = ({ origin, epoch, fromSeq, toSeq }: Receipt['missing'][number]): string[] =>
  Array.from({ length: toSeq - fromSeq + 1 }, (_, at) => `${origin}/${epoch}/${fromSeq + at}`);

/**
 * The answer of a node, and when it was asked; again if a node went down meanwhile, for a restart that the mesh told it to make,
 * or the last one of a series. Undefined once something is violated, and when it has left for good.
 */
export async function askSurely(
  cluster: Cluster,
  host: SimHost,
): Promise<[askedMs: number, answer: Answer] | undefined> {
  const { clock } = cluster;
  while (!host.retired) {
    const present = cluster.present.filter(({ heldDown }) => !heldDown);
    while (!present.every(({ isUp }) => isUp)) if (!(await cluster.advance(1_000))) return undefined;
    const before = present.map(({ process: one }) => one);
    const askedMs = clock.monotonicMs();
    const { process } = host;
    const ended = new Promise<undefined>((resolve) => {
      const look = (): void => (process?.alive ? void clock.after(1_000, look) : resolve(undefined));
      look();
    });
    const answer = await clock.run(Promise.race([ask(cluster, host, EVERYTHING), ended]));
    const haveStayed = present.every(({ isUp, process: one }, at) => isUp && one === before[at]);
    if (answer && (haveStayed || answer.receipt.complete)) return [askedMs, answer];
  }
  return undefined;
}

async function askEveryone(cluster: Cluster): Promise<void> {
  const { story, checks } = cluster;
  for (const host of cluster.present) {
    let told = await askSurely(cluster, host);
    if (told?.[1].receipt.missing.some((run) => batchIdsOf(run).some((id) => checks.expired.has(id)))) {
      // Retention was faster than the query.
      await cluster.advance(LOOK_EVERY_MS);
      told = await askSurely(cluster, host);
    }
    if (!told) continue;
    const [askedMs, answer] = told;
    checkAnswer(cluster, host, EVERYTHING, answer, askedMs);
    const { receipt } = answer;
    story.tell(host.name, `final answer: ${answer.rows.length} lines, complete ${receipt.complete}`);
    if (receipt.complete) continue;
    const missing = receipt.missing.filter((run) =>
      batchIdsOf(run).some(
        (id) => !checks.lost.has(id) && !checks.isOfLostFile(id) && !checks.isExpiryForgotten(id),
      ),
    );
    // Members that went without a word are expected back, and so are those that left and nobody remembers it.
    const isForgotten = ({ peer, leftMs, leftUnnoticed }: SimHost): boolean =>
      leftUnnoticed || (leftMs !== undefined && host.core?.membership.member(peer!)?.state !== 'left');
    const expectedBack = cluster.hosts.filter(isForgotten).length;
    const gone = cluster.hosts.reduce((sum, { identitiesLost }) => sum + identitiesLost, expectedBack);
    if (missing.length === 0 && (receipt.silent.length === 0 || gone >= cluster.settings.ack)) continue;
    const what = JSON.stringify({ missing: missing.slice(0, 3), silent: receipt.silent });
    const about = missing.map(({ origin, epoch, fromSeq }) => `${origin}/${epoch}/${fromSeq}`);
    story.violated('I9', `${host.name} calls its answer incomplete although all is well: ${what}`, about);
  }
}

/** Sizes that must not grow with time. */
export function checkBounds(cluster: Cluster): void {
  const { story, present, clock, network } = cluster;
  const hosts = cluster.hosts.length;
  if (clock.pending > 400 * hosts) story.violated('bounds', `${clock.pending} timers are armed`);
  for (const { name } of present) {
    const open = network.transports.get(name)?.openChannels ?? 0;
    if (open > 40 * hosts) story.violated('bounds', `${name} has ${open} channels open`, [name]);
  }
  for (const { name, disk } of present) {
    for (const path of disk.files()) {
      if (path.endsWith('.seg') && batchesIn(disk.file(path).content).size > 100_000)
        story.violated('bounds', `${path} of ${name} has too many batches`);
    }
  }
}
