import assert from 'node:assert/strict';
import { mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { main } from '../../src/node/cli/index.ts';
import { loadConfig, readSecrets, type Config } from '../../src/node/config/index.ts';
import { LogvineError } from '../../src/store/index.ts';
import { FakeIo, fakeServices, serving } from './fake-io.ts';

let directory = '';
before(async () => {
  directory = await mkdtemp(join(tmpdir(), 'logvine-cli-'));
});
after(() => rm(directory, { recursive: true }));

const NEVER = new Promise<void>(() => {});
const READY = { httpUrl: 'http://127.0.0.1:1', meshAddress: '/ip4/127.0.0.1/tcp/2/p2p/x', peer: 'x' };

describe('run', () => {
  test('starts with the flags, says ready on one line, and closes at the first signal', async () => {
    const io = new FakeIo();
    let config: Config | undefined;
    let closed = 0;
    const services = fakeServices({
      startNode: async (given) => {
        config = given;
        return { ready: READY, outdated: NEVER, close: async () => void closed++ };
      },
    });
    const ready = io.nextWrite();
    const argv = ['run', '--data', 'd', '--join', 'a:1', '--join', 'b:2', '--label', 'x=1', 'one.log', '-'];
    const ended = main(argv, io, services);
    await ready;
    assert.equal(
      io.output.toString(),
      `logvine ready http=${READY.httpUrl} mesh=${READY.meshAddress} peer=x\n`,
    );
    assert.equal(closed, 0);
    io.stop();
    io.stop();
    assert.equal(await ended, 0);
    assert.equal(closed, 1);
    assert.deepEqual(io.exits, [], 'two signals at once are one Ctrl-C');
    assert.equal(config?.dataDirectory, '/work/d');
    assert.deepEqual(config?.join, ['a:1', 'b:2']);
    assert.deepEqual(config?.labels, { x: '1' });
    assert.deepEqual(config?.tail[0].paths, ['/work/one.log', '-']);
    assert.equal(io.timers.size, 0);
  });

  test('a signal while it starts stops it at once', async () => {
    const io = new FakeIo();
    const starting = Promise.withResolvers<void>();
    const startNode = (): Promise<never> => {
      starting.resolve();
      return new Promise(() => {});
    };
    const ended = main(['run'], io, fakeServices({ startNode }));
    await starting.promise;
    io.stop();
    assert.equal(await ended, 0);
    assert.equal(io.output.length, 0);
  });

  test('a second signal, or closing for too long, stops it at once', async () => {
    const io = new FakeIo();
    const services = fakeServices({
      startNode: async () => ({ ready: READY, outdated: NEVER, close: () => new Promise(() => {}) }),
    });
    const ready = io.nextWrite();
    const ended = main(['run'], io, services);
    await ready;
    io.stop();
    io.nowMs += 2000;
    io.stop();
    assert.deepEqual(io.exits, [1]);
    // Closing began in a microtask after the first signal.
    await new Promise((resolve) => setImmediate(resolve));
    for (const late of io.timers) late();
    assert.equal(await ended, 1);
  });

  test('a node whose disk is older than the mesh remembers is closed and started again, once', async () => {
    const io = new FakeIo();
    const said: string[] = [];
    const services = fakeServices({
      startNode: async () => {
        said.push('start');
        return { ready: READY, outdated: Promise.resolve(), close: async () => void said.push('close') };
      },
    });
    const ended = main(['run'], io, services);
    await io.nextWrite();
    while (said.length < 3) await io.nextWrite();
    io.stop();
    assert.equal(await ended, 0);
    assert.deepEqual(said, ['start', 'close', 'start', 'close']);
  });

  test('a start that fails is one line and 1; a bad flag value too', async () => {
    const io = new FakeIo();
    const services = fakeServices({
      startNode: () => Promise.reject(new LogvineError('LV_PORT_IN_USE', '127.0.0.1:7421 is taken')),
    });
    assert.equal(await main(['run'], io, services), 1);
    assert.deepEqual(io.reports, ['logvine: LV_PORT_IN_USE 127.0.0.1:7421 is taken']);
    assert.equal(await main(['run', '--listen', 'x'], io, services), 1);
    assert.match(io.reports[1], /^logvine: LV_CONFIG_INVALID --listen: listen: "x" is not allowed/);
    assert.equal(await main(['run', '--config', 'gone.yaml'], io, services), 1);
    assert.match(io.reports[2], /gone\.yaml: there is no such file/);
  });
});

describe('init', () => {
  test('writes a private secret and a file that loads; nothing is overwritten', async () => {
    const io = new FakeIo();
    io.workingDirectory = directory;
    assert.equal(await main(['init', 'new'], io, fakeServices({})), 0, io.reports.join());
    const secretFile = join(directory, 'new', 'logvine.secret');
    const configFile = join(directory, 'new', 'logvine.yaml');
    assert.equal((await stat(secretFile)).mode & 0o777, 0o600);
    assert.deepEqual(await readSecrets(secretFile, io.disk), [Buffer.alloc(32, 0xab)]);
    const options = { flags: {}, env: {}, workingDirectory: '/', disk: io.disk };
    assert.equal((await loadConfig({ configFile, ...options })).config.secretFile, secretFile);

    assert.match(io.output.toString(), /^start with: logvine run --config /m);
    const npx = new FakeIo();
    npx.env = { npm_command: 'exec' };
    assert.equal(await main(['init', join(directory, 'npx')], npx, fakeServices({})), 0);
    assert.match(npx.output.toString(), /^start with: npx logvine run --config /m);

    const before = await readFile(configFile, 'utf8');
    assert.equal(await main(['init', 'new'], io, fakeServices({})), 1);
    assert.match(io.reports[0], /is there already: nothing was written/);
    assert.equal(await readFile(configFile, 'utf8'), before);
  });

  test('keeps the secret of a mesh that is to be joined, and refuses a passphrase in its place', async () => {
    const io = new FakeIo();
    io.workingDirectory = await mkdtemp(join(directory, 'join-'));
    const secretFile = join(io.workingDirectory, 'logvine.secret');
    await writeFile(secretFile, 'open sesame\n', { mode: 0o600 });
    assert.equal(await main(['init'], io, fakeServices({})), 1);
    assert.match(io.reports[0], /^logvine: LV_SECRET_INVALID .*passphrase/);
    await writeFile(secretFile, 'cd'.repeat(32));
    assert.equal(await main(['init'], io, fakeServices({})), 0);
    assert.equal(await readFile(secretFile, 'utf8'), 'cd'.repeat(32));
  });
});

const STATUS = {
  peer: 'alice',
  version: '0.1.0',
  uptimeSeconds: 3700,
  members: [
    { peer: 'alice', state: 'alive', zone: '', weight: 1, epoch: 3, http: 'http://a', mesh: '/ip4/1' },
    { peer: 'bob', state: 'dead\x1b[2J', zone: 'r1', weight: 2, epoch: 1 },
  ],
  replication: { k: 3, w: 2, batchesBelowK: 4, bytesBelowK: 2048 },
  store: { segments: 1, batches: 2, entries: 3, rawBytes: 4096, storedBytes: 1024 },
  origins: [{ peer: 'alice', epoch: 3, sealedSeq: 9, durableSeq: 8 }],
  inputs: [{ source: 's', path: '/var/log/x', sizeBytes: 10, readBytes: 10, durableBytes: 5 }],
  more: 'than is known here',
};

describe('status, members, labels', () => {
  test('status in words, and whole as JSON', async () => {
    const { services } = serving({ '/api/v1/status': { body: JSON.stringify(STATUS) } });
    const io = new FakeIo();
    assert.equal(await main(['status'], io, services), 0, io.reports.join());
    const text = io.output.toString();
    assert.match(text, /peer {5}alice, version 0\.1\.0, up 1h1m/);
    assert.match(
      text,
      /k=3, w=2: 4 batches \(2\.00 KiB\) of its own, or of peers that are away, are below k/,
    );
    assert.match(text, /4\.00 KiB in 1\.00 KiB \(1 : 4\.0\)/);
    assert.match(text, /bob +dead\\x1b\[2J +r1 +2 +1 +- +- +-\n/);
    const json = new FakeIo();
    await main(['status', '--output', 'json'], json, services);
    assert.deepEqual(JSON.parse(json.output.toString()), STATUS);
  });

  test('members', async () => {
    const { services, requests } = serving({ '/api/v1/status': { body: JSON.stringify(STATUS) } });
    const io = new FakeIo();
    io.env = { LOGVINE_TOKEN: 'abc' };
    assert.equal(await main(['members'], io, services), 0);
    const lines = io.output.toString().split('\n');
    assert.match(lines[0], /^PEER +STATE +ZONE +WEIGHT +EPOCH +CLOCK +HTTP +MESH$/);
    assert.match(lines[1], /^alice \* +alive +- +1 +3 +- +http:\/\/a +\/ip4\/1$/);
    assert.equal(requests[0].authorization, 'Bearer abc');
  });

  test('peers that have left come last', async () => {
    const [alice, bob] = STATUS.members;
    const left = { ...bob, peer: 'aaron', state: 'left' };
    const body = JSON.stringify({ ...STATUS, members: [left, alice, bob] });
    const io = new FakeIo();
    await main(['members'], io, serving({ '/api/v1/status': { body } }).services);
    const peers = io.output
      .toString()
      .split('\n')
      .map((line) => line.split(' ')[0]);
    assert.deepEqual(peers, ['PEER', 'alice', 'bob', 'aaron', '']);
  });

  test('labels and their values', async () => {
    const { services, requests } = serving({
      '/loki/api/v1/labels': { body: '{"status":"success","data":["host","job\\u001b"]}' },
      '/loki/api/v1/label/a%2Fb/values': { body: '{"status":"success"}' },
    });
    const io = new FakeIo();
    assert.equal(await main(['labels', '--since', '1h'], io, services), 0);
    assert.equal(io.output.toString(), 'host\njob\\x1b\n');
    assert.equal(requests[0].url.searchParams.get('end'), `${io.nowMs}000000`);
    assert.equal(requests[0].url.searchParams.get('start'), `${io.nowMs - 3_600_000}000000`);
    assert.equal(await main(['labels', 'a/b'], io, services), 0);
    assert.equal(await main(['labels', '--since', '36500d'], io, services), 0);
    assert.equal(requests[2].url.searchParams.get('start'), '0');
  });

  const refusals: [string, { status?: number; body: string }, RegExp][] = [
    ['no token', { status: 401, body: 'token needed' }, /^logvine: LV_UNAUTHORIZED token needed$/],
    [
      'an error with a code',
      { status: 503, body: '{"code":"LV_OVERLOADED","message":"full\\u001b"}' },
      /^logvine: LV_OVERLOADED full\\x1b$/,
    ],
    ['an error without words', { status: 500, body: '' }, /^logvine: LV_PROTOCOL .* answered 500$/],
    ['a page', { body: '<html>' }, /^logvine: LV_PROTOCOL .*is it a Logvine node/],
    ['other JSON', { body: '{"peer":1}' }, /^logvine: LV_PROTOCOL .*unexpected peer$/],
  ];
  for (const [name, answer, message] of refusals) {
    test(`${name} is one line and 1`, async () => {
      const io = new FakeIo();
      assert.equal(await main(['status'], io, serving({ '/api/v1/status': answer }).services), 1);
      assert.equal(io.reports.length, 1);
      assert.match(io.reports[0], message);
    });
  }

  test('nobody there', async () => {
    const io = new FakeIo();
    const fetch = () => Promise.reject(new TypeError('fetch failed', { cause: new Error('ECONNREFUSED') }));
    assert.equal(await main(['status', '--addr', 'h:1'], io, fakeServices({ fetch })), 1);
    assert.match(io.reports[0], /LV_PEER_UNREACHABLE no node answers at http:\/\/h:1 \(ECONNREFUSED\)/);
  });

  for (const [cause, message] of [
    [new Error('bad port'), /\(bad port\): HTTP clients refuse this port.*--http$/],
    [
      Object.assign(new Error('read ECONNRESET'), { code: 'ECONNRESET' }),
      /\(read ECONNRESET\): something listens there.*the mesh port/,
    ],
  ] as const) {
    test(`${cause.message}: what to do is said`, async () => {
      const io = new FakeIo();
      const fetch = () => Promise.reject(new TypeError('fetch failed', { cause }));
      assert.equal(await main(['status'], io, fakeServices({ fetch })), 1);
      assert.match(io.reports[0], message);
    });
  }

  test('a token file that is not there, and one that holds no token', async () => {
    const io = new FakeIo();
    const path = join(directory, 'token');
    assert.equal(await main(['status', '--token-file', path], io, fakeServices({})), 1);
    assert.equal(io.reports[0], `logvine: LV_CONFIG_INVALID --token-file: ${path}: there is no such file`);
    await writeFile(path, 'two words\n');
    assert.equal(await main(['status', '--token-file', path], io, fakeServices({})), 1);
    assert.match(io.reports[1], /holds no token$/);
  });
});

describe('leave, config, and the rest', () => {
  test('leave tells how far it is, and fails when the node stops telling', async () => {
    const io = new FakeIo();
    const [moving, waiting] = [2, 1].map((peersInReach) =>
      JSON.stringify({ segments: peersInReach, copiesNeeded: 2, peersInReach }),
    );
    const body = `{"damaged":3}\n${moving}\n${waiting}\n{"left":true}\n`;
    const { services, requests } = serving({ '/api/v1/leave': { body } });
    assert.equal(await main(['leave'], io, services), 0);
    assert.equal(requests[0].method, 'POST');
    assert.equal(io.reports[0], 'leaving: 3 damaged segments to mend first');
    assert.equal(io.reports[1], 'leaving: 2 segments to hand over');
    assert.match(
      io.reports[2],
      /^leaving: 1 segment to hand over: each has to be at 2 other peers, of which 1 is in reach/,
    );
    const cut = serving({ '/api/v1/leave': { body: `${moving}\n` } });
    assert.equal(await main(['leave'], io, cut.services), 1);
  });

  test('config prints values with their sources', async () => {
    const io = new FakeIo();
    io.env = { LOGVINE_WEIGHT: '2', LOGVINE_WEIGTH: '3' };
    assert.equal(await main(['config', '--http', '127.0.0.1:0'], io, fakeServices({})), 0);
    const text = io.output.toString();
    assert.match(text, /^http: 127\.0\.0\.1:0 +# --http$/m);
    assert.match(text, /^weight: 2 +# LOGVINE_WEIGHT$/m);
    assert.match(text, /^replicas: 3 +# default$/m);
    assert.match(io.reports[0], /LOGVINE_WEIGTH is not known; did you mean LOGVINE_WEIGHT/);
  });

  test('the version is that of the package', async () => {
    const io = new FakeIo();
    const { version } = JSON.parse(
      await readFile(new URL('../../package.json', import.meta.url), 'utf8'),
    ) as { version: string };
    assert.equal(await main(['--version'], io, fakeServices({})), 0);
    assert.equal(io.output.toString(), `${version}\n`);
  });

  test('help shows defaults as one would write them', async () => {
    for (const [command, since] of [
      ['labels', '6h'],
      ['series', '6h'],
      ['stats', '1h'],
      ['tail', 'now'],
    ]) {
      const io = new FakeIo();
      assert.equal(await main([command, '--help'], io, fakeServices({})), 0);
      const help = io.output.toString();
      assert.match(help, new RegExp(`--since [^]*?\\(default: ${since}\\)\n`));
    }
    const run = new FakeIo();
    await main(['run', '--help'], run, fakeServices({}));
    assert.doesNotMatch(run.output.toString(), /\[\]/);
  });

  test('help is 0 and on stdout; no command, or an unknown one, is 2', async () => {
    const io = new FakeIo();
    assert.equal(await main(['--help'], io, fakeServices({})), 0);
    const help = io.output.toString();
    for (const name of ['run', 'init', 'query', 'tail', 'labels', 'status', 'members', 'leave', 'config']) {
      assert.match(help, new RegExp(`^  ${name} `, 'm'));
    }
    assert.equal(await main([], io, fakeServices({})), 2);
    assert.equal(await main(['qury'], io, fakeServices({})), 2);
    assert.match(io.reports.at(-1) ?? '', /^logvine: unknown command 'qury' \(Did you mean query\?\)$/);
  });
});
