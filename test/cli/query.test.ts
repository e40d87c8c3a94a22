import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import type { Receipt } from '../../src/node/cli/client.ts';
import { main } from '../../src/node/cli/index.ts';
import { LogvineError } from '../../src/store/index.ts';
import { answering, entry, FakeIo, fakeServices, WHOLE } from './fake-io.ts';

const NOW_NS = BigInt(Date.parse('2026-01-02T03:04:05.678Z')) * 1_000_000n;
const STATUS = {
  ...{ peer: 'alice', version: '0.1.0', uptimeSeconds: 1, members: [], origins: [], inputs: [] },
  replication: { k: 3, w: 2, batchesBelowK: 0, bytesBelowK: 0 },
  store: { segments: 0, batches: 0, entries: 0, rawBytes: 0, storedBytes: 0 },
};
const HOUR_NS = 3_600_000_000_000n;

describe('what query asks for', () => {
  const asked = async (argv: string[], env = {}) => {
    const io = new FakeIo();
    io.env = env;
    const { services, requests } = answering([], WHOLE);
    assert.equal(await main(['query', ...argv], io, services), 0, io.reports.join('\n'));
    const { addr, token, query, startNs, endNs, limit, direction } = requests[0];
    return { addr, token, query, startNs, endNs, limit, direction };
  };

  test('by default the newest hundred of the last hour, here', async () => {
    assert.deepEqual(await asked(['{a="b"}']), {
      addr: 'http://127.0.0.1:7420',
      token: undefined,
      query: '{a="b"}',
      startNs: NOW_NS - HOUR_NS,
      endNs: NOW_NS,
      limit: 100,
      direction: 'backward',
    });
  });

  test('everything comes in the order of time', async () => {
    assert.equal((await asked(['--limit', '0', 'q'])).direction, 'forward');
    assert.equal((await asked(['--limit', '0', '--direction', 'backward', 'q'])).direction, 'backward');
  });

  test('a range that begins before 1970 begins there', async () => {
    assert.equal((await asked(['--since', '36500d', 'q'])).startNs, 0n);
    assert.equal((await asked(['--from', '1960-01-01T00:00:00Z', 'q'])).startNs, 0n);
  });

  test('times, addresses and tokens', async () => {
    assert.equal((await asked(['--since', '2h', 'q'])).startNs, NOW_NS - 2n * HOUR_NS);
    const range = await asked(['--from', '2026-01-01T00:00:00.000000001+01:00', '--to', '1767312000', 'q']);
    assert.equal(range.startNs, BigInt(Date.parse('2025-12-31T23:00:00Z')) * 1_000_000n + 1n);
    assert.equal(range.endNs, 1_767_312_000_000_000_000n);
    const env = { LOGVINE_ADDR: 'logs.example.net:80', LOGVINE_TOKEN: 'secret' };
    const elsewhere = await asked(['q'], env);
    assert.equal(elsewhere.addr, 'http://logs.example.net');
    assert.equal(elsewhere.token, 'secret');
    assert.equal((await asked(['--addr', 'https://x/logs/', 'q'], env)).addr, 'https://x/logs');
  });

  const usage: [string[], RegExp][] = [
    [[], /missing required argument/],
    [['q', '--since', '5'], /allowed: a duration/],
    [['q', '--since', '1h', '--from', 'now'], /cannot be used with/],
    [['q', '--from', '2026-02-31'], /allowed: now, a time/],
    [['q', '--to', 'now'], /'--to' needs '--from'/],
    [['q', '--from', 'now'], /'--from' is not before '--to'/],
    [['q', '--limit', '-1'], /allowed: a whole number/],
    [['q', '--output', 'xml'], /Allowed choices are text, json, raw/],
    [['q', '--addr', 'ftp://x'], /allowed: a URL/],
    [['q', '--unknown'], /unknown option '--unknown'/],
  ];
  for (const [argv, message] of usage) {
    test(`query ${argv.join(' ')} is a mistake in usage`, async () => {
      const io = new FakeIo();
      assert.equal(await main(['query', ...argv], io, fakeServices({})), 2);
      assert.equal(io.reports.length, 1);
      assert.match(io.reports[0], /^logvine: /);
      assert.match(io.reports[0], message);
    });
  }
});

describe('what query prints', () => {
  const printed = async (output: string, chunks: Parameters<typeof answering>[0], receipt = WHOLE) => {
    const io = new FakeIo();
    const code = await main(['query', '--output', output, 'q'], io, answering(chunks, receipt).services);
    return { code, io, text: io.output.toString() };
  };

  test('raw: the bytes of the lines, exactly', async () => {
    const lines = [Buffer.from([0xff, 0x00, 0x1b, 0x0d]), Buffer.alloc(0), Buffer.from('ä\tb')];
    const { io, code } = await printed('raw', [[entry(lines[0]), entry(lines[1])], [entry(lines[2])]]);
    assert.equal(code, 0);
    assert.deepEqual(io.output, Buffer.concat(lines.flatMap((line) => [line, Buffer.from('\n')])));
    assert.deepEqual(io.reports, ['complete: 12 batches read, 3 pruned']);
  });

  test('an answer that stopped at its limit says which lines these are; in JSON nothing is added', async () => {
    const said = async (argv: string[], lines: number) => {
      const io = new FakeIo();
      const chunks = Array.from({ length: lines }, (_, line) => [entry(`line ${line}`)]);
      await main(['query', ...argv, 'q'], io, answering(chunks, WHOLE).services);
      return io.reports[0];
    };
    const whole = 'complete: 12 batches read, 3 pruned';
    assert.equal(
      await said(['--limit', '2'], 2),
      `${whole}; these are the newest 2 lines, and there may be more: see --limit`,
    );
    assert.equal(
      await said(['--limit', '1', '--direction', 'forward'], 1),
      `${whole}; this is the oldest line, and there may be more: see --limit`,
    );
    assert.equal(await said(['--limit', '3'], 2), whole);
    assert.equal(await said(['--limit', '0'], 2), whole);
    assert.equal(await said(['--limit', '2', '--output', 'json'], 2), undefined);
  });

  test('one batch is one batch', async () => {
    const { io } = await printed('raw', [], { ...WHOLE, read: 1 });
    assert.deepEqual(io.reports, ['complete: 1 batch read, 3 pruned']);
  });

  test('json: an object a line, the receipt last, other bytes as base64', async () => {
    const bytes = Buffer.from([0x61, 0xff]);
    const { io, text } = await printed('json', [[entry('a\u009b\u202e"'), entry(bytes)]]);
    const lines = text.trimEnd().split('\n');
    assert.ok(!/[\u007f-\u009f\u202e]/.test(text));
    assert.deepEqual(
      lines.map((line) => JSON.parse(line)),
      [
        {
          timeNs: '1700000000123456789',
          labels: entry('').labels,
          metadata: entry('').metadata,
          line: 'a\u009b\u202e"',
        },
        {
          timeNs: '1700000000123456789',
          labels: entry('').labels,
          metadata: entry('').metadata,
          line: 'a\ufffd',
          lineBase64: bytes.toString('base64'),
        },
        { receipt: WHOLE },
      ],
    );
    assert.deepEqual(io.reports, []);
  });

  test('text: nothing in a line or label can move the cursor', async () => {
    const evil = '\x1b[2J\r\n\x07\x9b\u202e\ttail';
    const row = entry(Buffer.concat([Buffer.from(evil), Buffer.from([0xff, 0xe2, 0x82])]), {
      labels: { job: `x${evil}` },
      metadata: { detected_level: '\x1b[31m' },
    });
    const { text } = await printed('text', [[row]]);
    assert.ok(text.endsWith('\n'));
    assert.ok(!/[\p{Cc}\p{Cf}]/u.test(text.slice(0, -1)), JSON.stringify(text));
    assert.ok(text.includes('\\x1b[2J\\r\\n\\x07\\u{9b}\\u{202e}\\ttail\\xff\\xe2\\x82'), text);
  });

  test('text: time, level, where from, line; colour only on a terminal', async () => {
    const { text } = await printed('text', [
      [entry('hello'), entry('x', { labels: { a: 'b' }, metadata: {} })],
    ]);
    assert.match(
      text,
      /^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.123 INFO  web1 syslog hello\n.*\.123 +\{a="b"\} x\n$/,
    );
    const io = new FakeIo();
    io.isTerminal = true;
    await main(['query', 'q'], io, answering([[entry('hello')]], WHOLE).services);
    assert.ok(io.output.toString().includes('\x1b[36mINFO \x1b[0m'));
    io.env = { NO_COLOR: '1' };
    io.written.length = 0;
    await main(['query', 'q'], io, answering([[entry('hello')]], WHOLE).services);
    assert.ok(!io.output.includes('\x1b'));
  });

  test('an answer that is not whole ends with 3 and says what is missing', async () => {
    const run = { epoch: 2, fromSeq: 4, toSeq: 6, reason: 'unreachable' as const };
    const fromTime = '2026-01-01T00:00:00Z';
    const toTime = '2026-01-01T00:00:09Z';
    const receipt: Receipt = {
      ...WHOLE,
      complete: false,
      expected: 9,
      read: 5,
      pruned: 1,
      missing: [
        { ...run, origin: 'alice', fromTime, toTime, lastOwners: ['bob', 'carol'] },
        {
          ...run,
          origin: 'dave\x1b',
          toSeq: 4,
          fromTime: null,
          toTime: null,
          lastOwners: [],
          reason: 'corrupt',
        },
      ],
      silent: [{ peer: 'erin', epoch: null, durableSeq: null, lastHeard: fromTime }],
    };
    const { code, io } = await printed('raw', [[entry('x')]], receipt);
    assert.equal(code, 3);
    assert.equal(io.output.toString(), 'x\n');
    const lines = io.reports[0].split('\n');
    assert.equal(lines[0], 'INCOMPLETE: 5 batches read, 1 pruned, of 9 expected');
    assert.equal(
      lines[1],
      `  missing: origin alice epoch 2 seq 4–6, ${fromTime} to ${toTime}; last held by bob, carol`,
    );
    assert.match(
      lines[2],
      /^ {2}missing: origin dave\\x1b epoch 2 seq 4; last held by nobody known \(.*corrupt\)$/,
    );
    assert.match(lines[3], /^ {2}silent: origin erin, last heard from at 2026-01-01T00:00:00Z: /);
    assert.equal((await printed('json', [], receipt)).code, 3);
    const searching = {
      peer: 'every peer of the mesh to join',
      epoch: null,
      durableSeq: null,
      lastHeard: null,
    };
    const alone = await printed('raw', [], { ...WHOLE, complete: false, silent: [searching] });
    assert.match(
      alone.io.reports[0],
      /^ {2}silent: every peer of the mesh to join: none has answered yet, and what they have is not here$/m,
    );
  });
});

describe('how query ends', () => {
  test('an error of the node is one line and 1', async () => {
    const io = new FakeIo();
    const services = fakeServices({
      fetchEntries: () => {
        throw new LogvineError('LV_QUERY_INVALID', 'unexpected } at 3');
      },
    });
    assert.equal(await main(['query', 'q'], io, services), 1);
    assert.deepEqual(io.reports, ['logvine: LV_QUERY_INVALID unexpected } at 3']);
  });

  test('a reader that goes away ends it quietly, and ends the search', async () => {
    const io = new FakeIo();
    io.writesMax = 1;
    let signal: AbortSignal | undefined;
    const services = fakeServices({
      async *fetchEntries(request) {
        signal = request.signal;
        for (;;) yield [entry('x')];
      },
    });
    assert.equal(await main(['query', '--output', 'raw', 'q'], io, services), 141);
    assert.deepEqual(io.reports, []);
    assert.ok(signal?.aborted);
  });

  /** Yields one entry, then waits to be stopped. */
  const waiting = fakeServices({
    async *fetchEntries({ signal }) {
      yield [entry('x')];
      signal.throwIfAborted();
      await new Promise((_, reject) => {
        signal.addEventListener('abort', () => reject(signal.reason));
      });
      return WHOLE;
    },
  });

  test('Ctrl-C ends a tail in good order, and a query as an error', async () => {
    for (const [command, code] of [
      ['tail', 0],
      ['query', 1],
    ] as const) {
      const io = new FakeIo();
      const written = io.nextWrite();
      const ended = main([command, '--output', 'raw', 'q'], io, waiting);
      await written;
      io.stop();
      assert.equal(await ended, code, io.reports.join('\n'));
    }
  });

  test('tail says who is out of reach, at the start and when that changes', async () => {
    const io = new FakeIo();
    const down = [{ code: 'LV_PEER_UNREACHABLE', message: '1 of 3 peers is down: …bob222' }];
    let problems = down;
    const services = {
      ...waiting,
      fetch: async () => new Response(JSON.stringify({ ...STATUS, problems })),
    };
    const ended = main(['tail', '--output', 'raw', 'q'], io, services);
    const looked = async (): Promise<void> => {
      for (let turn = 0; turn < 50; turn++) await new Promise((resolve) => setImmediate(resolve));
    };
    const lookAgain = async (): Promise<void> => {
      const due = [...io.timers];
      io.timers.clear();
      for (const run of due) run();
      await looked();
    };
    await looked();
    await lookAgain();
    assert.deepEqual(io.reports, [
      'INCOMPLETE: 1 of 3 peers is down: …bob222; lines that only they have are not shown',
    ]);
    problems = [];
    await lookAgain();
    assert.match(io.reports[1], /^all peers are within reach again;/);
    io.stop();
    assert.equal(await ended, 0);
    assert.equal(io.timers.size, 0);
  });

  test('tail says how much it was too slow for, and when it could not follow a peer', async () => {
    const io = new FakeIo();
    const services = fakeServices({
      async *fetchEntries({ onMissed }) {
        onMissed?.({ count: 1_234, unheard: [] });
        onMissed?.({ count: 0, unheard: [{ peer: 'bobbob222', fromMs: 1_000, toMs: 4_500 }] });
        yield [entry('x')];
        return WHOLE;
      },
      fetch: async () => new Response(JSON.stringify({ ...STATUS, problems: [] })),
    });
    assert.equal(await main(['tail', '--output', 'raw', 'q'], io, services), 0);
    assert.match(io.reports[0], /^INCOMPLETE: .* 1,234 pieces of one or more are not shown/);
    const during = 'from 1970-01-01T00:00:01.000Z to 1970-01-01T00:00:04.500Z';
    assert.equal(
      io.reports[1],
      `INCOMPLETE: …bob222 could not be followed ${during}; what it read then is found with logvine query`,
    );
  });

  test('tail follows: it has no end and no limit', async () => {
    const io = new FakeIo();
    const { services, requests } = answering([[entry('x')]], WHOLE);
    assert.equal(await main(['tail', '--since', '1h', 'q'], io, services), 0);
    assert.equal(requests[0].endNs, undefined);
    assert.equal(requests[0].limit, 0);
    assert.equal(requests[0].startNs, NOW_NS - HOUR_NS);
    assert.equal(await main(['tail', '--since', '36500d', 'q'], io, services), 0);
    assert.equal(requests[1].startNs, 0n);
  });
});
