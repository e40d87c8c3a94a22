import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { test } from 'node:test';
import fc from 'fast-check';
import { keysFromSeed } from '../../src/gossip/transport/index.ts';
import { preparePush, type PreparedPart } from '../../src/node/http/push-prepare.ts';
import { createHandlers } from '../../src/node/handlers.ts';
import { LIMITS, openStreams, readFrame, verifyFrame, type StreamRows } from '../../src/store/index.ts';
import { seededRandom, SimClock } from '../helpers/sim-clock.ts';
import { SimDisk } from '../helpers/sim-disk.ts';
import { entriesOf, MemoryKeyValue, openStore, PROPERTY } from '../store/material.ts';

/**
 * Whatever a push holds, as long as it is taken: what is sealed of it, every reader takes, and finds the lines in it. Else it would be
 * acknowledged and lost.
 */

const keys = await keysFromSeed(Buffer.alloc(32, 1));
const headers = { contentType: 'application/json', contentEncoding: undefined, tenant: undefined };
const LEVELS = ['trace', 'debug', 'info', 'warn', 'error', 'critical', 'fatal', 'nothing'];

type Stream = { stream: Record<string, string>; values: [string, string, Record<string, string>][] };

const prepared = (streams: readonly Stream[]): readonly PreparedPart[] => {
  const body = Buffer.from(JSON.stringify({ streams }));
  return preparePush({ body, headers, nowMs: 0, discoverServiceName: true }).parts;
};

/** The parts as batches hold them: as many as fit go into one. */
function groupsOf(parts: readonly PreparedPart[]): PreparedPart[][] {
  const groups: PreparedPart[][] = [];
  let room = 0;
  for (const part of parts) {
    if (part.bytes > room) {
      groups.push([]);
      room = LIMITS.batchBytesMax;
    }
    groups.at(-1)!.push(part);
    room -= part.bytes;
  }
  return groups;
}

/** Seals them as a node does, starts again without a catalog, and reads everything. */
async function linesAfterRestart(pushed: readonly StreamRows[][]): Promise<string[]> {
  const disk = new SimDisk(seededRandom(1));
  const { pack } = createHandlers(disk.reader(), { ...new SimClock(), nowMs: () => 0 } as never);
  const open = () =>
    openStore({ disk: disk.boot(), clock: new SimClock(), keys, catalog: new MemoryKeyValue() });
  const store = await open();
  for (const rows of pushed) {
    const packing = { streams: [], pushed: rows, discoverLevels: true, compressionLevel: 1 };
    await store.seal(pack(packing).value, []).written;
  }
  const again = await open();
  const lines: string[] = [];
  for (const segment of again.segments()) {
    assert.deepEqual(segment.record.quarantined, []);
    for (const { seq } of segment.record.batches) {
      const frame = await again.readFrame(segment.id, seq);
      assert.ok(frame, `batch ${seq} can be read`);
      const { header } = verifyFrame(frame);
      const all = header.streams.map((_, part) => part);
      for (const { columns } of openStreams(header, readFrame(frame)!.payload, all))
        for (const { line } of entriesOf(columns)) lines.push(line.toString());
    }
  }
  return lines.sort();
}

async function check(streams: readonly Stream[]): Promise<readonly PreparedPart[]> {
  const parts = prepared(streams);
  const expected = streams.flatMap(({ values }) => values.map(([, line]) => line.toWellFormed())).sort();
  const groups = groupsOf(parts).map((group) => group.map(({ rows }) => rows));
  assert.deepEqual(await linesAfterRestart(groups), expected);
  return parts;
}

const valuesOf = (
  count: number,
  metadata: (at: number) => Record<string, string>,
  line = (at: number) => `line ${at}`,
): Stream['values'] => Array.from({ length: count }, (_, at) => [`${at + 1}000001`, line(at), metadata(at)]);

test('much structured metadata, and every level for each set of it', async () => {
  const metadata = (at: number) => ({ id: `${at}`, text: 'm'.repeat(60_000) });
  const parts = await check([{ stream: { app: 'a' }, values: valuesOf(500, metadata) }]);
  assert.ok(parts.length > 5);
  const levelled = valuesOf(
    480,
    (at) => metadata(Math.floor(at / 8)),
    (at) => `${LEVELS[at % 8]} ${at}`,
  );
  await check([{ stream: { app: 'a' }, values: levelled }]);
  const ofLabel = valuesOf(8_000, (at) => ({ id: `${at}` }));
  await check([{ stream: { app: 'a', level: 'l'.repeat(4_000) }, values: ofLabel }]);
});

test('metadata that cannot be compressed', async () => {
  const metadata = () => ({ text: randomBytes(22_000).toString('base64url') });
  await check([{ stream: { app: 'a' }, values: valuesOf(400, metadata) }]);
});

test('as many labels as are allowed, and service_name', async () => {
  const stream = Object.fromEntries(Array.from({ length: 64 }, (_, at) => [`label${at}`, 'v'.repeat(1_000)]));
  await check([{ stream, values: valuesOf(1, () => ({})) }]);
});

test('half a character is the same in what is compared and in what is stored', async () => {
  const halves = ['x\ud83d', 'x\ud83e', 'x\udc00', 'x\ufffd'];
  await check([
    { stream: { app: 'a' }, values: valuesOf(4, (at) => ({ text: halves[at] })) },
    ...halves.map((text) => ({ stream: { app: 'b', text }, values: valuesOf(1, () => ({})) })),
  ]);
  const parts = prepared(halves.map((text) => ({ stream: { text }, values: valuesOf(1, () => ({})) })));
  assert.equal(new Set(parts.flatMap(({ rows }) => rows.keys)).size, 1);
});

test('any labels, metadata and lines', async () => {
  const text = fc.string({ unit: 'binary', maxLength: 12 });
  const anyText = fc.oneof(text, fc.constantFrom('\ud800', '\udfff', '', '__proto__', 'error', '\u0000'));
  const metadata = fc.dictionary(
    fc.constantFrom('a', 'b-c', '1d', '_e', 'level', 'detected_level'),
    anyText,
    {
      noNullPrototype: true,
    },
  );
  const stream = fc.record(
    {
      stream: fc.record({ app: fc.constant('a'), text: anyText, level: anyText }, { noNullPrototype: true }),
      values: fc.array(fc.tuple(fc.constant('1000001'), anyText, metadata), { maxLength: 12 }),
    },
    { noNullPrototype: true },
  );
  await fc.assert(
    fc.asyncProperty(fc.array(stream, { minLength: 1, maxLength: 5 }), async (streams) => {
      if (streams.some(({ values }) => values.length > 0)) await check(streams);
    }),
    PROPERTY,
  );
});
