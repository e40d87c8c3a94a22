/** Messages of nothing but malformed items: a reader stops at the first, and describes no other. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseMessage } from '../../src/gossip/repair/inventory.ts';
import { holdingsSaved } from '../../src/gossip/repair/index.ts';
import { parseRider } from '../../src/gossip/repair/watermarks.ts';
import * as verify from '../../src/gossip/verify/messages.ts';
import { peakRise, refuses } from './fuzz.ts';

const MiB = 1024 * 1024;
/** As many as the list takes before it is refused for its length alone. */
const nonsense = (items: number): string => Array.from({ length: items }, () => '{"a":[],"b":{}}').join();

for (const [name, input, parse] of [
  ['watermarks', Buffer.from(`{"marks":[${nonsense(15_000)}],"inventory":{},"isFull":1}`), parseRider],
  ['expired runs', Buffer.concat([Buffer.of(1), Buffer.from(`[${nonsense(100_000)}]`)]), verify.decodeStep],
  [
    'holdings',
    Buffer.from(`{"holdings":[["x",[${nonsense(100_000)}]]],"expired":[${nonsense(100_000)}]}`),
    (bytes: Buffer) => parseMessage(holdingsSaved, bytes, 'holdings'),
  ],
] as const) {
  test(`${name} of nonsense cost no more than their bytes`, async () => {
    const rise = await peakRise(() => refuses(['LV_PROTOCOL'], () => parse(input)));
    assert.ok(rise < 16 * MiB + 40 * input.length, `${input.length} bytes: memory rose by ${rise} bytes`);
  });
}
