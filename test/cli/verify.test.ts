import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { main } from '../../src/node/cli/index.ts';
import { FakeIo, serving } from './fake-io.ts';

const WHOLE = {
  proven: true,
  gapless: true,
  unaltered: true,
  enoughCopies: true,
  from: null,
  to: null,
  origins: 3,
  epochs: 4,
  segments: 41,
  batches: 1_877,
  copies: 5_631,
  bytesRead: 451_936_256,
  copiesWanted: 3,
  batchesByCopies: { 3: 1_877 },
  unacknowledged: 0,
  acknowledgementUnknown: 0,
  expired: 12,
  lost: 0,
  missing: [],
  damaged: [],
  conflicts: [],
  broken: [],
  tooFewCopies: [],
  unreachable: [],
  notices: [],
  omitted: 0,
  peers: { asked: 3, answered: 3 },
  durationMs: 6_812,
  later: 'versions may say more',
};
const RUN = { origin: 'alice', epoch: 7, fromSeq: 3, toSeq: 3 };
const BROKEN = {
  ...WHOLE,
  proven: false,
  gapless: false,
  unaltered: false,
  enoughCopies: false,
  batchesByCopies: { 2: 1, 3: 1_876 },
  missing: [{ ...RUN, toSeq: 5, fromTime: null, toTime: null, proof: 'it was acknowledged' }],
  damaged: [
    {
      ...{ ...RUN, peer: 'bob', path: '/data/\x1b[2J/7-1.seg', offset: 512, bytes: 99 },
      ...{ problem: 'a frame does not match its checksums', quarantined: true, heldElsewhere: true },
    },
  ],
  conflicts: [
    {
      ...{ origin: 'alice', epoch: 7, seq: 9 },
      copies: ['bob', 'carol'].map((peer) => ({ peer, path: '/p', hash: peer.padEnd(64, '0') })),
    },
  ],
  broken: [
    { origin: 'alice', epoch: 7, seq: 11, peer: 'bob', path: '/p', problem: 'it does not name batch 10' },
  ],
  tooFewCopies: [{ ...RUN, holders: ['carol'] }],
  unreachable: [{ peer: 'dave', problem: 'it is down' }],
  notices: ['epoch 8 follows epoch 6'],
  omitted: 4,
};
const PROGRESS = { progress: { bytes: 50, bytesTotal: 100, segments: 1, peers: 3 } };

function answer(...lines: unknown[]) {
  return serving({ '/api/v1/verify': { body: lines.map((line) => `${JSON.stringify(line)}\n`).join('') } });
}

describe('verify', () => {
  test('what is proven is 0, in a few lines and without a cursor in a pipe', async () => {
    const io = new FakeIo();
    const { services, requests } = answer(PROGRESS, { verdict: WHOLE });
    assert.equal(await main(['verify'], io, services), 0, io.reports.join());
    assert.equal(
      io.output.toString(),
      [
        'PROVEN: 1,877 batches of 3 origins (4 runs); 431 MiB read on 3 disks in 6.8 s',
        '  yes  gapless    every batch that was acknowledged is there',
        '  yes  unaltered  all copies match their hashes, signatures and chains',
        '  yes  copies     1,877 batches on 3 disks, 12 batches expired (3 wanted)',
        '',
      ].join('\n'),
    );
    assert.equal(requests[0].url.search, '');
  });

  test('what is not is 3, with each finding and its place, and nothing that moves the cursor', async () => {
    const io = new FakeIo();
    assert.equal(await main(['verify'], io, answer({ verdict: BROKEN }).services), 3);
    const text = io.output.toString();
    for (const expected of [
      /^NOT PROVEN: /,
      /NO {3}gapless/,
      /NO {3}copies {5}1,876 batches on 3 disks, 1 batch on 2 disks/,
      /missing {2}batches 3–5 of origin alice epoch 7\n {9}nobody has it, and it was acknowledged\n/,
      /damaged {2}batch 3 of origin alice epoch 7\n {9}on peer bob\n {9}\/data\/\\x1b\[2J\/7-1\.seg at offset 512, 99 bytes\n/,
      /conflict batch 9 of origin alice epoch 7 has 2 contents\n {9}bob0+… on peer bob, \/p\n {9}carol0+… on peer carol/,
      /broken {3}batch 11 of origin alice epoch 7\n {9}on peer bob/,
      /too few {2}batch 3 of origin alice epoch 7\n {9}only on carol\n/,
      /away {5}peer dave: it is down\n/,
      /note {5}epoch 8 follows epoch 6\n/,
      /and 4 findings more/,
    ]) {
      assert.match(text, expected);
    }
    assert.ok(!text.includes('\x1b'));
  });

  test('a batch whose origin is out of reach is counted among the copies; what nobody holds is not fetched', async () => {
    const io = new FakeIo();
    const [damaged] = BROKEN.damaged;
    const verdict = {
      ...BROKEN,
      acknowledgementUnknown: 1,
      unreachable: [{ peer: 'every peer of the mesh to join', problem: 'none has been found yet' }],
      damaged: [damaged, { ...damaged, heldElsewhere: false }],
    };
    await main(['verify'], io, answer({ verdict }).services);
    const text = io.output.toString();
    assert.match(
      text,
      /1 batch on 2 disks, 12 batches expired \(3 wanted\), among them 1 batch whose acknowledgement is not known \(its origin is out of reach\)/,
    );
    assert.equal(text.split('set aside; it is fetched anew from another holder').length, 2);
    assert.match(text, /away {5}every peer of the mesh to join: none has been found yet\n/);
    assert.equal(text.split('set aside; nobody else who was asked holds it').length, 2);
  });

  test('progress on a terminal is one line that is cleared; JSON is the whole verdict', async () => {
    const io = new FakeIo();
    io.isTerminal = true;
    const startMs = io.nowMs;
    io.clock.monotonicMs = () => (io.nowMs += 1_500) - startMs;
    assert.equal(await main(['verify'], io, answer(PROGRESS, { verdict: WHOLE }).services), 0);
    assert.match(
      io.output.toString(),
      /^\r\x1b\[2K█{15}░{15} 50 B of 100 B on 3 disks, 1 s\r\x1b\[2K\x1b\[1;32mPROVEN/,
    );
    const json = new FakeIo();
    assert.equal(await main(['verify', '--output', 'json'], json, answer({ verdict: BROKEN }).services), 3);
    assert.deepEqual(JSON.parse(json.output.toString()), BROKEN);
  });

  test('a range is asked for in nanoseconds', async () => {
    const io = new FakeIo();
    const { services, requests } = answer({ verdict: WHOLE });
    await main(['verify', '--since', '1h'], io, services);
    const { searchParams } = requests[0].url;
    assert.equal(searchParams.get('start'), `${io.nowMs - 3_600_000}000000`);
    assert.equal(searchParams.get('end'), `${io.nowMs}000000`);
    await main(['verify', '--since', '36500d'], io, services);
    assert.equal(requests[1].url.searchParams.get('start'), '0');
    assert.equal(await main(['verify', '--to', 'now'], io, services), 2);
    assert.equal(await main(['verify', '--from', 'now', '--to', '2020-01-01'], io, services), 2);
    assert.equal(await main(['verify', '--since', '1h', '--from', '2020-01-01'], io, services), 2);
  });

  for (const [name, lines, message] of [
    ['an error', [{ error: { code: 'LV_OVERLOADED', message: 'busy' } }], /^logvine: LV_OVERLOADED busy$/],
    ['an answer that breaks off', [PROGRESS], /^logvine: LV_PROTOCOL .* broke off before its verdict/],
    ['something else', [{ hello: 1 }], /^logvine: LV_PROTOCOL .* answered something else/],
  ] as const) {
    test(`${name} is 1`, async () => {
      const io = new FakeIo();
      assert.equal(await main(['verify'], io, answer(...lines).services), 1);
      assert.match(io.reports[0], message);
    });
  }
});
