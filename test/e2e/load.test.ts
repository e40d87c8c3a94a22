import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { Mesh, waitFor, type MeshNode } from './mesh.ts';

const FLOOD_MS = 8_000;
const STOP_AFTER_MS = 2_000;
/** Shorter than it takes until the others give a silent node up. */
const STOPPED_MS = 3_500;
const CLIENTS = 24;
const BODIES_MAX = 400;
const LINES_A_BODY = 64;
const LINE_BYTES = 2_000;
const RSS_MIB_MAX = 1_000;

interface Flood {
  bodies: number;
  answered: number[];
  refusals: Map<number, number>;
  isOver: boolean;
}

function bodyOf(id: number): string {
  const values = Array.from({ length: LINES_A_BODY }, (_, at) => {
    const name = `body=${id} line=${at} `;
    const filling = Buffer.alloc(LINE_BYTES / 2, `${id * 7919 + at * 104_729}-`).toString('hex');
    return [`${1_700_000_000_000 + id}000000`, name + filling.slice(0, LINE_BYTES - name.length)];
  });
  return JSON.stringify({ streams: [{ stream: { app: 'load', client: `${id % 5}` }, values }] });
}

/** Pushes one body after the other, each until it is answered 204, at whatever node comes next. */
async function client(nodes: readonly MeshNode[], flood: Flood, at: number): Promise<void> {
  for (let turn = at; !flood.isOver && flood.bodies < BODIES_MAX; turn++) {
    const id = flood.bodies++;
    const body = bodyOf(id);
    for (let attempt = 0; ; attempt++) {
      const status = await push(nodes[(turn + attempt) % nodes.length], body);
      if (status === 204) break;
      flood.refusals.set(status, (flood.refusals.get(status) ?? 0) + 1);
      await new Promise((resolve) => setTimeout(resolve, 200));
    }
    flood.answered.push(id);
  }
}

/** The status of the answer; 0 when there was none in time. */
async function push(node: MeshNode, body: string): Promise<number> {
  try {
    const response = await fetch(`${node.httpUrl}/loki/api/v1/push`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body,
      signal: AbortSignal.timeout(5_000),
    });
    await response.arrayBuffer();
    if (response.status === 429 || response.status === 503) assert.ok(response.headers.get('retry-after'));
    else assert.equal(response.status, 204);
    return response.status;
  } catch (error) {
    if (error instanceof assert.AssertionError) throw error;
    return 0;
  }
}

/** Queries until the flood is over; resolves with how many were answered. */
async function asker(node: MeshNode, flood: Flood): Promise<number> {
  let answered = 0;
  while (!flood.isOver) {
    const parameters = new URLSearchParams({ query: '{app="load"} |= "line=7 "', start: '0', limit: '50' });
    const response = await fetch(`${node.httpUrl}/loki/api/v1/query_range?${parameters}`);
    await response.arrayBuffer();
    assert.ok([200, 429].includes(response.status), `a query was answered ${response.status}`);
    if (response.status === 200) answered++;
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  return answered;
}

function peakRssMib(node: MeshNode): number {
  const status = readFileSync(`/proc/${node.pid}/status`, 'utf8');
  return Math.round(Number(/VmHWM:\s+(\d+)/.exec(status)![1]) / 1024);
}

test('under a flood, with one node stopped for seconds, nobody busy is convicted, memory is bounded, and each line is there once', async (t) => {
  const mesh = new Mesh(t);
  const config = 'pushTimeout: 4s\n';
  const nodes = await mesh.startAll({ alice: { config }, bob: { config }, charlie: { config } });
  const [alice, bob, charlie] = nodes;
  const flood: Flood = { bodies: 0, answered: [], refusals: new Map(), isOver: false };
  const clients = Array.from({ length: CLIENTS }, (_, at) => client(nodes, flood, at));
  const askers = [asker(alice, flood), asker(bob, flood)];

  const startedMs = performance.now();
  const elapsedMs = (): number => performance.now() - startedMs;
  let isStopped = false;
  while (elapsedMs() < FLOOD_MS) {
    if (!isStopped && elapsedMs() > STOP_AFTER_MS) {
      isStopped = true;
      process.kill(charlie.pid, 'SIGSTOP');
      setTimeout(() => process.kill(charlie.pid, 'SIGCONT'), STOPPED_MS);
    }
    for (const [node, other] of [
      [alice, bob],
      [bob, alice],
    ]) {
      const { members } = await node.status();
      const state = members.find(({ peer }) => peer === other.peer)?.state;
      assert.ok(state === 'alive' || state === 'suspect', `${node.name} takes ${other.name} for ${state}`);
    }
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  flood.isOver = true;
  const queries = await Promise.all(askers);
  await Promise.all(clients);
  await mesh.agree(nodes);

  const refused = JSON.stringify(Object.fromEntries(flood.refusals));
  const peaks = nodes.map(peakRssMib);
  t.diagnostic(
    `${flood.answered.length} bodies of ${flood.bodies}, not 204: ${refused}, queries ${queries.join('+')}`,
  );
  t.diagnostic(`peak RSS: ${peaks.join(', ')} MiB`);
  assert.equal(flood.answered.length, flood.bodies);
  assert.ok(queries.every((count) => count > 0));
  assert.ok(Math.max(...peaks) < RSS_MIB_MAX);

  await waitFor('a whole answer', 10_000, async () => {
    const { code, stdout } = await bob.query('{app="load"}');
    if (code !== 0) return `exit ${code}`;
    const times = new Map<string, number>();
    for (const [name] of stdout.toString('latin1').matchAll(/^body=\d+ line=\d+ /gm))
      times.set(name, (times.get(name) ?? 0) + 1);
    const twice = [...times].filter(([, count]) => count > 1).map(([name]) => name);
    assert.deepEqual(twice.slice(0, 5), [], `${twice.length} lines are there twice`);
    return times.size === flood.bodies * LINES_A_BODY || `${times.size} lines`;
  });
});
