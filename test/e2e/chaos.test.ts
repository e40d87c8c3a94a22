import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { test } from 'node:test';
import { assertEachOnce, Writer } from './lines.ts';
import { FULL, Mesh, type MeshNode, PROMPT, waitFor } from './mesh.ts';

const CRASHES = FULL ? 40 : 3;
const EVERYTHING = '{job="logvine"}';

/** Pushes one line after the other to whoever runs, and remembers which were acknowledged. */
class Pusher {
  readonly acknowledged: number[] = [];
  sent = 0;
  readonly #nodes: readonly MeshNode[];
  #stopped = false;
  #running: Promise<void> | undefined;

  constructor(nodes: readonly MeshNode[]) {
    this.#nodes = nodes;
  }

  start(): void {
    this.#running = this.#run();
  }

  async #run(): Promise<void> {
    while (!this.#stopped) {
      const n = this.sent++;
      const node = this.#nodes[n % this.#nodes.length];
      const body = JSON.stringify({
        streams: [{ stream: { app: 'pushed' }, values: [[String(n + 1), `line ${n} `]] }],
      });
      try {
        const response = await fetch(`${node.httpUrl}/loki/api/v1/push`, {
          method: 'POST',
          headers: { 'content-type': 'application/json' },
          body,
          signal: AbortSignal.timeout(15_000),
        });
        await response.arrayBuffer();
        if (response.status === 204) this.acknowledged.push(n);
      } catch {
        // The node is down: this line may be there or not.
        await new Promise((resolve) => setTimeout(resolve, 20));
      }
    }
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    await this.#running;
  }
}

test(`${CRASHES} crashes of one node after the other: complete answers hold all that was acknowledged`, async (t) => {
  const mesh = new Mesh(t);
  const path = mesh.path('app.log');
  writeFileSync(path, '');
  const config = `${PROMPT}pushTimeout: 5s\n`;
  const nodes = await mesh.startAll({
    alice: { files: [path], config },
    bob: { config },
    charlie: { config },
    dave: { config },
  });
  const [alice] = nodes;
  const writer = new Writer(path, 50);
  const pusher = new Pusher(nodes);
  t.after(async () => {
    writer.stop();
    await pusher.stop();
  });
  writer.start(10);
  pusher.start();
  let complete = 0;
  for (let crash = 0; crash < CRASHES; crash++) {
    const before = writer.written;
    await waitFor('more to be written', 10_000, () => writer.written > before + 3_000);
    const victim = nodes[(crash * 7) % nodes.length];
    const witness = nodes[(crash * 7 + 1 + (crash % 3)) % nodes.length];
    await victim.kill();
    const acknowledged = pusher.acknowledged.slice();
    const { code, stdout, stderr } = await witness.query('{app="pushed"}');
    if (code === 0) {
      complete++;
      const found = new Set(linesOf(stdout));
      const lost = acknowledged.filter((n) => !found.has(`line ${n} `));
      assert.deepEqual(lost, [], `${witness.name} calls an answer complete that lacks acknowledged lines`);
    } else {
      assert.equal(code, 3, stderr);
    }
    await victim.start();
    await mesh.agree(nodes, 30_000);
  }
  const count = writer.stop();
  await pusher.stop();
  await alice.tailed(path, readFileSync(path).length, 60_000);
  assert.ok(complete > 0, 'no answer was complete');

  for (const node of nodes) {
    const tailed = await node.query(EVERYTHING);
    assertEachOnce(tailed.stdout, count);
    assert.equal(tailed.code, 0, tailed.stderr);
    const pushed = await node.query('{app="pushed"}');
    assert.equal(pushed.code, 0, pushed.stderr);
    const lines = linesOf(pushed.stdout);
    assert.equal(new Set(lines).size, lines.length, 'a pushed line is there twice');
    const found = new Set(lines);
    assert.deepEqual(
      pusher.acknowledged.filter((n) => !found.has(`line ${n} `)),
      [],
    );
  }
  for (const node of nodes) await node.repaid(60_000);
  t.diagnostic(
    `${complete} of ${CRASHES} answers complete, ${pusher.acknowledged.length} of ${pusher.sent} pushes acknowledged`,
  );
});

function linesOf(answer: Buffer): string[] {
  return answer.toString().split('\n').slice(0, -1);
}
