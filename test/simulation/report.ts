import { placeOn, type Candidate } from '../../src/gossip/placement/index.ts';
import { TIMING } from '../../src/node/core.ts';
import { SimMesh } from '../gossip/membership-mesh.ts';
import { Chance } from './chance.ts';
import { Cluster } from './cluster.ts';
import { drawSettings } from './boot.ts';
import { rememberWork } from './remembered.ts';

const HOUR_MS = 3_600_000;
const REPLICAS = 3;
const SEGMENTS = 50_000;
/** Simulated crashes, by members. */
const CRASHES: readonly (readonly [members: number, crashes: number])[] = [
  [3, 40],
  [10, 40],
  [40, 10],
];
/** What FINDINGS has of a model with memberlist's constants, s. */
const MODEL_S = new Map([
  [3, 5.7],
  [10, 6.4],
]);
const SETTLE_MS = 60_000;
const JOINING_AT_ONCE = 100;
/** Several rounds of push-pull. */
const IDLE_MS = 240_000;
/** Takes three quarters of an hour. */
const NOT_UNASKED = 'idle-large';

/** The parts of the report, by name; each gives rows of a Markdown table. */
export const REPORTS: Record<string, () => Promise<string[]> | string[]> = {
  placement: reportPlacement,
  detection: reportDetection,
  convictions: reportConvictions,
  idle: () => reportIdle([3, 10, 40]),
  'idle-membership': () => reportIdleMembership([3, 10, 40, 100]),
  'idle-large': () => reportIdleMembership([1_000]),
};

const two = (value: number): string => value.toFixed(2);

/** How many nodes there are in each zone, and how much of the data each of them may be given. */
const SHAPES: Record<string, (at: number) => Omit<Candidate, 'peer'>> = {
  'equal weights': () => ({ zone: '', weight: 1 }),
  'weights 1, 2 and 4': (at) => ({ zone: '', weight: [1, 2, 4][at % 3]! }),
  'three zones': (at) => ({ zone: `z${at % 3}`, weight: 1 }),
};

/** Data moved at a join and at a leave, and the largest share, against the ideal: at 10 nodes, by placement alone. */
function reportPlacement(): string[] {
  const rows = [
    '| 10 nodes, k = 3 | moved at a join | moved at a leave | largest share |',
    '|---|---|---|---|',
  ];
  for (const [name, shapeOf] of Object.entries(SHAPES)) {
    const eleven = Array.from({ length: 11 }, (_, at) => ({ peer: `peer ${at}`, ...shapeOf(at) }));
    const ten = eleven.slice(0, 10);
    const before = placeAll(ten);
    const after = placeAll(eleven);
    // What the new one has must come to it; nothing else must move. When it leaves again, the same way back.
    const joined = copiesOf(after, eleven[10]!.peer);
    const largest = Math.max(...ten.map((node) => copiesOf(before, node.peer) / fairCopies(node, ten)));
    rows.push(
      `| ${name} | ${two(moved(before, after) / joined)} × | ${two(moved(after, before) / joined)} × | ${two(largest)} × fair |`,
    );
  }
  return rows;
}

function placeAll(nodes: readonly Candidate[]): string[][] {
  return Array.from({ length: SEGMENTS }, (_, at) => placeOn(`segment ${at}`, nodes, REPLICAS));
}

const copiesOf = (placed: readonly string[][], peer: string): number =>
  placed.reduce((sum, owners) => sum + (owners.includes(peer) ? 1 : 0), 0);

function moved(before: readonly string[][], after: readonly string[][]): number {
  let copies = 0;
  for (const [at, owners] of after.entries()) {
    for (const peer of owners) if (!before[at]!.includes(peer)) copies++;
  }
  return copies;
}

/**
 * Copies that a node would have if each drew by its weight, k times and no node twice: what weighted drawing without
 * putting back gives on average, reckoned from the shares of the weights; with as many zones as copies, one copy a zone.
 */
function fairCopies(node: Candidate, nodes: readonly Candidate[]): number {
  const zones = new Set(nodes.map(({ zone }) => zone));
  if (zones.size >= REPLICAS) {
    const inZone = nodes.filter(({ zone }) => zone === node.zone);
    const weight = inZone.reduce((sum, one) => sum + one.weight, 0);
    return (SEGMENTS * REPLICAS * node.weight) / weight / zones.size;
  }
  return SEGMENTS * chanceToBeDrawn(node, nodes, REPLICAS);
}

function chanceToBeDrawn(node: Candidate, nodes: readonly Candidate[], draws: number): number {
  if (draws === 0) return 0;
  const total = nodes.reduce((sum, { weight }) => sum + weight, 0);
  let chance = 0;
  for (const drawn of nodes) {
    const rest = nodes.filter((one) => one !== drawn);
    const later = drawn === node ? 1 : chanceToBeDrawn(node, rest, draws - 1);
    chance += (drawn.weight / total) * later;
  }
  return chance;
}

/** Until every member knows of a crash. */
async function reportDetection(): Promise<string[]> {
  const rows = ['| members | crashes | known to all: median | max | model |', '|---|---|---|---|---|'];
  for (const [members, crashes] of CRASHES) {
    const seconds: number[] = [];
    const chance = new Chance(members, 1);
    for (let seed = 1; seed <= crashes; seed++) {
      const mesh = await grown(seed, members);
      await mesh.clock.advance(10_000 + chance.between(0, 5_000));
      const name = `n${chance.below(members)}`;
      mesh.kill(name);
      const killedMs = mesh.clock.monotonicMs();
      const isKnown = await mesh.clock.until(() => mesh.agreedState(name) === 'dead', 60_000);
      seconds.push(isKnown ? (mesh.clock.monotonicMs() - killedMs) / 1000 : Infinity);
    }
    seconds.sort((a, b) => a - b);
    const [median, max] = [seconds[seconds.length >> 1]!, seconds.at(-1)!];
    const model = MODEL_S.has(members) ? `${MODEL_S.get(members)} s` : '—';
    rows.push(`| ${members} | ${crashes} | ${median.toFixed(1)} s | ${max.toFixed(1)} s | ${model} |`);
  }
  return rows;
}

async function grown(seed: number, members: number): Promise<SimMesh> {
  const mesh = new SimMesh(seed);
  mesh.writeMs = 5;
  // A thousand that are born at once, and need two that are introduced, have to meet each other first: that takes a million pings.
  if (members > JOINING_AT_ONCE) mesh.introductions = 1;
  for (let count = 0; count < members; count += JOINING_AT_ONCE) {
    await mesh.grow(Math.min(JOINING_AT_ONCE, members - count));
    await mesh.clock.advance(count + JOINING_AT_ONCE < members ? 1_000 : 0);
  }
  // Not at every event: with a thousand members, to look takes longer than what they do.
  for (let seconds = 0; !mesh.allSee(members); seconds++) {
    if (seconds === 300) throw new Error(`${members} members do not agree after 5 minutes`);
    await mesh.clock.advance(1_000);
  }
  return mesh;
}

async function reportConvictions(): Promise<string[]> {
  const mesh = new SimMesh(5, { delayMsMin: 100, delayMsMax: 300, lossShare: 0.05 });
  await mesh.grow(10);
  await mesh.clock.until(() => mesh.allSee(10), 60_000);
  await mesh.clock.advance(HOUR_MS);
  const countOf = (state: string): number => mesh.history.filter((line) => line.endsWith(state)).length;
  return [
    '| 10 members, an hour, 5 % loss, 200 ms | suspicions | convictions |',
    '|---|---|---|',
    `| | ${countOf('suspect')} | ${countOf('dead')} |`,
  ];
}

/** Whole nodes that nothing is written to. */
async function reportIdle(sizes: readonly number[]): Promise<string[]> {
  const rows = ['| whole nodes at rest | bytes a node and second |', '|---|---|'];
  for (const size of sizes) {
    const settings = { ...drawSettings(1), inventoryPollMs: TIMING.inventoryPollMs };
    const cluster = new Cluster(1, size, settings);
    for (const [at, host] of cluster.hosts.entries()) cluster.clock.after(at * 50, () => cluster.start(host));
    await cluster.advance(SETTLE_MS + size * 50);
    const before = cluster.network.bytes;
    await cluster.advance(IDLE_MS);
    rows.push(rateRow(size, cluster.network.bytes - before));
  }
  return rows;
}

/** Membership alone: pings, and the full state with one other member now and then. */
async function reportIdleMembership(sizes: readonly number[]): Promise<string[]> {
  const rows = ['| membership alone | bytes a node and second |', '|---|---|'];
  for (const size of sizes) {
    const mesh = await grown(1, size);
    // News of so many rides on pings for minutes: of a thousand, for twenty.
    await mesh.clock.advance(size > JOINING_AT_ONCE ? 20 * SETTLE_MS : SETTLE_MS);
    const before = mesh.network.bytes;
    await mesh.clock.advance(IDLE_MS);
    rows.push(rateRow(size, mesh.network.bytes - before));
  }
  return rows;
}

const rateRow = (nodes: number, bytes: number): string =>
  `| ${nodes} | ${Math.round(bytes / nodes / (IDLE_MS / 1000))} |`;

/** Prints the parts that were asked for, or all that take minutes. Throws for a name that there is none of. */
export async function report(names: readonly string[]): Promise<void> {
  rememberWork();
  const unasked = Object.keys(REPORTS).filter((name) => name !== NOT_UNASKED);
  for (const name of names.length > 0 ? names : unasked) {
    const rows = await REPORTS[name]?.();
    if (!rows) throw new Error(`--report ${name}: there are ${Object.keys(REPORTS).join(', ')}`);
    console.log(`${rows.join('\n')}\n`);
  }
}
