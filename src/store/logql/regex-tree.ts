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
