/** Label filters, ready to run. What cannot be converted passes, with `__error__` set. */
import type { CompareOp, LabelFilter } from './ast.ts';
import { compileIp } from './ip.ts';
import type { LabelState } from './labels.ts';
import { parseBytes, parseFloatGo, parseGoDurationNs } from './numbers.ts';
import { compileAnchored } from './regex.ts';

export type LabelTest = (labels: LabelState) => boolean;

export function compileLabelFilter(filter: LabelFilter): LabelTest {
  switch (filter.kind) {
    case 'and':
    case 'or': {
      const left = compileLabelFilter(filter.left);
      const right = compileLabelFilter(filter.right);
      if (filter.kind === 'or') return (labels) => left(labels) || right(labels);
      return (labels) => {
        const passes = left(labels);
        // The right side runs as well: its errors count.
        return right(labels) && passes;
      };
    }
    case 'string': {
      const { name, op, value } = filter.matcher;
      if (op === '=') return (labels) => labels.valueOf(name) === value;
      if (op === '!=') return (labels) => labels.valueOf(name) !== value;
      const regex = compileAnchored(value);
      return (labels) => regex.testText(labels.valueOf(name)) === (op === '=~');
    }
    case 'number':
      return comparison(filter.name, parseFloatGo, filter.op, filter.value);
    case 'duration':
      return comparison(filter.name, parseGoDurationNs, filter.op, filter.valueNs);
    case 'bytes':
      return comparison(filter.name, parseBytes, filter.op, filter.valueBytes);
    case 'ip': {
      const ip = compileIp(filter.pattern);
      return (labels) => {
        if (labels.error !== '') return true;
        const value = labels.get(filter.name);
        return value !== undefined && ip.findIn(value) === (filter.op === '=');
      };
    }
  }
}

const COMPARE: Readonly<Record<CompareOp, (a: number, b: number) => boolean>> = {
  '==': (a, b) => a === b,
  '!=': (a, b) => a !== b,
  '>': (a, b) => a > b,
  '>=': (a, b) => a >= b,
  '<': (a, b) => a < b,
  '<=': (a, b) => a <= b,
};

function comparison(
  name: string,
  convert: (text: string) => number,
  op: CompareOp,
  wanted: number,
): LabelTest {
  const compare = COMPARE[op];
  return (labels) => {
    const text = labels.get(name);
    if (text === undefined) return false;
    let value: number;
    try {
      value = convert(text);
    } catch (error) {
      if (labels.error === '') labels.fail('LabelFilterErr', (error as Error).message);
      return true;
    }
    return compare(value, wanted);
  };
}

/** Labels that a filter looks at. */
export function filteredLabels(filter: LabelFilter): string[] {
  switch (filter.kind) {
    case 'and':
    case 'or':
      return [...filteredLabels(filter.left), ...filteredLabels(filter.right)];
    case 'string':
      return [filter.matcher.name];
    default:
      return [filter.name];
  }
}
