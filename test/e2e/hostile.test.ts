/** The worst that clients and lying members can send to a node: afterwards it still answers, and has not grown. */
import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import { readFileSync, writeFileSync } from 'node:fs';
import { test } from 'node:test';
import { deflateRawSync, gzipSync } from 'node:zlib';
import { createLibp2pTransport, type PeerId, type Transport } from '../../src/gossip/index.ts';
import { keysFromSeed } from '../../src/gossip/transport/keys.ts';
import { encodeHeader, packBatch, type BatchHeader } from '../../src/store/batch/index.ts';
import { systemClock } from '../../src/store/host/system.ts';
import { mutated } from '../fuzz/mutate.ts';
import { signedFrame } from '../fuzz/lying-origin.ts';
import { seededRandom } from '../helpers/sim-clock.ts';
import { columnsFrom, partsOf } from '../store/material.ts';
import { Mesh, waitFor, type MeshNode } from './mesh.ts';

const MiB = 1024 * 1024;
/** Above what the node weighed before. */
const RISE_MAX = 900 * MiB;
const ANSWER_MS = 10_000;
const LINE = 'a line that stays readable';

function peakOf(node: MeshNode): number {
  return Number(/^VmHWM:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${node.pid}/status`, 'utf8'))![1]) * 1024;
}

/** The node is the same process, answers at once, and what was in it is there, once. */
async function stillAnswers(node: MeshNode, weightBefore: number): Promise<void> {
  assert.ok(node.isRunning, node.log.slice(-2000));
  const startedMs = performance.now();
  const { code, stdout } = await node.query('{host=~".+"}');
  assert.ok(performance.now() - startedMs < ANSWER_MS);
  assert.equal(stdout.toString(), `${LINE}\n`);
  assert.equal(code, 0);
  if (process.platform === 'linux') {
    const rise = peakOf(node) - weightBefore;
    assert.ok(rise < RISE_MAX, `memory rose by ${Math.round(rise / MiB)} MiB`);
  }
}

async function startNode(
  mesh: Mesh,
  flags: readonly string[] = [],
): Promise<{ node: MeshNode; weight: number }> {
  const path = mesh.path('app.log');
  writeFileSync(path, `${LINE}\n`);
  const node = await mesh.start('alice', { files: [path], flags });
  await node.tailed(path, LINE.length + 1, 20_000);
  return { node, weight: peakOf(node) };
}

test('clients that send the worst they can', { timeout: 60_000 }, async (t) => {
  const { node, weight } = await startNode(new Mesh(t));
  const push = async (body: Uint8Array, headers: Record<string, string>): Promise<number> => {
    const response = await fetch(`${node.httpUrl}/loki/api/v1/push`, {
      method: 'POST',
      body: Buffer.from(body),
      headers,
    });
    await response.text();
    return response.status;
  };
  const ask = async (path: string, parameters: Record<string, string>): Promise<number> => {
    const response = await fetch(`${node.httpUrl}${path}`, {
      method: 'POST',
      body: new URLSearchParams(parameters),
    });
    await response.text();
    return response.status;
  };
  const json = { 'content-type': 'application/json' };
  const protobuf = { 'content-type': 'application/x-protobuf' };
  const full = 31 * MiB;
  for (const [body, headers] of [
    [Buffer.alloc(full, '['), json],
    [Buffer.from(`{"streams":[${'{},'.repeat(full / 3)}{}]}`), json],
    [gzipSync(Buffer.alloc(64 * MiB)), { ...json, 'content-encoding': 'gzip' }],
    [deflateRawSync(Buffer.alloc(64 * MiB)), { ...json, 'content-encoding': 'deflate' }],
    [Buffer.from([0xff, 0xff, 0xff, 0xff, 0x0f, 0, 0]), protobuf],
    [randomBytes(MiB), protobuf],
  ] as const) {
    assert.equal(await push(body, headers), 400);
  }

  const selector = '{host=~".+"}';
  const queries = [
    '('.repeat(16_000),
    `{host=~"${'(a{1000})'.repeat(500)}"}`,
    `${selector} ${'|~ "a{1000}"'.repeat(500)}`,
    `{host=~"(${'a|'.repeat(4_000)}b"}`,
  ];
  for (const query of queries) {
    assert.equal(await ask('/loki/api/v1/query_range', { query }), 400, query.slice(0, 40));
  }
  assert.equal(await ask('/loki/api/v1/query_range', { query: selector, start: '9'.repeat(10_000) }), 400);
  assert.equal(await ask('/loki/api/v1/query_range', { query: `${selector} |~ "(a+)+$"` }), 200);
  await stillAnswers(node, weight);
});

const PROTOCOLS = [
  'replicate',
  'fetch',
  'inventory',
  'coverage',
  'scan',
  'series',
  'follow',
  'swim',
  'push',
  'verify',
  'confirm',
];

/** Sends messages on a channel of its own and goes; what the node makes of them is its affair. */
async function tell(
  transport: Transport,
  peer: PeerId,
  protocol: string,
  messages: readonly Uint8Array[],
): Promise<void> {
  try {
    const channel = await transport.open(peer, `/logvine/${protocol}/1`, { timeoutMs: 3_000 });
    for (const message of messages) await channel.send(message);
    const late = new Promise<void>((resolve) => setTimeout(resolve, 100));
    await Promise.race([channel.receive(), late]);
    channel.abort(new Error('enough'));
  } catch {
    // Refused, as it should be.
  }
}

test('a member with the right secret that lies', { timeout: 60_000 }, async (t) => {
  const mesh = new Mesh(t);
  const secret = randomBytes(32);
  const secretPath = mesh.path('secret');
  writeFileSync(secretPath, `${secret.toString('hex')}\n`, { mode: 0o600 });
  const { node, weight } = await startNode(mesh, ['--secret-file', secretPath]);
  const seed = randomBytes(32);
  const keys = await keysFromSeed(seed);
  const transport = await createLibp2pTransport({
    seed,
    listen: '127.0.0.1:0',
    secrets: [secret],
    topics: [],
    clock: systemClock,
    log: { debug: () => undefined, warn: () => undefined },
  });
  t.after(() => transport.close());
  const peer = await transport.connect(node.meshAddress, { timeoutMs: 5_000 });
  assert.equal(peer, node.peer);

  const id = { origin: node.peer, epoch: 1, index: 1 };
  const forever = [[1, Number.MAX_SAFE_INTEGER]];
  const always = { from: { ms: -8.64e15, sub: 0 }, to: { ms: 8.64e15, sub: 0 } };
  const question = { kind: 'entries', query: '{a=~".*b"}', descending: true, limit: 1 };
  const scan = { ...always, question, work: [{ ...id, runs: forever }] };
  const json = (value: unknown): Buffer => Buffer.from(JSON.stringify(value));
  const samples = [
    json(scan),
    json({ ...id, runs: forever }),
    json(always),
    json({ instance: 'x', since: 0 }),
    json({ kind: 'ping', seq: 1, updates: [] }),
    json({ kind: 'sync', members: [] }),
    json({ query: '{a="b"}' }),
    json({
      ...scan,
      work: [{ ...id, runs: [[5, 1]] }],
      fresh: { epoch: 1, afterSeq: Number.MAX_SAFE_INTEGER, except: forever },
    }),
    Buffer.from(`{"kind":"sync","members":[${'{},'.repeat(100_000)}{}]}`),
    Buffer.from(`{"holdings":[${'{},'.repeat(100_000)}{}]}`),
    Buffer.alloc(MiB, '['),
    Buffer.alloc(0),
  ];
  const random = seededRandom(5);
  for (const protocol of PROTOCOLS) {
    const changed = samples.slice(0, 4).map((sample) => mutated(random, sample, samples));
    await Promise.all([...samples, ...changed].map((message) => tell(transport, peer, protocol, [message])));
  }

  // Batches of its own: signed, and each a lie.
  const entry = { ms: 1_700_000_000_000, sub: 0, line: Buffer.from('x'), metadata: {} };
  const packed = packBatch([{ labels: { host: 'liar' }, columns: columnsFrom([entry]) }], 1);
  const payload = Buffer.from(packed.payload);
  const [stream] = partsOf(packed);
  const honest: BatchHeader = {
    origin: keys.peer,
    epoch: 5,
    seq: 1,
    segment: 1,
    previousHash: Buffer.alloc(32),
    payloadHash: createHash('sha256').update(payload).digest(),
    contentHash: Buffer.from(packed.contentHash),
    sealedAtMs: 1,
    syncedSeq: 0,
    owners: [node.peer, keys.peer],
    filterBytes: packed.filterBytes,
    blocks: packed.blocks,
    streams: [stream],
    sources: [],
  };
  const lies: Partial<BatchHeader>[] = [
    { streams: [], blocks: [] },
    { streams: [{ ...stream, min: { ms: -9e15, sub: 0 }, max: { ms: 9e15, sub: 0 } }] },
    { streams: [{ ...stream, max: { ms: stream.max.ms, sub: 2 ** 50 } }] },
    { streams: [{ ...stream, entries: 2 ** 50 }] },
    { streams: [{ ...stream, linesBytes: 2 ** 50 }] },
    { blocks: [{ ...honest.blocks[0], linesRaw: 2 ** 50 }] },
    { filterBytes: 2 ** 50 },
  ];
  for (const [index, lie] of lies.entries()) {
    const header = encodeHeader({ ...honest, ...lie, segment: index + 1 });
    await tell(transport, peer, 'replicate', [signedFrame(header, payload, keys.sign)]);
  }
  const { store } = await node.status();
  assert.equal(store.batches, 1, 'none of them was taken');
  await waitFor('the node to be at rest', 10_000, async () => (await node.status()).peer === node.peer);
  await stillAnswers(node, weight);
});
