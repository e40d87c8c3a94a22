import assert from 'node:assert/strict';
import { test } from 'node:test';
import { compress } from 'snappyjs';
import { ByteWriter } from '../../src/store/index.ts';
import { Mesh, waitFor, type MeshNode } from './mesh.ts';

type Value = [time: string, line: string, metadata?: Record<string, string>];

interface Answer {
  readonly status: string;
  readonly warnings?: string[];
  readonly data: {
    readonly resultType: string;
    readonly result: { stream: Record<string, string>; values: [string, string, ...unknown[]][] }[];
    readonly stats: { readonly logvine: { complete: boolean; entries: number } };
  };
}

async function pushJson(
  node: MeshNode,
  stream: Record<string, string>,
  values: readonly Value[],
): Promise<Response> {
  return fetch(`${node.httpUrl}/loki/api/v1/push`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ streams: [{ stream, values }] }),
  });
}

async function queryRange(node: MeshNode, query: string, more: Record<string, string> = {}): Promise<Answer> {
  const parameters = new URLSearchParams({
    query,
    start: '0',
    end: '1900000000000000000',
    limit: '5000',
    direction: 'forward',
    ...more,
  });
  const response = await fetch(`${node.httpUrl}/loki/api/v1/query_range?${parameters}`);
  assert.equal(response.status, 200, await response.clone().text());
  return (await response.json()) as Answer;
}

/** Loki's PushRequest with one stream. */
function pushRequest(
  labels: string,
  entries: readonly { seconds: number; nanos: number; line: Buffer }[],
): Buffer {
  const bytesField = (field: number, bytes: Uint8Array): Buffer => {
    const writer = new ByteWriter(16);
    writer.varint((field << 3) | 2);
    writer.varint(bytes.length);
    return Buffer.concat([writer.finish(), bytes]);
  };
  const numberField = (field: number, value: number): Buffer => {
    const writer = new ByteWriter(16);
    writer.varint(field << 3);
    writer.varint(value);
    return writer.finish();
  };
  const stream = [bytesField(1, Buffer.from(labels))];
  for (const { seconds, nanos, line } of entries) {
    const time = Buffer.concat([numberField(1, seconds), numberField(2, nanos)]);
    stream.push(bytesField(2, Buffer.concat([bytesField(1, time), bytesField(2, line)])));
  }
  return bytesField(1, Buffer.concat(stream));
}

test('pushes are answered once they are on W disks, and found at every node with exactly their labels', async (t) => {
  const mesh = new Mesh(t);
  const nodes = await mesh.startAll({ alice: {}, bob: {}, charlie: {} });
  const [alice, bob, charlie] = nodes;

  // Times in any order, from 1970 to the present, to the nanosecond.
  const values: Value[] = [
    ['1700000000000000003', 'third error'],
    ['1700000000000000001', 'first', { trace: 'abc' }],
    ['1', 'long ago'],
    ['1700000000000000002', 'second'],
    ['1799999999999999999', 'in the future'],
  ];
  const pushed = await pushJson(alice, { app: 'shop', env: 'prod' }, values);
  assert.equal(pushed.status, 204, await pushed.text());

  for (const node of [bob, charlie, alice]) {
    const { status, data, warnings } = await queryRange(node, '{app="shop"}', {});
    assert.equal(status, 'success');
    assert.equal(warnings, undefined);
    assert.equal(data.resultType, 'streams');
    assert.equal(data.stats.logvine.complete, true);
    assert.equal(data.stats.logvine.entries, 5);
    const lines = data.result.flatMap((one) =>
      one.values.map(([time, line]) => ({ time, line, labels: one.stream })),
    );
    lines.sort((a, b) => (BigInt(a.time) < BigInt(b.time) ? -1 : 1));
    assert.deepEqual(
      lines.map(({ time, line }) => [time, line]),
      [
        ['1', 'long ago'],
        ['1700000000000000001', 'first'],
        ['1700000000000000002', 'second'],
        ['1700000000000000003', 'third error'],
        ['1799999999999999999', 'in the future'],
      ],
    );
    const own = { app: 'shop', env: 'prod', service_name: 'shop' };
    assert.deepEqual(lines[1].labels, { ...own, trace: 'abc', detected_level: 'unknown' });
    assert.deepEqual(lines[3].labels, { ...own, detected_level: 'error' });
  }

  const body = pushRequest('{app="proto", zone="b"}', [
    { seconds: 1_700_000_100, nanos: 7, line: Buffer.from('from protobuf') },
    { seconds: 1_700_000_099, nanos: 0, line: Buffer.from('the one before') },
  ]);
  const protobuf = await fetch(`${bob.httpUrl}/loki/api/v1/push`, {
    method: 'POST',
    headers: { 'content-type': 'application/x-protobuf' },
    body: new Uint8Array(compress(body)),
  });
  assert.equal(protobuf.status, 204, await protobuf.text());
  const found = await queryRange(charlie, '{app="proto"}');
  assert.deepEqual(
    found.data.result.map(({ stream }) => stream),
    [{ app: 'proto', zone: 'b', service_name: 'proto', detected_level: 'unknown' }],
  );
  assert.deepEqual(found.data.result[0].values, [
    ['1700000099000000000', 'the one before'],
    ['1700000100000000007', 'from protobuf'],
  ]);

  // Newest first with a limit, and a filter, as Grafana asks.
  const newest = await queryRange(bob, '{app="shop"} |~ "ir|thir"', { direction: 'backward', limit: '1' });
  assert.deepEqual(
    newest.data.result.map((one) => one.values),
    [[['1700000000000000003', 'third error']]],
  );

  // What was acknowledged survives the one that acknowledged it.
  await alice.kill();
  const after = await bob.query('{app="shop"}');
  assert.equal(after.code, 0, after.stderr);
  // The command asks up to now.
  assert.equal(after.stdout.toString(), 'long ago\nfirst\nsecond\nthird error\n');
});

test('a push to a peer that the mesh does not know yet waits for it, and is told why when that takes too long', async (t) => {
  const mesh = new Mesh(t);
  const bob = await mesh.start('bob');
  await bob.kill();
  const join = [bob.meshAddress];
  const alice = await mesh.start('alice', { join, config: 'pushTimeout: 1m\n' });
  const impatient = await mesh.start('impatient', { join, config: 'pushTimeout: 500ms\n' });
  const late = pushJson(alice, { app: 'shop' }, [['1700000000000000000', 'early']]);
  const refused = await pushJson(impatient, { app: 'shop' }, [['1700000000000000001', 'refused']]);
  assert.equal(refused.status, 503);
  const { code, message } = (await refused.json()) as { code: string; message: string };
  assert.equal(code, 'LV_REPLICATION_TIMEOUT');
  assert.match(message, /too few members of the mesh know of this peer yet/);
  await bob.start();
  assert.equal((await late).status, 204);
  const found = await queryRange(alice, '{app="shop"}');
  assert.deepEqual(
    found.data.result.flatMap(({ values }) => values.map(([, line]) => line)),
    ['early'],
  );
});

test('a malformed push is refused whole, and one that cannot reach W disks is answered 503', async (t) => {
  const mesh = new Mesh(t);
  const config = 'pushTimeout: 1s\n';
  const [alice, bob, charlie] = await mesh.startAll({
    alice: { config },
    bob: { config },
    charlie: { config },
  });
  const bodies: [what: string, contentType: string, body: string | Uint8Array<ArrayBuffer>][] = [
    ['no JSON', 'application/json', '{"streams": ['],
    ['no streams', 'application/json', '{"stream": []}'],
    ['a label that is no text', 'application/json', '{"streams":[{"stream":{"a":1},"values":[["1","x"]]}]}'],
    [
      'a time that is no number',
      'application/json',
      '{"streams":[{"stream":{"a":"b"},"values":[["now","x"]]}]}',
    ],
    [
      'one good stream and one bad',
      'application/json',
      '{"streams":[{"stream":{"a":"b"},"values":[["1","good"]]},{"stream":{"a":"b"},"values":[["1",2]]}]}',
    ],
    ['no snappy', 'application/x-protobuf', 'not snappy at all'],
    ['no protobuf', 'application/x-protobuf', new Uint8Array(compress(Buffer.from('not protobuf')))],
    ['another type', 'text/plain', 'hello'],
  ];
  for (const [what, contentType, body] of bodies) {
    const response = await fetch(`${alice.httpUrl}/loki/api/v1/push`, {
      method: 'POST',
      headers: { 'content-type': contentType },
      body,
    });
    assert.equal(response.status, 400, what);
    const { message } = (await response.json()) as { message: string };
    assert.ok(message.length > 10, what);
  }
  const nothing = await bob.query('{a="b"}');
  assert.equal(nothing.stdout.toString(), '');

  await bob.kill();
  await charlie.kill();
  const refused = await pushJson(alice, { app: 'alone' }, [['1700000000000000000', 'is anybody there']]);
  assert.equal(refused.status, 503);
  assert.ok(Number(refused.headers.get('retry-after')) > 0);

  await bob.start();
  await waitFor('pushes to be taken again', 30_000, async () => {
    const again = await pushJson(alice, { app: 'alone' }, [['1700000000000000001', 'here we are']]);
    return again.status === 204 ? true : again.text();
  });
});

test('tail prints lines of every origin within a second', async (t) => {
  const mesh = new Mesh(t);
  const nodes = await mesh.startAll({ alice: {}, bob: {}, charlie: {} });
  const tail = mesh.follow(nodes[0], '{app="live"}');
  // The first lines may come before everybody is followed.
  for (const node of nodes) {
    await waitFor(`${node.name} to be followed`, 10_000, async () => {
      const response = await pushJson(node, { app: 'live' }, [
        [`${Date.now()}000000`, `hello from ${node.name}`],
      ]);
      assert.equal(response.status, 204);
      return tail.text().includes(`hello from ${node.name}`);
    });
  }
  for (const node of nodes) {
    const line = `news from ${node.name}`;
    const seen = tail.until(line, 5_000);
    const started = performance.now();
    const pushed = pushJson(node, { app: 'live' }, [[`${Date.now()}000000`, line]]);
    await seen;
    const elapsed = performance.now() - started;
    assert.equal((await pushed).status, 204);
    assert.ok(elapsed < 1_000, `${line} after ${elapsed} ms`);
  }
});
