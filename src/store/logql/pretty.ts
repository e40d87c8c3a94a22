/** The syntax tree laid out over lines, as Loki's format_query does it: what is longer than a line is split into its parts. */
import type { BinaryExpr, Expr, Grouping, LogExpr, LogRange, Stage } from './ast.ts';
import {
  print,
  printGrouping,
  printLabelFilter,
  printMatchers,
  printNumber,
  printOperator,
  printRangeEnd,
  printStage,
  printUnwrapped,
} from './print.ts';
import { quoteGo } from './strings.ts';

/** Loki's: what fits stays on one line. */
const LINE_LENGTH_MAX = 100;

function indent(level: number): string {
  return '  '.repeat(level);
}

/** `parse(pretty(tree))` is the tree again. */
export function pretty(expr: Expr, level = 0): string {
  const text = print(expr);
  if (text.length <= LINE_LENGTH_MAX) return indent(level) + text;
  switch (expr.kind) {
    case 'log':
      return prettyLog(expr, level);
    case 'rangeAggregation': {
      const param = expr.param === undefined ? [] : [indent(level + 1) + printNumber(expr.param)];
      return call(expr.op, [...param, prettyRange(expr.range, level + 1)], level) + grouped(expr.grouping);
    }
    case 'vectorAggregation': {
      const param = expr.param === undefined ? [] : [`${indent(level + 1)}${expr.param}`];
      return call(expr.op + grouped(expr.grouping), [...param, pretty(expr.inner, level + 1)], level);
    }
    case 'binary':
      return prettyBinary(expr, level);
    case 'labelReplace': {
      const texts = [expr.target, expr.replacement, expr.source, expr.regex];
      const strings = texts.map((value) => indent(level + 1) + quoteGo(value));
      return call('label_replace', [pretty(expr.inner, level + 1), ...strings], level);
    }
    case 'number':
    case 'vector':
      return indent(level) + text;
  }
}

/** `args` are indented already, one level deeper. */
function call(name: string, args: readonly string[], level: number): string {
  return `${indent(level)}${name}(\n${args.join(',\n')}\n${indent(level)})`;
}

function grouped(grouping: Grouping | undefined): string {
  return printGrouping(grouping, ', ');
}

function prettyLog(log: LogExpr, level: number): string {
  const lines = stageLines(log.stages).map((line) => indent(level + 1) + line);
  return [indent(level) + printMatchers(log.matchers), ...lines].join('\n');
}

/** A line for each stage; line filters in a row share one if they fit. */
function stageLines(stages: readonly Stage[]): string[] {
  const lines: string[] = [];
  for (let i = 0; i < stages.length;) {
    const after = stages.findIndex((stage, at) => at >= i && stage.kind !== 'lineFilter');
    const end = Math.max(i + 1, after === -1 ? stages.length : after);
    const texts = stages.slice(i, end).map(printStage);
    const row = texts.join(' ');
    lines.push(...(row.length <= LINE_LENGTH_MAX ? [row] : texts));
    i = end;
  }
  return lines;
}

function prettyRange(range: LogRange, level: number): string {
  const lines = [pretty(range.log, level)];
  if (range.unwrap !== undefined) {
    const filters = range.unwrap.filters.map((filter) => `| ${printLabelFilter(filter)}`);
    lines.push(...[printUnwrapped(range.unwrap), ...filters].map((line) => indent(level + 1) + line));
  }
  return `${lines.join('\n')} ${printRangeEnd(range)}`;
}

function prettyBinary(expr: BinaryExpr, level: number): string {
  const sides = [expr.left, expr.right].map((side) => {
    const text = pretty(side, level + 1);
    // A binary operand that is split has no parentheses of its own.
    const isOpen = side.kind === 'binary' && text.includes('\n');
    return isOpen ? `${indent(level + 1)}(\n${pretty(side, level + 2)}\n${indent(level + 1)})` : text;
  });
  return `${sides[0]}\n${indent(level)}${printOperator(expr, ', ')}\n${sides[1]}`;
}
