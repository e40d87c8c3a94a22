/** Sets of code points: sorted, disjoint, closed ranges `[from, to, from, to, …]`. */
export type Ranges = readonly number[];

export const CODE_POINT_MAX = 0x10ffff;

export function normalize(pairs: readonly (readonly [number, number])[]): number[] {
  const sorted = pairs.filter(([from, to]) => from <= to).sort((a, b) => a[0] - b[0]);
  const out: number[] = [];
  for (const [from, to] of sorted) {
    if (out.length > 0 && from <= out[out.length - 1] + 1) {
      out[out.length - 1] = Math.max(out[out.length - 1], to);
    } else {
      out.push(from, to);
    }
  }
  return out;
}

export function pairsOf(ranges: Ranges): [number, number][] {
  const pairs: [number, number][] = [];
  for (let i = 0; i < ranges.length; i += 2) pairs.push([ranges[i], ranges[i + 1]]);
  return pairs;
}

export function negate(ranges: Ranges): number[] {
  const out: number[] = [];
  let next = 0;
  for (const [from, to] of pairsOf(ranges)) {
    if (from > next) out.push(next, from - 1);
    next = to + 1;
  }
  if (next <= CODE_POINT_MAX) out.push(next, CODE_POINT_MAX);
  return out;
}

export function intersect(ranges: Ranges, low: number, high: number): number[] {
  return normalize(pairsOf(ranges).map(([from, to]) => [Math.max(from, low), Math.min(to, high)]));
}

export function includes(ranges: Ranges, code: number): boolean {
  return pairsOf(ranges).some(([from, to]) => from <= code && code <= to);
}

export const PERL: Readonly<Record<string, Ranges>> = {
  d: [0x30, 0x39],
  s: [0x09, 0x0a, 0x0c, 0x0d, 0x20, 0x20],
  w: [0x30, 0x39, 0x41, 0x5a, 0x5f, 0x5f, 0x61, 0x7a],
};

export const POSIX: Readonly<Record<string, Ranges>> = {
  alnum: [0x30, 0x39, 0x41, 0x5a, 0x61, 0x7a],
  alpha: [0x41, 0x5a, 0x61, 0x7a],
  ascii: [0x00, 0x7f],
  blank: [0x09, 0x09, 0x20, 0x20],
  cntrl: [0x00, 0x1f, 0x7f, 0x7f],
  digit: [0x30, 0x39],
  graph: [0x21, 0x7e],
  lower: [0x61, 0x7a],
  print: [0x20, 0x7e],
  punct: [0x21, 0x2f, 0x3a, 0x40, 0x5b, 0x60, 0x7b, 0x7e],
  space: [0x09, 0x0d, 0x20, 0x20],
  upper: [0x41, 0x5a],
  word: PERL.w,
  xdigit: [0x30, 0x39, 0x41, 0x46, 0x61, 0x66],
};

const unicodeTables = new Map<string, Ranges | undefined>();

/** `L`, `Lu`, `Greek`, …; undefined for a name that is neither a general category nor a script. */
export function unicodeTable(name: string): Ranges | undefined {
  if (!unicodeTables.has(name)) unicodeTables.set(name, buildUnicodeTable(name));
  return unicodeTables.get(name);
}

function buildUnicodeTable(name: string): Ranges | undefined {
  if (name === 'Any') return [0, CODE_POINT_MAX];
  if (!/^[A-Za-z_]+$/.test(name)) return undefined;
  const property = name.length <= 2 ? name : `Script=${name}`;
  let member: RegExp;
  try {
    member = new RegExp(`^\\p{${property}}$`, 'u');
  } catch {
    return undefined;
  }
  const out: number[] = [];
  for (let code = 0; code <= CODE_POINT_MAX; code++) {
    if (code >= 0xd800 && code <= 0xdfff) continue;
    if (!member.test(String.fromCodePoint(code))) continue;
    if (out.length > 0 && out[out.length - 1] === code - 1) out[out.length - 1] = code;
    else out.push(code, code);
  }
  return out;
}

let foldTable: Map<number, number[]> | undefined;

/** Code points that are the same letter but for case, by simple folding; only those that have any. */
function folds(): Map<number, number[]> {
  if (foldTable !== undefined) return foldTable;
  const leader = new Map<number, number>();
  const find = (code: number): number => {
    const up = leader.get(code) ?? code;
    return up === code ? code : find(up);
  };
  for (let code = 0; code <= 0x1ffff; code++) {
    if (code >= 0xd800 && code <= 0xdfff) continue;
    const char = String.fromCodePoint(code);
    for (const other of [char.toLowerCase(), char.toUpperCase()]) {
      const target = other.codePointAt(0) as number;
      if (target === code || other.length !== String.fromCodePoint(target).length) continue;
      if (sameFold(char, other)) leader.set(find(target), find(code));
    }
  }
  const groups = new Map<number, number[]>();
  for (const code of new Set([...leader.keys(), ...leader.values()])) {
    const root = find(code);
    groups.set(root, [...(groups.get(root) ?? []), code]);
  }
  foldTable = new Map();
  for (const group of groups.values()) for (const code of group) foldTable.set(code, group);
  return foldTable;
}

function sameFold(char: string, other: string): boolean {
  if (/[\\^$.*+?()[\]{}|/-]/.test(char)) return false;
  return new RegExp(`^${char}$`, 'iu').test(other);
}

const KELVIN = 0x212a;
const LONG_S = 0x17f;

/** The set together with the other case of each of its letters. */
export function withFolds(ranges: Ranges): number[] {
  const pairs = pairsOf(ranges);
  for (const [from, to] of pairsOf(intersect(ranges, 0x41, 0x5a))) pairs.push([from + 32, to + 32]);
  for (const [from, to] of pairsOf(intersect(ranges, 0x61, 0x7a))) pairs.push([from - 32, to - 32]);
  if (includes(ranges, 0x6b) || includes(ranges, 0x4b)) pairs.push([KELVIN, KELVIN]);
  if (includes(ranges, 0x73) || includes(ranges, 0x53)) pairs.push([LONG_S, LONG_S]);
  const beyond = intersect(ranges, 0x80, CODE_POINT_MAX);
  if (beyond.length === 2 && beyond[0] === 0x80 && beyond[1] === CODE_POINT_MAX) {
    // All of it: the letters with an ASCII counterpart are K and ſ.
    for (const code of [0x4b, 0x6b, 0x53, 0x73]) pairs.push([code, code]);
  } else if (beyond.length > 0) {
    for (const [code, group] of folds()) {
      if (includes(beyond, code)) for (const other of group) pairs.push([other, other]);
    }
  }
  return normalize(pairs);
}
