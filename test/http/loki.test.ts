import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { WebSocket } from 'ws';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fetchEntries } from '../../src/node/cli/client.ts';
import {
  LokiNode,
  type FieldsBody,
  type ListBody,
  type PatternItem,
  type QueryBody,
  type Receipt,
  type ResultItem,
} from './loki-node.ts';

/** Seconds, of which the entries' times are made. */
const T = 1_700_000_000;
const ns = (seconds: number, extra = 0n): string => String(BigInt(seconds) * 1_000_000_000n + extra);
const RANGE = [
  ['start', ns(T)],
  ['end', ns(T + 60)],
];
const CATEGORIZE = { 'X-Loki-Response-Encoding-Flags': 'categorize-labels' };

const WEB = [
  { level: 'warn', http: { status: 404 }, ok: false, ratio: 0.5 },
  { level: 'info', http: { status: 200 }, ok: true, ratio: 1 },
].map((fields) => JSON.stringify(fields));
const webBytes = WEB.join('').length;

let node: LokiNode;

before(async () => {
  node = await LokiNode.start();
  await node.push([
    {
      stream: { app: 'api', host: 'h1' },
      values: [
        [ns(T + 1, 1n), 'level=info msg="GET /a" status=200 took=5ms'],
        [ns(T + 2), 'level=error msg="GET /b" status=500 took=1.5s', { trace_id: 'abc' }],
        [ns(T + 31), 'level=info msg="GET /c" status=200 took=7ms'],
      ],
    },
    {
      stream: { app: 'web', host: 'h2' },
      values: [
        [ns(T + 3), WEB[0]],
        [ns(T + 33), WEB[1]],
      ],
    },
  ]);
});
after(() => node.close());

function assertWhole(receipt: Receipt): void {
  assert.equal(receipt.complete, true);
  assert.equal(receipt.expected, receipt.read + receipt.pruned + receipt.unneeded);
}

describe('adding the source', () => {
  test('save and test: exactly one sample, 2', async () => {
    const body = await node.ask('query', [
      ['query', 'vector(1)+vector(1)'],
      ['time', ns(T)],
      ['direction', ''],
    ]);
    assert.equal(body.status, 'success');
    assert.equal(body.data.resultType, 'vector');
    assert.deepEqual(body.data.result, [{ metric: {}, value: [T, '2'] }]);
    assertWhole(body.data.stats.logvine);
    const { status, body: now } = await node.answer<QueryBody>(
      'query?query=vector(1)%2Bvector(1)&time=&direction=',
    );
    assert.equal(status, 200);
    assert.equal(now.data.result[0].value[1], '2');
  });

  test('buildinfo and drilldown-limits', async () => {
    const buildinfo = await node.answer<{ version: string }>('status/buildinfo');
    assert.equal(typeof buildinfo.body.version, 'string');
    const limits = await node.answer<{ limits: Record<string, unknown> }>('drilldown-limits');
    assert.equal(limits.body.limits.volume_enabled, true);
    assert.equal(limits.body.limits.max_query_series, 500);
  });
});

describe('label browser and builder', () => {
  test('labels, values, series', async () => {
    const labels = await node.ask<ListBody>('labels', RANGE);
    assert.deepEqual(labels.data, ['app', 'host', 'service_name']);
    assertWhole(labels.logvine);
    const ofWeb = await node.ask<ListBody>('label/app/values', [...RANGE, ['query', '{host="h2"}']]);
    assert.deepEqual(ofWeb.data, ['web']);
    const web = { app: 'web', host: 'h2', service_name: 'web' };
    for (const name of ['match[]', 'match']) {
      const series = await node.ask<ListBody<Record<string, string>>>('series', [
        ...RANGE,
        [name, '{app="web"}'],
      ]);
      assert.deepEqual(series.data, [web]);
    }
    const both = await node.ask<ListBody<Record<string, string>>>('series', [
      ...RANGE,
      ['match[]', '{app="web"}'],
      ['match[]', '{app="api"}'],
    ]);
    assert.equal(both.data.length, 2);
    const outside = await node.ask<ListBody>('labels', [
      ['start', ns(T - 100)],
      ['end', ns(T - 50)],
    ]);
    assert.deepEqual(outside.data, []);
  });

  test('detected labels', async () => {
    const { detectedLabels, logvine } = await node.ask<{ detectedLabels: object[]; logvine: Receipt }>(
      'detected_labels',
      [...RANGE, ['query', '{app=~".+"}']],
    );
    assert.deepEqual(detectedLabels, [
      { label: 'app', cardinality: 2 },
      { label: 'host', cardinality: 2 },
      { label: 'service_name', cardinality: 2 },
    ]);
    assertWhole(logvine);
  });

  test('detected fields, and the values of one', async () => {
    const ofApi = await node.ask<FieldsBody>('detected_fields', [...RANGE, ['query', '{app="api"}']]);
    const byLabel = new Map(ofApi.fields.map((field) => [field.label, field]));
    assert.equal(ofApi.limit, 1000);
    assert.deepEqual(byLabel.get('status'), {
      label: 'status',
      type: 'int',
      cardinality: 2,
      parsers: ['logfmt'],
    });
    assert.deepEqual(byLabel.get('took'), {
      label: 'took',
      type: 'duration',
      cardinality: 3,
      parsers: ['logfmt'],
    });
    assert.deepEqual(byLabel.get('trace_id'), {
      label: 'trace_id',
      type: 'string',
      cardinality: 1,
      parsers: null,
    });
    const ofWeb = await node.ask<FieldsBody>('detected_fields', [...RANGE, ['query', '{app="web"} | json']]);
    const status = ofWeb.fields.find((field) => field.label === 'http_status');
    assert.deepEqual(status, {
      label: 'http_status',
      type: 'int',
      cardinality: 2,
      parsers: ['json'],
      jsonPath: ['http', 'status'],
    });
    const types = new Map(ofWeb.fields.map(({ label, type }) => [label, type]));
    assert.equal(types.get('ok'), 'boolean');
    assert.equal(types.get('ratio'), 'float');
    const values = await node.ask<FieldsBody>('detected_field/status/values', [
      ...RANGE,
      ['query', '{app="api"}'],
      ['limit', '10'],
    ]);
    assert.deepEqual(values.values, ['200', '500']);
    assert.equal(values.limit, 10);
  });
});

describe('explore', () => {
  test('entries: streams with metadata folded in, newest first', async () => {
    const body = await node.ask('query_range', [
      ...RANGE,
      ['query', '{app="api"}'],
      ['limit', '2'],
      ['direction', 'backward'],
    ]);
    assert.equal(body.data.resultType, 'streams');
    const entries = body.data.result.flatMap(({ stream, values }) => values.map((value) => [stream, value]));
    assert.equal(entries.length, 2);
    const [stream, value] = entries.find(([, entry]) => JSON.stringify(entry).includes('500')) ?? [];
    assert.deepEqual(stream, {
      app: 'api',
      host: 'h1',
      service_name: 'api',
      detected_level: 'error',
      trace_id: 'abc',
    });
    assert.deepEqual(value, [ns(T + 2), 'level=error msg="GET /b" status=500 took=1.5s']);
    assertWhole(body.data.stats.logvine);
    assert.equal(body.warnings, undefined);
  });

  test('entries, categorized: stream labels, metadata and parsed labels apart', async () => {
    const query = [...RANGE, ['query', '{app="api"} |= "500" | logfmt status'], ['direction', 'forward']];
    const { data } = await node.ask('query_range', query, CATEGORIZE);
    assert.deepEqual(data.encodingFlags, ['categorize-labels']);
    assert.deepEqual(data.result, [
      {
        stream: { app: 'api', host: 'h1', service_name: 'api' },
        values: [
          [
            ns(T + 2),
            'level=error msg="GET /b" status=500 took=1.5s',
            { structuredMetadata: { detected_level: 'error', trace_id: 'abc' }, parsed: { status: '500' } },
          ],
        ],
      },
    ]);
  });

  test('times beyond what a number carries, and an interval', async () => {
    const exact = await node.ask('query_range', [
      ['query', '{app="api"}'],
      ['start', ns(T + 1, 1n)],
      ['end', ns(T + 1, 2n)],
    ]);
    assert.equal(exact.data.result[0].values[0][0], ns(T + 1, 1n));
    const before = await node.ask('query_range', [
      ['query', '{app="api"}'],
      ['start', ns(T)],
      ['end', ns(T + 1, 1n)],
    ]);
    assert.deepEqual(before.data.result, []);
    const sparse = await node.ask('query_range', [
      ...RANGE,
      ['query', '{app=~".+"}'],
      ['interval', '30s'],
      ['direction', 'forward'],
    ]);
    const times = sparse.data.result.flatMap(({ values }) => values.map(([at]) => at)).sort();
    assert.deepEqual(times, [ns(T + 1, 1n), ns(T + 33)]);
  });

  test('the histogram by level, from the index where it can', async () => {
    const query = 'sum by (level, detected_level) (count_over_time({app=~".+"} | drop __error__[30s]))';
    const ask = () =>
      node.ask('query_range', [
        ['query', query],
        ['start', ns(T)],
        ['end', ns(T + 60)],
        ['step', '30000ms'],
      ]);
    const { data } = await ask();
    assert.equal(data.resultType, 'matrix');
    // Steps are multiples of 30 s, and T is 20 s after one.
    assert.deepEqual(data.result, [
      { metric: { detected_level: 'error' }, values: [[T + 10, '1']] },
      {
        metric: { detected_level: 'info' },
        values: [
          [T + 10, '1'],
          [T + 40, '2'],
        ],
      },
      { metric: { detected_level: 'warn' }, values: [[T + 10, '1']] },
    ]);
    assertWhole(data.stats.logvine);
    const day = 'sum by (detected_level) (count_over_time({app=~".+"}[1d]))';
    const whole = await node.ask('query', [
      ['query', day],
      ['time', ns(T + 3600)],
    ]);
    const receipt = whole.data.stats.logvine;
    assert.ok(receipt.read > 0);
    assert.equal(receipt.fromIndex, receipt.read);
    assert.equal(receipt.bytesScanned, 0);
  });

  test('vectors, matrices, scalars and numbers as Loki writes them', async () => {
    const at = async (query: string): Promise<QueryBody['data']> =>
      (
        await node.ask('query', [
          ['query', query],
          ['time', String(T + 60)],
        ])
      ).data;
    const vector = await at('sum by (app) (rate({app=~".+"}[1m]))');
    assert.deepEqual(vector.result, [
      { metric: { app: 'api' }, value: [T + 60, '0.05'] },
      { metric: { app: 'web' }, value: [T + 60, '0.03333333333333333'] },
    ]);
    const scalar = await at('1 + 1');
    assert.deepEqual([scalar.resultType, scalar.result], ['scalar', [T + 60, '2']]);
    const nothing = await at('sum(count_over_time({app="none"}[1m]))');
    assert.deepEqual(nothing.result, []);
    const unwrapped = await at('max_over_time({app="api"} | logfmt | unwrap duration(took) [1m]) by (app)');
    assert.deepEqual(unwrapped.result, [{ metric: { app: 'api' }, value: [T + 60, '1.5'] }]);
    const byDefault = await node.ask('query_range', [
      ['query', 'sum(count_over_time({app="api"}[500s]))'],
      ['start', String(T)],
      ['end', `${T + 500}.0`],
    ]);
    // (end - start) / 250 seconds a step.
    assert.equal(byDefault.data.result[0].values.length, 250);
  });

  test('lines that are in no batch yet are counted, and make their way into one', async (t) => {
    const directory = mkdtempSync(join(tmpdir(), 'logvine-fresh-'));
    t.after(() => rmSync(directory, { recursive: true }));
    const path = join(directory, 'app.log');
    writeFileSync(path, 'level=info one\nlevel=error two\n');
    const other = await LokiNode.start([path]);
    t.after(() => other.close());
    const query = 'sum by (detected_level) (count_over_time({job="logvine"} |= "level" [1h]))';
    const ask = async () =>
      (await other.answer<QueryBody>(`query?query=${encodeURIComponent(query)}`)).body.data;
    const deadlineMs = Date.now() + 10_000;
    const until = async (done: (data: QueryBody['data']) => boolean): Promise<QueryBody['data']> => {
      for (;;) {
        const data = await ask();
        if (done(data)) return data;
        assert.ok(Date.now() < deadlineMs, JSON.stringify(data));
        await new Promise((resolve) => setTimeout(resolve, 20));
      }
    };
    const fresh = await until(({ result }) => result.length === 2);
    assert.equal(fresh.stats.logvine.read, 0);
    // A push has the open batch sealed before it is answered.
    await other.push([
      { stream: { app: 'other' }, values: [[String(BigInt(Date.now()) * 1_000_000n), 'x']] },
    ]);
    const sealed = await ask();
    assert.equal(sealed.stats.logvine.read, 1);
    const counts = ({ result }: QueryBody['data']) => result.map(({ metric, value }) => [metric, value[1]]);
    assert.deepEqual(counts(sealed), counts(fresh));
    assert.deepEqual(counts(fresh), [
      [{ detected_level: 'error' }, '1'],
      [{ detected_level: 'info' }, '1'],
    ]);
  });
});

describe('receipts', () => {
  test('a node that has found nobody of its mesh says so on every answer', async (t) => {
    const lonely = await LokiNode.start([], ['127.0.0.1:9']);
    t.after(() => lonely.close());
    const query = 'query={app="a"}';
    for (const path of [
      `query_range?${query}`,
      'query?query=count_over_time({app="a"}[1h])',
      'labels',
      'label/app/values',
      'series',
      'detected_labels',
      `detected_fields?${query}`,
      `index/stats?${query}`,
      `index/volume?${query}`,
      `index/volume_range?${query}`,
      `patterns?${query}`,
    ]) {
      const { status, body } = await lonely.answer<Partial<QueryBody> & { logvine?: Receipt }>(path);
      assert.equal(status, 200, path);
      assert.match(body.warnings?.[0] ?? '', /^This answer is incomplete: 1 peers are silent/, path);
      assert.equal((body.logvine ?? body.data?.stats.logvine)?.complete, false, path);
    }
  });

  test('a metric query in lines: what the command reads', async () => {
    const lines = async (query: string): Promise<{ answer?: QueryBody; error?: { code: string } }[]> => {
      const parameters = new URLSearchParams({ query, time: ns(T + 60) });
      const response = await fetch(`${node.url}/api/v1/metric?${parameters}`);
      const text = await response.text();
      return text
        .trimEnd()
        .split('\n')
        .map((line) => JSON.parse(line) as object);
    };
    const told = (await lines('sum(count_over_time({app="api"}[1m]))')).at(-1);
    assert.equal(told?.answer?.data.result[0].value[1], '3');
    assert.equal((await lines('sum(')).at(-1)?.error?.code, 'LV_QUERY_INVALID');
  });
});

describe('size and volume', () => {
  test('index/stats', async () => {
    const { logvine, ...stats } = await node.ask<{ logvine: Receipt }>('index/stats', [
      ...RANGE,
      ['query', '{app="api"}'],
    ]);
    assert.deepEqual(stats, { streams: 1, chunks: 1, bytes: 43 + 45 + 43, entries: 3 });
    assertWhole(logvine);
  });

  test('index/volume with ISO times, and by label', async () => {
    const iso = [
      ['start', new Date(T * 1000).toISOString()],
      ['end', new Date((T + 60) * 1000).toISOString()],
      ['limit', '5000'],
    ];
    const { data } = await node.ask('index/volume', [...iso, ['query', '{service_name=~".+"}']]);
    assert.equal(data.resultType, 'vector');
    assert.deepEqual(
      data.result.map(({ metric, value }) => [metric, value[1]]),
      [
        [{ service_name: 'api' }, '131'],
        [{ service_name: 'web' }, String(webBytes)],
      ],
    );
    const byHost = await node.ask('index/volume', [
      ...iso,
      ['query', '{app="api"}'],
      ['targetLabels', 'host'],
    ]);
    assert.deepEqual(byHost.data.result[0].metric, { host: 'h1' });
    const byLabel = await node.ask('index/volume', [
      ...iso,
      ['query', '{app="api"}'],
      ['aggregateBy', 'labels'],
    ]);
    assert.deepEqual(
      byLabel.data.result.map(({ metric }) => metric),
      [{ app: '' }, { host: '' }, { service_name: '' }],
    );
    assertWhole(byLabel.data.stats.logvine);
  });

  test('index/volume_range', async () => {
    const { data } = await node.ask('index/volume_range', [
      ...RANGE,
      ['query', '{app="api"}'],
      ['step', '30'],
    ]);
    assert.equal(data.resultType, 'matrix');
    // Between multiples of 30 s, and T is 20 s after one.
    assert.deepEqual(data.result, [
      {
        metric: { app: 'api' },
        values: [
          [T + 9.999, '88'],
          [T + 39.999, '43'],
        ],
      },
    ]);
    const gone = await node.ask('index/volume_range', [
      ...RANGE,
      ['query', '{app="api"}'],
      ['targetLabels', 'gone'],
    ]);
    assert.deepEqual(gone.data.result, []);
  });

  test('patterns', async () => {
    const { data, logvine } = await node.ask<ListBody<PatternItem>>('patterns', [
      ...RANGE,
      ['query', '{app="api"}'],
      ['step', '60s'],
    ]);
    const total = data.flatMap(({ samples }) => samples).reduce((sum, [, lines]) => sum + lines, 0);
    assert.equal(total, 3);
    const info = data.find(({ level }) => level === 'info');
    assert.equal(info?.pattern, 'level=info msg="GET /<_>" status=<_> took=<_>');
    assertWhole(logvine);
  });

  test('format_query', async () => {
    const formatted = await node.ask<object>('format_query', [['query', 'sum(rate({a="b"}[5m]))by(x)']]);
    assert.deepEqual(formatted, { status: 'success', data: 'sum by (x)(rate({a="b"}[5m]))' });
  });
});

describe('a bigger range never gives less', () => {
  test('lines and counts', async () => {
    let before = 0;
    for (const seconds of [1, 2, 3, 10, 32, 60, 600]) {
      const { data } = await node.ask('query_range', [
        ['query', '{app=~"api|web"}'],
        ['start', ns(T)],
        ['end', ns(T + seconds)],
        ['limit', '1000'],
      ]);
      const lines = data.result.flatMap(({ values }) => values).length;
      assert.ok(lines >= before);
      before = lines;
    }
    assert.equal(before, 5);
  });
});

describe('what cannot be answered', () => {
  const refused: [string, number, RegExp][] = [
    ['query_range?query={app="api"', 400, /parse error/],
    ['query?query={app="api"}', 400, /^log queries are not supported as an instant query type/],
    ['query_range?query={app="api"}&limit=100001', 400, /^max entries limit per query exceeded/],
    ['query_range?query=rate({app="api"}[1m])&step=0', 400, /^zero or negative query resolution step widths/],
    [
      'query_range?query=rate({app="api"}[1m])&start=0&end=1700000000&step=1',
      400,
      /^exceeded maximum resolution of 11,000/,
    ],
    ['query_range?query={app="api"}&start=2&end=1', 400, /^end timestamp must not be before/],
    ['query_range?query={app="api"}&start=x', 400, /start is neither/],
    [
      'query?query=count_over_time({app="web"}|logfmt --strict[1h])&time=1700000060',
      400,
      /^pipeline error: 'LogfmtParserErr'/,
    ],
    ['index/stats?query=1', 400, /only label matchers/],
    ['series?match[]={app=}', 400, /parse error/],
    ['format_query?query=rate(', 400, /parse error/],
    ['index/volume?query={a="b"}&aggregateBy=x', 400, /invalid aggregation option/],
    ['query_range?query={a="b"}&step=x', 400, /step x is neither/],
    ['query_range?query={a="b"}&limit=0', 400, /limit must be a positive value/],
    ['tail?query={app="api"}', 400, /Upgrade header is missing/],
  ];
  for (const [path, status, message] of refused) {
    test(path, async () => {
      const { status: given, body } = await node.answer(path);
      assert.equal(given, status);
      assert.match(body.message, message);
    });
  }
});

interface Frame {
  readonly streams: ResultItem[];
  readonly dropped_entries: object[];
  readonly encodingFlags?: string[];
}

/** A live tail that gathers what it gets. */
class Tail {
  readonly frames: Frame[] = [];
  readonly closed: Promise<number>;
  readonly socket: WebSocket;
  #wake: () => void = () => undefined;

  constructor(url: string, parameters: Record<string, string>, headers: Record<string, string> = {}) {
    const query = new URLSearchParams(parameters);
    this.socket = new WebSocket(`${url.replace('http', 'ws')}/loki/api/v1/tail?${query}`, { headers });
    this.socket.on('message', (data) => {
      this.frames.push(JSON.parse(String(data)) as Frame);
      this.#wake();
    });
    this.closed = new Promise((resolve) => this.socket.on('close', resolve));
  }

  opened(): Promise<void> {
    return new Promise((resolve, reject) => {
      this.socket.on('open', resolve);
      this.socket.on('unexpected-response', (_request, response) => {
        let body = '';
        response.on('data', (chunk) => (body += String(chunk)));
        response.on('end', () => reject(new Error(`${response.statusCode} ${body}`)));
      });
      this.socket.on('error', reject);
    });
  }

  lines(): string[] {
    return this.frames.flatMap(({ streams }) =>
      streams.flatMap(({ values }) => values.map((value) => value[1])),
    );
  }

  async until(done: () => boolean): Promise<void> {
    const deadline = setTimeout(() => this.socket.terminate(), 10_000);
    while (!done() && this.socket.readyState === WebSocket.OPEN) {
      await Promise.race([new Promise<void>((resolve) => (this.#wake = resolve)), this.closed]);
    }
    clearTimeout(deadline);
    assert.ok(done(), JSON.stringify(this.frames));
  }
}

describe('live tail', () => {
  test('lines as they are written, in Loki’s frames; a client resumes where it was', async () => {
    const tail = new Tail(node.url, { query: '{app="live"} |= "line"' });
    await tail.opened();
    const at = (n: number): string => String(BigInt(Date.now()) * 1_000_000n + BigInt(n));
    await node.push([
      {
        stream: { app: 'live' },
        values: [
          [at(0), 'line 0'],
          [at(1), 'no'],
        ],
      },
    ]);
    await tail.until(() => tail.lines().length >= 1);
    assert.deepEqual(tail.frames[0].dropped_entries, []);
    assert.equal(tail.frames[0].streams[0].stream.app, 'live');
    assert.equal(tail.frames[0].streams[0].values[0].length, 2);
    const seen = tail.frames[0].streams[0].values[0][0];
    tail.socket.close();
    assert.equal(await tail.closed, 1005);
    await node.push([
      {
        stream: { app: 'live' },
        values: [
          [at(2), 'line 1'],
          [at(3), 'line 2'],
        ],
      },
    ]);
    const again = new Tail(node.url, { query: '{app="live"}', start: String(seen), limit: '2' }, CATEGORIZE);
    await again.opened();
    await again.until(() => again.lines().length >= 2);
    assert.deepEqual(again.lines(), ['line 1', 'line 2']);
    assert.deepEqual(again.frames[0].encodingFlags, ['categorize-labels']);
    await node.push([{ stream: { app: 'live' }, values: [[at(4), 'line 3']] }]);
    await again.until(() => again.lines().includes('line 3'));
    again.socket.terminate();
  });

  test('the past comes in order of time, whatever its streams', async () => {
    const base = Date.now() - 60_000;
    const at = (ms: number): string => `${base + ms}000000`;
    await node.push([
      {
        stream: { app: 'order', n: '1' },
        values: [
          [at(1), 'first'],
          [at(3), 'third'],
          [at(4), 'fourth'],
        ],
      },
      { stream: { app: 'order', n: '2' }, values: [[at(2), 'second']] },
    ]);
    const tail = new Tail(node.url, { query: '{app="order"}', start: at(0), limit: '10' });
    await tail.opened();
    await tail.until(() => tail.lines().length >= 4);
    assert.deepEqual(tail.lines(), ['first', 'second', 'third', 'fourth']);
    tail.socket.terminate();
  });

  test('lines stamped ahead of the clock are in the past that a tail begins with', async () => {
    const [query, start] = ['{app="ahead"}', `${Date.now() - 60_000}000000`];
    await node.push([{ stream: { app: 'ahead' }, values: [[`${Date.now() + 600_000}000000`, 'soon']] }]);
    const tail = new Tail(node.url, { query, start });
    await tail.opened();
    await tail.until(() => tail.lines().length >= 1);
    assert.deepEqual(tail.lines(), ['soon']);
    tail.socket.terminate();
    const own = fetchEntries({
      ...{ addr: node.url, token: undefined, query, startNs: BigInt(start), endNs: undefined },
      ...{ limit: 0, direction: 'forward', signal: AbortSignal.timeout(10_000) },
    });
    const seen: string[] = [];
    for await (const entries of own) {
      seen.push(...entries.map(({ line }) => line.toString()));
      break;
    }
    assert.deepEqual(seen, ['soon']);
  });

  test('what cannot be tailed is refused before the upgrade', async () => {
    for (const [query, message] of [
      ['{app="live"', /^Error: 400 .*parse error/],
      ['rate({app="live"}[1m])', /^Error: 400 .*only log selector/],
    ] as const) {
      await assert.rejects(new Tail(node.url, { query }).opened(), message);
    }
    await assert.rejects(new Tail(node.url, { query: '{a="b"}', delay_for: '6' }).opened(), /delay_for/);
  });

  test('a node that shuts down drops its tails, so that Grafana comes back', async () => {
    const other = await LokiNode.start();
    const tail = new Tail(other.url, { query: '{app="live"}' });
    await tail.opened();
    await other.close();
    assert.equal(await tail.closed, 1006);
  });
});

test('metadata named like a label of its stream is renamed, with and without stages; empty metadata is none', async () => {
  const other = await LokiNode.start();
  try {
    await other.push([
      { stream: { app: 'named' }, values: [[ns(T), 'line', { app: 'own', user: 'u', none: '' }]] },
    ]);
    for (const query of ['{app="named"}', '{app="named"} | app="named"']) {
      const { data } = await other.ask('query_range', [...RANGE, ['query', query]]);
      const { detected_level: _level, service_name: _service, ...labels } = data.result[0].stream;
      assert.deepEqual(labels, { app: 'named', app_extracted: 'own', user: 'u' }, query);
    }
  } finally {
    await other.close();
  }
});
