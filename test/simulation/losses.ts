import { checkAnswer, EVERYTHING, type Answer } from './asking.ts';
import type { Chance } from './chance.ts';
import type { Cluster } from './cluster.ts';
import { askSurely, converge } from './convergence.ts';
import { durableBatches, streamsIn, textsIn } from './disk-image.ts';
import type { SimHost } from './host.ts';
import type { Line } from './ledger.ts';

/** Until members are given up, or back. */
const KNOWN_MS = 120_000;
const LOOK_EVERY_MS = 1_000;

/**
 * As many hosts as it takes to lose batches go away at once, and a person says that they never come back (docs/decisions/0014).
 * From then on each node's answer has to be complete and to hold all that is on the disks that are left, also after a restart. Then the
 * hosts come back after all, and nothing may be lost: neither in the answers while some are still away, nor at the end.
 */
export async function loseAndFind(cluster: Cluster, chance: Chance): Promise<void> {
  const { settings, story, present } = cluster;
  // An epoch that two had at once may have lines that only one of them knows of.
  if (cluster.twinsMs.length > 0 || present.length <= settings.ack) return;
  const shuffled = chance.shuffled(present);
  const away = shuffled.slice(0, settings.ack + chance.below(present.length - settings.ack));
  const left = shuffled.slice(away.length);
  for (const host of away) {
    host.heldDown = true;
    cluster.kill(host, 'power', 'goes away, for ever as it seems', 'lose');
  }
  const areGivenUp = (): boolean =>
    left.every((host) => away.every(({ peer }) => isDown(host.core?.membership.member(peer!)?.state)));
  if (!(await until(cluster, 'those that went away are not given up', areGivenUp))) return;

  // One that is alone and was restarted goes on searching for those that it is told to join: nobody would accept a loss there.
  if (!(await haveFound(cluster, left)) || !(await acceptLoss(cluster, chance.pick(left)))) return;
  await acceptWhereMissing(cluster, left);
  if (chance.hits(0.5)) {
    const host = chance.pick(left);
    cluster.kill(host, chance.hits(0.5) ? 'process' : 'power', 'after a loss was accepted');
    await acceptWhereMissing(cluster, left);
  }

  const [first, ...others] = away;
  story.headline('operator', `${first!.name} comes back after all`);
  cluster.start(first!);
  const isSeen = (): boolean =>
    left.every(({ core }) => core?.membership.member(first!.peer!)?.state === 'alive');
  if (!(await until(cluster, `${first!.name} is not seen again`, isSeen))) return;
  await askAll(cluster, [...left, first!], false);
  for (const host of others) cluster.start(host);
  await converge(cluster);
}

const isDown = (state: string | undefined): boolean => state === 'dead' || state === 'gone';

/**
 * A peer may know of batches that no other has heard of, or, after a power cut, know less of what has become of them: then its operator
 * looks there, too. After that all answers have to be complete.
 */
async function acceptWhereMissing(cluster: Cluster, hosts: readonly SimHost[]): Promise<void> {
  for (const host of hosts) {
    if (!(await haveFound(cluster, hosts))) return;
    const told = await askSurely(cluster, host);
    if (!told || (!told[1].receipt.complete && !(await acceptLoss(cluster, host)))) return;
  }
  if (await haveFound(cluster, hosts)) await askAll(cluster, hosts, true);
}

/** Waits until all of these are up and have found their mesh; false where one is alone, and in vain. */
async function haveFound(cluster: Cluster, hosts: readonly SimHost[]): Promise<boolean> {
  const have = (): boolean => hosts.every(({ core }) => core && !core.membership.isSearching());
  if (hosts.length > 1) return until(cluster, 'the others do not find each other', have);
  while (!hosts[0]!.isUp) if (!(await cluster.advance(LOOK_EVERY_MS))) return false;
  return have();
}

/** Lets time pass until it is so; false, and an invariant broken, when it does not come about. */
async function until(cluster: Cluster, unless: string, isSo: () => boolean): Promise<boolean> {
  const untilMs = cluster.clock.monotonicMs() + KNOWN_MS;
  while (!isSo()) {
    if (!(await cluster.advance(LOOK_EVERY_MS))) return false;
    if (cluster.clock.monotonicMs() <= untilMs) continue;
    cluster.story.violated('membership', unless);
    return false;
  }
  return true;
}

/** `logvine accept-loss --yes` at that host, for all that are down. False once something is violated. */
async function acceptLoss(cluster: Cluster, host: SimHost): Promise<boolean> {
  const { clock, story } = cluster;
  const core = host.core!;
  const neverBack = core.membership
    .members()
    .filter(({ state }) => isDown(state))
    .map(({ peer }) => peer);
  try {
    const { missing, told, remembering } = await clock.run(core.losses.losses(true, neverBack));
    const names = neverBack.map((peer) => cluster.nameOf(peer)).join(' ');
    story.headline(
      'operator',
      `at ${host.name}: ${names} never come back, ${missing.length} runs are lost, as ${remembering} of ${told} remember`,
    );
    if (remembering < told) story.violated('losses', `${told - remembering} of ${told} did not remember it`);
  } catch (error) {
    story.violated('losses', `cannot be accepted at ${host.name}: ${(error as Error).message}`, [host.name]);
  }
  return story.violations.length === 0;
}

async function askAll(cluster: Cluster, hosts: readonly SimHost[], isAccepted: boolean): Promise<void> {
  for (const host of hosts) {
    const told = await askSurely(cluster, host);
    if (!told) return;
    const [askedMs, answer] = told;
    const hidden = isAccepted ? hiddenLines(cluster, hosts) : [];
    for (const line of hidden) line.excused = true;
    checkAnswer(cluster, host, EVERYTHING, answer, askedMs);
    for (const line of hidden) line.excused = false;
    const { complete, lost } = answer.receipt;
    cluster.story.tell(
      host.name,
      `answers ${answer.rows.length} lines, complete ${complete}, ${lost} lost, ${hidden.length} lines out of reach`,
    );
    // One that heard the labels before they were lost can still tell.
    const answered = new Set(answer.rows.map(({ text }) => cluster.ledger.find(text)));
    if (isAccepted)
      checkAccepted(
        cluster,
        host,
        answer,
        hidden.filter((line) => !answered.has(line)),
      );
  }
}

function checkAccepted(cluster: Cluster, host: SimHost, answer: Answer, lacking: readonly Line[]): void {
  const { complete, lost, missing, silent } = answer.receipt;
  if (!complete) {
    const what = JSON.stringify({ missing: missing.slice(0, 3), silent });
    cluster.story.violated('losses', `${host.name} is incomplete after they were accepted: ${what}`, [
      host.name,
    ]);
  }
  // What a power cut has taken from its memory, it does not count.
  const { process } = host;
  const remembers =
    process !== undefined && lacking.every((line) => line.acknowledgedMs! > process.startedMs);
  if (remembers && lacking.length > 0 && lost === 0) {
    const message = `${host.name} says nothing is lost, and nobody within reach has ${lacking.length} lines`;
    cluster.story.violated('losses', message, [host.name]);
  }
}

/** Acknowledged lines that none of these has on its disk, or only where nobody knows their labels. */
function hiddenLines({ ledger }: Cluster, hosts: readonly SimHost[]): Line[] {
  const frames = hosts.flatMap(({ disk }) => Array.from(durableBatches(disk), ([, { bytes }]) => bytes));
  const named = new Set<string>();
  for (const bytes of frames) {
    const { segment, named: numbers } = streamsIn(bytes);
    for (const number of numbers) named.add(`${segment} ${number}`);
  }
  const there = new Set<Line | undefined>();
  for (const bytes of frames) {
    const { segment, numbers } = streamsIn(bytes);
    if (numbers.every((number) => named.has(`${segment} ${number}`)))
      for (const text of textsIn(bytes)) there.add(ledger.find(text));
  }
  const isOwed = (line: Line): boolean =>
    line.acknowledgedMs !== undefined && !line.excused && !line.expired && !there.has(line);
  return [...ledger.all()].filter(isOwed);
}
