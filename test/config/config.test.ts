import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { describe, test } from 'node:test';
import { Seeds, type SeedHost } from '../../src/gossip/membership/seeds.ts';
import type { Transport } from '../../src/gossip/transport/index.ts';
import {
  commentedFile,
  loadConfig,
  referenceTable,
  settingsText,
  type Flags,
} from '../../src/node/config/index.ts';
import { LIMITS, LogvineError } from '../../src/store/index.ts';
import { seededRandom, SimClock } from '../helpers/sim-clock.ts';

interface Layers {
  file?: string;
  env?: Record<string, string>;
  flags?: Flags;
}

function load({ file, env = {}, flags = {} }: Layers) {
  return loadConfig({
    configFile: file === undefined ? undefined : 'etc/logvine.yaml',
    flags,
    env,
    workingDirectory: '/work',
    disk: { readFile: async () => (file === undefined ? undefined : Buffer.from(file)) },
  });
}

/** The lines of the error, without the count. */
async function problems(layers: Layers): Promise<string[]> {
  let lines: string[] = [];
  await assert.rejects(load(layers), (error: unknown) => {
    assert.ok(error instanceof LogvineError, String(error));
    assert.equal(error.code, 'LV_CONFIG_INVALID');
    lines = error.message.split('\n  ').filter((line) => !/^\d+ problems$/.test(line));
    return true;
  });
  return lines;
}

describe('defaults', () => {
  test('are a whole configuration', async () => {
    const { config, warnings } = await load({});
    assert.deepEqual(warnings, []);
    assert.deepEqual(config, {
      dataDirectory: '/work/logvine-data',
      listen: { host: '127.0.0.1', port: 7421 },
      announce: [],
      http: { host: '127.0.0.1', port: 7420 },
      httpBehindProxy: false,
      tls: undefined,
      tokenFiles: { push: undefined, query: undefined, admin: undefined },
      join: [],
      lostPeers: [],
      secretFile: undefined,
      zone: undefined,
      weight: 1,
      labels: {},
      replicas: 3,
      ack: 2,
      tail: [],
      discoverServiceName: true,
      discoverLogLevels: true,
      timeZone: 'local',
      batch: {
        targetBytes: 1_048_576,
        lingerBytes: 65_536,
        lingerMs: 1000,
        ageMaxMs: 10_000,
        pushLingerMs: 100,
      },
      segment: { bytesMax: 67_108_864, ageMaxMs: 3_600_000 },
      retention: { ageMsMax: undefined, bytesMax: undefined, streams: [] },
      diskReserveBytes: 1024 ** 3,
      scrubPeriodMs: 7 * 86_400_000,
      repairDelayMs: 600_000,
      repairBytesPerSecond: 32 * 1024 ** 2,
      pushTimeoutMs: 10_000,
      pushDedupWindowMs: 3_600_000,
      workers: undefined,
      logLevel: 'info',
    });
  });

  test('ack follows replicas down to one', async () => {
    assert.equal((await load({ file: 'replicas: 1' })).config.ack, 1);
    assert.equal((await load({ file: 'replicas: 5' })).config.ack, 2);
  });
});

describe('layers', () => {
  test('a flag wins over a variable, that over the file, and that over the default', async () => {
    const file = 'listen: 127.0.0.1:1\nhttp: 127.0.0.1:1\ndata: one\n';
    const env = { LOGVINE_LISTEN: '127.0.0.1:2', LOGVINE_HTTP: '127.0.0.1:2', LOGVINE_WEIGHT: '' };
    const { config, settings } = await load({ file, env, flags: { listen: '[::1]:3' } });
    assert.deepEqual(config.listen, { host: '::1', port: 3 });
    assert.equal(config.http.port, 2);
    assert.equal(config.dataDirectory, '/work/etc/one');
    assert.equal(config.weight, 1);
    const sources = Object.fromEntries(settings.map(({ key, source }) => [key, source]));
    assert.equal(sources.listen, '--listen');
    assert.equal(sources.http, 'LOGVINE_HTTP');
    assert.equal(sources.data, 'etc/logvine.yaml:3');
    assert.equal(sources.weight, 'default');
  });

  test('variables of every form', async () => {
    const { config } = await load({
      env: {
        LOGVINE_JOIN: 'a:1, b:2',
        LOGVINE_ANNOUNCE: 'c:3',
        LOGVINE_LABELS: 'env=prod,note=a=b',
        LOGVINE_REPLICAS: '5',
        LOGVINE_DISCOVER_SERVICE_NAME: 'false',
        LOGVINE_BATCH_TARGET_BYTES: '512KiB',
        LOGVINE_SEGMENT_AGE_MAX: '30m',
        LOGVINE_ZONE: '7',
      },
    });
    assert.deepEqual(config.join, ['a:1', 'b:2']);
    assert.deepEqual(config.announce, ['c:3']);
    assert.deepEqual(config.labels, { env: 'prod', note: 'a=b' });
    assert.equal(config.replicas, 5);
    assert.equal(config.discoverServiceName, false);
    assert.equal(config.batch.targetBytes, 524_288);
    assert.equal(config.segment.ageMaxMs, 1_800_000);
    assert.equal(config.zone, '7');
  });

  test('a node may name as many addresses to join as it dials', async () => {
    const join = Array.from({ length: LIMITS.seedsMax }, (_, at) => `a:${at + 1}`);
    const { config } = await load({ flags: { join } });
    assert.deepEqual(config.join, join);
    assert.equal((await problems({ flags: { join: [...join, 'b:1'] } })).length, 1);
    const transport = { clock: new SimClock() } as unknown as Transport;
    const host: SeedHost = { isLive: () => true, join: () => Promise.resolve(), failed: () => undefined };
    new Seeds(transport, seededRandom(1), config.join, host).close();
  });

  test('labels and files add up, each list of files with its own base directory', async () => {
    const file =
      'timeZone: UTC\nlabels: {a: file, b: file}\ninputs: {tail: [{paths: [x.log, "-"], exclude: [y]}]}';
    const { config } = await load({ file, flags: { label: ['b=flag'], files: ['x.log', '-', '/z'] } });
    assert.deepEqual(config.labels, { a: 'file', b: 'flag' });
    assert.deepEqual(config.tail, [
      { paths: ['/work/etc/x.log', '-'], labels: {}, exclude: ['/work/etc/y'], timeZone: 'UTC' },
      { paths: ['/work/x.log', '-', '/z'], labels: {}, exclude: [], timeZone: 'UTC' },
    ]);
  });

  test('an unknown variable is a warning, since orchestrators set some', async () => {
    const { warnings } = await load({ env: { LOGVINE_LISTN: 'x', LOGVINE_CONFIG: 'x', PATH: '/bin' } });
    assert.deepEqual(warnings, [
      'the environment variable LOGVINE_LISTN is not known; did you mean LOGVINE_LISTEN?',
    ]);
  });
});

describe('problems', () => {
  test('all at once, with line, key and what is allowed, in the order of the file', async () => {
    const file = [
      'listn: 127.0.0.1:1',
      'http: 80',
      'labels:',
      '  ok: yes it is',
      '  9th: x',
      '  count: 3',
      'batch:',
      '  linger: 10',
      '  targetByte: 1MiB',
      'inputs:',
      '  tail:',
      '    - paths: [a]',
      '    - path: [b]',
      'replicas: 99',
    ].join('\n');
    const lines = await problems({ file, env: { LOGVINE_WEIGHT: 'heavy' }, flags: { join: ['nowhere'] } });
    const expected = [
      /^etc\/logvine\.yaml:1: listn: unknown key; did you mean listen\?$/,
      /^etc\/logvine\.yaml:2: http: 80 is not allowed; allowed: HOST:PORT/,
      /^etc\/logvine\.yaml:5: labels\.9th: "x" is not allowed; allowed: label names/,
      /^etc\/logvine\.yaml:6: labels\.count: 3 is not allowed; .*in quotes$/,
      /^etc\/logvine\.yaml:8: batch\.linger: 10 is not allowed; allowed: a duration.*from 10ms to 1m$/,
      /^etc\/logvine\.yaml:9: batch\.targetByte: unknown key; did you mean targetBytes\?$/,
      /^etc\/logvine\.yaml:13: inputs\.tail\[1\]\.paths: it is missing; allowed: a list of files or globs$/,
      /^etc\/logvine\.yaml:13: inputs\.tail\[1\]\.path: unknown key; did you mean paths\?$/,
      /^etc\/logvine\.yaml:14: replicas: 99 is not allowed; allowed: a whole number from 1 to 16$/,
      /^--join: join\[0\]: "nowhere" is not allowed; allowed: HOST:PORT or a multiaddr/,
      /^LOGVINE_WEIGHT: weight: "heavy" is not allowed; allowed: a number/,
    ];
    assert.equal(lines.length, expected.length, lines.join('\n'));
    for (const [index, line] of lines.entries()) {
      if (index < 9) assert.match(line, expected[index]);
      else
        assert.ok(
          expected.slice(9).some((pattern) => pattern.test(line)),
          line,
        );
    }
  });

  const single: [string, Layers, RegExp][] = [
    ['YAML that is none', { file: 'a: [1' }, /^etc\/logvine\.yaml:1: /],
    ['a key given twice', { file: 'zone: a\nzone: b' }, /^etc\/logvine\.yaml:2: Map keys must be unique/],
    ['a list as file', { file: '- a' }, /yaml:1: the file is not a list of/],
    ['text as file', { file: 'hello' }, /yaml:1: the file is not a list of/],
    ['a key without a value', { file: 'join:' }, /yaml:1: join: null is not allowed/],
    [
      'a section that is text',
      { file: 'batch: big' },
      /yaml:1: batch: "big" is not allowed; allowed: a section with: targetBytes/,
    ],
    [
      'a section that is text, and a variable in it',
      { file: 'batch: big', env: { LOGVINE_BATCH_LINGER: '1s' } },
      /yaml:1: batch/,
    ],
    ['a key that objects swallow', { file: 'labels:\n  __proto__: x' }, /yaml:2: __proto__/],
    [
      'a label flag without =',
      { flags: { label: ['novalue'] } },
      /^--label: "novalue" is not allowed; allowed: NAME=VALUE/,
    ],
    [
      'a label flag that objects swallow',
      { flags: { label: ['__proto__=x'] } },
      /^--label: "__proto__=x" is not/,
    ],
    [
      'a zone that cannot be shown',
      { file: String.raw`zone: "a\e[2J"` },
      /yaml:1: zone: "a\\u001b\[2J" is not allowed/,
    ],
    [
      'a bad zone of time',
      { file: 'timeZone: Mars/Olympus' },
      /yaml:1: timeZone: "Mars\/Olympus" is not allowed/,
    ],
    [
      'an address to announce without a port',
      { file: 'announce: [logs.example]' },
      /yaml:1: announce\[0\]: "logs\.example" is not allowed; allowed: HOST:PORT or a multiaddr/,
    ],
    [
      'a port beyond the last',
      { flags: { listen: '127.0.0.1:65536' } },
      /^--listen: listen: "127\.0\.0\.1:65536"/,
    ],
    ['more acks than copies', { file: 'replicas: 2\nack: 3' }, /yaml:2: ack: 3 is more than the 2 copies/],
    ['one half of TLS', { file: 'tls: {certFile: a}' }, /yaml:1: tls: certFile and keyFile need each other/],
    [
      'a linger beyond the age',
      { file: 'batch:\n  linger: 20s' },
      /yaml:2: batch\.linger: it must not exceed batch\.ageMax/,
    ],
  ];
  for (const [name, layers, message] of single) {
    test(name, async () => {
      const lines = await problems(layers);
      assert.equal(lines.length, 1, lines.join('\n'));
      assert.match(lines[0], message);
    });
  }

  test('aliases that multiply are refused', async () => {
    const levels = Array.from({ length: 12 }, (_, level) => {
      const item = level === 0 ? '"x"' : `*l${level - 1}`;
      return `l${level}: &l${level} [${Array(10).fill(item).join(',')}]`;
    });
    assert.match((await problems({ file: levels.join('\n') }))[0], /alias/i);
  });

  test('a missing file', async () => {
    await assert.rejects(
      loadConfig({
        configFile: 'gone.yaml',
        flags: {},
        env: {},
        workingDirectory: '/',
        disk: { readFile: async () => undefined },
      }),
      /gone\.yaml: there is no such file/,
    );
  });
});

describe('beyond loopback', () => {
  test('the mesh needs a secret', async () => {
    for (const listen of ['0.0.0.0:1', '[::]:1', '192.0.2.1:1', 'example.net:1']) {
      assert.match((await problems({ flags: { listen } }))[0], /^--listen: listen: .* needs secretFile/);
      await load({ flags: { listen, secretFile: 's' } });
    }
    for (const listen of ['127.0.0.2:1', 'localhost:1', '[::1]:1', '[0:0:0:0:0:0:0:1]:1'])
      await load({ flags: { listen } });
  });

  test('HTTP needs a token, and TLS or a proxy', async () => {
    const flags = { http: '0.0.0.0:1' };
    assert.equal((await problems({ flags })).length, 2);
    assert.match((await problems({ flags, file: 'httpBehindProxy: true' }))[0], /needs a token/);
    assert.match((await problems({ flags, file: 'tokenFiles: {push: t}' }))[0], /needs TLS/);
    await load({ flags, file: 'tokenFiles: {push: t}\nhttpBehindProxy: true' });
    const { config } = await load({ flags, file: 'tokenFiles: {admin: t}\ntls: {certFile: c, keyFile: k}' });
    assert.deepEqual(config.tls, { certFile: '/work/etc/c', keyFile: '/work/etc/k' });
  });
});

describe('the reference', () => {
  test('in docs/configuration.md is what the schema says (else: logvine config --reference)', () => {
    const docs = readFileSync(new URL('../../docs/configuration.md', import.meta.url), 'utf8');
    const table = /<!-- reference -->\n\n([^]*?)\n\n<!-- \/reference -->/.exec(docs)?.[1];
    assert.equal(table, referenceTable());
  });

  test('explains every key', () => {
    for (const row of referenceTable().split('\n').slice(2)) {
      assert.match(row, /^\| `[\w.[\]]+` \| .* \| .* \| [A-Z`].{10,}\. Allowed: .{4,}\. \|$/, row);
    }
  });

  test('the example in the docs is a good configuration', async () => {
    const docs = readFileSync(new URL('../../docs/configuration.md', import.meta.url), 'utf8');
    const example = /```yaml\n([^]*?)```/.exec(docs)?.[1] ?? assert.fail('no example');
    const { config } = await load({ file: example });
    assert.equal(config.batch.lingerMs, 500);
  });

  test('the file that init writes loads, and so does all that it comments out', async () => {
    const file = commentedFile({ secretFile: 'logvine.secret' });
    assert.equal((await load({ file })).config.secretFile, '/work/etc/logvine.secret');
    // A commented key is `# key:`, indented or not; prose has a capital letter, several words, or no colon behind it.
    const all = file.replace(/^# ( *(?:[a-z]\w*:( |$)|- |  )|[a-z]\w*:( |$))/gm, '$1');
    const { settings } = await load({ file: all });
    const fromFile = settings.filter(({ source }) => source.startsWith('etc/'));
    assert.equal(fromFile.length, settings.length, settingsText(settings));
  });
});
