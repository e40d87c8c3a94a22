import assert from 'node:assert/strict';
import { globSync, readFileSync } from 'node:fs';
import { dirname, join, normalize } from 'node:path';
import { test } from 'node:test';

/** src/README.md's rules, as a test: imports point one way, and only a few files touch the machine. */

const files = globSync('src/**/*.ts').map((path) => ({ path, text: readFileSync(path, 'utf8') }));

function importsOf(text: string): string[] {
  return [...text.matchAll(/(?:from|import)\s*\(?\s*'([^']+)'/g)].map((match) => match[1]);
}

const layerOf = (path: string): string => path.split('/')[1];

test('imports point one way: store ← gossip ← node', () => {
  const allowed: Record<string, string[]> = {
    store: ['store'],
    gossip: ['store', 'gossip'],
    node: ['store', 'gossip', 'node'],
  };
  const wrong: string[] = [];
  for (const { path, text } of files) {
    for (const name of importsOf(text)) {
      if (!name.startsWith('.')) continue;
      const target = normalize(join(dirname(path), name));
      if (!allowed[layerOf(path)].includes(layerOf(target))) wrong.push(`${path} imports ${target}`);
    }
  }
  assert.deepEqual(wrong, []);
});

const MACHINE: [name: string, pattern: RegExp, allowed: RegExp][] = [
  ['level', /from 'level'/, /^src\/store\/catalog\//],
  ['libp2p', /from '(libp2p|it-pipe|@libp2p\/|@multiformats\/)/, /^src\/gossip\/transport\//],
  [
    'sockets',
    /from 'node:(net|dgram|tls)'/,
    /^src\/(gossip\/transport|node\/http\/server|node\/config\/address)/,
  ],
  [
    'the disk',
    /from 'node:fs/,
    /^src\/(store\/host|node\/inputs\/files|node\/http\/(page|server)|node\/(version|identity)|node\/config\/secret|node\/cli)/,
  ],
  ['the clock', /\b(Date\.now|performance\.now|process\.hrtime)\b/, /^src\/(store\/host|node\/http\/page)\//],
  ['timers', /\b(setTimeout|setInterval|setImmediate)\(/, /^src\/(store\/host|node\/http\/page|node\/cli)\//],
  ['chance', /\bMath\.random\b|\brandomBytes\(/, /^src\/store\/host\//],
];

for (const [name, pattern, allowed] of MACHINE) {
  test(`only a few files touch ${name}`, () => {
    const wrong = files
      .filter(({ path, text }) => pattern.test(text) && !allowed.test(path))
      .map(({ path }) => path);
    assert.deepEqual(wrong, []);
  });
}

test('nothing unfinished is marked in the code', () => {
  const marks = /\b(TODO|FIXME|XXX|HACK)\b/;
  assert.deepEqual(
    files.filter(({ text }) => marks.test(text)).map(({ path }) => path),
    [],
  );
});
