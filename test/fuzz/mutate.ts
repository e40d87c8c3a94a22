import type { Random } from '../../src/store/host/index.ts';

/** Longest input that mutations grow to; what is about size has tests of its own. */
const BYTES_MAX = 256 * 1024;

/** Bytes that parsers stumble over: ends of ranges, varints that go on, structure of JSON and of LogQL. */
const SPECIAL_BYTES = Buffer.from([
  0,
  1,
  0x7f,
  0x80,
  0xff,
  0xfe,
  0x20,
  0x0a,
  ...Buffer.from('"\\{}[](),:=|-0.`'),
]);

/** Whole pieces: extreme varints, extreme little- and big-endian numbers, text that means something somewhere. */
const PIECES: readonly Buffer[] = [
  Buffer.from([0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x0f]),
  Buffer.from([0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x01]),
  Buffer.from([0xff, 0xff, 0xff, 0xff, 0x0f]),
  Buffer.from([0x80, 0x80, 0x80, 0x08]),
  Buffer.from([0xff, 0xff, 0xff, 0xff]),
  Buffer.from([0xff, 0xff, 0xff, 0x7f]),
  Buffer.from([0x00, 0x00, 0x00, 0x80]),
  Buffer.from([0xc0, 0xaf]),
  Buffer.from([0xed, 0xa0, 0x80]),
  ...['9007199254740993', '-1', '1e999', '-0', '18446744073709551616', 'null', 'true', '""', '[]', '{}'].map(
    (text) => Buffer.from(text),
  ),
  ...['__proto__', 'constructor', '\u0000', '\u2028', '\u001b[2J', '../..', '%s', '\ud83d\ude00'].map(
    (text) => Buffer.from(text),
  ),
];

const below = (random: Random, bound: number): number => Math.floor(random.unit() * bound);

/** Any bytes: mostly short, and of few kinds, so that some get past the first checks. */
export function arbitraryBytes(random: Random): Buffer {
  const bytes = random.bytes(below(random, 2 ** below(random, 11)));
  if (random.unit() < 0.5) {
    for (let at = 0; at < bytes.length; at++) bytes[at] = SPECIAL_BYTES[bytes[at] % SPECIAL_BYTES.length];
  }
  return bytes;
}

/** A sample with one to a few things changed. `others` is what pieces are taken from when two are spliced. */
export function mutated(random: Random, sample: Uint8Array, others: readonly Uint8Array[]): Buffer {
  let bytes: Buffer = Buffer.from(sample);
  for (let changes = 1 + below(random, 4); changes > 0; changes--) bytes = changed(random, bytes, others);
  return bytes.subarray(0, BYTES_MAX);
}

function changed(random: Random, bytes: Buffer, others: readonly Uint8Array[]): Buffer {
  const at = below(random, bytes.length + 1);
  const end = Math.min(bytes.length, at + 1 + below(random, 2 ** below(random, 8)));
  const insert = (piece: Uint8Array, upTo = at): Buffer =>
    Buffer.concat([bytes.subarray(0, at), piece, bytes.subarray(upTo)]);
  switch (below(random, 9)) {
    case 0:
      if (at < bytes.length) bytes[at] ^= 1 << below(random, 8);
      return bytes;
    case 1:
      if (at < bytes.length) bytes[at] = SPECIAL_BYTES[below(random, SPECIAL_BYTES.length)];
      return bytes;
    case 2:
      return insert(random.bytes(1 + below(random, 8)));
    case 3:
      return insert(new Uint8Array(0), end);
    case 4:
      return insert(bytes.subarray(at, end));
    case 5:
      return insert(PIECES[below(random, PIECES.length)], random.unit() < 0.5 ? at : end);
    case 6: {
      const other = others[below(random, others.length)] ?? bytes;
      const from = below(random, other.length + 1);
      return insert(other.subarray(from, from + below(random, 1024)), random.unit() < 0.5 ? at : end);
    }
    case 7:
      return bytes.subarray(0, at);
    default: {
      const piece = bytes.subarray(at, end);
      const times = Math.min(
        1 + below(random, 2 ** below(random, 10)),
        Math.ceil(BYTES_MAX / (piece.length + 1)),
      );
      return insert(Buffer.concat(Array.from({ length: times }, () => piece)));
    }
  }
}

/** What stands in a JSON message where something else was expected. */
const VALUES: readonly unknown[] = [
  ...[
    null,
    true,
    0,
    -1,
    0.5,
    1e308,
    -1e308,
    Number.MAX_SAFE_INTEGER,
    2 ** 53,
    1_000_000,
    '',
    'x',
    '-1',
    '__proto__',
  ],
  ...[
    '\u0000',
    '\ud800',
    '../../etc/passwd',
    'a'.repeat(5000),
    [],
    {},
    [[]],
    [0, 0],
    [9, 1],
    { ms: 1, sub: 1e9 },
  ],
];

/** As JSON.parse does it: `__proto__` is a key like any other. */
function define(parent: object, key: string, value: unknown): void {
  const copy: unknown = structuredClone(value);
  Object.defineProperty(parent, key, { value: copy, enumerable: true, writable: true, configurable: true });
}

/** JSON of `sample` in which a few values, keys or items, anywhere, are others, missing or there twice. */
export function mutatedJson(random: Random, sample: unknown): Buffer {
  const root = [structuredClone(sample)];
  for (let changes = 1 + below(random, 3); changes > 0; changes--) {
    const places: { parent: Record<string, unknown>; key: string }[] = [];
    const visit = (value: unknown): void => {
      if (typeof value !== 'object' || value === null) return;
      for (const [key, inner] of Object.entries(value)) {
        places.push({ parent: value as Record<string, unknown>, key });
        visit(inner);
      }
    };
    visit(root);
    if (places.length === 0) break;
    const { parent, key } = places[below(random, places.length)];
    const value = VALUES[below(random, VALUES.length)];
    const kind = random.unit();
    if (kind < 0.5) parent[key] = structuredClone(value);
    else if (kind < 0.65 && typeof parent[key] === 'number') parent[key] += random.unit() < 0.5 ? 1 : -1;
    else if (kind < 0.8 && Array.isArray(parent)) parent.push(structuredClone(parent[Number(key)]));
    else if (kind < 0.9 && !Array.isArray(parent)) define(parent, String(value).slice(0, 20), parent[key]);
    else if (Array.isArray(parent)) parent.splice(Number(key), 1);
    else delete parent[key];
  }
  return Buffer.from(JSON.stringify(root[0] ?? null));
}
