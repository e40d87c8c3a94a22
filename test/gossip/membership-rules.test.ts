import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as fc from 'fast-check';
import { BOUNDS, DEFAULT_TIMING } from '../../src/gossip/membership/constants.ts';
import { LocalHealth } from '../../src/gossip/membership/health.ts';
import {
  encodeMessage,
  parseRequest,
  parseSaved,
  type Claim,
  type StateRow,
} from '../../src/gossip/membership/messages.ts';
import { isSigned, signRecord, withinBounds, type MemberRecord } from '../../src/gossip/membership/record.ts';
import { Rumours } from '../../src/gossip/membership/rumours.ts';
import { Seeds } from '../../src/gossip/membership/seeds.ts';
import { Suspicion, suspicionMs, suspicionSpan } from '../../src/gossip/membership/suspicion.ts';
import { MemberTable } from '../../src/gossip/membership/table.ts';
import { keysFromSeed, type PeerId, type Transport } from '../../src/gossip/transport/index.ts';
import { LIMITS, LogvineError } from '../../src/store/index.ts';
import { seededRandom, SimClock } from '../helpers/sim-clock.ts';

const [alice, bob, charlie] = await Promise.all(
  [1, 2, 3].map((fill) => keysFromSeed(Buffer.alloc(32, fill))),
);

function record(
  of: typeof alice,
  epoch: number,
  incarnation: number,
  changes: Partial<MemberRecord> = {},
): MemberRecord {
  return signRecord(
    {
      peer: of!.peer,
      addresses: ['/ip4/10.0.0.1/tcp/7421'],
      zone: 'a',
      weight: 1,
      epoch,
      incarnation,
      leaving: false,
      left: false,
      http: 'http://10.0.0.1:7420',
      version: '1',
      ...changes,
    },
    (bytes) => of!.sign(bytes),
  );
}

function tableOfAlice(): MemberTable {
  const table = new MemberTable(new SimClock(), record(alice, 1, 1), (peer) => table.forget(peer));
  return table;
}

const claim = (kind: 'suspect' | 'dead', epoch: number, incarnation: number, subject = bob!.peer): Claim => ({
  kind,
  subject,
  epoch,
  incarnation,
  accuser: charlie!.peer,
});

test('a record is what its subject signed, in every field', () => {
  const genuine = record(bob, 3, 4);
  assert.ok(isSigned(genuine));
  const forgeries: Partial<MemberRecord>[] = [
    { peer: alice!.peer },
    { addresses: ['/ip4/6.6.6.6/tcp/1'] },
    { addresses: [] },
    { zone: 'b' },
    { weight: 2 },
    { epoch: 4 },
    { incarnation: 5 },
    { left: true },
    { http: '' },
    { version: '2' },
    { signature: '' },
    { signature: genuine.signature.replace(/^./, (first) => (first === 'A' ? 'B' : 'A')) },
  ];
  for (const forgery of forgeries) {
    assert.ok(!isSigned({ ...genuine, ...forgery }), JSON.stringify(forgery));
    const table = tableOfAlice();
    assert.equal(table.applyRecord({ ...genuine, ...forgery }), undefined);
    assert.equal(table.members().length, 1);
  }
});

test('a forged record of a known member changes nothing', () => {
  const table = tableOfAlice();
  table.applyRecord(record(bob, 1, 1));
  const before = table.members();
  assert.equal(table.applyRecord({ ...record(bob, 1, 1), incarnation: 9 }), undefined);
  assert.equal(
    table.adopt({ record: { ...record(bob, 1, 1), epoch: 9 }, state: 'gone', ageMs: 0, presumed: false }),
    undefined,
  );
  const forged = { ...record(charlie, 1, 1), epoch: 9 };
  assert.equal(table.presume({ record: forged, state: 'dead', ageMs: 0, presumed: true }), undefined);
  assert.equal(table.members(), before);
});

test('the highest epoch and incarnation wins, whatever the order of arrival', () => {
  const anyRecords = fc.array(fc.tuple(fc.nat(3), fc.nat(3)), { minLength: 1, maxLength: 8 });
  fc.assert(
    fc.property(anyRecords, (ages) => {
      const table = tableOfAlice();
      for (const [epoch, incarnation] of ages) table.applyRecord(record(bob, epoch, incarnation));
      const newest = [...ages].sort((left, right) => right[0] - left[0] || right[1] - left[1])[0]!;
      const held = table.get(bob!.peer)!;
      assert.deepEqual([held.epoch, held.incarnation], newest);
    }),
    { numRuns: 30 },
  );
});

test('states of one incarnation only get worse; a newer record makes all good', () => {
  const table = tableOfAlice();
  table.applyRecord(record(bob, 1, 1));
  const state = () => table.get(bob!.peer)!.state;
  assert.equal(table.applyClaim(claim('suspect', 1, 0)), undefined, 'an old incarnation');
  assert.equal(table.applyClaim(claim('suspect', 1, 2)), undefined, 'an unknown incarnation');
  assert.equal(table.applyClaim(claim('dead', 0, 1)), undefined, 'an old epoch');
  assert.equal(table.live, 2);
  assert.equal(table.applyClaim(claim('suspect', 1, 1))?.previous?.state, 'alive');
  assert.equal(state(), 'suspect');
  assert.equal(table.live, 2);
  table.applyClaim(claim('dead', 1, 1));
  assert.equal(table.live, 1);
  assert.equal(table.applyClaim(claim('suspect', 1, 1)), undefined);
  assert.equal(table.applyRecord(record(bob, 1, 1)), undefined, 'what was known');
  assert.equal(state(), 'dead');
  table.applyRecord(record(bob, 1, 2));
  assert.equal(state(), 'alive');
  table.applyRecord(record(bob, 1, 3, { left: true }));
  assert.equal(table.applyClaim(claim('dead', 1, 3)), undefined);
  assert.equal(state(), 'left');
  table.applyRecord(record(bob, 2, 1));
  assert.equal(state(), 'alive', 'a new epoch overrides everything older');
});

test('what is only remembered is news to those who know nothing of it, and gives way to any record that is not older', () => {
  const table = tableOfAlice();
  table.restore(record(bob, 5, 5), 'alive', 1000);
  table.restore(record(charlie, 1, 9, { left: true }), 'left', 1000);
  assert.equal(table.get(bob!.peer)!.state, 'dead');
  assert.equal(table.get(charlie!.peer)!.state, 'left');
  const rowOf = (of: MemberTable) => of.rows().find((row) => row.record.peer === bob!.peer)!;
  assert.deepEqual([rowOf(table).state, rowOf(table).presumed], ['dead', true]);
  const newcomer = tableOfAlice();
  assert.equal(newcomer.presume(rowOf(table))?.member.state, 'dead', 'it counts as being away');
  assert.equal(rowOf(newcomer).presumed, true);
  const others = tableOfAlice();
  others.applyRecord(record(bob, 4, 1));
  assert.equal(others.presume(rowOf(table)), undefined, 'who has heard of it knows better');
  assert.equal(newcomer.applyRecord(record(bob, 5, 5))?.member.state, 'alive');
  assert.equal(table.applyRecord(record(bob, 5, 4)), undefined);
  assert.equal(table.applyRecord(record(bob, 5, 5))?.member.state, 'alive');
});

test('who has left is remembered for as long as it has been gone, whoever tells of it last', () => {
  const table = tableOfAlice();
  const left = record(bob, 3, 2, { left: true });
  const row = { record: left, state: 'left' as const, ageMs: 3_600_000, presumed: false };
  assert.equal(table.adopt(row)?.member.stateSinceMs, -3_600_000);
  assert.equal(table.rows().find((one) => one.record.peer === bob!.peer)!.ageMs, 3_600_000);
  assert.equal(tableOfAlice().adopt({ ...row, record: record(bob, 3, 2) }), undefined, 'it did not say so');
});

test('an address that led to this peer itself is dialled again, and leads elsewhere', async () => {
  const clock = new SimClock();
  const [self, other] = [alice!.peer, bob!.peer];
  const answers = [self, self, other];
  const joined: PeerId[] = [];
  const transport = { self, clock, connect: async () => answers.shift() ?? other } as unknown as Transport;
  const seeds = new Seeds(transport, seededRandom(1), ['logs.example:7421'], {
    isLive: (peer) => peer === self || joined.includes(peer),
    join: async (peer) => void joined.push(peer),
    failed: () => assert.fail('it answered'),
  });
  await clock.advance(300_000);
  seeds.close();
  assert.deepEqual(joined, [other]);
});

const span = (members: number) => suspicionSpan(members, DEFAULT_TIMING);

test('suspicion lasts as memberlist has it', () => {
  assert.deepEqual(span(3), { minMs: 4000, maxMs: 4000, confirmations: 0 });
  assert.deepEqual(span(10), { minMs: 4000, maxMs: 24_000, confirmations: 2 });
  assert.equal(Math.round(span(100).minMs), 8000);
  assert.equal(suspicionMs(span(10), 0), 24_000);
  assert.equal(Math.round(suspicionMs(span(10), 1)), 11_381);
  assert.equal(suspicionMs(span(10), 2), 4000);
});

test('each new accuser shortens a suspicion, the same one twice does not', async () => {
  const clock = new SimClock();
  let expiredMs = 0;
  const suspicion = new Suspicion(clock, suspicionSpan(10, DEFAULT_TIMING), alice!.peer, {
    expired: () => (expiredMs = clock.monotonicMs()),
    heardSince: () => false,
  });
  await clock.advance(1000);
  assert.equal(suspicion.confirm(alice!.peer), false);
  assert.equal(suspicion.confirm(bob!.peer), true);
  assert.equal(suspicion.confirm(bob!.peer), false);
  await clock.advance(5000);
  assert.equal(suspicion.confirm(charlie!.peer), true);
  assert.equal(suspicion.confirm('x' as PeerId), false, 'enough accusers');
  await clock.advance(1);
  assert.equal(expiredMs, 6000, 'the span of three accusers had passed already');
});

test('who was heard of since is not convicted', async () => {
  const clock = new SimClock();
  let heard = true;
  let expired = false;
  void new Suspicion(clock, suspicionSpan(3, DEFAULT_TIMING), alice!.peer, {
    expired: () => (expired = true),
    heardSince: () => heard,
  });
  await clock.advance(60_000);
  assert.equal(expired, false);
  heard = false;
  await clock.advance(4000);
  assert.equal(expired, true);
});

test('a rumour is passed on a bounded number of times, and newer news replaces it', () => {
  const rumours = new Rumours();
  const old = { kind: 'record', record: record(bob, 1, 1) } as const;
  const fresh = { kind: 'record', record: record(bob, 1, 2) } as const;
  rumours.add(old);
  assert.deepEqual(rumours.take(9), [old]);
  rumours.add(fresh);
  for (let sent = 0; sent < 4; sent++) assert.deepEqual(rumours.take(9), [fresh]);
  assert.deepEqual(rumours.take(9), []);
});

test('local health stays within its bounds', () => {
  const health = new LocalHealth();
  health.note(-5);
  assert.equal(health.scale(100), 100);
  health.note(100);
  assert.equal(health.scale(100), 800);
});

const refused = (text: string | Buffer) =>
  assert.throws(
    () => parseRequest(Buffer.from(text)),
    (error: unknown) => error instanceof LogvineError && error.code === 'LV_PROTOCOL',
  );

/** A record as long as any that others take. */
function longest(of: typeof alice): MemberRecord {
  const name = `${'name'.repeat(15)}.`.repeat(4) + 'example';
  const full = record(of, Number.MAX_SAFE_INTEGER, Number.MAX_SAFE_INTEGER, {
    addresses: Array.from({ length: 30 }, () => `/dns/${name}/tcp/65535/p2p/${of!.peer}`),
    weight: 0.012_345_678_901_234_567,
    zone: '語'.repeat(64),
    http: 'h'.repeat(BOUNDS.httpLength),
    version: 'v'.repeat(BOUNDS.versionLength),
  });
  const told = withinBounds(full);
  const spare = LIMITS.memberRecordBytesMax - Buffer.byteLength(JSON.stringify({ ...full, ...told }));
  assert.ok(told.addresses.length >= 2 && spare >= 0 && spare < full.addresses[0]!.length + 3);
  return record(of, full.epoch, full.incarnation, {
    ...told,
    zone: told.zone + '語'.repeat(Math.floor(Math.min(spare, 64) / 3)),
  });
}

const encoded = (members: readonly StateRow[]): Buffer =>
  encodeMessage({ kind: 'sync', members: [...members] });
const rowOf = (said: MemberRecord): StateRow => ({
  record: said,
  state: 'suspect',
  ageMs: 72 * 3_600_000 + 1 / 3,
  presumed: false,
});

test('as many members as there may be fit one message and members.json, however much each says of itself', () => {
  const row = rowOf(longest(bob));
  assert.doesNotThrow(() => parseRequest(encoded([row])));
  assert.ok(encoded(Array.from({ length: LIMITS.membersMax }, () => row)).length <= LIMITS.membersBytesMax);
  const saved = { record: row.record, state: row.state, sinceMs: 1_700_000_000_000 + 1 / 3 };
  const members = Array.from({ length: LIMITS.membersMax }, () => saved);
  const file = encodeMessage({ version: 1, introduced: true, members });
  assert.ok(file.length <= LIMITS.membersBytesMax);
  const long = record(bob, 1, 1, { addresses: Array.from({ length: 9 }, () => `/dns/${'a'.repeat(240)}`) });
  refused(encoded([rowOf(long)]));
});

test('a member says nothing that could not be shown as it is', () => {
  for (const changes of [
    { addresses: ['/ip4/10.0.0.1/tcp/1\u0000'] },
    { zone: 'a\u001b[2J' },
    { zone: 'a\u202eb' },
    { zone: '\ud800' },
    { http: 'http://a/ b' },
    { version: '1\n' },
    { signature: '\u0001'.repeat(88) },
  ])
    refused(encoded([rowOf({ ...record(bob, 1, 1), ...changes })]));
  assert.doesNotThrow(() => parseRequest(encoded([rowOf(record(bob, 1, 1, { zone: 'Zürich "1"' }))])));
});

test('a member of members.json that this version does not take costs nobody the others', () => {
  const good = { record: record(bob, 1, 1), state: 'alive', sinceMs: 5 } as const;
  const bad = { ...good, record: record(charlie, 1, 1, { zone: '\u0000' }) };
  const file = encodeMessage({ version: 1, introduced: true, members: [bad, good, bad] });
  assert.deepEqual(parseSaved(file), { version: 1, introduced: true, members: [good] });
});

test('of a full state of nonsense, only the first row that is malformed is looked at', () => {
  const row = { record: { ...record(bob, 1, 1), addresses: [1, 2, 3] } };
  const members = Array.from({ length: LIMITS.membersMax }, () => row);
  assert.throws(
    () => parseRequest(Buffer.from(JSON.stringify({ kind: 'sync', members }))),
    ({ cause }: Error) => (cause as { issues: unknown[] }).issues.length === 1,
  );
});

test('malformed messages are refused with a code', () => {
  const good = { kind: 'ping', seq: 1, updates: [] };
  assert.deepEqual(parseRequest(Buffer.from(JSON.stringify(good))), good);
  for (const text of ['', 'null', '[]', '{}', '{"kind":"ping"}', '{"kind":"rm"}', '\ufeff{}']) refused(text);
  const update = { kind: 'record', record: record(bob, 1, 1) };
  for (const bad of [
    { ...good, seq: -1 },
    { ...good, updates: Array.from({ length: 50 }, () => update) },
    { ...good, digest: 'x'.repeat(10_000) },
    { ...good, updates: [{ ...claim('dead', 1, 1), subject: 'nobody' }] },
    { ...good, updates: [{ ...claim('dead', 1, 1), incarnation: 1.5 }] },
    { ...good, updates: [{ kind: 'record', record: { ...record(bob, 1, 1), weight: -1 } }] },
    { ...good, updates: [{ kind: 'record', record: { ...record(bob, 1, 1), zone: 'z'.repeat(1000) } }] },
    { kind: 'ping-req', seq: 1, target: '../../etc' },
  ])
    refused(JSON.stringify(bad));
  fc.assert(
    fc.property(fc.uint8Array(), (bytes) => {
      try {
        parseRequest(bytes);
      } catch (error) {
        assert.ok(error instanceof LogvineError);
      }
    }),
  );
});
