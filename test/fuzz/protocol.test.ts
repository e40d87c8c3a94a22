import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { z } from 'zod';
import { parseInventory, parseMessage } from '../../src/gossip/repair/inventory.ts';
import { encodeRider, parseRider, signWatermark, Watermarks } from '../../src/gossip/repair/watermarks.ts';
import { heardAnswer, heardQuestion } from '../../src/gossip/query/heard.ts';
import {
  coveragePage,
  coverageRequest,
  decodeStep,
  encodeStep,
  followRequest,
  patternsFound,
  scanRequest,
  workPage,
  labelFound,
  takeSeries,
} from '../../src/gossip/query/messages.ts';
import {
  parseAnswer,
  parseRequest,
  parseSaved,
  parseSyncAnswer,
  parseTopicMessage,
} from '../../src/gossip/membership/messages.ts';
import { isSigned, signRecord, type MemberRecord } from '../../src/gossip/membership/record.ts';
import {
  encodePushMessage,
  parseAsked,
  parseFound,
  parsePushRequest,
  parseTold,
} from '../../src/gossip/pushes/messages.ts';
import * as verify from '../../src/gossip/verify/messages.ts';
import { lengthPrefix, messagesOf } from '../../src/gossip/transport/frames.ts';
import { UnfinishedMessages } from '../../src/gossip/transport/unfinished.ts';
import { parseAddress, parseHostPort } from '../../src/gossip/transport/address.ts';
import { parsePeerId } from '../../src/gossip/transport/keys.ts';
import { encodeRun } from '../../src/store/query/index.ts';
import { labelsKey } from '../../src/store/batch/index.ts';
import { seededRandom } from '../helpers/sim-clock.ts';
import { columnsFrom, randomEntries } from '../store/material.ts';
import { fuzz, isAllowed, peakRise, refuses } from './fuzz.ts';
import { origin } from './lying-origin.ts';

const MiB = 1024 * 1024;
const refusals = ['LV_PROTOCOL'] as const;
const json = (value: unknown): Buffer => Buffer.from(JSON.stringify(value));

const record: MemberRecord = signRecord(
  {
    peer: origin.peer,
    addresses: ['/ip4/127.0.0.1/tcp/7421', '/dns/a.example/tcp/1'],
    zone: 'a',
    weight: 1.5,
    epoch: 1_700_000_000_000,
    incarnation: 3,
    leaving: false,
    left: false,
    http: 'http://127.0.0.1:7420',
    version: '0.1.0',
  },
  origin.sign,
);
const claim = { subject: origin.peer, epoch: 1, incarnation: 2, accuser: origin.peer };
const updates = [
  { kind: 'record', record },
  { kind: 'suspect', ...claim },
  { kind: 'dead', ...claim },
];
const rows = [{ record, state: 'suspect', ageMs: 12.5, presumed: false }];

fuzz('swim: a request', {
  samples: [
    json({ kind: 'ping', seq: 1, updates, digest: 'e30=' }),
    json({ kind: 'ping-req', seq: 4_294_967_295, target: origin.peer }),
    json({ kind: 'sync', members: rows }),
  ],
  isJson: true,
  refusals,
  parse: parseRequest,
});
fuzz('swim: an answer', {
  samples: [json({ kind: 'ack', seq: 1, updates }), json({ kind: 'nack', seq: 0 })],
  isJson: true,
  refusals,
  parse: parseAnswer,
});
fuzz('swim: a full state', {
  samples: [json({ kind: 'sync', members: rows })],
  isJson: true,
  refusals,
  parse: parseSyncAnswer,
});
fuzz('swim: a message on the topic', {
  samples: [json({ updates })],
  isJson: true,
  refusals,
  parse: parseTopicMessage,
});

fuzz('members.json', {
  samples: [json({ version: 1, members: [{ record, state: 'dead', sinceMs: 1_700_000_000_000 }] })],
  isJson: true,
  refusals,
  parse: parseSaved,
  check({ members }) {
    for (const member of members) isSigned(member.record);
  },
});

test('a record that anybody has changed is not genuine', () => {
  assert.ok(isSigned(record));
  for (const change of [
    { weight: 2 },
    { epoch: 2 },
    { left: true },
    { leaving: true },
    { zone: 'b' },
    { http: '' },
  ])
    assert.equal(isSigned({ ...record, ...change }), false);
  assert.equal(isSigned({ ...record, signature: 'A'.repeat(88) }), false);
});

const instant = { ms: 1_700_000_000_000, sub: 5 };
const id = { origin: origin.peer, epoch: 1_700_000_000_000, index: 3 };
const runs = [
  [1, 5],
  [7, 7],
];
const segment = { ...id, runs, min: instant, max: instant, owners: [origin.peer], bytes: 12 };
const holding = { ...segment, open: false };
const range = { from: instant, to: instant };

/** Runs of seqs that came through a schema ascend, and no seq stands in two of them. */
function checkRuns(value: unknown): void {
  if (typeof value !== 'object' || value === null) return;
  for (const [key, inner] of Object.entries(value)) {
    if (key !== 'runs' && key !== 'except') checkRuns(inner);
    else {
      let after = 0;
      for (const [from, to] of inner as [number, number][]) {
        assert.ok(from > after && to >= from && Number.isSafeInteger(to));
        after = to;
      }
    }
  }
}

fuzz('inventory: an answer', {
  samples: [
    json({
      instance: '17.0',
      version: 4,
      more: false,
      holdings: [holding],
      removed: [id],
      expired: [{ origin: origin.peer, epoch: 1, from: 1, to: 2, min: instant, max: instant }],
      expiredVersion: 1,
    }),
  ],
  isJson: true,
  refusals,
  parse: parseInventory,
  check: checkRuns,
});

const scan = { ...range, fresh: { epoch: 1, afterSeq: 4, except: runs } };
const SCHEMAS: readonly [string, z.ZodType, readonly unknown[]][] = [
  ['coverage: a request', coverageRequest, [{ ...range, peersDigest: 'a' }]],
  [
    'coverage: an answer',
    coveragePage,
    [
      {
        first: { epoch: 1, writtenSeq: 2, outside: [{ origin: origin.peer, epoch: 1, runs }] },
        overlapping: [segment],
        more: true,
      },
      {
        first: { epoch: 1, writtenSeq: 2, outside: [], peers: [origin.peer] },
        overlapping: [],
        more: false,
      },
      { overlapping: [segment], more: false },
    ],
  ],
  [
    'scan: a request',
    scanRequest,
    [
      { ...scan, question: { kind: 'entries', query: '{a="b"}', descending: true, limit: 5 } },
      {
        ...scan,
        question: { kind: 'metric', query: 'rate({a="b"}[1m])', startNs: '0', endNs: '-17', stepNs: '100' },
      },
      { ...scan, question: { kind: 'series', selectors: ['{a="b"}'] } },
      { ...scan, question: { kind: 'labels', selectors: ['{a="b"}'], valuesOf: ['a'] } },
      { ...scan, question: { kind: 'labels', selectors: [] } },
      { ...scan, question: { kind: 'patterns', query: '{a="b"}', stepMs: 5 } },
    ],
  ],
  ['scan: which segments', workPage, [{ work: [{ ...id, runs }], more: true }]],
  ['labels: what a scan found', labelFound, [['a', ['b', 'c']]]],
  ['patterns: what a scan found', patternsFound, [[{ pattern: '<_>', level: 'info', samples: [[1, 2]] }]]],
  ['heard: a question', heardQuestion, [[{ origin: origin.peer, upTo: [[1, 5]] }]]],
  [
    'heard: an answer',
    heardAnswer,
    [[{ origin: origin.peer, epoch: 1, from: 1, to: 2, min: range.from, max: range.to }]],
  ],
  ['follow: a request', followRequest, [{ query: '{a="b"}' }]],
];
for (const [name, schema, samples] of SCHEMAS) {
  fuzz(name, {
    samples: samples.map(json),
    isJson: true,
    refusals,
    parse: (bytes) => parseMessage(schema, bytes, name),
    check: checkRuns,
  });
}

fuzz('series: what a scan found', {
  samples: [Buffer.from('{"a":"b","c":"d"}\n{}\n{"a":"c"}')],
  refusals,
  parse(bytes) {
    const known = new Map();
    takeSeries(known, bytes);
    return known;
  },
  check(known) {
    for (const [key, labels] of known) assert.equal(labelsKey(labels), key);
  },
});

const run = {
  ...columnsFrom(randomEntries(seededRandom(3), 12)),
  streamIds: new Uint32Array(12),
  streams: [{ app: 'a' }],
  rankIds: new Uint32Array(12),
  ranks: ['x/1/1'],
};
const tally = { batches: 1, pruned: 2, read: 3, unneeded: 4, fromIndex: 0, bytesScanned: 5 };

fuzz('scan: a step', {
  samples: [
    encodeStep({ kind: 'run', run }),
    encodeStep({ kind: 'found', bytes: encodeRun(run) }),
    encodeStep({ kind: 'failed', failed: { ...id, seqs: [1, 2] } }),
    encodeStep({ kind: 'progress', done: 1, of: 2 }),
    encodeStep({ kind: 'done', tally }),
  ],
  refusals: ['LV_PROTOCOL', 'LV_QUERY_INVALID', 'LV_QUERY_TIMEOUT', 'LV_QUERY_TOO_LARGE'],
  parse: decodeStep,
});

fuzz('watermarks', {
  samples: [
    encodeRider({
      marks: [signWatermark({ origin: origin.peer, epoch: 1, sealed: 7, durable: 5 }, origin.sign)],
      inventory: { instance: '5.0', version: 7 },
      isFull: false,
    }),
  ],
  isJson: true,
  refusals,
  parse(bytes) {
    const marks = new Watermarks();
    marks.merge(origin.peer, parseRider(bytes).marks, 5);
    for (const mark of [...marks.all(), ...marks.latest()])
      assert.ok(Number.isSafeInteger(mark.sealed) && Number.isSafeInteger(mark.durable));
  },
});

const digest = 'A'.repeat(22);
fuzz('pushes: a request', {
  samples: [
    encodePushMessage({
      kind: 'tell',
      tells: [{ what: 'claim', digest, epoch: 1, over: [{ peer: origin.peer, epoch: 2 }] }],
    }),
    encodePushMessage({ kind: 'ask', digest }),
    encodePushMessage({ kind: 'find', digests: [digest] }),
  ],
  isJson: true,
  refusals,
  parse: parsePushRequest,
});
fuzz('pushes: an answer', {
  samples: [
    encodePushMessage({ remembersMs: null, known: [{ peer: origin.peer, epoch: 1, acknowledged: true }] }),
    encodePushMessage({ state: 'yours' }),
    encodePushMessage({ held: [[{ ...id, seq: 4, counts: true }]] }),
  ],
  isJson: true,
  refusals,
  parse(bytes) {
    const readers = [parseTold, parseAsked, (input: Uint8Array) => parseFound(input, 1)];
    const read = readers.filter((parse) => {
      try {
        parse(bytes);
        return true;
      } catch (error) {
        if (!isAllowed(error, refusals)) throw error;
        return false;
      }
    });
    if (read.length === 0) parseTold(bytes);
  },
});

const hash = Buffer.alloc(32, 3);
fuzz('verify: a request', {
  samples: [
    verify.encodeRequest({ range: { fromMs: -Infinity, toMs: 5 } }),
    verify.encodeRequest({ range: { fromMs: 1, toMs: Infinity }, only: [id] }),
  ],
  isJson: true,
  refusals,
  parse: verify.decodeRequest,
});
fuzz('verify: a step', {
  samples: [
    verify.encodeStep({
      kind: 'knowledge',
      expired: [{ origin: origin.peer, epoch: 1, from: 1, to: 2 }],
      gone: [{ origin: origin.peer, epoch: 1, from: 4, to: 5 }],
      losses: [
        {
          runs: [{ origin: origin.peer, epoch: 1, from: 3, to: 3, min: range.from, max: range.to }],
          peers: [{ peer: origin.peer, epoch: 1, incarnation: 2 }],
        },
      ],
      peers: [origin.peer],
    }),
    verify.encodeStep({ kind: 'progress', bytes: 1, bytesTotal: 2 }),
    verify.encodeStep({ kind: 'done' }),
    verify.encodeStep({
      kind: 'segment',
      audit: {
        id,
        path: '/data/x',
        isRead: true,
        sealedFromMs: 1,
        sealedToMs: 2,
        runs: [
          { first: 1, last: 2, previousHash: hash, hashes: Buffer.concat([hash, hash]), sealedAtMs: [5, 4] },
        ],
        link: { epoch: 1, lastSeq: 2, headerHash: hash },
        damage: [{ fromSeq: 1, toSeq: 2, offset: 3, bytes: 4, problem: 'rot', quarantined: true }],
      },
    }),
  ],
  refusals,
  parse: verify.decodeStep,
});

fuzz('messages on a channel', {
  samples: [
    Buffer.concat([lengthPrefix(3), Buffer.from('abc'), lengthPrefix(0), lengthPrefix(0xffff_ffff)]),
    Buffer.concat([lengthPrefix(2), Buffer.from('ab'), lengthPrefix(0xffff_ffff), Buffer.from('more')]),
  ],
  refusals: ['LV_PROTOCOL', 'LV_PEER_UNREACHABLE'],
  async parse(bytes) {
    let total = 0;
    for (const size of [1, 3, bytes.length + 1]) {
      const chunks = (async function* () {
        for (let at = 0; at < bytes.length; at += size) yield bytes.subarray(at, at + size);
      })();
      for await (const message of messagesOf(chunks, 1000, new UnfinishedMessages().of(origin.peer))) {
        assert.ok(message.length <= 1000);
        total += message.length;
      }
    }
    return total;
  },
});

test('a message that claims more than it may is refused before any of it is kept', async () => {
  const claims = [24 * MiB + 1, 2 ** 31, 2 ** 32 - 2];
  for (const length of claims) {
    const chunks = (async function* () {
      yield lengthPrefix(length);
      for (let sent = 0; sent < 64; sent++) yield Buffer.alloc(MiB);
    })();
    const rise = await peakRise(() =>
      refuses(refusals, () => messagesOf(chunks, 24 * MiB, new UnfinishedMessages().of(origin.peer)).next()),
    );
    assert.ok(rise < 16 * MiB, `memory rose by ${rise} bytes`);
  }
});

for (const [name, parse, samples] of [
  ['an address', parseAddress, ['127.0.0.1:7421', '[::1]:1', 'a.example:80', '/ip4/1.2.3.4/tcp/5/p2p/Qm']],
  ['a host and port', parseHostPort, ['127.0.0.1:7421', '[::1]:1', 'a.example:80']],
  ['a peer id', parsePeerId, [origin.peer]],
] as const) {
  fuzz(name, {
    samples: samples.slice(0, 3).map((text) => Buffer.from(text)),
    refusals: ['LV_CONFIG_INVALID'],
    parse: (bytes) => parse(bytes.toString()),
  });
}

/** Messages in which every item is wrong, or which are nothing but structure. */
const list = (item: string, bytes: number): string =>
  `[${Array.from({ length: Math.floor(bytes / (item.length + 1)) }, () => item).join()}]`;

const LISTS: readonly [string, (bytes: number) => Buffer, (input: Buffer) => unknown][] = [
  [
    'an inventory of nonsense',
    (bytes) =>
      Buffer.from(`{"instance":"a","version":1,"removed":[],"expired":[],"holdings":${list('{}', bytes)}}`),
    parseInventory,
  ],
  [
    'coverage of nonsense',
    (bytes) => Buffer.from(`{"more":false,"overlapping":${list('{}', bytes)}}`),
    (input) => parseMessage(coveragePage, input, 'coverage'),
  ],
  [
    'runs of nonsense',
    (bytes) =>
      Buffer.from(
        JSON.stringify({ work: [{ ...id, runs: [] }], more: false }).replace(
          '"runs":[]',
          `"runs":${list('[0,0]', bytes)}`,
        ),
      ),
    (input) => parseMessage(workPage, input, 'scan'),
  ],
  [
    'a state of nonsense',
    (bytes) => Buffer.from(`{"kind":"sync","members":${list('{}', Math.min(bytes, 29_000))}}`),
    parseRequest,
  ],
];
for (const [name, make, parse] of LISTS) {
  test(`${name} costs no more than its bytes`, async () => {
    for (const bytes of [MiB, 4 * MiB]) {
      const input = make(bytes);
      const rise = await peakRise(() => refuses(refusals, () => parse(input)));
      assert.ok(rise < 32 * MiB + 40 * input.length, `${input.length} bytes: memory rose by ${rise} bytes`);
    }
  });
}
