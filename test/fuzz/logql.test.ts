import assert from 'node:assert/strict';
import { setFlagsFromString } from 'node:v8';
import { LogvineError } from '../../src/store/errors.ts';
import { isLog, type Expr } from '../../src/store/logql/ast.ts';
import {
  compileMatchers,
  compilePipeline,
  compileRegex,
  parse,
  parseMatchers,
  planMetric,
  print,
} from '../../src/store/logql/index.ts';
import { compileTemplate } from '../../src/store/logql/template.ts';
import { compilePattern, compilePatternFilter } from '../../src/store/logql/pattern.ts';
import { compileQuery } from '../../src/store/query/compile.ts';
import { fuzz, growsLinearly, isLong } from './fuzz.ts';

// As the node has it.
setFlagsFromString('--enable-experimental-regexp-engine-on-excessive-backtracks');

const KiB = 1024;
const QUERIES = [
  '{app="a", host!="b", x=~"a.*|b+", y!~"^$"} |= "error" or "fail" != `x` |~ "(?i)time.?out" !~ "[a-z]{2,5}$"',
  '{a="b"} | json | line_format "{{.a}} {{ .b | upper | trunc 5 }}" | label_format c=d, e="{{.f}}x" | drop g, h="i"',
  '{a="b"} | logfmt --strict a="b", c | c > 5m and (d <= 1KB or e =~ "x") , f = ip("10.0.0.0/8")',
  '{a="b"} | pattern "<ip> - <_> [<time>]" | regexp "(?P<x>\\\\d+)" | unpack | decolorize | keep a, b=~"c"',
  '{a="b"} |> "<_>x<_>" !> "y" |= ip("::1/64") | json a="b.c[0][\\"d\\"]", e | __error__=""',
  'sum by (a, b) (rate({a="b"} |= "x" [5m] offset 1h)) / on (a) group_left (c) count_over_time({a="b"}[1m]) > bool 1',
  'topk(3, quantile_over_time(0.99, {a="b"} | json | unwrap duration(x) | __error__="" [5m] @ start()) by (c))',
  'label_replace(vector(1) or absent_over_time({a="b"}[1h30m]), "x", "$1", "y", "(.*)") ^ 2 unless -1e3 % 0x1Fp0',
  'approx_topk(2, sum without () (bytes_over_time({a="b"}[1d] @ 1700000000.5))) # comment\n and (1 == 1)',
  'sort_desc(stddev_over_time({a="b"} | unwrap bytes(x) [1w])) /* c */ * ignoring(a) group_right() avg(vector(2))',
];
const text = (samples: readonly string[]): Buffer[] => samples.map((sample) => Buffer.from(sample));

/** Lines that stages stumble over. */
const LINES = [
  '',
  '{"a":{"b":[{"c":"d"}]},"__proto__":{"x":1},"constructor":"y","e":1e999,"f":null,"a_b":"z"}',
  '{"_entry":"x","a":"b"}',
  '{"a":"\\ud800","b":"\\u0000',
  'a=b c="d e" f= =g h="unclosed x="" constructor=y __proto__=z',
  '10.1.2.3 - - [10/Oct/2000:13:55:36 -0700] "GET / HTTP/1.0" 200 ::ffff:1.2.3.4 1.2.3.4.5.6 fe80::1%eth0',
  '\u001b[31mred\u001b[0m \u001b]0;title\u0007 \u009b2J',
  'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa!',
  'x'.repeat(5000),
].map((line) => Buffer.from(line));
LINES.push(Buffer.from([0, 0xff, 0xfe, 0x80, 0xc0, 0xaf, 0xed, 0xa0, 0x80, 10]));

function run(expr: Expr): void {
  if (!isLog(expr)) {
    planMetric(expr, { startNs: 0n, endNs: 1_000_000_000n, stepNs: 1_000_000n });
    return;
  }
  compileMatchers(expr.matchers)({ a: 'b', app: 'a' });
  const pipeline = compilePipeline(expr.stages, { nowMs: () => 0, leadingFiltersDone: false });
  for (const line of LINES) {
    if (!pipeline.process(line, { a: 'b', app: 'a' }, { trace: 'c' }, 1_700_000_000_000, 5)) continue;
    const { stream, structuredMetadata, parsed } = pipeline.categories();
    for (const [name, value] of Object.entries({ ...stream, ...structuredMetadata, ...parsed }))
      assert.equal(typeof value, 'string', `label ${name} is text`);
    assert.ok(pipeline.line instanceof Uint8Array);
  }
}

const refusals = ['LV_QUERY_INVALID'] as const;

fuzz('a query: parsed, printed, parsed again, and run', {
  samples: text(QUERIES),
  refusals,
  parse(bytes) {
    const expr = parse(bytes.toString());
    assert.deepEqual(parse(print(expr)), expr);
    run(expr);
    if (isLog(expr)) compileQuery(bytes.toString(), () => 0);
  },
});

/** Pieces of the language, put together in any order. */
const TOKENS = [
  ...[
    '{',
    '}',
    '(',
    ')',
    '[5m]',
    '"',
    '`',
    ',',
    '=',
    '!=',
    '=~',
    '|',
    '|=',
    '|~',
    '|>',
    '!>',
    '==',
    '>',
    '<=',
    '+',
    '-',
  ],
  ...[
    '*',
    '/',
    '%',
    '^',
    '@',
    'or',
    'and',
    'unless',
    'by',
    'without',
    'on',
    'ignoring',
    'group_left',
    'bool',
    'offset',
  ],
  ...[
    'json',
    'logfmt',
    'pattern',
    'regexp',
    'unpack',
    'unwrap',
    'line_format',
    'label_format',
    'drop',
    'keep',
    'ip(',
  ],
  ...[
    '{a="b"}',
    '{a=~"x.*"}',
    '[1h] offset -5m',
    'a',
    'b',
    '5m',
    '1KB',
    '1e3',
    '.5',
    '0x1p3',
    '-',
    '--strict',
    '""',
  ],
  ...[
    'rate(',
    'sum(',
    'topk(',
    'quantile_over_time(0.5,',
    'vector(',
    'label_replace(',
    'duration(',
    'start()',
    '#',
    '\n',
  ],
];

fuzz('words of the language in any order', {
  samples: text(QUERIES.slice(0, 1)),
  refusals,
  parse(bytes) {
    const expr = parse(bytes.toString());
    assert.deepEqual(parse(print(expr)), expr);
    run(expr);
  },
  make(random) {
    const length = 1 + Math.floor(random.unit() * 30);
    const words = Array.from({ length }, () => TOKENS[Math.floor(random.unit() * TOKENS.length)]);
    return Buffer.from(random.unit() < 0.5 ? `{a="b"} | ${words.join(' ')}` : words.join(' '));
  },
});

fuzz('matchers', {
  samples: text(['{a="b",c=~"d"}', '{}']),
  refusals,
  parse: (bytes) => parseMatchers(bytes.toString(), true),
});

/** What is compiled before a query runs says SyntaxError; whoever parses gives it its place. */
function asRange<T>(make: () => T): T {
  try {
    return make();
  } catch (error) {
    if (error instanceof SyntaxError || (error as Error).name === 'TemplateError')
      throw new RangeError((error as Error).message);
    throw error;
  }
}

fuzz('a regular expression, compiled and run', {
  samples: text([
    '(a+)+$',
    '(?i)err(or)?|warn\\b',
    '^\\d{1,3}(\\.\\d{1,3}){3}$',
    '[[:alpha:]\\pL\\x{1F600}-\\x{1F64F}]+?',
    '(?P<name>.*?)(?:x|y)*\\Qz.\\E',
    '(?s:.)(?-i:A)\\z',
    '\\A[^\\W\\d_]{2,}',
  ]),
  refusals: ['range'],
  parse(bytes) {
    const regex = asRange(() => compileRegex(bytes.toString()));
    for (const line of LINES) {
      regex.testLine(line);
      const shown = line.toString();
      regex.exec(shown);
      regex.count(shown);
      regex.replaceAll(shown, '$1${name}$$');
    }
  },
});

fuzz('a template, compiled and rendered', {
  samples: text([
    '{{.a}} {{ .b | upper | printf "%-5s|%05d" }} {{if eq .a "b"}}x{{else if .c}}y{{end}}',
    '{{range $i, $x := fromJson .a}}{{$i}}{{$x}}{{end}}{{with .b}}{{.}}{{end}}{{- /* c */ -}}',
    '{{ .a | regexReplaceAll "(x+)" "$1" | repeat 3 | substr 0 5 | alignLeft 10 }}{{ __line__ | b64enc }}',
    '{{ add 1 (mul 2 3) | int }}{{ date "2006-01-02" now }}{{ unixEpoch now }}{{ __timestamp__ }}',
  ]),
  refusals: ['range'],
  parse(bytes) {
    asRange(() => compileTemplate(bytes.toString(), 'line'));
    let expr: Expr;
    try {
      expr = parse(`{a="b"} | json | line_format ${JSON.stringify(bytes.toString())}`);
    } catch (error) {
      if (error instanceof LogvineError && error.code === 'LV_QUERY_INVALID') return;
      throw error;
    }
    run(expr);
  },
});

fuzz('a pattern that parses', {
  samples: text(['<ip> - <_> [<time>] "<method>"', 'x<a>']),
  refusals: ['range'],
  parse(bytes) {
    const pattern = asRange(() => compilePattern(bytes.toString()));
    for (const line of LINES) pattern.parse(line.toString(), () => undefined);
  },
});

fuzz('a pattern that filters', {
  samples: text(['<_>x<_>', 'a<_>', '']),
  refusals: ['range'],
  parse(bytes) {
    const pattern = asRange(() => compilePatternFilter(bytes.toString()));
    for (const line of LINES) pattern.test(line);
  },
});

/** As long as a query may be: [what it is, what repeats, before it, after it]. */
const LONG: readonly [string, string, string?, string?][] = [
  ['parentheses', '('],
  ['braces', '{'],
  ['calls', 'sum('],
  ['ranges in parentheses', '(', 'rate('],
  ['matchers', 'a="b",', '{', 'c="d"}'],
  ['regex matchers', 'a=~"b+",', '{', 'c="d"}'],
  ['line filters', '|= "x" ', '{a="b"} '],
  ['regex filters', '|~ "x+" ', '{a="b"} '],
  ['alternatives', 'or "x" ', '{a="b"} |= "y" '],
  ['parsers', '| json ', '{a="b"} '],
  ['label filters', '| a="b" ', '{a="b"} '],
  ['label filters joined', 'and a="b" ', '{a="b"} | c="d" '],
  ['label filters in parentheses', '(', '{a="b"} | '],
  ['label formats', 'a=b,', '{a="b"} | label_format ', 'c=d'],
  ['labels to drop', 'a,', '{a="b"} | drop ', 'b'],
  ['extractions', 'a="b",', '{a="b"} | json ', 'c="d"'],
  ['groupings', 'a,', 'sum by (', 'b) (rate({a="b"}[1m]))'],
  ['operators', '+1', '1'],
  ['powers', '^1', '1'],
  ['signs', '-', '', '1'],
  ['comments', '/*'],
  ['comments that end', '/**/', '', '{a="b"}'],
  ['line comments', '#\n', '', '{a="b"}'],
  ['spaces after a function', ' ', 'sum', '(1)'],
  ['functions that are names', 'rate ', '{a="b"} | '],
  ['digits', '9'],
  ['durations', '1h', 'rate({a="b"}[', '])'],
  ['a string of escapes', '\\x41', '{a="', '"}'],
  ['a regex of alternatives', 'a|', '{a=~"', 'b"}'],
  ['a regex of groups', '(', '{a=~"', '"}'],
  ['a regex of closed groups', '(a)', '{a=~"', '"}'],
  ['a regex of repeats', 'a{1000}', '{a=~"', '"}'],
  ['regexes of repeats', '|~ "a{1000}"', '{a="b"} '],
  ['a regex of repeated groups', '(abcdefghij){999}', '{a=~"', '"}'],
  ['a regex of nested repeats', '(?:', '{a=~"a', '"}'],
  ['a regex of classes', '[a-z]', '{a=~"', '"}'],
  ['a regex of Unicode classes', '\\\\pL', '{a=~"', '"}'],
  ['a regex of folded letters', 'k', '{a=~"(?i)', '"}'],
  ['a regex of stars', 'a*', '{a=~"', 'b"}'],
  ['a regex of word boundaries', '(\\\\b)', '{a="b"} |~ "', '"'],
  ['a regex of optional parts', '(a?)', '{a="b"} |~ "', '"'],
  ['a pattern of captures', '<_>x', '{a="b"} |> "', '"'],
  ['a pattern of names', '<a>x', '{a="b"} | pattern "', '"'],
  ['a template of fields', '{{.a}}', '{a="b"} | line_format `', '`'],
  ['a template of conditions', '{{if .a}}', '{a="b"} | line_format `', '`'],
  ['a template of parentheses', '(', '{a="b"} | line_format `{{', '`'],
  ['a template of pipes', '|upper', '{a="b"} | line_format `{{.a', '}}`'],
  ['an ip filter', '1', '{a="b"} |= ip("', '")'],
  ['a JSON path', '[0]', '{a="b"} | json a="b', '"'],
];

for (const [what, piece, before = '', after = ''] of LONG) {
  growsLinearly(`a query of nothing but ${what}`, {
    // Regular expressions cost some 15 µs a byte, whatever is in them.
    bytes: isLong ? 127 * KiB : / regex|regexes/.test(` ${what}`) ? KiB : 8 * KiB,
    msMax: 4_000,
    make: (bytes) =>
      Buffer.from(before + piece.repeat(Math.max(1, Math.floor(bytes / piece.length))) + after),
    parse(input) {
      const expr = parse(input.toString());
      assert.deepEqual(parse(print(expr)).kind, expr.kind);
      run(expr);
    },
  });
}

/** Long lines, each made to weigh on one stage. */
const HEAVY_LINES: readonly [string, string, string, string?][] = [
  ['| json', '{"a":', ''],
  ['| json', '[', '{"a":'],
  ['| json', '"a":1,', '{', '"b":2}'],
  ['| json', '\\u0041', '{"a":"', '"}'],
  ['| json a="b[0].c"', '[', '{"b":'],
  ['| json a="b[0].c"', '{"b":[', ''],
  ['| unpack', '"a":"b",', '{', '"_entry":"x"}'],
  ['| logfmt', 'a=b ', ''],
  ['| logfmt', 'a="', ''],
  ['| logfmt --strict', '=', 'a'],
  ['| pattern "<a> <b> <c>x"', ' ', 'y'],
  ['|> "<_>a<_>b<_>c"', 'ab', ''],
  ['| regexp "(?P<x>(a+)+)$"', 'a', '', '!'],
  ['|~ "(a+)+$"', 'a', '', '!'],
  ['|~ "(x+x+)+y"', 'x', ''],
  ['|~ "(?:a|a|a)*b"', 'a', ''],
  ['|~ "([a-z]+)*[0-9]{5}"', 'a', ''],
  ['|= ip("10.0.0.0/8")', '1.', ''],
  ['|= ip("::/8")', ':', ''],
  ['| decolorize', '\u001b[', ''],
  ['| line_format "{{ __line__ | regexReplaceAll `a*b` `c` }}"', 'a', ''],
  ['| line_format "{{ __line__ | replace `a` `bb` | trim | upper }}"', 'a', ''],
  ['| line_format "{{ fromJson __line__ }}"', '[', ''],
  ['| label_format a="{{ __line__ }}" | a > 5', '9', ''],
  ['| logfmt | a > 5s', '1h', 'a='],
  ['| logfmt | a > 5KB', '1', 'a='],
  ['| logfmt | a = ip("10.0.0.0/8")', '1.', 'a='],
];

for (const [stage, piece, before, after = ''] of HEAVY_LINES) {
  growsLinearly(`a long line of ${JSON.stringify(before + piece)} under ${stage}`, {
    bytes: (isLong ? 1024 : 16) * KiB,
    msMax: 4_000,
    make: (bytes) => Buffer.from(before + piece.repeat(Math.floor(bytes / piece.length)) + after),
    parse(line) {
      const expr = parse(`{a="b"} ${stage}`);
      assert.ok(isLog(expr));
      const pipeline = compilePipeline(expr.stages, { nowMs: () => 0, leadingFiltersDone: false });
      if (pipeline.process(line, { a: 'b' }, {}, 1_700_000_000_000, 5)) pipeline.categories();
    },
  });
}
