import assert from 'node:assert/strict';
import * as fs from 'node:fs';
import { test, type TestContext } from 'node:test';
import { systemTailDisk } from '../../src/node/inputs/files.ts';
import { decodePosition } from '../../src/node/inputs/identity.ts';
import { Bench, diskWith } from './harness.ts';

/** The source of a file that is there. */
function sourceOf(bench: Bench, name: string): string {
  const { dev, ino } = fs.statSync(bench.path(name), { bigint: true });
  return `file:${dev}:${ino}`;
}

/** What was read as `from` is that of the file `name`, as when it has got its inode. */
function moveInode(bench: Bench, from: string, name: string): void {
  const { positions } = bench.sink;
  const position = positions.get(from)!;
  positions.delete(from);
  positions.set(sourceOf(bench, name), position);
}

/** The file is gone, and as long as the test runs, no other gets its inode. */
function remove(t: TestContext, bench: Bench, name: string): void {
  const handle = fs.openSync(bench.path(name), 'r');
  t.after(() => fs.closeSync(handle));
  fs.unlinkSync(bench.path(name));
}

test('the inode that was read is that of a rotated file never read: it is read, and the old one told', async (t) => {
  const bench = new Bench(t, ['app.log']);
  bench.write('app.log', 'one\n');
  await bench.outlive('app.log');
  await bench.pass();
  await bench.tail.close();
  const source = sourceOf(bench, 'app.log');
  remove(t, bench, 'app.log');
  bench.write('app.log.1', 'two\n');
  bench.write('app.log', 'three\n');
  moveInode(bench, source, 'app.log.1');
  for (let run = 0; run < 2; run++) {
    await bench.restart();
    assert.deepEqual(bench.sink.lines().sort(), ['one', 'three', 'two']);
    assert.equal(bench.sink.gaps().length, 1);
  }
});

for (const pattern of ['app.log', 'app.log*']) {
  test(`rotated and compressed up to five times while the node was down, under ${pattern}: what is kept is read`, async (t) => {
    for (let rotations = 1; rotations <= 5; rotations++) {
      const bench = new Bench(t, [pattern]);
      bench.write('app.log', 'line 0\n');
      await bench.outlive('app.log');
      await bench.pass();
      await bench.tail.close();
      for (let rotation = 1; rotation <= rotations; rotation++) {
        if (rotation > 1) {
          bench.write('app.log.2.gz', 'compressed');
          fs.unlinkSync(bench.path('app.log.1'));
        }
        bench.rename('app.log', 'app.log.1');
        // It may have the inode of the file that was read.
        bench.write('app.log', `line ${rotation}\n`);
        await bench.outlive('app.log');
      }
      const kept = [...new Set([0, rotations - 1, rotations])].map((at) => `line ${at}`);
      for (let run = 0; run < 2; run++) {
        await bench.restart();
        assert.deepEqual(bench.sink.lines().sort(), kept);
        assert.equal(bench.sink.gaps().length, pattern === 'app.log' && rotations > 1 ? 1 : 0);
      }
    }
  });
}

for (const isGoneFirst of [true, false]) {
  test(`the inode of a file that is gone is that of another's copy, remembered ${isGoneFirst ? 'first' : 'last'}`, async (t) => {
    // One after the other: the copy is read before the other file is told of.
    const limits = { readersMax: 1 };
    const bench = new Bench(t, ['*.log'], { limits });
    bench.write('gone.log', 'gone 1\nrest');
    bench.write('kept.log', 'kept 1\n');
    const sources = { gone: sourceOf(bench, 'gone.log'), kept: sourceOf(bench, 'kept.log') };
    await bench.pass();
    await bench.tail.close();
    bench.append('kept.log', 'kept 2\n');
    remove(t, bench, 'gone.log');
    fs.copyFileSync(bench.path('kept.log'), bench.path('kept.log.1'));
    remove(t, bench, 'kept.log');
    moveInode(bench, sources.gone, 'kept.log.1');
    if (isGoneFirst) {
      const position = bench.sink.positions.get(sources.kept)!;
      bench.sink.positions.delete(sources.kept);
      bench.sink.positions.set(sources.kept, position);
    }
    let openFiles = 0;
    const disk = diskWith({
      open: async (path) => {
        const handle = await systemTailDisk.open(path);
        openFiles++;
        return {
          stat: () => handle.stat(),
          read: (...range) => handle.read(...range),
          close: () => (openFiles--, handle.close()),
        };
      },
    });
    for (let run = 0; run < 2; run++) {
      await bench.restart({ disk });
      assert.deepEqual(bench.sink.lines().sort(), ['gone 1', 'kept 1', 'kept 2']);
      assert.equal(bench.sink.gaps().length, 1);
      assert.match(bench.sink.gaps()[0], /gone\.log: at least 4 bytes/);
      const position = bench.sink.positions.get(sourceOf(bench, 'kept.log.1'))!;
      assert.match(position, /kept\.log/, 'that of the file that has the inode now');
    }
    await bench.tail.close();
    assert.equal(openFiles, 0);
  });
}

for (const hung of ['stat', 'list'] as const) {
  test(`a directory below whose ${hung} is never answered delays the start a few seconds, and close not at all`, async (t) => {
    const bench = new Bench(t, ['*.log', 'other/*.log']);
    fs.mkdirSync(bench.path('mount'));
    fs.mkdirSync(bench.path('other/below'), { recursive: true });
    // The one of which more was read is searched for first.
    bench.write('gone.log', 'gone 1, of which more was read\nrest');
    bench.write('other/gone.log', 'gone 2\nrest');
    bench.write('app.log', 'app 1\n');
    await bench.pass();
    await bench.tail.close();
    for (const name of ['gone.log', 'other/gone.log']) remove(t, bench, name);
    bench.append('app.log', 'app 2\n');
    for (const isClosed of [true, false]) {
      const asked = Promise.withResolvers<void>();
      const hang = (): Promise<never> => {
        asked.resolve();
        return new Promise(() => {});
      };
      const disk = diskWith({
        [hung]: (path: string) => (path === bench.path('mount') ? hang() : systemTailDisk[hung](path)),
      });
      const started = bench.restart({ disk });
      await asked.promise;
      if (isClosed) {
        await bench.tail.close();
      } else {
        bench.clock.advance(3_000);
        // Once more round the event loop, for an answer that has come.
        bench.clock.advance(1);
        await started;
      }
    }
    assert.deepEqual(bench.sink.lines().sort(), [
      'app 1',
      'app 2',
      'gone 1, of which more was read',
      'gone 2',
    ]);
    assert.deepEqual(bench.sink.gaps(), [], 'it may be there');
    assert(bench.messages.some((message) => message.includes('mount gives no answer')));
  });
}

test('directories below are looked into only for what is missing, and on the same disk', async (t) => {
  const bench = new Bench(t, ['*.log']);
  fs.mkdirSync(bench.path('mount'));
  fs.mkdirSync(bench.path('elsewhere'));
  fs.symlinkSync(bench.path('elsewhere'), bench.path('link'));
  const listed: string[] = [];
  const disk = diskWith({
    list: (directory) => (listed.push(directory), systemTailDisk.list(directory)),
    stat: async (path) => {
      const stat = await systemTailDisk.stat(path);
      return stat && path.endsWith('mount') ? { ...stat, device: '0' } : stat;
    },
  });
  bench.write('app.log', 'one\n');
  await bench.restart({ disk });
  await bench.restart({ disk });
  bench.write('app.log', '');
  await bench.pass();
  assert.equal(bench.sink.gaps().length, 1, 'truncated');
  assert(!listed.some((directory) => directory !== bench.directory));
  await bench.tail.close();
  remove(t, bench, 'app.log');
  await bench.restart({ disk });
  assert.deepEqual(
    listed.filter((directory) => directory !== bench.directory),
    [bench.path('elsewhere')],
  );
});

for (const pattern of ['app.log', '*.log']) {
  test(`idle, then copied and deleted while the node was down, under ${pattern}: not read again`, async (t) => {
    const bench = new Bench(t, [pattern]);
    bench.write('app.log', 'one\n');
    await bench.outlive('app.log');
    await bench.pass();
    await bench.tail.close();
    await bench.outlive('app.log');
    fs.copyFileSync(bench.path('app.log'), bench.path('app.log.1'));
    remove(t, bench, 'app.log');
    await bench.restart();
    await bench.restart();
    assert.deepEqual(bench.sink.lines(), ['one']);
    assert.deepEqual(bench.sink.gaps(), []);
    bench.append('app.log.1', 'two\n');
    await bench.restart();
    assert.deepEqual(bench.sink.lines(), ['one', 'two']);
  });
}

for (const [pattern, copy] of [
  ['*.log', 'app-20261121.log'],
  ['app.log*', 'app.log.1'],
]) {
  for (const isReused of [true, false]) {
    test(`copied under ${pattern} and deleted while the node was down, the inode ${isReused ? 'used again' : 'unused'}: its rest is read`, async (t) => {
      const bench = new Bench(t, [pattern]);
      bench.write('app.log', 'one\ntw');
      const source = sourceOf(bench, 'app.log');
      await bench.outlive('app.log');
      await bench.pass();
      await bench.tail.close();
      bench.append('app.log', 'o\n');
      fs.copyFileSync(bench.path('app.log'), bench.path(copy));
      remove(t, bench, 'app.log');
      bench.write('app.log', 'new\n');
      if (isReused) moveInode(bench, source, 'app.log');
      for (let run = 0; run < 2; run++) {
        await bench.restart();
        await bench.pass();
        assert.deepEqual(bench.sink.lines().sort(), ['new', 'one', 'two']);
        assert.equal(bench.tail.totals().gaps, 0);
      }
      assert(bench.sink.blocks.every((block) => block.labels.filename === bench.path('app.log')));
    });
  }
}

test('a copy that was read on and deleted later: its original is not called gone', async (t) => {
  for (const pattern of ['app.log', 'app.log*']) {
    const bench = new Bench(t, [pattern]);
    bench.write('app.log', 'one\ntw');
    await bench.pass();
    await bench.tail.close();
    bench.append('app.log', 'o\n');
    fs.copyFileSync(bench.path('app.log'), bench.path('app.log.1'));
    remove(t, bench, 'app.log');
    bench.write('app.log', 'new\n');
    await bench.restart();
    remove(t, bench, 'app.log.1');
    await bench.restart();
    assert.deepEqual(bench.sink.lines().sort(), ['new', 'one', 'two']);
    assert.deepEqual(bench.sink.gaps(), []);
  }
});

test('a copy that was read in full is known again when its original has lost its inode', async (t) => {
  const bench = new Bench(t, ['app.log*']);
  bench.write('app.log', 'one\n');
  const source = sourceOf(bench, 'app.log');
  await bench.outlive('app.log');
  await bench.pass();
  await bench.tail.close();
  fs.copyFileSync(bench.path('app.log'), bench.path('app.log.1'));
  remove(t, bench, 'app.log');
  bench.write('app.log', 'new\n');
  moveInode(bench, source, 'app.log');
  await bench.restart();
  await bench.restart();
  assert.deepEqual(bench.sink.lines().sort(), ['new', 'one']);
});

test('a copy that was read in full is known again, though its forerunner was read in the same millisecond', async (t) => {
  const bench = new Bench(t, ['app.log*']);
  const readAtMs = Date.now();
  bench.clock.nowMs = () => readAtMs;
  bench.write('app.log', 'one\n');
  await bench.outlive('app.log');
  await bench.pass();
  bench.rename('app.log', 'app.log.1');
  bench.write('app.log', 'two\n');
  await bench.pass();
  await bench.tail.close();
  const source = sourceOf(bench, 'app.log');
  bench.rename('app.log.1', 'app.log.2');
  await bench.outlive('app.log');
  fs.copyFileSync(bench.path('app.log'), bench.path('app.log.1'));
  remove(t, bench, 'app.log');
  bench.write('app.log', '');
  moveInode(bench, source, 'app.log');
  await bench.restart();
  assert.deepEqual(bench.sink.lines().sort(), ['one', 'two']);
});

test('a copy is known though what was renamed before it was read on for longer than its original', async (t) => {
  const bench = new Bench(t, ['*.log'], {
    limits: { readBytes: 256, lineBytesMax: 512, turnBytesMax: 512 },
  });
  let nowMs = Date.now();
  bench.clock.nowMs = () => (nowMs += 0.1);
  bench.write('app.log', 'one\n');
  await bench.pass();
  bench.append('app.log', `${'x'.repeat(100)}\n`.repeat(40));
  bench.rename('app.log', 'app.log.1');
  bench.write('app.log', 'two\n');
  await bench.pass();
  const readAtMs = [...bench.sink.positions.values()].map((text) => decodePosition(text)!.readAtMs);
  assert(readAtMs[0]! > readAtMs[1]!, 'the renamed file was read last');
  await bench.tail.close();
  const source = sourceOf(bench, 'app.log');
  bench.rename('app.log.1', 'app.log.2');
  fs.copyFileSync(bench.path('app.log'), bench.path('app.log.1'));
  remove(t, bench, 'app.log');
  bench.write('app.log', '');
  moveInode(bench, source, 'app.log');
  await bench.restart();
  assert.equal(bench.sink.lines().length, 42);
  assert.deepEqual(bench.sink.gaps(), []);
});

test('what begins alike is no copy if it was there before, or has the same name', async (t) => {
  const bench = new Bench(t, ['app.log']);
  bench.write('app.log.1', 'started\nnot asked for\n');
  await bench.outlive('app.log.1');
  bench.write('app.log', 'started\n');
  await bench.pass();
  await bench.tail.close();
  remove(t, bench, 'app.log');
  await bench.restart();
  assert.deepEqual(bench.sink.lines(), ['started']);
  bench.write('app.log', 'started\nfailed\n');
  await bench.restart();
  assert.deepEqual(bench.sink.lines(), ['started', 'started', 'failed']);
});

test('a copy that begins like two files is one of the longer', async (t) => {
  const bench = new Bench(t, ['app.log']);
  bench.write('app.log', 'head\n');
  await bench.pass();
  remove(t, bench, 'app.log');
  bench.write('app.log', 'head\none\n');
  await bench.pass();
  await bench.tail.close();
  bench.append('app.log', 'two\n');
  fs.copyFileSync(bench.path('app.log'), bench.path('app.log.1'));
  remove(t, bench, 'app.log');
  await bench.restart();
  assert.deepEqual(bench.sink.lines(), ['head', 'head', 'one', 'two']);
});

test('a directory below that others keep to themselves is out of reach: what is nowhere else is told', async (t) => {
  const bench = new Bench(t, ['*.log']);
  fs.mkdirSync(bench.path('private'));
  bench.write('app.log', 'one\nrest');
  await bench.pass();
  await bench.tail.close();
  remove(t, bench, 'app.log');
  const refused = Object.assign(new Error('permission denied'), { code: 'EACCES' });
  const disk = diskWith({
    list: (path) => (path === bench.path('private') ? Promise.reject(refused) : systemTailDisk.list(path)),
  });
  await bench.restart({ disk });
  assert.equal(bench.sink.gaps().length, 1);
});

test('more files renamed while the node was down than may be open: all are read, and others too', async (t) => {
  const bench = new Bench(t, ['*.log'], { limits: { openFilesMax: 3, readersMax: 2 } });
  const names = Array.from({ length: 8 }, (_, at) => `${at}.log`);
  for (const name of names) bench.write(name, `${name} 1\n`);
  await bench.pass();
  await bench.tail.close();
  for (const name of names) {
    if (name < '4') bench.append(name, `${name} 2\n`);
    bench.rename(name, `${name}.1`);
  }
  bench.write('new.log', 'new 1\n');
  await bench.restart();
  for (const name of names) bench.append(`${name}.1`, `${name} 3\n`);
  bench.append('new.log', 'new 2\n');
  for (let round = 0; round < 3; round++) await bench.pass();
  const all = names.flatMap((name) => [1, ...(name < '4' ? [2] : []), 3].map((line) => `${name} ${line}`));
  assert.deepEqual(bench.sink.lines().sort(), [...all, 'new 1', 'new 2'].sort());
  assert(!bench.tail.status().some(({ problem }) => problem !== undefined));
});

test('where there are too many files, or directories, nothing is called gone', async (t) => {
  const bench = new Bench(t, ['files/*.log', 'directories/*.log']);
  for (const directory of ['files', 'directories']) {
    fs.mkdirSync(bench.path(directory));
    bench.write(`${directory}/app.log`, 'one\nrest');
    bench.write(`${directory}/rotated.log`, 'one\n');
  }
  await bench.pass();
  await bench.tail.close();
  for (const directory of ['files', 'directories']) {
    bench.rename(`${directory}/app.log`, `${directory}/moved`);
    bench.append(`${directory}/rotated.log`, `two in ${directory}\n`);
    bench.rename(`${directory}/rotated.log`, `${directory}/rotated.log.1`);
  }
  fs.mkdirSync(bench.path('directories/zzz'));
  bench.rename('directories/moved', 'directories/zzz/app.log');
  const more = (kind: 'file' | 'directory', count: number) =>
    Array.from({ length: count }, (_, at) => ({ name: `more${at}`, kind }));
  const disk = diskWith({
    list: async (path) => [
      ...(path === bench.path('files') ? more('file', 10_000) : []),
      ...(path === bench.path('directories') ? more('directory', 1_000) : []),
      ...(await systemTailDisk.list(path)).sort((a, b) => (a.name < b.name ? -1 : 1)),
    ],
  });
  await bench.restart({ disk });
  assert.deepEqual(bench.sink.gaps(), []);
  assert.deepEqual(
    bench.sink
      .lines()
      .filter((line) => line.startsWith('two'))
      .sort(),
    ['two in directories', 'two in files'],
    'what has a rotated name is looked at first',
  );
});

test('a gap that an older version told, which positions did not say, is not told again', async (t) => {
  const bench = new Bench(t, ['app.log', '*.log']);
  for (const name of ['app', 'other']) bench.write(`${name}.log`, 'one\nrest');
  await bench.pass();
  await bench.tail.close();
  for (const [source, position] of bench.sink.positions) {
    assert.match(position, /"isGone":false,/);
    bench.sink.positions.set(source, position.replace('"isGone":false,', ''));
  }
  for (const name of ['app', 'other']) remove(t, bench, `${name}.log`);
  await bench.restart();
  assert.deepEqual(bench.sink.gaps(), []);
});

test('of files that are gone the rows of the newest stay, and the sums of all', async (t) => {
  const bench = new Bench(t, ['*.log']);
  bench.write('app.log', 'one\nrest');
  await bench.pass();
  await bench.tail.close();
  const [[source, position]] = bench.sink.positions;
  remove(t, bench, 'app.log');
  for (let at = 0; at < 150; at++) {
    bench.sink.positions.set(`${source}0000${at}`, position.replace('app.log', `${at}.log`));
  }
  await bench.restart();
  bench.acknowledgeAll();
  assert.equal(bench.tail.totals().gaps, 151);
  const rows = bench.tail.status().filter(({ gaps }) => gaps === 1);
  assert.equal(rows.length, 100);
  assert(rows.every(({ durableBytes }) => durableBytes === 4));
});

test('what was deleted in good order while the node ran is not told after a restart', async (t) => {
  const bench = new Bench(t, ['*.log', 'named']);
  bench.write('job.log', 'job\n');
  bench.write('named', 'named\n');
  bench.write('other.log', 'other\n');
  await bench.outlive('other.log');
  await bench.pass();
  bench.rename('named', 'named.1');
  bench.write('named', '');
  await bench.outlive('named');
  bench.append('other.log', 'more\n');
  for (const name of ['job.log', 'named.1']) remove(t, bench, name);
  for (let round = 0; round < 30; round++) {
    bench.acknowledgeAll();
    await bench.pass();
  }
  await bench.restart();
  assert.deepEqual(bench.sink.gaps(), []);
});

test('a file that cannot be read after a restart keeps no other from being found, and is not called gone', async (t) => {
  const bench = new Bench(t, ['*.log']);
  for (const name of ['a', 'b']) bench.write(`${name}.log`, `${name}1\nrest`);
  await bench.pass();
  await bench.tail.close();
  for (const name of ['a', 'b']) {
    bench.append(`${name}.log`, `\n`);
    bench.rename(`${name}.log`, `${name}.log.1`);
  }
  const disk = diskWith({
    open: async (path) => {
      const handle = await systemTailDisk.open(path);
      const read = path.endsWith('a.log.1')
        ? () => Promise.reject(new Error('EIO'))
        : handle.read.bind(handle);
      return { stat: () => handle.stat(), close: () => handle.close(), read };
    },
  });
  await bench.restart({ disk });
  assert.deepEqual(bench.sink.lines().sort(), ['a1', 'b1', 'rest']);
  assert.deepEqual(bench.sink.gaps(), []);
  assert(bench.messages.some((message) => message.endsWith('may be missed: EIO')));
  await bench.restart();
  assert.deepEqual(bench.sink.lines().sort(), ['a1', 'b1', 'rest', 'rest']);
});

test('a directory that cannot be listed does not keep what was in it from being told as gone', async (t) => {
  const bench = new Bench(t, ['*.log'], { limits: { openFilesMax: 2, readersMax: 1 } });
  fs.mkdirSync(bench.path('real'));
  bench.write('real/app', 'one\nrest');
  fs.symlinkSync(bench.path('real/app'), bench.path('x.log'));
  const disk = diskWith({
    list: (path) =>
      path === bench.path('real') ? Promise.reject(new Error('EACCES')) : systemTailDisk.list(path),
  });
  await bench.restart({ disk });
  for (const name of ['y', 'z']) bench.write(`${name}.log`, `${name}\n`);
  await bench.pass();
  for (const name of ['x.log', 'real/app']) fs.unlinkSync(bench.path(name));
  for (let round = 0; round < 4; round++) await bench.pass();
  assert.equal(bench.sink.gaps().length, 1);
  assert(!bench.tail.status().some(({ problem }) => problem !== undefined));
});

test('another device number after a reboot: the files are read on', async (t) => {
  const bench = new Bench(t, ['app.log*']);
  bench.write('app.log.1', 'old 1\n');
  bench.write('app.log', 'one\ntwo\n');
  await bench.pass();
  await bench.tail.close();
  for (const [source, position] of [...bench.sink.positions]) {
    bench.sink.positions.delete(source);
    bench.sink.positions.set(source.replace(/:\d+:/, ':999:'), position);
  }
  bench.append('app.log', 'three\n');
  for (let run = 0; run < 2; run++) {
    await bench.restart();
    assert.deepEqual(bench.sink.lines().sort(), ['old 1', 'one', 'three', 'two']);
    assert.deepEqual(bench.sink.gaps(), []);
  }
});

test('a rotated file that was never read and begins like a longer one that is gone is read', async (t) => {
  const head = `# ${'-'.repeat(1_100)}\n`;
  const bench = new Bench(t, ['app.log']);
  bench.write('app.log', `${head}${'a'.repeat(3_000)}\n`);
  await bench.outlive('app.log');
  await bench.pass();
  await bench.tail.close();
  remove(t, bench, 'app.log');
  bench.write('app.log.2.gz', 'compressed');
  bench.write('app.log.1', `${head}b\n`);
  await bench.restart();
  assert.deepEqual(
    bench.sink.lines().map((line) => line.slice(0, 1)),
    ['#', 'a', '#', 'b'],
  );
});

test('a renamed file that cannot be opened is not called gone, and read after the next restart', async (t) => {
  const bench = new Bench(t, ['app.log']);
  bench.write('app.log', 'one\nrest');
  await bench.pass();
  await bench.tail.close();
  bench.append('app.log', ' of it\n');
  bench.rename('app.log', 'app.log.1');
  bench.write('app.log', 'two\n');
  const disk = diskWith({
    open: (path) =>
      path.endsWith('.1')
        ? Promise.reject(Object.assign(new Error('EMFILE'), { code: 'EMFILE' }))
        : systemTailDisk.open(path),
  });
  await bench.restart({ disk });
  assert.deepEqual(bench.sink.gaps(), []);
  assert(bench.messages.some((message) => message.endsWith('may be missed: EMFILE')));
  await bench.restart();
  assert.deepEqual(bench.sink.lines().sort(), ['one', 'rest of it', 'two']);
  assert.deepEqual(bench.sink.gaps(), []);
});

test('a copy of which all was read stays known when another file has the inode of what was copied', async (t) => {
  const bench = new Bench(t, ['app.log*', 'other.log']);
  bench.write('app.log', 'one\n');
  await bench.outlive('app.log');
  await bench.pass();
  await bench.tail.close();
  const source = sourceOf(bench, 'app.log');
  fs.copyFileSync(bench.path('app.log'), bench.path('app.log.1'));
  remove(t, bench, 'app.log');
  bench.write('app.log', 'two\n');
  await bench.restart();
  await bench.pass();
  await bench.tail.close();
  bench.write('other.log', 'three\n');
  moveInode(bench, source, 'other.log');
  for (let run = 0; run < 2; run++) {
    await bench.restart();
    await bench.pass();
    await bench.tail.close();
  }
  assert.deepEqual(bench.sink.lines().sort(), ['one', 'three', 'two']);
});
