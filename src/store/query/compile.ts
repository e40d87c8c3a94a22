import type { Labels, Metadata } from '../batch/index.ts';
import {
  compileMatchers,
  compilePipeline,
  leadingLineFilters,
  neededLiterals,
  parseLogQuery,
  type CompiledAlternative,
  type CompiledRegex,
} from '../logql/index.ts';
import type { LogExpr } from '../logql/index.ts';
import type { LineFilter, LineTest } from './rows.ts';

/** What selects lines and prunes batches, for log queries and for the leaves of metric queries. */
export interface CompiledSelection {
  matchesStream(labels: Labels): boolean;
  /** Line filters that see the line as it is stored. */
  readonly lineFilters: readonly LineFilter[];
  /** And-ed groups of or-ed literals that a matching line contains (in any case of ASCII letters), to prune by. */
  readonly neededLiterals: readonly (readonly Buffer[])[];
}

/** A log query ready to run over lines: made from LogQL text, once in each thread. */
export interface CompiledQuery extends CompiledSelection {
  /** The other stages; undefined when there are none. */
  readonly process:
    | ((
        line: Uint8Array,
        labels: Labels,
        metadata: Metadata,
        ms: number,
        sub: number,
      ) => { line: Uint8Array; labels: Labels; parsed: readonly string[]; metadata: Metadata } | undefined)
    | undefined;
}

/** A literal shorter than a gram of the filter cannot prune. */
const PRUNING_BYTES_MIN = 4;

/** Throws LV_QUERY_INVALID that points at the place. `nowMs` is for templates. */
export function compileQuery(text: string, nowMs: () => number): CompiledQuery {
  const log = parseLogQuery(text);
  const pipeline = compilePipeline(log.stages, { nowMs, leadingFiltersDone: true });
  return {
    ...compileSelection(log),
    process: pipeline.isEmpty
      ? undefined
      : (line, labels, metadata, ms, sub) => {
          const bytes = Buffer.from(line.buffer, line.byteOffset, line.byteLength);
          if (!pipeline.process(bytes, labels, metadata, ms, sub)) return undefined;
          const { stream, structuredMetadata, parsed } = pipeline.categories();
          return {
            line: pipeline.line,
            labels: { ...stream, ...parsed },
            parsed: Object.keys(parsed),
            metadata: structuredMetadata,
          };
        },
  };
}

export function compileSelection({ matchers, stages }: LogExpr): CompiledSelection {
  const lineFilters = leadingLineFilters(stages).map(({ negated, alternatives }): LineFilter => ({
    negated,
    anyOf: alternatives.map(testOf),
  }));
  // The filter folds only ASCII: k and s have kin beyond it (the Kelvin sign, the long s), so without their case they
  // prove nothing.
  const needed = neededLiterals(stages)
    .filter((group) =>
      group.every(
        ({ bytes, caseInsensitive }) =>
          bytes.length >= PRUNING_BYTES_MIN && !(caseInsensitive && /[ks]/i.test(bytes.toString('latin1'))),
      ),
    )
    .map((group) => group.map(({ bytes }) => bytes));
  return { matchesStream: compileMatchers(matchers), lineFilters, neededLiterals: needed };
}

function testOf(alternative: CompiledAlternative): LineTest {
  switch (alternative.kind) {
    case 'literal':
      return alternative;
    case 'regex':
      return regexTest(alternative.regex);
    case 'pattern':
      return { kind: 'line', test: (line) => alternative.pattern.test(line) };
    case 'ip':
      return { kind: 'line', test: (line) => alternative.ip.findIn(line.toString('latin1')) };
  }
}

function regexTest(regex: CompiledRegex): LineTest {
  const exact = regex.literals
    .filter((group) => group.length === 1 && !group[0].caseInsensitive)
    .map(([literal]) => Buffer.from(literal.text, 'utf8'));
  const required = exact.length > 0 ? exact.reduce((a, b) => (b.length > a.length ? b : a)) : undefined;
  const { block, blockProves, isWithoutLineFeed } = regex;
  return {
    kind: 'regex',
    testLine: (line) => regex.testLine(line),
    block,
    blockProves,
    takesLineFeeds: blockProves && isWithoutLineFeed,
    required,
  };
}
