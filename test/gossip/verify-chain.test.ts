import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { ChainWalk, type Expectations } from '../../src/gossip/verify/chain.ts';
import {
  decodeRequest,
  decodeStep,
  encodeRequest,
  encodeStep,
  type AuditedRun,
  type SegmentAudit,
} from '../../src/gossip/verify/messages.ts';
import { LogvineError } from '../../src/store/index.ts';
import { PROPERTY } from '../store/material.ts';

const SEALED_MS = 1_700_000_000_000;

function hashOf(seq: number, salt = ''): Buffer {
  return seq === 0 ? Buffer.alloc(32) : createHash('sha256').update(`${seq}${salt}`).digest();
}

/** Batches `first`…`last`, one sealed each second, as one peer has read them. */
function runOf(first: number, last: number, salt = ''): AuditedRun {
  const seqs = Array.from({ length: last - first + 1 }, (_, at) => first + at);
  return {
    first,
    last,
    previousHash: hashOf(first - 1),
    hashes: Buffer.concat(seqs.map((seq) => hashOf(seq, salt))),
    sealedAtMs: seqs.map((seq) => SEALED_MS + seq * 1000),
  };
}

function auditOf(index: number, runs: AuditedRun[], more: Partial<SegmentAudit> = {}): SegmentAudit {
  const times = runs.flatMap(({ sealedAtMs }) => sealedAtMs);
  return {
    id: { origin: 'alice', epoch: 5, index },
    path: `/data/5-${index}.seg`,
    isRead: true,
    sealedFromMs: Math.min(...times),
    sealedToMs: Math.max(...times),
    runs,
    link: undefined,
    damage: [],
    ...more,
  };
}

function walk(segments: Record<string, SegmentAudit>[], more: Partial<Expectations> = {}): ChainWalk {
  const walked = new ChainWalk({
    range: { fromMs: -Infinity, toMs: Infinity },
    copiesWanted: 2,
    watermarks: [],
    isWithinReach: () => true,
    expired: () => [],
    lost: () => [],
    ...more,
  });
  for (const copies of segments) {
    walked.segment(Object.values(copies)[0].id, new Map(Object.entries(copies)));
  }
  walked.finish();
  return walked;
}

/** The same at two peers. */
function both(index: number, ...runs: AuditedRun[]): Record<string, SegmentAudit> {
  return { bob: auditOf(index, runs), carol: auditOf(index, runs) };
}

function missingIn(walked: ChainWalk): [number, number][] {
  return walked.missing.items.map(({ fromSeq, toSeq }) => [fromSeq, toSeq]);
}

describe('the walk along a chain', () => {
  test('nothing is found where nothing is wrong', () => {
    const walked = walk([both(1, runOf(1, 4)), both(2, runOf(5, 9))]);
    for (const found of [walked.missing, walked.broken, walked.conflicts, walked.short, walked.notices]) {
      assert.deepEqual(found.items, []);
    }
    assert.deepEqual([...walked.batchesByCopies], [[2, 9]]);
  });

  test('copies that complement each other are whole, and too few', () => {
    const walked = walk([{ bob: auditOf(1, [runOf(1, 3)]), carol: auditOf(1, [runOf(3, 6)]) }]);
    assert.deepEqual(missingIn(walked), []);
    assert.deepEqual(
      walked.short.items.map(({ fromSeq, toSeq, holders }) => [fromSeq, toSeq, holders]),
      [
        [1, 2, ['bob']],
        [4, 6, ['carol']],
      ],
    );
  });

  test('a batch that names another one before it is broken, within a segment and across two', () => {
    const within = { ...runOf(3, 4), previousHash: hashOf(99) };
    assert.deepEqual(
      walk([both(1, runOf(1, 2), within)]).broken.items.map(({ seq, peer }) => [seq, peer]),
      [[3, 'bob']],
    );
    const across = { ...runOf(5, 6), previousHash: hashOf(99) };
    assert.deepEqual(
      walk([both(1, runOf(1, 4)), both(2, across)]).broken.items.map(({ seq }) => seq),
      [5],
    );
    const first = { ...runOf(1, 2), previousHash: hashOf(99) };
    assert.deepEqual(
      walk([both(1, first)]).broken.items.map(({ seq }) => seq),
      [1],
    );
  });

  test('a number in two segments is broken', () => {
    const [found] = walk([both(1, runOf(1, 4)), both(2, runOf(4, 6))]).broken.items;
    assert.equal(found.seq, 4);
    assert.match(found.problem, /stands in segment 2/);
  });

  test('an epoch whose last batch is not the one that the next epoch names is broken', () => {
    const next = (link: SegmentAudit['link']): Record<string, SegmentAudit> => ({
      bob: auditOf(1, [runOf(1, 1)], { id: { origin: 'alice', epoch: 6, index: 1 }, link }),
    });
    const epoch = both(1, runOf(1, 3));
    const good = walk([epoch, next({ epoch: 5, lastSeq: 3, headerHash: hashOf(3) })]);
    assert.deepEqual([...good.broken.items, ...good.missing.items, ...good.notices.items], []);
    const bad = walk([epoch, next({ epoch: 5, lastSeq: 3, headerHash: hashOf(99) })]);
    assert.deepEqual(
      bad.broken.items.map(({ seq, epoch: of }) => [seq, of]),
      [[3, 5]],
    );
    assert.deepEqual(missingIn(walk([epoch, next({ epoch: 5, lastSeq: 8, headerHash: hashOf(8) })])), [
      [4, 8],
    ]);
    const fork = walk([epoch, next({ epoch: 5, lastSeq: 2, headerHash: hashOf(2) })]);
    assert.match(fork.notices.items[0], /two nodes ran with this identity/);
  });

  test('what retention dropped is counted and not missing', () => {
    const watermarks = [{ origin: 'alice', epoch: 5, durable: 12 }];
    const walked = walk([both(2, runOf(5, 8))], { watermarks, expired: () => [[1, 3]] });
    assert.deepEqual(missingIn(walked), [
      [4, 4],
      [9, 12],
    ]);
    assert.equal(walked.totals.expired, 3);
    const all = walk([], { watermarks, expired: () => [[1, 12]] });
    assert.deepEqual([missingIn(all), all.totals.expired], [[], 12]);
    // Dropped on one disk and still on the other.
    const partly = walk([{ bob: auditOf(1, [runOf(1, 4)]), carol: auditOf(1, [runOf(3, 4)]) }], {
      expired: () => [[1, 2]],
    });
    assert.deepEqual(
      [partly.short.items, partly.totals.expired, [...partly.batchesByCopies]],
      [[], 2, [[2, 2]]],
    );
  });

  test('batches past the last acknowledgement are not judged by their copies; those of an earlier run are', () => {
    const copies = { bob: auditOf(1, [runOf(1, 5)]) };
    const present = walk([copies], { watermarks: [{ origin: 'alice', epoch: 5, durable: 3 }] });
    assert.deepEqual([...present.batchesByCopies], [[1, 3]]);
    assert.equal(present.totals.unacknowledged, 2);
    const past = walk([copies], { watermarks: [{ origin: 'alice', epoch: 6, durable: 0 }] });
    assert.deepEqual([...past.batchesByCopies], [[1, 5]]);
  });

  test('where the origin is out of reach nobody knows what it acknowledged: copies are counted, and judged', () => {
    const watermarks = [{ origin: 'alice', epoch: 5, durable: 3 }];
    const isWithinReach = (origin: string): boolean => origin !== 'alice';
    const walked = walk([{ bob: auditOf(1, [runOf(1, 5)]), carol: auditOf(1, [runOf(1, 4)]) }], {
      ...{ watermarks, isWithinReach },
    });
    assert.deepEqual(
      [...walked.batchesByCopies],
      [
        [2, 4],
        [1, 1],
      ],
    );
    assert.deepEqual([walked.totals.unacknowledged, walked.totals.acknowledgementUnknown], [0, 2]);
    assert.deepEqual(
      walked.short.items.map(({ fromSeq, toSeq }) => [fromSeq, toSeq]),
      [[5, 5]],
    );
  });

  test('of what is damaged it is told whether somebody else has it', () => {
    const rot = { offset: 4, bytes: 5, problem: 'rotten', quarantined: true };
    const damage = [
      { fromSeq: 3, toSeq: 3, ...rot },
      { fromSeq: 4, toSeq: 5, ...rot },
    ];
    const walked = walk([{ bob: auditOf(1, [runOf(1, 2)], { damage }), carol: auditOf(1, [runOf(1, 4)]) }]);
    assert.deepEqual(
      walked.damaged.items.map(({ fromSeq, heldElsewhere }) => [fromSeq, heldElsewhere]),
      [
        [3, true],
        [4, false],
      ],
    );
  });

  test('a peer that claims a huge run, or a watermark beyond reason, costs nothing', () => {
    const claimed: AuditedRun = {
      ...{ first: 1, last: Number.MAX_SAFE_INTEGER - 1 },
      ...{ previousHash: Buffer.alloc(0), hashes: hashOf(1), sealedAtMs: [] },
    };
    const bob = auditOf(1, [claimed], { isRead: false, sealedFromMs: 0, sealedToMs: 0 });
    const walked = walk([{ bob }], { watermarks: [{ origin: 'alice', epoch: 5, durable: 2 ** 52 }] });
    assert.deepEqual(missingIn(walked), []);
  });
});

const seqs = fc.uniqueArray(fc.integer({ min: 1, max: 60 }), { minLength: 1, maxLength: 40 });

/** The dense runs of a set of seqs. */
function runsOf(held: readonly number[]): AuditedRun[] {
  const sorted = [...held].sort((a, b) => a - b);
  const starts = sorted.filter((seq) => !sorted.includes(seq - 1));
  return starts.map((first) => {
    let last = first;
    while (sorted.includes(last + 1)) last++;
    return runOf(first, last);
  });
}

test('what is missing, and what is on how many disks, is what a naive count says', () => {
  fc.assert(
    fc.property(seqs, seqs, fc.integer({ min: 0, max: 70 }), (atBob, atCarol, durable) => {
      const copies = { bob: auditOf(1, runsOf(atBob)), carol: auditOf(1, runsOf(atCarol)) };
      // Of an earlier run, so that all of it is judged.
      const watermarks = [
        { origin: 'alice', epoch: 5, durable },
        { origin: 'alice', epoch: 6, durable: 0 },
      ];
      const walked = walk([copies], { watermarks });
      const missing = new Set(
        missingIn(walked).flatMap(([from, to]) =>
          Array.from({ length: to - from + 1 }, (_, at) => from + at),
        ),
      );
      const end = Math.max(durable, ...atBob, ...atCarol);
      for (let seq = 1; seq <= end; seq++) {
        assert.equal(missing.has(seq), !atBob.includes(seq) && !atCarol.includes(seq), `seq ${seq}`);
      }
      const inBoth = atBob.filter((seq) => atCarol.includes(seq)).length;
      assert.equal(walked.batchesByCopies.get(2) ?? 0, inBoth);
      assert.equal(walked.batchesByCopies.get(1) ?? 0, atBob.length + atCarol.length - 2 * inBoth);
      assert.deepEqual(walked.broken.items, []);
    }),
    PROPERTY,
  );
});

describe('messages', () => {
  const damage = {
    ...{ fromSeq: 2, toSeq: 3, offset: 4, bytes: 5, problem: 'rotten', quarantined: true },
  };
  const link = { epoch: 4, lastSeq: 7, headerHash: hashOf(7) };

  test('an audit goes there and back', () => {
    fc.assert(
      fc.property(seqs, fc.boolean(), (held, isLinked) => {
        const audit = auditOf(3, runsOf(held), { link: isLinked ? link : undefined, damage: [damage] });
        assert.deepEqual(decodeStep(encodeStep({ kind: 'segment', audit })), { kind: 'segment', audit });
      }),
      PROPERTY,
    );
    const request = {
      range: { fromMs: -Infinity, toMs: 5 },
      only: [{ origin: 'alice', epoch: 5, index: 3 }],
    };
    assert.deepEqual(decodeRequest(encodeRequest(request)), request);
  });

  test('bytes that are no message are LV_PROTOCOL, whatever they are', () => {
    const good = encodeStep({
      kind: 'segment',
      audit: auditOf(3, [runOf(1, 9)], { link, damage: [damage] }),
    });
    const isProtocol = (bytes: Buffer): void => {
      try {
        decodeStep(bytes);
      } catch (error) {
        assert.ok(error instanceof LogvineError && error.code === 'LV_PROTOCOL', String(error));
      }
    };
    fc.assert(
      fc.property(fc.nat(good.length - 1), fc.nat(255), fc.nat(good.length), (at, byte, length) => {
        const bytes = Buffer.from(good.subarray(0, length));
        if (at < length) bytes[at] = byte;
        isProtocol(bytes);
      }),
      { ...PROPERTY, numRuns: 2_000 },
    );
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => isProtocol(Buffer.from(bytes))),
      PROPERTY,
    );
  });
});
