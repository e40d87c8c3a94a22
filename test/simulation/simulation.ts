import { ask, checkAnswer, drawQuestion } from './asking.ts';
import { BREAKS, type BreakName } from './breaks.ts';
import { Chance } from './chance.ts';
import { Cluster } from './cluster.ts';
import { checkBounds, converge } from './convergence.ts';
import { Nemesis } from './nemesis.ts';
import { loseAndFind } from './losses.ts';
import { rememberWork } from './remembered.ts';
import { drawRates, Workload } from './workload.ts';

const HOUR_MS = 3_600_000;
const DISKS_EVERY_MS = 30_000;
/** Seeds, one of which loses more disks at the end than a mesh bears. */
const LOSSES_EVERY = 5;
/** What a query may fail with, on a bad day. */
const EXPECTED = new Set(['LV_QUERY_TIMEOUT', 'LV_CLOSED', 'LV_PEER_TIMEOUT', 'LV_PEER_UNREACHABLE']);

export interface SimulationOptions {
  readonly seed: number;
  readonly nodes: number;
  /** Simulated time with faults; what it takes to settle afterwards comes on top. */
  readonly hours: number;
  /** Something that the product does wrong, on purpose. */
  readonly fault?: BreakName | undefined;
}

export interface SimulationResult {
  readonly seed: number;
  /** Equal for equal runs. */
  readonly fingerprint: string;
  readonly simulatedHours: number;
  readonly events: number;
  readonly messages: number;
  readonly lines: { readonly written: number; readonly acknowledged: number; readonly excused: number };
  readonly queries: { readonly asked: number; readonly answered: number; readonly complete: number };
  readonly violation:
    | { readonly invariant: string; readonly message: string; readonly story: string }
    | undefined;
}

/** One run of a mesh under faults, as its seed has it. */
export async function simulate(options: SimulationOptions): Promise<SimulationResult> {
  rememberWork();
  const mend = options.fault ? BREAKS[options.fault]() : undefined;
  try {
    return await run(options);
  } finally {
    mend?.();
  }
}

async function run(options: SimulationOptions): Promise<SimulationResult> {
  const { seed, nodes, hours } = options;
  const cluster = new Cluster(seed, nodes);
  const { clock, story, ledger, network } = cluster;
  const queries = { asked: 0, answered: 0, complete: 0 };
  const asking = new Chance(seed, 4);

  const askOne = (): void => {
    const host = asking.maybe(cluster.live);
    if (!host) return;
    const question = drawQuestion(asking, clock.nowMs());
    const askedMs = clock.monotonicMs();
    queries.asked++;
    ask(cluster, host, question).then(
      (answer) => {
        queries.answered++;
        if (answer.receipt.complete) queries.complete++;
        const { complete, missing, silent } = answer.receipt;
        const coverage = complete ? 'complete' : `${missing.length} missing, ${silent.length} silent`;
        story.tell(host.name, `answered ${question.query}: ${answer.rows.length} lines, ${coverage}`);
        checkAnswer(cluster, host, question, answer, askedMs);
      },
      (error: Error) => {
        story.tell(host.name, `could not answer: ${error.message}`);
        const { code = '' } = error as { code?: string };
        if (EXPECTED.has(code)) return;
        story.violated('answer', `${question.query} at ${host.name} failed: ${error.stack}`, [host.name]);
      },
    );
  };
  const lookAtDisks = (): void => {
    cluster.checks.disks();
    clock.after(DISKS_EVERY_MS, lookAtDisks);
  };

  try {
    const rates = drawRates(new Chance(seed, 5));
    const workload = new Workload(cluster, new Chance(seed, 6), rates, askOne);
    const nemesis = new Nemesis(cluster, new Chance(seed, 7));
    for (const [at, host] of cluster.hosts.entries()) clock.after(at * 200, () => cluster.start(host));
    clock.after(DISKS_EVERY_MS, lookAtDisks);
    clock.after(3_000, () => workload.start());
    clock.after(10_000, () => nemesis.start());
    if (await cluster.advance(hours * HOUR_MS)) {
      nemesis.stop();
      workload.stop();
      await converge(cluster);
      if (seed % LOSSES_EVERY === 0 && story.violations.length === 0)
        await loseAndFind(cluster, new Chance(seed, 8));
      checkBounds(cluster);
    }
  } catch (error) {
    story.violated('crash', (error as Error).stack ?? String(error));
  }

  const [violation] = story.violations;
  let excused = 0;
  for (const line of ledger.all()) if (line.excused) excused++;
  return {
    seed,
    fingerprint: story.fingerprint(),
    simulatedHours: clock.monotonicMs() / HOUR_MS,
    events: clock.events,
    messages: network.messages,
    lines: { written: ledger.written, acknowledged: ledger.acknowledged, excused },
    queries,
    violation: violation && {
      invariant: violation.invariant,
      message: violation.message,
      story: story.around(violation.about, 60),
    },
  };
}
