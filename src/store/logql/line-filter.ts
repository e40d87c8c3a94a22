/** Line filters, ready to run on a line, and in the form that a scanner of whole blocks needs. */
import type { LineAlternative, LineFilter, LineFilterOp, Stage } from './ast.ts';
import { compileIp, type IpMatcher } from './ip.ts';
import { compilePatternFilter, type PatternFilter } from './pattern.ts';
import { compileRegex, type CompiledRegex } from './regex.ts';
import type { LiteralGroup } from './regex-literals.ts';
import { decodeText, encodeText } from './text.ts';

export type CompiledAlternative =
  | { readonly kind: 'literal'; readonly bytes: Buffer }
  | { readonly kind: 'regex'; readonly regex: CompiledRegex }
  | { readonly kind: 'pattern'; readonly pattern: PatternFilter }
  | { readonly kind: 'ip'; readonly ip: IpMatcher };

export interface CompiledLineFilter {
  readonly op: LineFilterOp;
  /** A negated filter passes lines that no alternative matches; any other, lines that one matches. */
  readonly negated: boolean;
  readonly alternatives: readonly CompiledAlternative[];
  /** Does the line pass? */
  test(line: Buffer): boolean;
}

export function compileLineFilter(filter: LineFilter): CompiledLineFilter {
  const alternatives = filter.alternatives.map((alternative) => compileAlternative(filter.op, alternative));
  const negated = filter.op.startsWith('!');
  const tests = alternatives.map(testOf);
  const test =
    tests.length === 1
      ? (line: Buffer) => tests[0](line) !== negated
      : (line: Buffer) => tests.some((matches) => matches(line)) !== negated;
  return { op: filter.op, negated, alternatives, test };
}

function compileAlternative(op: LineFilterOp, { kind, value }: LineAlternative): CompiledAlternative {
  if (kind === 'ip') return { kind: 'ip', ip: compileIp(value) };
  if (op === '|~' || op === '!~') return { kind: 'regex', regex: compileRegex(value) };
  if (op === '|>' || op === '!>') return { kind: 'pattern', pattern: compilePatternFilter(value) };
  return { kind: 'literal', bytes: encodeText(value) };
}

function testOf(alternative: CompiledAlternative): (line: Buffer) => boolean {
  switch (alternative.kind) {
    case 'literal':
      return (line) => line.includes(alternative.bytes);
    case 'regex':
      return (line) => alternative.regex.testLine(line);
    case 'pattern':
      return (line) => alternative.pattern.test(line);
    case 'ip':
      return (line) => alternative.ip.findIn(line.toString('latin1'));
  }
}

function changesLine(stage: Stage): boolean {
  return stage.kind === 'lineFormat' || stage.kind === 'unpack' || stage.kind === 'decolorize';
}

/** How many stages from the first on see the line as it is stored. */
export function unchangedStages(stages: readonly Stage[]): number {
  const first = stages.findIndex(changesLine);
  return first === -1 ? stages.length : first;
}

/** The line filters that see the line as it is stored, wherever they stand among stages that leave it alone. */
export function leadingLineFilters(stages: readonly Stage[]): CompiledLineFilter[] {
  return stages
    .slice(0, unchangedStages(stages))
    .flatMap((stage) => (stage.kind === 'lineFilter' ? [compileLineFilter(stage)] : []));
}

/** Bytes that a line must hold; ASCII letters in lower case, and in either case in the line, if `caseInsensitive`. */
export interface NeededBytes {
  readonly bytes: Buffer;
  readonly caseInsensitive: boolean;
}

/** A line that passes holds one literal of every group. An empty answer: nothing is known. */
export function neededLiterals(stages: readonly Stage[]): NeededBytes[][] {
  return leadingLineFilters(stages)
    .filter(({ negated }) => !negated)
    .flatMap(({ alternatives }) => unite(alternatives.map(groupsOf)))
    .map((group) => group.map(({ text, caseInsensitive }) => ({ bytes: encodeText(text), caseInsensitive })))
    .filter((group) => group.every(({ bytes }) => bytes.length > 0));
}

function groupsOf(alternative: CompiledAlternative): readonly LiteralGroup[] {
  switch (alternative.kind) {
    case 'literal':
      return [[{ text: decodeText(alternative.bytes), caseInsensitive: false }]];
    case 'regex':
      return alternative.regex.literals;
    case 'pattern':
      return alternative.pattern.literals.map((text) => [{ text, caseInsensitive: false }]);
    case 'ip':
      return [];
  }
}

const ALTERNATIVES_MAX = 64;

/** One alternative: its groups. Several: one group of the best of each, if each has any. */
function unite(sets: readonly (readonly LiteralGroup[])[]): LiteralGroup[] {
  if (sets.length === 1) return [...sets[0]];
  if (sets.some((groups) => groups.length === 0)) return [];
  const shortest = (group: LiteralGroup) => Math.min(...group.map(({ text }) => text.length));
  const united = sets.flatMap((groups) => groups.reduce((a, b) => (shortest(b) > shortest(a) ? b : a)));
  return united.length > ALTERNATIVES_MAX ? [] : [united];
}
