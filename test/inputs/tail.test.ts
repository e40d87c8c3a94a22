import assert from 'node:assert/strict';
import * as fs from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { systemTailDisk } from '../../src/node/inputs/files.ts';
import { LogvineError } from '../../src/store/errors.ts';
import { Bench, diskWith } from './harness.ts';

test('reads from the beginning, then what is appended, with labels and positions', async (t) => {
  const bench = new Bench(t, ['app.log']);
  bench.write('app.log', 'one\ntwo\n');
  await bench.pass();
  assert.deepEqual(bench.sink.lines(), ['one', 'two']);
  assert.deepEqual(bench.sink.blocks[0].labels, {
    filename: bench.path('app.log'),
    host: 'alice',
    job: 'logvine',
    service_name: 'logvine',
  });
  bench.append('app.log', 'three\n');
  await bench.pass();
  assert.deepEqual(bench.sink.lines(), ['one', 'two', 'three']);
  assert.equal(bench.row('app.log').readBytes, 14);
  assert.equal(bench.row('app.log').durableBytes, 0);
  bench.acknowledgeAll();
  assert.equal(bench.row('app.log').durableBytes, 14);
});

test('own labels win over host and job; service_name can be left out', async (t) => {
  const bench = new Bench(t, ['unused']);
  bench.write('app.log', 'x\n');
  const patterns = [{ pattern: bench.path('app.log'), labels: { job: 'web', host: 'bob', zone: 'a' } }];
  await bench.restart({ patterns });
  assert.deepEqual(bench.sink.blocks[0].labels, {
    filename: bench.path('app.log'),
    host: 'bob',
    job: 'web',
    service_name: 'web',
    zone: 'a',
  });
  bench.append('app.log', 'y\n');
  await bench.restart({ patterns, discoverServiceName: false });
  assert.equal(bench.sink.blocks[1].labels.service_name, undefined);
});

test('finds files that appear later under a glob, in new directories too', async (t) => {
  const bench = new Bench(t, ['**/*.log']);
  await bench.pass();
  assert.match(bench.tail.status()[0].problem ?? '', /no file fits/);
  fs.mkdirSync(bench.path('a/b'), { recursive: true });
  bench.write('a/b/x.log', 'x\n');
  bench.write('y.log', 'y\n');
  bench.write('z.txt', 'z\n');
  await bench.pass();
  assert.deepEqual(bench.sink.lines().sort(), ['x', 'y']);
});

test('CRLF loses its CR, other bytes are kept', async (t) => {
  const bench = new Bench(t, ['app.log']);
  const odd = Buffer.from([0xff, 0xfe, 0x00, 0x0d, 0x41, 0x0a]);
  bench.write('app.log', Buffer.concat([Buffer.from('one\r\ntwo\r\r\n\r\n'), odd]));
  await bench.pass();
  const all = Buffer.concat(bench.sink.blocks.map((block) => block.bytes));
  assert.deepEqual(all, Buffer.concat([Buffer.from('one\ntwo\r\n\n'), odd]));
  assert.equal(bench.row('app.log').readBytes, 13 + odd.length);
});

test('a last line without newline waits, is given out when idle, and never doubles', async (t) => {
  const bench = new Bench(t, ['app.log']);
  bench.write('app.log', 'one\ntw');
  await bench.pass();
  assert.deepEqual(bench.sink.lines(), ['one']);
  bench.append('app.log', 'o\nthr');
  await bench.pass();
  assert.deepEqual(bench.sink.lines(), ['one', 'two']);
  await bench.pass(4_000);
  assert.deepEqual(bench.sink.lines(), ['one', 'two'], 'not yet');
  await bench.pass(2_000);
  assert.deepEqual(bench.sink.lines(), ['one', 'two', 'thr']);
  await bench.restart();
  bench.append('app.log', 'ee\nfour');
  await bench.pass();
  assert.deepEqual(bench.sink.lines(), ['one', 'two', 'thr', 'ee']);
  assert.deepEqual(bench.sink.blocks.at(-1)!.metadata, { logvine_piece: '2', logvine_piece_last: 'true' });
  await bench.pass(6_000);
  bench.append('app.log', '\nfive\n');
  await bench.pass();
  assert.deepEqual(bench.sink.lines(), ['one', 'two', 'thr', 'ee', 'four', 'five']);
});

test('an overlong line comes in marked pieces, across a restart too', async (t) => {
  const limits = { lineBytesMax: 1000, readBytes: 300, turnBytesMax: 100_000 };
  const bench = new Bench(t, ['app.log'], { limits });
  const long = 'abcdefghij'.repeat(250);
  bench.write('app.log', `first\n${'x'.repeat(1000)}\n${'y'.repeat(2000)}\n${long}`);
  await bench.pass();
  await bench.restart();
  bench.append('app.log', '!\nlast\n');
  await bench.pass();
  const marks = bench.sink.blocks.map((block) => [block.bytes.length - 1, block.metadata ?? {}]);
  assert.deepEqual(marks, [
    [5, {}],
    [1000, {}],
    [1000, { logvine_piece: '1' }],
    [1000, { logvine_piece: '2', logvine_piece_last: 'true' }],
    [1000, { logvine_piece: '1' }],
    [1000, { logvine_piece: '2' }],
    [501, { logvine_piece: '3', logvine_piece_last: 'true' }],
    [4, {}],
  ]);
  const pieces = bench.sink.blocks.slice(4, 7).map((block) => block.bytes.subarray(0, -1).toString());
  assert.equal(pieces.join(''), `${long}!`);
});

test('rename and create: the old file to its end, then the new one', async (t) => {
  const bench = new Bench(t, ['app.log']);
  bench.write('app.log', 'a1\n');
  await bench.pass();
  bench.append('app.log', 'a2\n');
  bench.rename('app.log', 'app.log.1');
  bench.write('app.log', 'b1\n');
  await bench.pass();
  bench.append('app.log.1', 'a3\n');
  bench.append('app.log', 'b2\n');
  await bench.pass();
  assert.deepEqual(bench.sink.lines().sort(), ['a1', 'a2', 'a3', 'b1', 'b2']);
  assert(bench.sink.blocks.every((block) => block.labels.filename === bench.path('app.log')));
  assert.deepEqual(bench.sink.gaps(), []);
});

test('a renamed file that still fits the glob is not read again, also after a restart', async (t) => {
  const bench = new Bench(t, ['app.log*']);
  bench.write('app.log', 'a1\n');
  await bench.pass();
  bench.append('app.log', 'a2\n');
  bench.rename('app.log', 'app.log.1');
  bench.write('app.log', 'b1\n');
  await bench.pass();
  bench.rename('app.log.1', 'app.log.2');
  bench.rename('app.log', 'app.log.1');
  bench.write('app.log', 'c1\n');
  await bench.restart();
  await bench.pass();
  assert.deepEqual(bench.sink.lines().sort(), ['a1', 'a2', 'b1', 'c1']);
});

test('rotated twice between two looks: the file in the middle is found', async (t) => {
  const bench = new Bench(t, ['app.log']);
  bench.write('app.log', 'a1\n');
  bench.write('app.log.9', 'from before, and not asked for\n');
  await bench.outlive('app.log.9');
  await bench.pass();
  bench.rename('app.log', 'app.log.1');
  bench.write('app.log', 'b1\n');
  bench.rename('app.log.1', 'app.log.2');
  bench.rename('app.log', 'app.log.1');
  bench.write('app.log', 'c1\n');
  await bench.pass();
  assert.deepEqual(bench.sink.lines().sort(), ['a1', 'b1', 'c1']);
});

test('rotated while the node was down: its rest is read, under its old name', async (t) => {
  const bench = new Bench(t, ['app.log']);
  bench.write('app.log', 'a1\n');
  await bench.pass();
  await bench.tail.close();
  bench.append('app.log', 'a2\n');
  bench.rename('app.log', 'app.log.2');
  bench.write('app.log', 'b1\n');
  bench.rename('app.log', 'app.log.1');
  bench.write('app.log', 'c1\n');
  await bench.restart();
  assert.deepEqual(bench.sink.lines().sort(), ['a1', 'a2', 'b1', 'c1']);
  assert(bench.sink.blocks.every((block) => block.labels.filename === bench.path('app.log')));
  await bench.restart();
  assert.equal(bench.sink.lines().length, 4);
});

const ROTATED_WHILE_DOWN: Array<{ title: string; pattern: string; rotate(bench: Bench): void }> = [
  {
    title: 'out of the pattern, and nothing has its name',
    pattern: '*.log',
    rotate: (bench) => bench.rename('app.log', 'app.log.1'),
  },
  {
    title: 'to a name that says nothing',
    pattern: '*.log',
    rotate: (bench) => bench.rename('app.log', 'kept'),
  },
  {
    title: 'named as it stands, and nothing has its name',
    pattern: 'app.log',
    rotate: (bench) => bench.rename('app.log', 'app.log.1'),
  },
  {
    title: 'into a directory below (olddir)',
    pattern: '*.log',
    rotate(bench) {
      fs.mkdirSync(bench.path('old'));
      bench.rename('app.log', 'old/app.log-20261121');
      bench.write('app.log', 'b1\n');
    },
  },
  {
    title: 'copied into a directory below, and deleted (olddir on another disk)',
    pattern: '*.log',
    rotate(bench) {
      fs.mkdirSync(bench.path('old'));
      fs.copyFileSync(bench.path('app.log'), bench.path('old/app.log.1'));
      fs.unlinkSync(bench.path('app.log'));
      bench.write('app.log', 'b1\n');
    },
  },
  {
    title: 'copied beside itself, and deleted',
    pattern: '*.log',
    rotate(bench) {
      fs.copyFileSync(bench.path('app.log'), bench.path('app.log.1'));
      fs.unlinkSync(bench.path('app.log'));
    },
  },
];
for (const { title, pattern, rotate } of ROTATED_WHILE_DOWN) {
  test(`renamed while the node was down, ${title}: its rest is read, once`, async (t) => {
    const bench = new Bench(t, [pattern]);
    bench.write('app.log', 'a1\n');
    await bench.pass();
    await bench.tail.close();
    bench.append('app.log', 'a2\n');
    rotate(bench);
    await bench.restart();
    assert.deepEqual(
      bench.sink.lines().filter((line) => line.startsWith('a')),
      ['a1', 'a2'],
    );
    assert(bench.sink.blocks.every((block) => block.labels.filename === bench.path('app.log')));
    await bench.restart();
    assert.equal(bench.sink.lines().filter((line) => line.startsWith('a')).length, 2);
    assert.deepEqual(bench.sink.gaps(), []);
  });
}

for (const hasNew of [true, false]) {
  test(`a link's target, renamed while the node was down, ${hasNew ? 'with' : 'without'} another: its rest is read`, async (t) => {
    const bench = new Bench(t, ['*.log']);
    fs.mkdirSync(bench.path('real'));
    bench.write('real/app', 'a1\n');
    fs.symlinkSync(bench.path('real/app'), bench.path('x.log'));
    await bench.pass();
    await bench.tail.close();
    bench.append('real/app', 'a2\n');
    bench.rename('real/app', 'real/app.1');
    if (hasNew) bench.write('real/app', 'b1\n');
    await bench.restart();
    assert.deepEqual(bench.sink.lines().sort(), hasNew ? ['a1', 'a2', 'b1'] : ['a1', 'a2']);
    assert(bench.sink.blocks.every((block) => block.labels.filename === bench.path('x.log')));
    assert.deepEqual(bench.sink.gaps(), []);
  });
}

test('renamed while the node was down, and still written to: followed', async (t) => {
  const bench = new Bench(t, ['*.log']);
  bench.write('app.log', 'a1\n');
  await bench.pass();
  await bench.tail.close();
  bench.rename('app.log', 'app.log.1');
  await bench.restart();
  bench.append('app.log.1', 'a2\n');
  await bench.pass();
  assert.deepEqual(bench.sink.lines(), ['a1', 'a2']);
});

test('rotated twice while the node was down, the first compressed, or into another directory', async (t) => {
  const bench = new Bench(t, ['*.log']);
  fs.mkdirSync(bench.path('old'));
  for (const name of ['near', 'far']) bench.write(`${name}.log`, `${name} 1\n`);
  await bench.outlive('far.log');
  await bench.pass();
  await bench.tail.close();
  fs.unlinkSync(bench.path('near.log'));
  bench.write('near.log.2.gz', 'compressed');
  bench.write('near.log.1', 'near 2\n');
  bench.write('near.log', 'near 3\n');
  bench.rename('far.log', 'old/far.log.2');
  bench.write('old/far.log.1', 'far 2\n');
  bench.write('old/near.log.1', 'another program\n');
  bench.write('far.log', 'far 3\n');
  await bench.restart();
  await bench.restart();
  assert.deepEqual(bench.sink.lines().sort(), ['far 1', 'far 2', 'far 3', 'near 1', 'near 2', 'near 3']);
});

test('gone while the node was down, with a rest that had been seen: a gap, told once', async (t) => {
  const bench = new Bench(t, ['*.log']);
  bench.write('app.log', 'one\nunfinished');
  await bench.pass();
  await bench.tail.close();
  fs.unlinkSync(bench.path('app.log'));
  await bench.restart();
  assert.equal(bench.sink.gaps().length, 1);
  assert.match(
    bench.sink.gaps()[0],
    /^logvine: gap in .*app\.log: at least 10 bytes lost \(deleted.* while the node was down; .* after 2\S+Z is lost too\)\n$/,
  );
  const gap = bench.sink.blocks.at(-1)!;
  assert.deepEqual(gap.metadata, { detected_level: 'warn', logvine_gap: 'deleted' });
  assert.equal(gap.labels.filename, bench.path('app.log'));
  assert.deepEqual(bench.tail.totals(), { gaps: 1, gapBytes: 10 });
  assert(bench.messages.some((message) => message.includes('app.log: gap, at least 10 bytes lost')));
  for (let round = 0; round < 20; round++) await bench.pass();
  assert.equal(bench.row('app.log').gapBytes, 10, 'shown as long as the node runs');
  assert.equal(bench.row('app.log').sizeBytes, 4, 'and not as something still to be read');
  await bench.restart();
  assert.equal(bench.sink.gaps().length, 1);
});

test('gone while the node was down, read to its known end: said without a figure, and no alarm', async (t) => {
  for (const hasNew of [true, false]) {
    const bench = new Bench(t, ['app.log']);
    bench.write('app.log', 'one\n');
    await bench.pass();
    await bench.tail.close();
    bench.append('app.log', 'nobody knows\n');
    // Until the new one is there: else that may get its inode.
    bench.rename('app.log', 'going');
    bench.write('app.log.1.gz', 'compressed');
    if (hasNew) bench.write('app.log', 'two\n');
    fs.unlinkSync(bench.path('going'));
    await bench.restart();
    assert.equal(bench.sink.gaps().length, 1);
    assert.match(
      bench.sink.gaps()[0],
      /app\.log .*read to byte 4, its end at 2\S+Z; what was written to it later, if anything, is lost/,
    );
    const note = bench.sink.blocks.find((block) => block.metadata?.logvine_gap !== undefined)!;
    assert.deepEqual(note.metadata, { detected_level: 'info', logvine_gap: 'deleted' });
    assert.deepEqual(bench.tail.totals(), { gaps: 0, gapBytes: 0 });
    await bench.restart();
    assert.equal(bench.sink.gaps().length, 1, 'once');
  }
});

test('what was rotated and deleted in the usual way is not told after a restart', async (t) => {
  const bench = new Bench(t, ['app.log', 'jobs/*.log']);
  fs.mkdirSync(bench.path('jobs'));
  bench.write('jobs/7.log', 'job\n');
  bench.write('app.log', 'a1\n');
  await bench.pass();
  // The job's file was last read hours before the node's last line.
  for (const [source, position] of bench.sink.positions) {
    if (!position.includes('7.log')) continue;
    bench.sink.positions.set(
      source,
      position.replace(/"readAtMs":\d+/, `"readAtMs":${Date.now() - 7_200_000}`),
    );
  }
  bench.rename('app.log', 'app.log.1');
  bench.write('app.log', 'b1\n');
  await bench.pass();
  await bench.tail.close();
  fs.unlinkSync(bench.path('app.log.1'));
  fs.unlinkSync(bench.path('jobs/7.log'));
  await bench.restart();
  await bench.pass();
  assert.deepEqual(bench.sink.gaps(), []);
});

test('what cannot be looked for is not called gone', async (t) => {
  const bench = new Bench(t, ['*/*.log']);
  fs.mkdirSync(bench.path('a'));
  bench.write('a/app.log', 'one\nunfinished');
  await bench.pass();
  await bench.tail.close();
  bench.rename('a', 'away');
  // Another disk is to be mounted there, and is not yet.
  const elsewhere = diskWith({
    stat: async (path) => {
      const stat = await systemTailDisk.stat(path);
      return stat && { ...stat, device: '0' };
    },
    list: async (directory) => (directory === bench.directory ? [] : systemTailDisk.list(directory)),
  });
  await bench.restart({ disk: elsewhere });
  const failing = diskWith({
    stat: (path) =>
      path.startsWith(bench.path('a')) ? Promise.reject(new Error('EACCES')) : systemTailDisk.stat(path),
    list: async (directory) => (directory === bench.directory ? [] : systemTailDisk.list(directory)),
  });
  await bench.restart({ disk: failing });
  const unlistable = diskWith({
    list: (directory) =>
      directory === bench.path('a')
        ? Promise.reject(new Error('EACCES'))
        : Promise.resolve(directory === bench.directory ? [] : systemTailDisk.list(directory)),
  });
  await bench.restart({ disk: unlistable });
  assert.deepEqual(bench.sink.gaps(), []);
  await bench.restart();
  assert.equal(bench.sink.gaps().length, 0, 'its directory has another name that the pattern finds');
  assert.equal(bench.row('away/app.log').readBytes, 4);
});

test('what no pattern leads to any more is neither looked for nor told', async (t) => {
  const bench = new Bench(t, ['*.log']);
  for (const name of ['gone', 'renamed']) bench.write(`${name}.log`, 'one\nunfinished');
  await bench.pass();
  await bench.tail.close();
  fs.unlinkSync(bench.path('gone.log'));
  bench.append('renamed.log', ' no more\n');
  bench.rename('renamed.log', 'renamed.log.1');
  const excluding = [
    { pattern: bench.path('*.log'), exclude: [bench.path('gone.log'), bench.path('renamed.log')] },
  ];
  await bench.restart({ patterns: excluding });
  assert.equal(bench.sink.blocks.length, 2);
  await bench.restart();
  assert.equal(bench.sink.gaps().length, 1);
  assert.equal(bench.sink.lines().filter((line) => line === 'unfinished no more').length, 1);
});

test('an inode that another file has by now is neither read nor called found', async (t) => {
  const bench = new Bench(t, ['*.log']);
  bench.write('app.log', 'one\nunfinished');
  await bench.pass();
  const [[source, position]] = bench.sink.positions;
  await bench.tail.close();
  fs.unlinkSync(bench.path('app.log'));
  bench.write('secret', 'none of our business\n');
  const { dev, ino } = fs.statSync(bench.path('secret'), { bigint: true });
  bench.sink.positions.delete(source);
  bench.sink.positions.set(`file:${dev}:${ino}`, position);
  await bench.restart();
  assert.deepEqual(bench.sink.lines(), ['one']);
  assert.equal(bench.sink.gaps().length, 1);
});

for (const place of ['app.log.1', 'old/app.log.1', 'app.log.1.gz']) {
  test(`copytruncate while the node was down, the copy is ${place}`, async (t) => {
    const bench = new Bench(t, ['*.log']);
    fs.mkdirSync(bench.path('old'));
    bench.write('app.log', 'one\n');
    await bench.pass();
    await bench.tail.close();
    bench.append('app.log', 'two\n');
    fs.copyFileSync(bench.path('app.log'), bench.path(place));
    bench.write('app.log', 'three, which is longer\n');
    await bench.restart();
    await bench.restart();
    const isRead = !place.endsWith('.gz');
    assert.deepEqual(bench.sink.lines().sort(), [
      'one',
      'three, which is longer',
      ...(isRead ? ['two'] : []),
    ]);
    assert.equal(bench.sink.gaps().length, 1);
    assert.match(bench.sink.gaps()[0], /app\.log was truncated/);
  });
}

test('truncation: again from the beginning, and a gap record for what was seen but not read', async (t) => {
  const bench = new Bench(t, ['app.log']);
  bench.write('app.log', 'one\ntwo\n');
  await bench.pass();
  bench.append('app.log', 'unfinished');
  await bench.pass();
  bench.write('app.log', 'new\n');
  await bench.pass();
  assert.deepEqual(bench.sink.lines(), ['one', 'two', 'new']);
  assert.deepEqual(bench.sink.gaps(), [
    `logvine: gap in ${bench.path('app.log')}: 10 bytes lost (truncated before they were read)\n`,
  ]);
  const gap = bench.sink.blocks.find((block) => block.metadata?.logvine_gap !== undefined)!;
  assert.deepEqual(gap.metadata, { detected_level: 'warn', logvine_gap: 'truncated' });
  assert.equal(gap.labels.filename, bench.path('app.log'));
  assert.deepEqual(bench.tail.totals(), { gaps: 1, gapBytes: 10 });
  assert.equal(bench.row('app.log').gapBytes, 10);
  await bench.restart();
  await bench.pass();
  assert.equal(bench.sink.blocks.length, 3, 'nothing again after a restart');
});

test('truncated and grown past the old place between two looks', async (t) => {
  const bench = new Bench(t, ['app.log']);
  bench.write('app.log', 'one\n');
  await bench.pass();
  bench.write('app.log', 'other\nlines\nthat are longer\n');
  await bench.pass();
  assert.deepEqual(bench.sink.lines(), ['one', 'other', 'lines', 'that are longer']);
  assert.match(bench.sink.gaps()[0], /app\.log was truncated: all that was seen of it had been read/);
  assert.deepEqual(bench.tail.totals(), { gaps: 0, gapBytes: 0 }, 'nothing is known to be lost');
  const note = bench.sink.blocks.find((block) => block.metadata?.logvine_gap !== undefined)!;
  assert.deepEqual(note.metadata, { detected_level: 'info', logvine_gap: 'truncated' });
});

test('a writer that goes on at its old place leaves a hole, which is skipped', async (t) => {
  const bench = new Bench(t, ['app.log']);
  bench.write('app.log', 'one\ntwo\nthree\n');
  await bench.pass();
  fs.truncateSync(bench.path('app.log'), 0);
  const fd = fs.openSync(bench.path('app.log'), 'r+');
  fs.writeSync(fd, 'four\n', 14);
  fs.closeSync(fd);
  await bench.pass();
  assert.deepEqual(bench.sink.lines(), ['one', 'two', 'three', 'four']);
});

for (const pattern of ['app.log', 'app.log*']) {
  test(`copytruncate under ${pattern}: the copy is not read again, and saves what was not yet read`, async (t) => {
    const bench = new Bench(t, [pattern]);
    bench.write('app.log', 'one\n');
    await bench.pass();
    bench.append('app.log', 'two\n');
    fs.copyFileSync(bench.path('app.log'), bench.path('app.log.1'));
    fs.truncateSync(bench.path('app.log'), 0);
    bench.append('app.log', 'three\n');
    for (let round = 0; round < 4; round++) await bench.pass();
    assert.deepEqual(bench.sink.lines().sort(), ['one', 'three', 'two']);
    assert.equal(bench.sink.gaps().length, 1);
    assert.equal(bench.tail.totals().gapBytes, 0);
    await bench.restart();
    await bench.pass();
    assert.equal(bench.sink.lines().length, 3);
  });
}

test('files that begin alike are no copies of each other once they have grown apart', async (t) => {
  const bench = new Bench(t, ['app.csv*']);
  bench.write('app.csv', 'time,level,text\n');
  bench.write('app.csv.1', 'time,level,text\n1,info,first\n');
  for (let round = 0; round < 3; round++) await bench.pass();
  bench.append('app.csv', '2,info,second\n');
  for (let round = 0; round < 4; round++) await bench.pass();
  const lines = bench.sink.lines();
  assert.ok(lines.includes('2,info,second'));
  assert.ok(lines.includes('1,info,first'), lines.join('|'));
});

test('a copy that is seen before the truncation waits for it', async (t) => {
  const bench = new Bench(t, ['app.log*']);
  bench.write('app.log', 'one\n');
  await bench.pass();
  fs.copyFileSync(bench.path('app.log'), bench.path('app.log.1'));
  bench.append('app.log', 'two\n');
  await bench.pass();
  assert.match(bench.row('app.log.1').problem ?? '', /a copy of/);
  bench.append('app.log.1', 'two\n');
  fs.truncateSync(bench.path('app.log'), 0);
  for (let round = 0; round < 3; round++) await bench.pass();
  assert.deepEqual(bench.sink.lines(), ['one', 'two']);
  assert.equal(bench.row('app.log.1').problem, undefined);
});

test('deleted while open: read to the end, let go only when durable', async (t) => {
  const bench = new Bench(t, ['app.log']);
  bench.write('app.log', 'one\n');
  await bench.pass();
  bench.append('app.log', 'two\nthree');
  fs.unlinkSync(bench.path('app.log'));
  await bench.pass();
  assert.deepEqual(bench.sink.lines(), ['one', 'two']);
  assert.match(bench.tail.status().find((row) => row.problem)?.problem ?? '', /no such file/);
  await bench.pass(6_000);
  assert.deepEqual(bench.sink.lines(), ['one', 'two', 'three']);
  await bench.pass(60_000);
  assert.equal(bench.tail.status().filter((row) => row.readBytes > 0).length, 1, 'still held');
  bench.acknowledgeAll();
  await bench.pass();
  assert.equal(bench.tail.status().filter((row) => row.readBytes > 0).length, 0, 'let go');
  assert.deepEqual(bench.sink.gaps(), []);
});

test('gone before it was read, with its handle closed: a gap record', async (t) => {
  const limits = { openFilesMax: 2, readersMax: 1 };
  const bench = new Bench(t, ['*.log'], { limits });
  bench.write('a.log', 'one\n');
  await bench.pass();
  for (const name of ['b', 'c', 'd']) bench.write(`${name}.log`, `${name}\n`);
  await bench.pass();
  // One block of d fills the sink; a.log is seen to have grown, then it is gone.
  const gate = Promise.withResolvers<void>();
  bench.sink.gate = gate.promise;
  bench.append('d.log', 'more\n');
  bench.clock.advance(250);
  await bench.tail.poll();
  bench.append('a.log', 'never read\n');
  for (let round = 0; round < 8; round++) {
    bench.clock.advance(250);
    await bench.tail.poll();
  }
  fs.unlinkSync(bench.path('a.log'));
  bench.clock.advance(250);
  await bench.tail.poll();
  gate.resolve();
  for (let round = 0; round < 4; round++) await bench.pass();
  assert.equal(bench.sink.gaps().length, 1);
  assert.match(bench.sink.gaps()[0], /a\.log: 11 bytes lost \(deleted/);
});

test('inode reuse: another file, read from its beginning and under its own name', async (t) => {
  const bench = new Bench(t, ['*.log']);
  bench.write('a.log', 'one\n');
  await bench.pass();
  const source = [...bench.sink.positions.keys()][0];
  const position = bench.sink.positions.get(source)!;
  await bench.tail.close();
  bench.write('b.log', 'something else\n');
  const { dev, ino } = fs.statSync(bench.path('b.log'), { bigint: true });
  // Another time of birth: files made within one tick of the kernel may have the same.
  const older = position.replace(/"birthMs":\d+/, (text) => `${text}1`);
  bench.sink.positions.set(`file:${dev}:${ino}`, older);
  await bench.restart();
  const block = bench.sink.blocks.find((one) => one.labels.filename === bench.path('b.log'));
  assert.equal(block?.bytes.toString(), 'something else\n');
  assert.deepEqual(bench.sink.gaps(), []);
});

test('behind a link, the rotated ones are found beside its target: copies, and those renamed when closed', async (t) => {
  const bench = new Bench(t, ['*.log'], { limits: { openFilesMax: 2, readersMax: 1 } });
  fs.mkdirSync(bench.path('real'));
  for (const name of ['copied', 'renamed']) {
    bench.write(`real/${name}`, `${name} 1\n`);
    fs.symlinkSync(bench.path(`real/${name}`), bench.path(`${name}.log`));
  }
  await bench.pass();
  bench.append('real/copied', 'copied 2\n');
  fs.copyFileSync(bench.path('real/copied'), bench.path('real/copied.1'));
  fs.truncateSync(bench.path('real/copied'), 0);
  for (let round = 0; round < 4; round++) await bench.pass();
  // Others are open now.
  for (const name of ['x', 'y']) bench.write(`${name}.log`, `${name}\n`);
  await bench.pass();
  bench.append('real/renamed', 'renamed 2\n');
  bench.rename('real/renamed', 'real/renamed.1');
  for (let round = 0; round < 4; round++) await bench.pass();
  assert.deepEqual(bench.sink.lines().sort(), ['copied 1', 'copied 2', 'renamed 1', 'renamed 2', 'x', 'y']);
});

test('a truncation some time after a start is not said to have been while the node was down', async (t) => {
  const bench = new Bench(t, ['app.log']);
  bench.write('app.log', 'one\ntwo\n');
  await bench.pass();
  await bench.restart();
  bench.write('app.log', 'new\n');
  await bench.pass();
  assert.equal(bench.sink.gaps().length, 1);
  assert.doesNotMatch(bench.sink.gaps()[0], /down/);
});

test('one file under two names is read once; a link that turns elsewhere is followed', async (t) => {
  const bench = new Bench(t, ['*.log']);
  fs.mkdirSync(bench.path('real'));
  bench.write('real/a', 'a\n');
  bench.write('real/b', 'b\n');
  fs.symlinkSync(bench.path('real/a'), bench.path('x.log'));
  fs.symlinkSync(bench.path('real/a'), bench.path('y.log'));
  fs.symlinkSync(bench.path('real/nothing'), bench.path('z.log'));
  await bench.pass();
  assert.deepEqual(bench.sink.lines(), ['a']);
  fs.unlinkSync(bench.path('y.log'));
  fs.symlinkSync(bench.path('real/b'), bench.path('y.log'));
  await bench.pass();
  assert.deepEqual(bench.sink.lines(), ['a', 'b']);
});

test('a directory, a missing file and a pipe are problems, not crashes; a glob passes over directories', async (t) => {
  const bench = new Bench(t, ['dir', 'missing.log', '*.d']);
  fs.mkdirSync(bench.path('dir'));
  fs.mkdirSync(bench.path('x.d'));
  await bench.pass();
  await bench.pass();
  assert.match(bench.row('dir').problem ?? '', /is a directory/);
  assert.match(bench.row('missing.log').problem ?? '', /no such file/);
  assert.match(bench.row('*.d').problem ?? '', /no file fits/);
  assert.equal(bench.messages.length, 3, 'each is told once');
  bench.write('missing.log', 'here\n');
  await bench.pass();
  assert.deepEqual(bench.sink.lines(), ['here']);
  assert.equal(bench.row('missing.log').problem, undefined);
});

test('an error of the disk is a problem, retried with back-off', async (t) => {
  let opens = 0;
  let isBroken = true;
  const disk = diskWith({
    open: (path) => {
      opens++;
      if (isBroken)
        return Promise.reject(Object.assign(new Error('EACCES: permission denied'), { code: 'EACCES' }));
      return systemTailDisk.open(path);
    },
  });
  const bench = new Bench(t, ['app.log'], { disk });
  bench.write('app.log', 'one\n');
  for (let second = 0; second < 60; second++) await bench.pass();
  assert.match(bench.row('app.log').problem ?? '', /EACCES/);
  assert(opens >= 4 && opens <= 8, `${opens} tries in a minute`);
  isBroken = false;
  for (let second = 0; second < 60; second++) await bench.pass();
  assert.deepEqual(bench.sink.lines(), ['one']);
  assert.equal(bench.row('app.log').problem, undefined);
});

test('a sink that fails loses nothing and repeats nothing', async (t) => {
  const bench = new Bench(t, ['app.log']);
  bench.sink.failure = new Error('no');
  bench.write('app.log', 'one\n');
  await bench.pass();
  assert.equal(bench.row('app.log').readBytes, 0);
  await bench.pass(2_000);
  assert.deepEqual(bench.sink.lines(), ['one']);
});

test('a sink without room stops reading: one block a reader, and no write after close', async (t) => {
  const limits = { readBytes: 1000, readersMax: 2 };
  const bench = new Bench(t, ['*.log'], { limits });
  for (let file = 0; file < 10; file++) bench.write(`${file}.log`, `${file}\n`.repeat(5_000));
  const gate = Promise.withResolvers<void>();
  bench.sink.gate = gate.promise;
  bench.clock.advance(1_000);
  await bench.tail.poll();
  await bench.tail.poll();
  const { promise: isStuck, resolve } = Promise.withResolvers<void>();
  const watch = setInterval(() => bench.sink.inFlight === 2 && resolve(), 1);
  await isStuck;
  clearInterval(watch);
  await bench.tail.close();
  gate.resolve();
  await bench.tail.settled();
  assert.equal(bench.sink.blocks.length, 2);
  bench.sink.gate = undefined;
  await bench.restart();
  assert.equal(bench.sink.lines().length, 50_000);
  assert.equal(bench.sink.inFlightMax, 2);
});

test('compressed files are passed over by a glob, and read when named', async (t) => {
  const bench = new Bench(t, ['*.gz', 'b.gz']);
  bench.write('a.gz', 'a\n');
  bench.write('b.gz', 'b\n');
  await bench.pass();
  assert.deepEqual(bench.sink.lines(), ['b']);
  assert(bench.messages.some((message) => message.includes('compressed')));
});

test('a bad glob stops the start', () => {
  for (const pattern of ['', 'a[', 'a{b', 'a}', 'a**b', '[z-a]']) {
    assert.throws(
      () => new Bench(undefined, ['x'], { patterns: [{ pattern }] }),
      (error) => error instanceof LogvineError && error.code === 'LV_CONFIG_INVALID',
      pattern,
    );
  }
});

test('many small files with few handles', async (t) => {
  const bench = new Bench(t, ['*/*.log'], { limits: { openFilesMax: 16 } });
  for (let at = 0; at < 2_000; at++) {
    fs.mkdirSync(bench.path(`d${at % 20}`), { recursive: true });
    bench.write(join(`d${at % 20}`, `${at}.log`), `${at}\n`);
  }
  await bench.pass();
  assert.equal(new Set(bench.sink.lines()).size, 2_000);
  bench.append('d5/1985.log', 'again\n');
  for (let round = 0; round < 12; round++) await bench.pass();
  assert.equal(bench.sink.lines().length, 2_001);
});

test('a block says whether the file held more, and a gap record that it is no part of the file', async (t) => {
  const bench = new Bench(t, ['app.log'], { limits: { readBytes: 8 } });
  bench.write('app.log', 'one\ntwo\nthree\n');
  await bench.pass();
  bench.write('app.log', 'new\n');
  await bench.pass();
  assert.deepEqual(
    bench.sink.blocks.map(({ hasMore, isNote }) => [hasMore, isNote]),
    [
      [true, undefined],
      [false, undefined],
      [undefined, true],
      [false, undefined],
    ],
  );
  const { blocks } = bench.sink;
  assert.ok(
    blocks.every(({ labels }) => labels === blocks[0].labels),
    'by which lines go on with one another',
  );
});
