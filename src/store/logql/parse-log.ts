/** Selectors and pipelines. Above each function stands its grammar rule. */
import type {
  Extraction,
  JsonStage,
  LabelChoice,
  LabelFormat,
  LineAlternative,
  LineFilter,
  LineFilterOp,
  LogExpr,
  LogfmtStage,
  Matcher,
  MatchOp,
  Stage,
} from './ast.ts';
import { checkMatcher, checkSelector, checkStage } from './check.ts';
import type { Cursor } from './cursor.ts';
import { parseLabelFilter } from './parse-label-filter.ts';

/** In the order in which Loki lists them. */
const MATCH_OPS = ['=', '=~', '!~', '!='] as const;
const LINE_OPS = ['|=', '!=', '|~', '!~', '|>', '!>'] as const;

/** log = selector { stage } */
export function parseLog(cursor: Cursor): LogExpr {
  const matchers = parseSelector(cursor);
  return { kind: 'log', matchers, stages: parseStages(cursor) };
}

/** selector = "{" [ matcher { "," matcher } ] "}" */
export function parseSelector(cursor: Cursor, allowEmpty = false): Matcher[] {
  const at = cursor.token;
  cursor.expect('{');
  const matchers: Matcher[] = [];
  if (!cursor.is('}')) {
    if (!cursor.is('IDENTIFIER')) throw cursor.unexpected(['IDENTIFIER', '}']);
    do matchers.push(parseMatcher(cursor));
    while (cursor.accept(','));
  }
  if (!cursor.is('}')) throw cursor.unexpected(matchers.length > 0 ? ['}', ','] : ['}', 'IDENTIFIER']);
  cursor.take();
  if (!allowEmpty) checkSelector(matchers, at);
  return matchers;
}

/** matcher = IDENTIFIER ( "=" | "!=" | "=~" | "!~" ) STRING */
export function parseMatcher(cursor: Cursor): Matcher {
  const name = cursor.expect('IDENTIFIER').text;
  if (!cursor.is(...MATCH_OPS)) throw cursor.unexpected(MATCH_OPS);
  const op = cursor.take().type as MatchOp;
  const at = cursor.token;
  const matcher: Matcher = { name, op, value: cursor.expect('STRING').text };
  checkMatcher(matcher, at);
  return matcher;
}

/** { stage }; stops before `| unwrap`, which is no stage. */
export function parseStages(cursor: Cursor): Stage[] {
  const stages: Stage[] = [];
  for (;;) {
    const at = cursor.token;
    let stage: Stage;
    if (cursor.is(...LINE_OPS)) stage = parseLineFilter(cursor);
    else if (cursor.is('|') && cursor.peekType() !== 'unwrap') {
      cursor.take();
      stage = parsePipeStage(cursor);
    } else return stages;
    checkStage(stage, at);
    stages.push(stage);
  }
}

/** lineFilter = ( "|=" | "!=" | "|~" | "!~" | "|>" | "!>" ) alternative { "or" alternative } */
function parseLineFilter(cursor: Cursor): LineFilter {
  const op = cursor.take().type as LineFilterOp;
  const alternatives = [parseAlternative(cursor)];
  while (cursor.accept('or')) alternatives.push(parseAlternative(cursor));
  return { kind: 'lineFilter', op, alternatives };
}

/** alternative = STRING | "ip" "(" STRING ")" */
function parseAlternative(cursor: Cursor): LineAlternative {
  if (!cursor.is('STRING', 'ip')) throw cursor.unexpected(['STRING', 'ip']);
  if (!cursor.accept('ip')) return { kind: 'text', value: cursor.take().text };
  cursor.expect('(');
  const value = cursor.expect('STRING').text;
  cursor.expect(')');
  return { kind: 'ip', value };
}

/** pipeStage = json | logfmt | "unpack" | "decolorize" | ( "regexp" | "pattern" | "line_format" ) STRING | labelFormat | drop | keep | labelFilter */
function parsePipeStage(cursor: Cursor): Stage {
  switch (cursor.token.type) {
    case 'json':
      return parseJson(cursor);
    case 'logfmt':
      return parseLogfmt(cursor);
    case 'unpack':
    case 'decolorize':
      return { kind: cursor.take().type as 'unpack' | 'decolorize' };
    case 'regexp':
    case 'pattern': {
      const kind = cursor.take().type as 'regexp' | 'pattern';
      return { kind, pattern: cursor.expect('STRING').text };
    }
    case 'line_format':
      cursor.take();
      return { kind: 'lineFormat', template: cursor.expect('STRING').text };
    case 'label_format':
      cursor.take();
      return { kind: 'labelFormat', formats: parseList(cursor, parseLabelFormat) };
    case 'drop':
    case 'keep': {
      const kind = cursor.take().type as 'drop' | 'keep';
      return { kind, labels: parseList(cursor, parseLabelChoice) };
    }
    case 'IDENTIFIER':
    case '(':
      return { kind: 'labelFilter', filter: parseLabelFilter(cursor) };
    default:
      throw cursor.unexpected([]);
  }
}

/** list = item { "," item } */
function parseList<T>(cursor: Cursor, parseItem: (cursor: Cursor) => T): T[] {
  const items = [parseItem(cursor)];
  while (cursor.accept(',')) items.push(parseItem(cursor));
  return items;
}

/** json = "json" [ extractions ] */
function parseJson(cursor: Cursor): JsonStage {
  cursor.take();
  return { kind: 'json', extractions: parseExtractions(cursor) };
}

/** logfmt = "logfmt" { "--strict" | "--keep-empty" } [ extractions ] */
function parseLogfmt(cursor: Cursor): LogfmtStage {
  cursor.take();
  const flags = new Set<string>();
  while (cursor.is('FUNCTION_FLAG')) flags.add(cursor.take().text);
  return {
    kind: 'logfmt',
    strict: flags.has('--strict'),
    keepEmpty: flags.has('--keep-empty'),
    extractions: parseExtractions(cursor),
  };
}

/** extractions = extraction { "," extraction } */
function parseExtractions(cursor: Cursor): Extraction[] {
  return cursor.is('IDENTIFIER') ? parseList(cursor, parseExtraction) : [];
}

/** extraction = IDENTIFIER [ "=" STRING ] */
function parseExtraction(cursor: Cursor): Extraction {
  const label = cursor.expect('IDENTIFIER').text;
  return { label, expression: cursor.accept('=') ? cursor.expect('STRING').text : label };
}

/** labelFormat = IDENTIFIER "=" ( IDENTIFIER | STRING ) */
function parseLabelFormat(cursor: Cursor): LabelFormat {
  const name = cursor.expect('IDENTIFIER').text;
  cursor.expect('=');
  if (cursor.is('STRING')) return { kind: 'template', name, template: cursor.take().text };
  if (!cursor.is('IDENTIFIER')) throw cursor.unexpected(['IDENTIFIER', 'STRING']);
  return { kind: 'rename', name, source: cursor.take().text };
}

/** labelChoice = IDENTIFIER | matcher */
function parseLabelChoice(cursor: Cursor): LabelChoice {
  if (!cursor.is('IDENTIFIER')) throw cursor.unexpected(['IDENTIFIER']);
  const next = cursor.peekType();
  if (!(MATCH_OPS as readonly string[]).includes(next)) return { kind: 'name', name: cursor.take().text };
  return { kind: 'matcher', matcher: parseMatcher(cursor) };
}
