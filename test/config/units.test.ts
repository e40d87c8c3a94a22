import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import {
  formatDuration,
  formatHostPort,
  formatSize,
  isLoopback,
  parseDuration,
  parseHostPort,
  parseSize,
  suggest,
} from '../../src/node/config/index.ts';

test('durations', () => {
  const good: [string, number][] = [
    ['0s', 0],
    ['100ms', 100],
    ['1.5s', 1500],
    ['10m', 600_000],
    ['1h30m', 5_400_000],
    ['7d', 604_800_000],
    ['2w', 1_209_600_000],
  ];
  for (const [text, ms] of good) assert.equal(parseDuration(text), ms, text);
  for (const text of ['', '10', 's', '1 s', '-1s', '1y', '1h30', '1e3s', `${'9'.repeat(20)}d`, '1S']) {
    assert.equal(parseDuration(text), undefined, text);
  }
});

test('sizes', () => {
  const good: [string, number][] = [
    ['0', 0],
    ['512', 512],
    ['64KiB', 65_536],
    ['1.5 MiB', 1_572_864],
    ['1GB', 1e9],
    ['1kB', 1000],
    ['2TiB', 2 * 1024 ** 4],
  ];
  for (const [text, bytes] of good) assert.equal(parseSize(text), bytes, text);
  for (const text of ['', 'MiB', '1mib', '-1', '1 0', '1e3', '99999999TiB', 'toString', '1constructor']) {
    assert.equal(parseSize(text), undefined, text);
  }
});

test('sizes and durations for people', () => {
  assert.equal(formatSize(0), '0 B');
  assert.equal(formatSize(999), '999 B');
  assert.equal(formatSize(1536), '1.50 KiB');
  assert.equal(formatSize(64 * 1024 ** 2), '64.0 MiB');
  assert.equal(formatDuration(7), '7ms');
  assert.equal(formatDuration(61_000), '1m1s');
  assert.equal(formatDuration(3_600_000), '1h');
  assert.equal(formatDuration(90_061_000), '1d1h');
});

test('addresses come back as they were', () => {
  const host = fc.oneof(fc.ipV4(), fc.ipV6(), fc.domain());
  fc.assert(
    fc.property(host, fc.nat(65_535), (host, port) => {
      assert.deepEqual(parseHostPort(formatHostPort({ host, port })), { host, port });
    }),
  );
  for (const text of [
    '',
    ':1',
    'a',
    'a:',
    'a:b',
    'a:70000',
    '::1:80',
    '[1.2.3.4]:1',
    'a b:1',
    'http://a:1',
  ]) {
    assert.equal(parseHostPort(text), undefined, text);
  }
});

test('loopback', () => {
  for (const host of ['127.0.0.1', '127.9.9.9', '::1', 'localhost', 'LOCALHOST'])
    assert.ok(isLoopback(host), host);
  for (const host of ['0.0.0.0', '::', '128.0.0.1', 'localhost.example.net', '10.0.0.1', '::2']) {
    assert.ok(!isLoopback(host), host);
  }
});

test('suggestions are near or absent', () => {
  const keys = ['listen', 'linger', 'labels', 'http'];
  assert.equal(suggest('listn', keys), 'listen');
  assert.equal(suggest('Label', keys), 'labels');
  assert.equal(suggest('hhtp', keys), 'http');
  assert.equal(suggest('completelyElse', keys), undefined);
  assert.equal(suggest('x'.repeat(100_000), keys), undefined);
});
