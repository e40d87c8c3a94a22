import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { Agent, request } from 'node:http';
import { text } from 'node:stream/consumers';
import { test } from 'node:test';
import { numberedLines, Writer } from './lines.ts';
import { assertSameBytes, Mesh, type MeshNode, waitFor } from './mesh.ts';

/** One request on the agent's only connection. */
function get(agent: Agent, url: string): Promise<{ status: number; body: string }> {
  return new Promise((resolve, reject) => {
    const sent = request(url, { agent }, (response) => {
      text(response).then((body) => resolve({ status: response.statusCode ?? 0, body }), reject);
    });
    sent.on('error', reject);
    sent.end();
  });
}

async function push(node: MeshNode, lines: readonly string[]): Promise<void> {
  const values = lines.map((line, n) => [String(1_700_000_000_000_000_000n + BigInt(n)), line]);
  const response = await fetch(`${node.httpUrl}/loki/api/v1/push`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ streams: [{ stream: { app: 'web' }, values }] }),
  });
  assert.equal(response.status, 204);
}

test('many queries on one connection leave nothing behind', async (t) => {
  const mesh = new Mesh(t);
  const alice = await mesh.start('alice');
  await push(alice, ['one', 'two']);
  const agent = new Agent({ keepAlive: true, maxSockets: 1 });
  t.after(() => agent.destroy());
  const query = encodeURIComponent('{app="web"}');
  for (let n = 0; n < 40; n++) {
    const loki = await get(
      agent,
      `${alice.httpUrl}/loki/api/v1/query_range?query=${query}&start=0&end=1800000000`,
    );
    assert.equal(loki.status, 200);
    const own = await get(agent, `${alice.httpUrl}/api/v1/query?query=${query}&start=0&end=1800000000`);
    assert.equal(own.status, 200);
  }
  assert.equal(await alice.stop(), 0);
  assert.doesNotMatch(alice.log, /MaxListenersExceeded/);
});

test('clients that go away in the middle of an answer leave the node well', async (t) => {
  const mesh = new Mesh(t);
  const path = mesh.path('app.log');
  const content = numberedLines(0, 100_000);
  writeFileSync(path, content);
  const [alice, bob] = await mesh.startAll({ alice: { files: [path] }, bob: {} });
  await alice.tailed(path, content.length, 60_000);
  const query = encodeURIComponent('{job="logvine"}');
  const urls = [
    `${bob.httpUrl}/api/v1/query?query=${query}&start=0&end=1900000000&limit=0&direction=forward`,
    `${bob.httpUrl}/loki/api/v1/query_range?query=${query}&start=0&end=1900000000&limit=100000`,
    `${bob.httpUrl}/api/v1/tail?query=${query}&start=0`,
    `${bob.httpUrl}/api/v1/tail?query=${query}`,
  ];
  await Promise.all(
    urls.flatMap((url) =>
      [0, 5, 30, 100, 150, 300].map(async (goneAfterMs) => {
        await fetch(url, { signal: AbortSignal.timeout(goneAfterMs) })
          .then((response) => response.arrayBuffer())
          .catch(() => undefined);
      }),
    ),
  );
  const { code, stdout, stderr } = await bob.query('{job="logvine"}');
  assertSameBytes(stdout, content);
  assert.equal(code, 0, stderr);
  for (const node of [alice, bob]) {
    assert.equal(await node.stop(), 0, node.log);
    assert.doesNotMatch(node.log, /Unhandled|"level":50/);
  }
});

test('tail --since prints the past and goes on with what is written meanwhile', async (t) => {
  const mesh = new Mesh(t);
  const path = mesh.path('app.log');
  writeFileSync(path, '');
  const writer = new Writer(path, 20);
  t.after(() => writer.stop());
  const [alice, bob] = await mesh.startAll({ alice: { files: [path] }, bob: {} });
  writer.start(10);
  await waitFor('some past', 10_000, () => writer.written > 5_000);
  const tail = mesh.follow(bob, '{job="logvine"}', '--since', '1h');
  const mark = writer.written + 10_000;
  await waitFor('some future', 20_000, () => writer.written >= mark);
  const count = writer.stop();
  await tail.until(`line ${count - 1} `, 10_000);
  const seen = new Set(tail.text().match(/^line \d+ /gm));
  const lost = Array.from({ length: count }, (_, n) => n).filter((n) => !seen.has(`line ${n} `));
  assert.deepEqual(lost, []);
  assert.ok(alice.isRunning);
});
