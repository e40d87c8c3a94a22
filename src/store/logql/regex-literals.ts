/** What every match of a regex must contain: for pruning by index, and for finding lines without the regex. */
import { pairsOf, type Ranges } from './regex-class.ts';
import type { RegexNode } from './regex-parse.ts';

export interface NeededLiteral {
  /** ASCII lower case when `caseInsensitive`; else exactly these bytes, as UTF-8. */
  readonly text: string;
  readonly caseInsensitive: boolean;
}

/** A match contains at least one of these. */
export type LiteralGroup = readonly NeededLiteral[];

const ALTERNATIVES_MAX = 64;

/** Every match contains one literal of each group; empty when nothing is known. */
export function requiredLiterals(node: RegexNode): LiteralGroup[] {
  switch (node.kind) {
    case 'class': {
      const literal = asLiteral(node.ranges);
      return literal === undefined ? [] : [[literal]];
    }
    case 'group':
      return requiredLiterals(node.item);
    case 'repeat':
      return node.min === 0 ? [] : requiredLiterals(node.item);
    case 'concat':
      return ofConcat(flatten(node));
    case 'alternate':
      return ofAlternate(node.items);
    default:
      return [];
  }
}

/** Groups that only bracket do not keep letters apart. */
function flatten(node: RegexNode): RegexNode[] {
  if (node.kind === 'concat') return node.items.flatMap(flatten);
  if (node.kind === 'group') return flatten(node.item);
  if (node.kind === 'repeat' && node.min === node.max && node.min > 0 && node.min <= 16) {
    return Array.from({ length: node.min }, () => flatten(node.item)).flat();
  }
  return [node];
}

function ofConcat(items: readonly RegexNode[]): LiteralGroup[] {
  const groups: LiteralGroup[] = [];
  let run: NeededLiteral | undefined;
  for (const item of items) {
    const letter = item.kind === 'class' ? asLiteral(item.ranges) : undefined;
    if (letter === undefined) {
      if (run !== undefined) groups.push([run]);
      run = undefined;
      groups.push(...requiredLiterals(item));
    } else if (run === undefined) {
      run = letter;
    } else {
      const joined = join(run, letter);
      if (joined === undefined) groups.push([run]);
      run = joined ?? letter;
    }
  }
  if (run !== undefined) groups.push([run]);
  return groups;
}

/** One literal of two neighbours, unless one wants its case and the other has letters that do not. */
function join(left: NeededLiteral, right: NeededLiteral): NeededLiteral | undefined {
  const text = left.text + right.text;
  if (left.caseInsensitive === right.caseInsensitive) return { text, caseInsensitive: left.caseInsensitive };
  const exact = left.caseInsensitive ? right : left;
  return /[a-zA-Z]/.test(exact.text) ? undefined : { text, caseInsensitive: true };
}

/** One group with the best literal of each branch; nothing when a branch needs none. */
function ofAlternate(items: readonly RegexNode[]): LiteralGroup[] {
  const best: NeededLiteral[] = [];
  for (const item of items) {
    const groups = requiredLiterals(item).filter((group) => group.length + best.length <= ALTERNATIVES_MAX);
    if (groups.length === 0) return [];
    const longest = groups.reduce((a, b) => (shortest(b) > shortest(a) ? b : a));
    best.push(...longest);
  }
  return [best];
}

function shortest(group: LiteralGroup): number {
  return Math.min(...group.map(({ text }) => text.length));
}

/**
 * A class of one character, or of an ASCII letter in both cases. K and S fold beyond ASCII, so they are none. Nor is
 * U+FFFD, which any byte that is no UTF-8 matches.
 */
function asLiteral(ranges: Ranges): NeededLiteral | undefined {
  const pairs = pairsOf(ranges);
  if (pairs.length === 1 && pairs[0][0] === pairs[0][1]) {
    const code = pairs[0][0];
    return code === 0xfffd ? undefined : { text: String.fromCodePoint(code), caseInsensitive: false };
  }
  if (pairs.length !== 2 || pairs.some(([from, to]) => from !== to)) return undefined;
  const [[upper], [lower]] = pairs;
  const isLetter = upper >= 0x41 && upper <= 0x5a && lower === upper + 32;
  return isLetter ? { text: String.fromCharCode(lower), caseInsensitive: true } : undefined;
}
