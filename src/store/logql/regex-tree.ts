/** Questions to the tree of a regular expression. */
import type { RegexNode } from './regex-parse.ts';

export function childrenOf(node: RegexNode): readonly RegexNode[] {
  if (node.kind === 'concat' || node.kind === 'alternate') return node.items;
  return node.kind === 'group' || node.kind === 'repeat' ? [node.item] : [];
}

export function holds(node: RegexNode, test: (node: RegexNode) => boolean): boolean {
  return test(node) || childrenOf(node).some((child) => holds(child, test));
}

export function minimumLength(node: RegexNode): number {
  switch (node.kind) {
    case 'class':
      return 1;
    case 'group':
      return minimumLength(node.item);
    case 'repeat':
      return node.min * minimumLength(node.item);
    case 'concat':
      return node.items.reduce((sum, item) => sum + minimumLength(item), 0);
    case 'alternate':
      return Math.min(...node.items.map(minimumLength));
    default:
      return 0;
  }
}

/** Does it match nothing at all, wherever it stands? */
export function isNullable(node: RegexNode): boolean {
  switch (node.kind) {
    case 'empty':
      return true;
    case 'class':
    case 'assertion':
      return false;
    case 'group':
      return isNullable(node.item);
    case 'repeat':
      return node.min === 0 || isNullable(node.item);
    case 'concat':
      return node.items.every(isNullable);
    case 'alternate':
      return node.items.some(isNullable);
  }
}

/**
 * An upper bound for the ways in which parts side by side may match nothing. V8 follows all of them when it compiles a
 * pattern, so that `(a?||b){30}` would take hours.
 */
export function emptyPaths(node: RegexNode): number {
  switch (node.kind) {
    case 'empty':
    case 'class':
    case 'assertion':
      return 1;
    case 'group':
      return emptyPaths(node.item);
    case 'concat':
      return node.items.reduce((product, item) => product * emptyPaths(item), 1);
    case 'alternate': {
      const ways = node.items.filter((item) => minimumLength(item) === 0).length;
      return Math.max(1, ways) * Math.max(...node.items.map(emptyPaths));
    }
    case 'repeat': {
      const isEmpty = minimumLength(node.item) === 0;
      const times = Math.max(node.min, node.max === Infinity ? 1 : node.max, 1);
      const one = emptyPaths(node.item) * (isEmpty && node.min === 0 ? 2 : 1);
      return one ** times;
    }
  }
}
