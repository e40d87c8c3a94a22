import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { main } from '../../src/node/cli/index.ts';
import { localTime } from '../../src/node/cli/output.ts';
import { entry, FakeIo, fakeServices, serving, WHOLE } from './fake-io.ts';

const RECEIPT = { ...WHOLE, fromIndex: 0 };
const stats = { logvine: RECEIPT };

function answerOf(data: object): string {
  return `${JSON.stringify({ progress: { done: 1, of: 2 } })}\n${JSON.stringify({ answer: { status: 'success', data } })}\n`;
}

async function run(argv: string[], body: string, io = new FakeIo()) {
  const { services, requests } = serving({ '/api/v1/metric': { body } });
  const code = await main(['query', ...argv], io, services);
  return { code, io, text: io.output.toString(), asked: requests[0]?.url.searchParams };
}

const QUERY = 'sum by (app) (rate({a="b"}[5m]))';
const VECTOR = {
  resultType: 'vector',
  result: [
    { metric: { app: 'x\u001b[2J' }, value: [1_700_000_000, '1.5'] },
    { metric: {}, value: [1_700_000_000, 'NaN'] },
  ],
  stats,
};
const MATRIX = {
  resultType: 'matrix',
  result: [
    {
      metric: { app: 'x' },
      values: [
        [0, '0'],
        [60, '4'],
        [180, '8'],
      ],
    },
    {
      metric: { app: 'y' },
      values: [
        [120, '1.23456789'],
        [180, '+Inf'],
      ],
    },
  ],
  stats,
};

describe('metric queries', () => {
  test('now: a table, in which nothing can move the cursor', async () => {
    const { code, io, text, asked } = await run([QUERY], answerOf(VECTOR));
    assert.equal(code, 0);
    assert.equal(asked?.get('time'), `${io.nowMs}000000`);
    assert.match(text, /^SERIES +VALUE\n\{app="x\\u001b\[2J"\} +1\.5\n\{\} +NaN\n$/);
    assert.ok(!text.includes('\u001b'));
    assert.deepEqual(io.reports, ['complete: 12 batches read, 3 pruned']);
  });

  test('over a range: a line of bars a series, on one axis', async () => {
    const range = ['--from', '0', '--to', '300'];
    const { text, asked } = await run([...range, '--step', '1m', QUERY], answerOf(MATRIX));
    assert.equal(asked?.get('step'), '60000ms');
    assert.equal(asked?.has('time'), false);
    const lines = text.trimEnd().split('\n');
    assert.equal(lines[0], `${localTime(0n)} to ${localTime(300_000_000_000n)}, a column is 1m`);
    assert.match(lines[1], /^SERIES +COURSE +MIN +MAX +LAST$/);
    assert.match(lines[2], /^\{app="x"\} +▁▅ █ {4}0 +8 +8$/);
    assert.match(lines[3], /^\{app="y"\} {4}█ {5}1\.23457 +Infinity +Infinity$/);
  });

  test('over a range: no line is longer than the terminal is wide', async () => {
    const names = { short: 'x', long: 'y'.repeat(60) };
    const points = Array.from({ length: 361 }, (_, at) => [at * 10, `${at}.123456789`]);
    const result = Object.values(names).map((app) => ({ metric: { app }, values: points }));
    const range = ['--from', '0', '--to', '3600', '--step', '10s'];
    for (const columns of [80, 120, 200]) {
      const io = new FakeIo();
      io.columns = columns;
      const { text } = await run([...range, QUERY], answerOf({ ...MATRIX, result }), io);
      const lines = text.trimEnd().split('\n');
      for (const line of lines) assert.ok(line.length <= columns, `${line.length} of ${columns}: ${line}`);
      assert.ok(lines.some((line) => line.startsWith(`{app="${names.long}"}`)));
      const course = /▁[▁▂▃▄▅▆▇█]+ /.exec(text)?.[0].trim() ?? '';
      assert.ok(course.length >= 20, text);
      assert.match(lines[0], / a column is (\d+m)?[1-5]?0s$| a column is \d+m$/, 'whole steps');
      assert.match(course, /█$/, 'it reaches to the end of the range');
    }
  });

  test('json, csv and raw', async () => {
    const json = await run(['--output', 'json', QUERY], answerOf(VECTOR));
    const objects = json.text
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line) as unknown);
    assert.deepEqual(objects, [
      { labels: { app: 'x\u001b[2J' }, points: [[1_700_000_000, '1.5']] },
      { labels: {}, points: [[1_700_000_000, 'NaN']] },
      { receipt: RECEIPT },
    ]);
    assert.deepEqual(json.io.reports, []);
    const csv = await run(['--since', '1h', '--output', 'csv', QUERY], answerOf(MATRIX));
    assert.equal(csv.text.split('\n')[0], 'time,app,value');
    assert.equal(csv.text.split('\n')[2], '1970-01-01T00:01:00.000Z,x,4');
    const raw = await run(['--output', 'raw', QUERY], answerOf(VECTOR));
    assert.equal(raw.text.split('\n')[1], '{}\t1700000000\tNaN');
  });

  test('nothing found, a scalar, an incomplete answer, an error', async () => {
    assert.equal((await run([QUERY], answerOf({ ...VECTOR, result: [] }))).text, '');
    const scalar = await run(['1 + 1'], answerOf({ resultType: 'scalar', result: [1, '2'], stats }));
    assert.match(scalar.text, /^\{\} +2$/m);
    const silent = [{ peer: 'p', epoch: null, durableSeq: null, lastHeard: null }];
    const logvine = { ...RECEIPT, complete: false, silent };
    const partial = await run([QUERY], answerOf({ ...VECTOR, stats: { logvine } }));
    assert.equal(partial.code, 3);
    assert.match(partial.io.reports[0], /^INCOMPLETE/);
    const error = { error: { code: 'LV_QUERY_TOO_LARGE', message: 'maximum\u001b of series' } };
    const refused = await run([QUERY], `${JSON.stringify(error)}\n`);
    assert.equal(refused.code, 1);
    assert.equal(refused.io.reports[0], 'logvine: LV_QUERY_TOO_LARGE maximum\\x1b of series');
    assert.equal((await run([QUERY], '{"x":1}\n')).code, 1);
    assert.equal((await run([QUERY], answerOf(VECTOR).split('\n')[0])).code, 1);
  });

  test('usage', async () => {
    for (const [argv, message] of [
      [['--step', '1m', '{a="b"}'], /'--step' is for metric queries/],
      [['--context', '1', QUERY], /'--context' is for log queries/],
      [['--step', '5', QUERY], /allowed: a duration/],
    ] as const) {
      const io = new FakeIo();
      assert.equal(await main(['query', ...argv], io, fakeServices({})), 2);
      assert.match(io.reports[0], message);
    }
  });

  test('progress is shown on a terminal, after a while, and leaves nothing behind', async () => {
    for (const isTerminal of [false, true]) {
      const io = new FakeIo();
      io.isTerminal = isTerminal;
      const startMs = io.nowMs;
      io.clock.monotonicMs = () => (io.nowMs += 600) - startMs;
      const { text } = await run([QUERY], `${answerOf(VECTOR).split('\n')[0]}\n${answerOf(VECTOR)}`, io);
      if (isTerminal) assert.match(text, /^\r\u001b\[2K█+░+ 1 of 2 batches, \d s.*\r\u001b\[2KSERIES/s);
      else assert.match(text, /^SERIES/);
    }
  });
});

test('csv of entries: every nanosecond, cells quoted, nothing that moves the cursor', async () => {
  const io = new FakeIo();
  const services = fakeServices({
    async *fetchEntries() {
      yield [entry('a,"b"\n\u001b'), entry(Buffer.from([0xff]))];
      return WHOLE;
    },
  });
  assert.equal(await main(['query', '--output', 'csv', 'q'], io, services), 0);
  assert.deepEqual(io.output.toString().trimEnd().split('\n'), [
    'time,level,labels,metadata,line',
    '2023-11-14T22:13:20.123456789Z,info,"{""host"":""web1"",""filename"":""/var/log/syslog""}",' +
      '"{""detected_level"":""info""}","a,""b""\\n\\x1b"',
    '2023-11-14T22:13:20.123456789Z,info,"{""host"":""web1"",""filename"":""/var/log/syslog""}",' +
      '"{""detected_level"":""info""}",\\xff',
  ]);
});

test('context: lines around each hit from its own stream, groups that touch joined', async () => {
  const stream = { app: 'x' };
  const all = Array.from({ length: 20 }, (_, n) =>
    entry(`line ${n}`, { timeNs: BigInt(n) * 1000n, labels: stream, metadata: {} }),
  );
  const io = new FakeIo();
  const { services } = serving({ '/loki/api/v1/series': { body: JSON.stringify({ data: [stream] }) } });
  const fetchEntries = async function* (request: Parameters<typeof services.fetchEntries>[0]) {
    const isHits = request.query.includes('|=');
    if (!isHits) assert.equal(request.query, '{app="x"}');
    const found = all.filter(
      ({ timeNs, line }) =>
        timeNs >= request.startNs &&
        timeNs < (request.endNs ?? 0n) &&
        (!isHits || ['line 3', 'line 5', 'line 15'].includes(line.toString())),
    );
    const ordered = request.direction === 'backward' ? found.toReversed() : found;
    yield (request.limit === 0 ? ordered : ordered.slice(0, request.limit)).map((one) =>
      isHits ? { ...one, labels: { ...stream, parsed: 'p' } } : one,
    );
    return WHOLE;
  };
  const argv = ['query', '--from', '0', '--to', 'now', '--context', '1', '{app="x"} |= "q"'];
  assert.equal(await main(argv, io, { ...services, fetchEntries }), 0, io.reports.join());
  const shown = io.output
    .toString()
    .trimEnd()
    .split('\n')
    .map((line) => line.replace(/^(>| ) .*(line \d+)$/, '$1$2'));
  assert.deepEqual(shown, [
    ' line 2',
    '>line 3',
    ' line 4',
    '>line 5',
    ' line 6',
    '--',
    ' line 14',
    '>line 15',
    ' line 16',
  ]);
  assert.deepEqual(io.reports, ['complete: 12 batches read, 3 pruned']);
  const few = ['query', '--limit', '3', ...argv.slice(1)];
  assert.equal(await main(few, io, { ...services, fetchEntries }), 0);
  assert.match(io.reports[1], /; these are the newest 3 hits, and there may be more: see --limit$/);
});

describe('context of a hit', () => {
  const stream = { app: 'x' };
  const hit = entry('hit', { timeNs: 5n, labels: stream, metadata: {} });

  /** Answers the query with `hit` and everything else with `around`, and remembers what else was asked. */
  const shown = async (
    lines: string,
    around: readonly (typeof hit)[],
    seriesReceipt?: typeof WHOLE,
  ): Promise<{ code: number; text: string; asked: { limit: number; direction: string }[] }> => {
    const io = new FakeIo();
    const body = JSON.stringify({ data: [stream], logvine: seriesReceipt });
    const { services } = serving({ '/loki/api/v1/series': { body } });
    const asked: { limit: number; direction: string }[] = [];
    const fetchEntries = async function* ({
      query,
      limit,
      direction,
      startNs,
    }: Parameters<typeof services.fetchEntries>[0]) {
      const isHits = query.includes('|=');
      if (!isHits) asked.push({ limit, direction });
      yield isHits ? [hit] : startNs === hit.timeNs ? around : [];
      return WHOLE;
    };
    const argv = ['query', '--output', 'raw', '--from', '0', '--to', 'now', '--context', lines];
    const code = await main([...argv, '{app="x"} |= "hit"'], io, { ...services, fetchEntries });
    return { code, text: io.output.toString(), asked };
  };

  test('without lines around it nothing before and after it is asked for', async () => {
    const { text, asked } = await shown('0', [hit]);
    assert.equal(text, 'hit\n');
    assert.deepEqual(asked, [{ limit: 0, direction: 'forward' }]);
  });

  test('more lines of its time than a call takes arguments', async () => {
    const others = Array.from({ length: 200_000 }, () => ({ ...hit, line: Buffer.from('o') }));
    assert.equal((await shown('1', [...others, hit])).text, 'o\nhit\n');
  });

  test('a hit that is gone since stands alone', async () => {
    assert.equal((await shown('1', [{ ...hit, line: Buffer.from('o') }])).text, 'hit\n');
  });

  test('that its streams could not all be told is told', async () => {
    assert.equal((await shown('1', [hit], WHOLE)).code, 0);
    assert.equal((await shown('1', [hit], { ...WHOLE, complete: false })).code, 3);
  });

  for (const stage of [
    '| line_format "{{.msg}}"',
    '| label_format a=b',
    '| unpack',
    '| decolorize',
    '| drop app',
    '| keep a',
  ]) {
    test(`is refused after ${stage}`, async () => {
      const io = new FakeIo();
      const argv = ['query', '--context', '1', `{app="x"} | json ${stage} |= "q"`];
      assert.equal(await main(argv, io, fakeServices({})), 2);
      assert.ok(io.reports[0].includes(`not after ${stage}`), io.reports[0]);
    });
  }
});

describe('series and stats', () => {
  test('series', async () => {
    const { services, requests } = serving({
      '/loki/api/v1/series': {
        body: JSON.stringify({ data: [{ job: 'b\u001b' }, { job: 'a' }], logvine: RECEIPT }),
      },
    });
    const io = new FakeIo();
    assert.equal(await main(['series', '{job=~".+"}', '{x="y"}'], io, services), 0);
    assert.equal(io.output.toString(), '{job="a"}\n{job="b\\u001b"}\n');
    assert.deepEqual(requests[0].url.searchParams.getAll('match[]'), ['{job=~".+"}', '{x="y"}']);
  });

  test('stats', async () => {
    const body = JSON.stringify({ streams: 2, chunks: 3, bytes: 4096, entries: 5, logvine: RECEIPT });
    const io = new FakeIo();
    assert.equal(
      await main(['stats', '{a="b"}'], io, serving({ '/loki/api/v1/index/stats': { body } }).services),
      0,
    );
    assert.match(io.output.toString(), /^STREAMS +BATCHES +ENTRIES +BYTES\n2 +3 +5 +4\.00 KiB\n$/);
    const other = new FakeIo();
    const answer = serving({ '/loki/api/v1/index/stats': { body: '{}' } });
    assert.equal(await main(['stats', '{a="b"}'], other, answer.services), 1);
  });
});

test('what a node says that is no answer is told as such', async () => {
  const partial = JSON.stringify({ data: [], logvine: { complete: false } });
  const { services } = serving({ '/loki/api/v1/series': { body: partial } });
  const series = new FakeIo();
  assert.equal(await main(['series'], series, services), 1);
  assert.match(series.reports[0], /^logvine: LV_PROTOCOL .* sent a receipt that is none$/);
  for (const [data, message] of [
    [{ ...VECTOR, stats: { logvine: {} } }, /sent a receipt that is none$/],
    [{ ...MATRIX, result: [{ metric: {}, values: [] }] }, /is not that of a metric query$/],
  ] as const) {
    const { code, io } = await run([QUERY], answerOf(data));
    assert.equal(code, 1);
    assert.match(io.reports[0], message);
  }
});
