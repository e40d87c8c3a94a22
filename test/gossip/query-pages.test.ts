import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as fc from 'fast-check';
import type { CoverageAnswer, ScanMessage } from '../../src/gossip/query/messages.ts';
import { CoveragePages, coveragePages, receiveScan, scanPages } from '../../src/gossip/query/pages.ts';

const PAGE_WEIGHT = 50;

const runs = fc
  .array(fc.tuple(fc.integer({ min: 1, max: 9 }), fc.nat(9)), { minLength: 1, maxLength: 60 })
  .map((steps) => {
    let at = 0;
    return steps.map(([skip, more]): [number, number] => {
      const from = (at += skip);
      return [from, (at += more)];
    });
  });
const segments = fc.array(fc.tuple(fc.integer({ min: 1, max: 100 }), runs), { maxLength: 40 });

test('what a peer holds, and what it is asked to look into, come over in pages as they are', async () => {
  await fc.assert(
    fc.asyncProperty(segments, async (held) => {
      const ids = held.map(([index, runs]) => ({ origin: 'o', epoch: 1, index, runs }));
      const instant = { ms: 5, sub: 0 };
      const overlapping = ids.map((id) => ({ ...id, min: instant, max: instant, owners: [], bytes: 3 }));
      const answer: CoverageAnswer = { epoch: 1, writtenSeq: 7, outside: [], overlapping };
      const pages = new CoveragePages();
      const sent = [...coveragePages(answer, PAGE_WEIGHT)];
      for (const page of sent.slice(0, -1)) assert.equal(pages.add(page), undefined);
      assert.deepEqual(pages.add(sent.at(-1)!), answer);
      for (const page of sent) {
        const { overlapping: items } = JSON.parse(page.toString()) as CoverageAnswer;
        const weight = items.reduce((sum, item) => sum + 10 + item.runs.length, 0);
        assert.ok(weight <= PAGE_WEIGHT || items.length === 1);
      }

      const scan: ScanMessage = {
        question: { kind: 'series', selectors: [] },
        from: instant,
        to: instant,
        work: ids,
      };
      const messages = [...scanPages(scan, PAGE_WEIGHT)];
      assert.deepEqual(await receiveScan({ receive: async () => messages.shift() }), scan);
    }),
  );
});

test('pages that do not fit together are refused', async () => {
  const page = (value: object): Buffer => Buffer.from(JSON.stringify(value));
  const first = { epoch: 1, writtenSeq: 0, outside: [] };
  const some = [
    { origin: 'o', epoch: 1, index: 1, runs: [[1, 2]], min: { ms: 0, sub: 0 }, max: { ms: 0, sub: 0 } },
  ].map((one) => ({ ...one, owners: [], bytes: 1 }));
  const refused = (...pages: object[]): void => {
    const taken = new CoveragePages();
    const add = (): void => pages.forEach((value) => void taken.add(page(value)));
    assert.throws(add, { code: 'LV_PROTOCOL' });
  };
  refused({ overlapping: some, more: false });
  refused({ first, overlapping: some, more: true }, { first, overlapping: some, more: false });
  // It would never end.
  refused({ first, overlapping: [], more: true });
  const messages = [
    { question: { kind: 'series', selectors: [] }, from: { ms: 0, sub: 0 }, to: { ms: 1, sub: 0 } },
    { work: [], more: true },
  ];
  const receive = async (): Promise<Buffer> => page(messages.shift()!);
  await assert.rejects(receiveScan({ receive }), { code: 'LV_PROTOCOL' });
});

test('however many pages come, they hold a bounded number of segments and runs', async () => {
  const runs = Array.from({ length: 90_000 }, (_, at) => [2 * at + 1, 2 * at + 1]);
  const work = [{ origin: 'o', epoch: 1, index: 1, runs }];
  const page = Buffer.from(JSON.stringify({ work, more: true }));
  const question = { kind: 'series', selectors: [] };
  let sent = 0;
  const receive = async (): Promise<Buffer> =>
    sent++ === 0
      ? Buffer.from(JSON.stringify({ question, from: { ms: 0, sub: 0 }, to: { ms: 1, sub: 0 } }))
      : page;
  await assert.rejects(receiveScan({ receive }), { code: 'LV_PROTOCOL' });
  assert.ok(sent <= 35, `${sent} messages`);
});
