import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { Transit } from '../../src/gossip/replication/transit.ts';

const KiB = 1024;
const WINDOW = 8 * 1024 * KiB;

/** Sends frames as fast as the window lets it over a link of that speed; the longest delay of the second half, ms. */
function drive(options: { bytesPerSecond: number; frameBytes: number; seconds: number; delayMs?: number }): {
  transit: Transit;
  delayMsMax: number;
  passed: number;
} {
  const { bytesPerSecond, frameBytes, seconds, delayMs = 1 } = options;
  const transit = new Transit(WINDOW);
  const arrivals: { atMs: number; sentMs: number }[] = [];
  let [freeMs, received, delayMsMax] = [0, 0, 0];
  for (let nowMs = 0; nowMs < seconds * 1000; nowMs++) {
    while (transit.hasRoom(frameBytes)) {
      transit.sent(frameBytes, nowMs);
      freeMs = Math.max(freeMs, nowMs) + (frameBytes / bytesPerSecond) * 1000;
      arrivals.push({ atMs: freeMs + delayMs, sentMs: nowMs });
    }
    while (arrivals[0] !== undefined && arrivals[0].atMs <= nowMs) {
      const { sentMs } = arrivals.shift()!;
      if (nowMs > seconds * 500) delayMsMax = Math.max(delayMsMax, nowMs - sentMs);
      transit.received(++received, nowMs);
    }
  }
  return { transit, delayMsMax, passed: received * frameBytes };
}

describe('what is under way to an owner', () => {
  test('a fast link gets the whole window', () => {
    const { transit, delayMsMax } = drive({ bytesPerSecond: 1e9, frameBytes: 100 * KiB, seconds: 2 });
    assert.equal(transit.windowBytes, WINDOW);
    assert.ok(delayMsMax < 20, `${delayMsMax} ms`);
  });

  test('a fast link of long delay, too', () => {
    const { transit } = drive({ bytesPerSecond: 1e9, frameBytes: 100 * KiB, seconds: 20, delayMs: 300 });
    assert.equal(transit.windowBytes, WINDOW);
  });

  test('and one whose delay alone is longer than what may wait', () => {
    const { transit } = drive({ bytesPerSecond: 1e9, frameBytes: 100 * KiB, seconds: 60, delayMs: 800 });
    assert.equal(transit.windowBytes, WINDOW);
  });

  test('a slow link gets what it passes in half a second, and is used to the full', () => {
    const bytesPerSecond = 1024 * KiB;
    const { delayMsMax, passed } = drive({ bytesPerSecond, frameBytes: 50 * KiB, seconds: 60 });
    assert.ok(delayMsMax < 800, `${delayMsMax} ms`);
    assert.ok(passed > 0.95 * bytesPerSecond * 59, `${passed} bytes`);
  });

  test('one frame may go, however long it takes', () => {
    const { transit, passed } = drive({ bytesPerSecond: 100 * KiB, frameBytes: 1024 * KiB, seconds: 100 });
    assert.ok(passed >= 8 * 1024 * KiB, `${passed} bytes`);
    assert.ok(transit.windowBytes < 1024 * KiB);
  });

  test('a window that was narrowed widens again', () => {
    const transit = new Transit(WINDOW);
    let [nowMs, count] = [0, 0];
    const frame = (delayMs: number): void => {
      for (let at = 0; at < 8; at++) if (transit.hasRoom(64 * KiB)) transit.sent(64 * KiB, nowMs);
      nowMs += delayMs;
      transit.received((count += 8), nowMs);
    };
    for (let at = 0; at < 10; at++) frame(5_000);
    assert.equal(transit.windowBytes, 128 * KiB);
    assert.equal(transit.hasRoom(129 * KiB), true, 'nothing is under way');
    for (let at = 0; at < 10; at++) frame(10);
    assert.ok(transit.windowBytes > 512 * KiB);
  });

  test('an owner that counts wrongly gets no more than one frame at a time, and throws nothing', () => {
    const transit = new Transit(WINDOW);
    transit.received(5, 1);
    transit.sent(10, 2);
    transit.received(Number.MAX_SAFE_INTEGER, 3);
    assert.ok(transit.hasRoom(WINDOW));
  });
});
