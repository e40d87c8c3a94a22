/** Files of a data directory, and what operators put beside it: damaged by a disk, an editor or a restore. */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { crc32, zstdCompressSync } from 'node:zlib';
import { encodeMessage as encodeSaved } from '../../src/gossip/membership/messages.ts';
import { isSigned, signRecord } from '../../src/gossip/membership/record.ts';
import { RememberedMembers } from '../../src/gossip/membership/remembered.ts';
import { HoldingsKnown } from '../../src/gossip/repair/index.ts';
import { parseRider, signWatermark } from '../../src/gossip/repair/watermarks.ts';
import { readSecrets, readTokens } from '../../src/node/config/index.ts';
import { loadIdentity } from '../../src/node/identity.ts';
import { WatermarkKeeper, type WatermarkKeeperOptions } from '../../src/node/watermark-keeper.ts';
import type { Disk } from '../../src/store/index.ts';
import { LIMITS } from '../../src/store/limits.ts';
import { DroppedLog } from '../../src/store/retention/index.ts';
import { readDropped } from '../../src/store/start.ts';
import type { StoreOptions } from '../../src/store/store.ts';
import { seededRandom, SimClock } from '../helpers/sim-clock.ts';
import { SimDisk } from '../helpers/sim-disk.ts';
import { DATA, openStore } from '../store/material.ts';
import { fuzz } from './fuzz.ts';
import { origin } from './lying-origin.ts';
import { mutatedJson } from './mutate.ts';
import { HOLDS_NOTHING } from '../helpers/holds-nothing.ts';

const json = (value: unknown): Buffer => Buffer.from(JSON.stringify(value));
const diskWith = (bytes: Buffer): Disk =>
  ({
    readFile: () => Promise.resolve(Buffer.from(bytes)),
    replaceFile: () => Promise.resolve(),
  }) as unknown as Disk;

const time = { min: { ms: 1, sub: 0 }, max: { ms: 2, sub: 5 } };
const holding = {
  origin: origin.peer,
  epoch: 5,
  index: 1,
  runs: [
    [1, 3],
    [5, 9],
  ],
  ...time,
  owners: [origin.peer],
  bytes: 100,
  sealedAtMs: 5,
  open: false,
};
const expired = [{ origin: origin.peer, epoch: 4, from: 1, to: 7, ...time }];
const marks = [
  { ...signWatermark({ origin: origin.peer, epoch: 5, sealed: 9, durable: 7 }, origin.sign), heardMs: 5 },
];

async function keeperOf(files: Record<string, Buffer>) {
  const repairer = { known: new HoldingsKnown(), heard: () => undefined };
  const store = { origin: origin.peer, epoch: 6, sealedSeq: 0, instance: '6.0', health: { version: 1 } };
  const keeper = new WatermarkKeeper({
    clock: new SimClock(),
    disk: { readFile: (path: string) => Promise.resolve(files[path.slice(DATA.length + 1)]) },
    directory: DATA,
    store: { ...store, ...HOLDS_NOTHING },
    replicator: { durableSeq: 0 },
    repairer,
    isMember: () => false,
    isFull: () => false,
    sign: (text: Uint8Array) => origin.sign(text),
    log: () => undefined,
  } as unknown as WatermarkKeeperOptions);
  await keeper.load();
  return { keeper, holdings: repairer.known };
}

fuzz('known.json', {
  samples: [json({ marks })],
  isJson: true,
  refusals: [],
  parse: (bytes) => keeperOf({ 'known.json': bytes }),
  check({ keeper }) {
    for (const { sealed, durable } of parseRider(keeper.fullState()).marks)
      assert.ok(durable <= sealed && sealed <= LIMITS.counterMax);
  },
  found: [Buffer.from('null'), Buffer.from('{"marks":[],"known":{"holdings":[["x",[]]],"expired":[]}}')],
});

/** One piece: its length, and the text in zstd. */
function pieceOf(text: Buffer): Buffer {
  const packed = zstdCompressSync(text);
  const length = Buffer.alloc(4);
  length.writeUInt32LE(packed.length);
  return Buffer.concat([length, packed]);
}

const checkHoldings = ({ holdings }: { holdings: HoldingsKnown }): void => {
  for (const [peer, { runs }] of holdings.all()) assert.ok(typeof peer === 'string' && runs.length >= 0);
  for (const piece of [...holdings.pieces()]) holdings.restore(piece);
};
const piece = json({ holdings: [[origin.peer, [holding]]], expired });

fuzz('holdings.zst', {
  samples: [piece],
  isJson: true,
  refusals: [],
  parse: (text) => keeperOf({ 'holdings.zst': Buffer.concat([pieceOf(piece), pieceOf(text)]) }),
  check: checkHoldings,
  found: [Buffer.from('null'), Buffer.from('{"holdings":[["x",[]]],"expired":[]}')],
});

fuzz('holdings.zst, its bytes', {
  samples: [Buffer.concat([pieceOf(piece), pieceOf(piece)])],
  refusals: [],
  parse: (bytes) => keeperOf({ 'holdings.zst': bytes }),
  check: checkHoldings,
  found: [],
});

fuzz('epoch.json', {
  samples: [json({ epoch: 1_700_000_000_000 }), json({ epoch: 0 })],
  isJson: true,
  refusals: [],
  async parse(bytes) {
    const clock = new SimClock();
    const disk = new SimDisk(seededRandom(1)).boot();
    await clock.run(disk.makeDirectory(DATA));
    await clock.run(disk.replaceFile(`${DATA}/epoch.json`, bytes));
    return clock.run(openStore({ disk, clock, keys: origin }));
  },
  check: ({ epoch }) => assert.ok(Number.isSafeInteger(epoch) && epoch > 0 && epoch < LIMITS.counterMax),
});

const record = signRecord(
  {
    peer: origin.peer,
    addresses: ['/ip4/127.0.0.1/tcp/7421'],
    zone: 'a',
    weight: 1,
    epoch: 5,
    incarnation: 1,
    leaving: false,
    left: false,
    http: '',
    version: '0.1.0',
  },
  origin.sign,
);

fuzz('members.json', {
  samples: [encodeSaved({ version: 1, introduced: true, members: [{ record, state: 'dead', sinceMs: 5 }] })],
  isJson: true,
  refusals: [],
  parse: (bytes) =>
    new RememberedMembers({
      directory: DATA,
      disk: diskWith(bytes),
      clock: new SimClock(),
      intervalMs: 1,
      current: () => ({ members: [], introduced: false }),
      failed: () => undefined,
    }).load(),
  check: ({ members }) => assert.ok(members.every((member) => isSigned(member.record))),
});

const dropped = {
  last: { epoch: 5, lastSeq: 9, headerHash: 'ab'.repeat(32) },
  positions: [['file:/var/log/x', 5, 9, '{"offset":17}']],
  released: [[5, [[1, 3]]]],
  expired,
};
const withSum = (body: Buffer): Buffer => Buffer.concat([Buffer.from(`${crc32(body)}\n`), body]);

fuzz('dropped.json', {
  samples: [withSum(json(dropped))],
  refusals: [],
  make: (random) => withSum(mutatedJson(random, dropped)),
  parse(bytes) {
    const options: Pick<StoreOptions, 'directory' | 'disk' | 'log'> = {
      directory: DATA,
      disk: diskWith(bytes),
      log: () => undefined,
    };
    return readDropped(options as StoreOptions);
  },
  check(log) {
    const again = DroppedLog.decode(log.encode());
    assert.deepEqual([...again.positions], [...log.positions]);
    assert.equal(log.last?.headerHash.length ?? 32, 32);
  },
});

const directory = mkdtempSync(join(tmpdir(), 'logvine-fuzz-'));
const path = join(directory, 'private');
writeFileSync(path, '', { mode: 0o600 });
after(() => rmSync(directory, { recursive: true }));

fuzz('a secret file', {
  samples: [`${'ab'.repeat(32)}\n`, `# old and new\n${'01'.repeat(32)}\n${'A'.repeat(43)}=\n`].map((text) =>
    Buffer.from(text),
  ),
  refusals: ['LV_SECRET_INVALID'],
  parse: (bytes) => readSecrets(path, diskWith(bytes)),
  check(secrets) {
    assert.ok(secrets.length === 1 || secrets.length === 2);
    assert.ok(secrets.every((secret) => secret.length === 32));
  },
});

fuzz('a token file', {
  samples: ['0123456789abcdef\n', '# push\n\n  tokentokentokentoken  \r\nanother-token-0001\n'].map((text) =>
    Buffer.from(text),
  ),
  refusals: ['LV_CONFIG_INVALID'],
  parse: (bytes) => readTokens(path, diskWith(bytes)),
  check: (tokens) =>
    assert.ok(tokens.length > 0 && tokens.every((token) => /^[\x21-\x7e]{16,512}$/.test(token))),
});

test('a file of secrets says nothing of them in its error', async () => {
  const secret = 'correct horse battery staple, and more';
  await assert.rejects(readSecrets(path, diskWith(Buffer.from(secret))), (error: Error) => {
    assert.ok(!error.message.includes('horse'));
    return true;
  });
});

fuzz('identity.key', {
  samples: [Buffer.from(`logvine identity 1\n${Buffer.alloc(32, 7).toString('base64')}\n`)],
  refusals: ['LV_IDENTITY_INVALID'],
  parse: (bytes) =>
    loadIdentity({
      directory,
      disk: diskWith(bytes.length > 0 ? bytes : Buffer.from('x')),
      random: seededRandom(1),
      modeOf: () => Promise.resolve(0o600),
    }),
  check: ({ seed }) => assert.equal(seed.length, 32),
});
