import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { leadingLineFilters, neededLiterals } from '../../src/store/logql/line-filter.ts';
import { matches } from '../../src/store/logql/matchers.ts';
import { parseLogQuery, parseMatchers } from '../../src/store/logql/parser.ts';
import { compilePipeline } from '../../src/store/logql/pipeline.ts';

const NOW_MS = Date.UTC(2026, 10, 21, 12, 0, 0);
const LINE_MS = Date.UTC(2024, 1, 29, 23, 5, 9, 7);

interface Outcome {
  line: string;
  labels: Record<string, string>;
}

/** One line through `{a="b"} <stages>`; undefined when dropped. Labels without the stream's own `app`. */
function run(
  stages: string,
  line: string | Buffer,
  stream: Record<string, string> = {},
  metadata: Record<string, string> = {},
): Outcome | undefined {
  const pipeline = compilePipeline(parseLogQuery(`{a="b"} ${stages}`).stages, { nowMs: () => NOW_MS });
  const bytes = typeof line === 'string' ? Buffer.from(line, 'utf8') : line;
  if (!pipeline.process(bytes, stream, metadata, LINE_MS, 5)) return undefined;
  return { line: pipeline.line.toString('utf8'), labels: { ...pipeline.allLabels() } };
}
const labels = (stages: string, line: string, stream = {}, metadata = {}) =>
  run(stages, line, stream, metadata)?.labels;
const formatted = (template: string, line = '', stream: Record<string, string> = {}) =>
  run(`| line_format ${JSON.stringify(template)}`, line, stream)?.line;
const passes = (stages: string, line: string, stream = {}) => run(stages, line, stream) !== undefined;

test('line filters', () => {
  for (const [stages, line, expected] of [
    ['|= "error"', 'an error here', true],
    ['|= "error"', 'an Error here', false],
    ['!= "error"', 'an error here', false],
    ['|= "a" or "b"', 'only b', true],
    ['!= "a" or "b"', 'only b', false],
    ['!= "a" or "b"', 'none', true],
    ['|~ "err(or)?s" or "x\\\\d"', 'x7', true],
    ['!~ "(?i)ERROR"', 'an error', false],
    ['|= ""', '', true],
    ['|> "<_> took <_>ms"', 'GET / took 12ms', true],
    ['|> "<_> took <_>ms"', 'GET / took 12ms!', false],
    ['|> "<_> took <_>ms"', ' took 12ms', false],
    ['|> "GET <_>"', 'XGET /', true],
    ['!> "GET <_>"', 'POST /', true],
    ['|= ip("192.168.0.0/16")', 'from 192.168.4.5:80', true],
    ['|= ip("192.168.4.5-192.168.4.20")', 'from 192.168.4.21', false],
    ['|= ip("192.168.4.5-192.168.4.20")', 'from 192.168.4.7', true],
    ['!= ip("10.0.0.1")', 'from 10.0.0.1', false],
    ['|= ip("2001:db8::/32")', 'src=[2001:db8::7]', true],
    ['|= ip("::1")', 'src ::1 x', true],
  ] as const) {
    assert.equal(passes(stages, line), expected, `${stages} on ${line}`);
  }
  assert.equal(run('|= "\\xff"', Buffer.from([0x61, 0xff])) !== undefined, true, 'bytes that are not UTF-8');
});

test('json: flattening, names, duplicates, raw numbers', () => {
  const line =
    '{"protocol": "HTTP/2.0", "servers": ["a", {"x": 1}], "request": {"time": 6.032, "method": "GET", "a.b": {"c-d": true}},' +
    ' "1st": 1.0, "big": 12345678901234567890, "none": null, "app": "json", "t": "a\\tb\\u00e9", "t": "later"}';
  assert.deepEqual(labels('| json', line, { app: 'stream' }), {
    _1st: '1.0',
    app: 'stream',
    app_extracted: 'json',
    big: '12345678901234567890',
    protocol: 'HTTP/2.0',
    request_a_b_c_d: 'true',
    request_method: 'GET',
    request_time: '6.032',
    t: 'a\tbé',
  });
  assert.deepEqual(
    labels(
      '| json first="servers[0]", x="servers[1].x", ua="request[\\"a.b\\"]", all="servers", gone="x.y"',
      line,
    ),
    { all: '["a", {"x": 1}]', first: 'a', gone: '', ua: '{"c-d": true}', x: '1' },
  );
});

test('json: a key is the same key however it is written, and whatever the lines before had in its place', () => {
  const key = fc.constantFrom('a', 'ab', 'b', '1st', 'a b', 'a"b', 'a\\b', 'é', '__proto__', '');
  const value = fc.oneof(fc.constantFrom('', 'x', '"a":1', '}', 'a\\', '1'), fc.integer(), fc.constant(null));
  const member = (inner: fc.Arbitrary<unknown>) => fc.tuple(key, inner);
  const nested = fc.array(member(value), { maxLength: 3 }).map((members) => new Members(members));
  const lines = fc.array(fc.array(member(fc.oneof(value, nested)), { maxLength: 5 }), { maxLength: 6 });
  fc.assert(
    fc.property(lines, fc.constantFrom('', ' ', '\t '), (objects, space) => {
      for (const members of objects) {
        // A key of escapes is always cut out and read.
        const escaped = (text: string) => `"${[...text].map(escapeUnit).join('')}"`;
        const plain = labels('| json', textOf(members, space, JSON.stringify));
        assert.deepEqual(plain, labels('| json', textOf(members, space, escaped)));
        assert.deepEqual(plain, labels('| json', textOf(members, space, JSON.stringify)));
      }
    }),
    { numRuns: 500 },
  );
});

class Members {
  readonly list: readonly [string, unknown][];

  constructor(list: readonly [string, unknown][]) {
    this.list = list;
  }
}

/** An object's text, its keys written by `write`, twice the same key included. */
function textOf(
  members: readonly [string, unknown][],
  space: string,
  write: (key: string) => string,
): string {
  const texts = members.map(([key, value]) => {
    const text = value instanceof Members ? textOf(value.list, space, write) : JSON.stringify(value);
    return `${write(key)}${space}:${text}`;
  });
  return `{${texts.join(`,${space}`)}}`;
}

function escapeUnit(char: string): string {
  return `\\u${char.charCodeAt(0).toString(16).padStart(4, '0')}`;
}

test('errors that are fields of the line stay with keep, and templates see them', () => {
  assert.deepEqual(labels('| json | keep a', '{"a":"1","b":"2","__error__":"mine"}'), {
    __error__: 'mine',
    a: '1',
  });
  assert.equal(labels('| json | label_format x="{{.__error__}}"', '{"__error__":"mine"}')?.x, 'mine');
});

test('unpack: of two members of one name the last counts', () => {
  assert.deepEqual(labels('| unpack', '{"a":"x","a":"y","_entry":"e"}'), { a: 'y' });
});

test('json: what is malformed keeps what came before and says so', () => {
  assert.deepEqual(labels('| json', 'not json'), {
    __error__: 'JSONParserErr',
    __error_details__: "Value looks like object, but can't find closing '}' symbol",
  });
  assert.deepEqual(labels('| json', '{"a": 1, "b": {"c": 2'), {
    __error__: 'JSONParserErr',
    __error_details__: "Value looks like object, but can't find closing '}' symbol",
    a: '1',
  });
  assert.deepEqual(labels('| json', '{"a": "x'), {
    __error__: 'JSONParserErr',
    __error_details__: "Value is string, but can't find closing '\"' symbol",
  });
  assert.deepEqual(labels('| json', '{"a": 1, "b": '), {
    __error__: 'JSONParserErr',
    __error_details__: 'Malformed JSON error',
    a: '1',
  });
  assert.deepEqual(
    labels('| json', '{"a": "x\\ud83d", "b": "\\ude00", "c": "\\ud83d\\ude00", "d": "\\ud83d\\u0041"}'),
    { a: '', b: '', c: '😀', d: '' },
    'half a surrogate pair is no escape, and a value with a wrong escape is empty',
  );
  assert.deepEqual(
    labels('| json', `${'{"a":'.repeat(5000)}1${'}'.repeat(5000)}`)?.__error__,
    'JSONParserErr',
  );
  assert.equal(labels('| json | __error__=""', '{"a"'), undefined);
  assert.deepEqual(labels('| json | drop __error__, __error_details__', '{"a"'), {});
});

test('logfmt', () => {
  const line =
    'at=info method=GET path="/a b" quoted="say \\"hi\\"" empty= flag host=h duration=1.5s =bad x=y"z';
  const all = {
    at: 'info',
    duration: '1.5s',
    host: 's',
    host_extracted: 'h',
    method: 'GET',
    path: '/a b',
    quoted: 'say "hi"',
  };
  assert.deepEqual(labels('| logfmt', line, { host: 's' }), all);
  assert.deepEqual(labels('| logfmt --keep-empty', 'a= b', {}), { a: '', b: '' });
  assert.deepEqual(labels('| logfmt --strict', 'a=1 b="x c=2'), {
    __error__: 'LogfmtParserErr',
    __error_details__: 'logfmt syntax error at pos 13 : unterminated quoted value',
    a: '1',
  });
  assert.deepEqual(
    labels('| logfmt --strict', 'a=1 =2 c=3')?.__error_details__,
    "logfmt syntax error at pos 5 : unexpected '='",
  );
  assert.deepEqual(
    labels('| logfmt x="at", x="method"', line),
    { x: 'GET' },
    'of two for one label, the last',
  );
  assert.deepEqual(labels('| logfmt verb="method", at, gone', line), { at: 'info', gone: '', verb: 'GET' });
});

test('regexp, pattern, unpack', () => {
  assert.deepEqual(labels('| regexp "(?P<method>\\\\w+) (?P<path>\\\\S+)( (?P<more>x))?"', 'GET /a'), {
    method: 'GET',
    more: '',
    path: '/a',
  });
  assert.deepEqual(labels('| regexp "(?P<method>\\\\d+)"', 'GET'), {});
  assert.deepEqual(
    labels('| pattern "<ip> - - <_> \\"<method> <uri>\\" <status>"', '1.2.3.4 - - [x] "GET /a" 200 end'),
    {
      ip: '1.2.3.4',
      method: 'GET',
      status: '200 end',
      uri: '/a',
    },
  );
  assert.deepEqual(labels('| pattern "a <x> b <y>"', 'a 1 c'), { x: '1 c' });
  assert.deepEqual(run('| unpack', '{"container": "c", "n": 1, "_entry": "the line"}'), {
    line: 'the line',
    labels: { container: 'c' },
  });
  assert.deepEqual(labels('| unpack', '[1]'), {
    __error__: 'JSONParserErr',
    __error_details__: 'expecting json object(6), but it is not',
  });
});

test('the first parser to set a label keeps it', () => {
  assert.deepEqual(labels('| json | logfmt', '{"a": "x a=y b=z"}'), { a: 'x a=y b=z' });
  assert.deepEqual(labels('| label_format a="kept" | json', '{"a": "x"}'), { a: 'kept' });
});

test('label filters of every type', () => {
  const stream = { n: '7', d: '1m30s', size: '2KB', word: 'word', addr: '10.1.2.3', bad: 'x' };
  for (const [filter, expected] of [
    ['n == 7', true],
    ['n = 7.0', true],
    ['n > 7', false],
    ['n >= 7 and n < 0x1p4', true],
    ['d > 1m', true],
    ['d = 90s', true],
    ['d < 1.5m', false],
    ['size = 2000B', true],
    ['size > 2KiB', false],
    ['word = "word"', true],
    ['word =~ "wo.*"', true],
    ['word =~ "wo"', false],
    ['word !~ "wo"', true],
    ['word != ""', true],
    ['gone = ""', true],
    ['gone > 1', false],
    ['addr = ip("10.0.0.0/8")', true],
    ['addr != ip("10.0.0.0/8")', false],
    ['n = 1 or word = "word"', true],
    ['n = 1, word = "word"', false],
    ['n = 7 word = "word"', true],
    ['(n = 1 or n = 7) and word != "x"', true],
  ] as const) {
    assert.equal(passes(`| ${filter}`, '', stream), expected, filter);
  }
  assert.deepEqual(labels('| bad > 5', '', { bad: 'x' }), {
    __error__: 'LabelFilterErr',
    __error_details__: 'strconv.ParseFloat: parsing "x": invalid syntax',
    bad: 'x',
  });
  assert.equal(labels('| bad > 5 | __error__!="LabelFilterErr"', '', { bad: 'x' }), undefined);
});

test('label_format, drop, keep, decolorize', () => {
  const stream = { a: '1', b: '2', c: '3' };
  assert.deepEqual(labels('| label_format x=a, y="{{.b}}-{{.c}}", z=gone', '', stream), {
    b: '2',
    c: '3',
    x: '1',
    y: '2-3',
  });
  assert.deepEqual(labels('| drop a, b="2", c="9"', '', stream), { c: '3' });
  assert.deepEqual(labels('| keep a, b="2", c="9"', '', stream), { a: '1', b: '2' });
  assert.equal(run('| decolorize |= "red line"', '\x1b[31mred\x1b[0m line')?.line, 'red line');
});

test('structured metadata: filtered like labels, kept apart, second to the stream', () => {
  const pipeline = compilePipeline(parseLogQuery('{a="b"} | level="error" | logfmt').stages, {
    nowMs: () => NOW_MS,
  });
  const stream = { app: 'x' };
  assert.equal(
    pipeline.process(Buffer.from('level=warn y=1'), stream, { app: 'm', level: 'error' }, 0, 0),
    true,
  );
  assert.deepEqual(pipeline.categories(), {
    stream: { app: 'x' },
    structuredMetadata: { app_extracted: 'm', level: 'error' },
    parsed: { level_extracted: 'warn', y: '1' },
  });
  assert.equal(pipeline.process(Buffer.from(''), stream, { level: 'info' }, 0, 0), false);
  const metadata = { level: 'error' };
  assert.equal(pipeline.process(Buffer.from(''), stream, metadata, 0, 0), true);
  assert.equal(pipeline.categories().structuredMetadata, metadata, 'nothing is copied where nothing changed');
});

test('templates: the functions that Loki documents', () => {
  const table: [template: string, expected: string][] = [
    ['{{ .path | replace " " "_" | trunc 5 | upper }}', '/A_B/'],
    ['{{ if and (contains "he" "hello") (contains "llo" "hello") }}yes{{end}}', 'yes'],
    ['{{ if contains "x" .err }}a{{else if contains "he" "hello"}}b{{else}}c{{end}}', 'b'],
    ['{{ __line__ | lower }}', 'the line'],
    ['{{ __timestamp__ | date "2006-01-02T15:04:05.000Z07:00" }}', '2024-02-29T23:05:09.007Z'],
    [
      '{{ __timestamp__ | unixEpoch }} {{ __timestamp__ | unixEpochNanos }}',
      '1709247909 1709247909007000005',
    ],
    ['{{ date "2006-01-02" now }}', '2026-11-21'],
    ['{{ duration_seconds .d }}', '90'],
    ['{{ .d | duration }}', '90'],
    ['{{ bytes "2KB" }}', '2000'],
    ['{{ toDateInZone "2006-01-02 15:04" "Europe/Berlin" "2024-07-01 12:00" | unixEpoch }}', '1719828000'],
    ['{{ toDate "2006-01-02" "2021-11-02" | date "Mon Jan _2 3:04PM" }}', 'Tue Nov  2 12:00AM'],
    ['{{ date "2006-01-02" (unixToTime "1679577215") }}', '2023-03-23'],
    ['{{ alignLeft 5 "hello world"}}|{{ alignLeft 5 "hi"}}|', 'hello|hi   |'],
    ['{{ alignRight 5 "hello world"}}|{{ alignRight 5 "hi"}}|', 'world|   hi|'],
    ['{{ "hi" | b64enc }} {{ b64dec "aGk=" }}', 'aGk= hi'],
    ['{{ default "-" "" }}{{ .gone | default "x" }}{{ default "-" "foo" }}', '-xfoo'],
    ['{{ range $q := fromJson .queries }}[{{ $q.query }}]{{ end }}', '[a][b]'],
    ['{{ fromJson "{\\"foo\\": 55, \\"a\\": [1, 2.5]}" }}', 'map[a:[1 2.5] foo:55]'],
    ['{{ indent 2 "a\\nb" }}{{ nindent 1 "c" }}', '  a\n  b\n c'],
    ['{{ repeat 3 "ab" }}', 'ababab'],
    [
      '{{ printf "%-6.3s|%5d|%05.1f|%q|%x|%t|%v" .path 42 3.14159 "q" "hi" true 1.5 }}',
      '/a    |   42|003.1|"q"|6869|true|1.5',
    ],
    ['{{ printf "%d %s" "x" }}', '%!d(string=x) %!s(MISSING)'],
    [
      '{{ substr 0 5 "hello world"}}|{{ substr 6 11 "hello world"}}|{{ substr -1 2 "abc" }}',
      'hello|world|ab',
    ],
    ['{{ title "hello world"}}', 'Hello World'],
    [
      '{{ trim "  x " }}{{ trimAll "$" "$5.00" }}{{ trimPrefix "-" "-a" }}{{ trimSuffix "-" "b-" }}',
      'x5.00ab',
    ],
    ['{{ trunc 5 "hello world"}} {{ trunc -5 "hello world"}}', 'hello world'],
    ['{{ urlencode "a b&c/ä" }} {{ urldecode "a+b%26c" }}', 'a+b%26c%2F%C3%A4 a b&c'],
    [
      '{{ if eq "a" .gone "a" }}1{{end}}{{ if hasPrefix "he" "hello" }}2{{end}}{{ if hasSuffix "lo" "hello" }}3{{end}}',
      '123',
    ],
    ['{{ add 3 2 5 }} {{ sub 5 2 }} {{ mul 5 2 3 }} {{ div 10 3 }} {{ mod 10 3 }}', '10 3 30 3 1'],
    ['{{ addf 3.5 2 5 }} {{ subf 5.5 2 1.5 }} {{ mulf 5.5 2 2.5 }} {{ divf 10 2 4 }}', '10.5 2 27.5 1.25'],
    ['{{ max 1 2 3 }} {{ min 1 2 3 }} {{ maxf 1 2.5 3 }} {{ minf 1.5 2.5 3 }}', '3 1 3 1.5'],
    [
      '{{ ceil 123.001 }} {{ floor 123.9999 }} {{ round 123.555555 3 }} {{ round 123.88571428571 5 .2 }}',
      '124 123 123.556 123.88572',
    ],
    ['{{ int "3" }} {{ float64 "3.5" }} {{ mulf 1000 1000.0 }}', '3 3.5 1e+06'],
    ['{{ count "a|b" "abab" }} {{ __line__ | count "E" }}', '4 0'],
    [
      '{{ regexReplaceAll "(a*)bc" "aabc" "${1}a" }} {{ regexReplaceAllLiteral "(ts=)" "ts=1" "$1=" }}',
      'aaa $1=1',
    ],
    ['{{- /* no */ -}}  a  {{- " b" }}', 'a b'],
    ['{{ $x := .path }}{{ if $x }}{{ $x = "y" }}{{ end }}{{ $x }}', 'y'],
    [
      '{{ range $i, $c := fromJson "[1,2,3]" }}{{ if eq $i 2 }}{{ break }}{{ end }}{{ $c }},{{ else }}none{{ end }}',
      '1,2,',
    ],
    ['{{ with .path }}{{ . }}{{ else }}none{{ end }}', '/a b/c'],
    [
      '{{ len "héllo" }} {{ index (fromJson "{\\"k\\": [7]}") "k" 0 }} {{ not true }} {{ lt 1 2 }} {{ or "" "z" }}',
      '6 7 false true z',
    ],
    ['{{ ToUpper "a" }}{{ Replace "aaa" "a" "b" 2 }}{{ TrimLeft "xxa" "x" }}', 'Abbaa'],
    ['{{.gone}}|{{.path}}', '|/a b/c'],
  ];
  const stream = { path: '/a b/c', d: '1m30s', queries: '[{"query":"a"},{"query":"b"}]' };
  for (const [template, expected] of table)
    assert.equal(formatted(template, 'The Line', stream), expected, template);
});

test('templates: errors are labels, and nothing runs for ever', () => {
  assert.match(
    String(labels('| line_format `{{ div 1 0 }}`', '')?.__error_details__),
    /integer divide by zero/,
  );
  assert.equal(
    labels('| line_format `{{ .x | regexReplaceAll "[" "a" }}`', '', { x: 'y' })?.__error__,
    'TemplateFormatErr',
  );
  assert.equal(labels('| line_format `{{ repeat 1000000000 "x" }}`', '')?.__error__, 'TemplateFormatErr');
  const nested =
    '{{ range fromJson .l }}{{ range fromJson $.l }}{{ range fromJson $.l }}x{{ end }}{{ end }}{{ end }}';
  assert.equal(
    labels(`| line_format \`${nested}\``, '', { l: JSON.stringify(Array(100).fill(1)) })?.__error__,
    'TemplateFormatErr',
  );
  for (const bad of [
    '{{ nosuch .a }}',
    '{{ if .a }}',
    '{{ end }}',
    '{{ .a',
    '{{ $x }}',
    '{{ "a" "b" }}',
    '{{ break }}',
  ]) {
    assert.throws(
      () => parseLogQuery(`{a="b"} | line_format ${JSON.stringify(bad)}`),
      /invalid line template/,
      bad,
    );
  }
});

test('templates: what those of a line go over is bounded, however few steps that is', () => {
  const a = '(repeat 4000000 "a")';
  const tooMuch = [
    `| line_format \`{{ range $i := 30000 }}{{ $y := replace "a" "b" ${a} }}{{ end }}\``,
    `| line_format \`{{ range $i := 30000 }}{{ $y := regexReplaceAll "x" (repeat 4000 "é") "y" }}{{ end }}\``,
    `| line_format \`{{ $x := ${a} }}{{ range $i := 30000 }}{{ $y := len $x }}{{ end }}\``,
    `| line_format \`{{ $x := ${a} }}{{ $y := print ${'$x '.repeat(90)} }}\``,
    `| line_format \`{{ $x := ${a} }}{{ $y := printf "${'%[1]s'.repeat(1000)}" $x }}\``,
    // Each is little for a search, and together they would take it hours.
    `| line_format \`{{ contains (print "a" (repeat 1000 "a") "b" (repeat 2000000 "a")) ${a} }}\``,
    `| line_format \`{{ replace (print (repeat 1000 "a") "b" (repeat 2000000 "a")) "" ${a} }}\``,
    `| line_format \`{{ range $i := 90000 }}{{ range $j := 90000 }}{{ break }}{{ end }}{{ end }}\``,
    // All stages of a line together.
    `| label_format ${Array.from({ length: 9 }, (_, i) => `x${i}=\`{{ $x := ${a} }}\``).join()}`,
    `| line_format \`{{ $x := ${a} }}\` `.repeat(9),
  ];
  for (const stages of tooMuch) {
    const found = labels(stages, '');
    assert.equal(found?.__error__, 'TemplateFormatErr', stages);
    assert.match(String(found?.__error_details__), /too much work|too long/, stages);
  }
  // Quadratic once: these end.
  assert.equal(
    labels(`| line_format \`{{ len (Replace ${a} "a" "bc" 2000000) }}\``, '')?.__error__,
    'TemplateFormatErr',
  );
  assert.equal(formatted('{{ len (Replace (repeat 1000000 "a") "a" "bc" 900000) }}', ''), '1900000');
  assert.equal(formatted('{{ trimAll (print (repeat 500000 "b") "a") (repeat 500000 "a") }}', ''), '');
  assert.equal(formatted('{{ int (repeat 4000000 "9") }}', ''), '0');
  // One line's work is not the next one's, and a line of a MiB may be gone over several times.
  const pipeline = compilePipeline(
    parseLogQuery('{a="b"} | line_format `{{ __line__ | replace "a" "b" | ToUpper }}`').stages,
    { nowMs: () => 0 },
  );
  for (let i = 0; i < 5; i++) {
    pipeline.process(Buffer.alloc(1 << 20, 'a'), {}, {}, 0, 0);
    assert.ok(pipeline.line.equals(Buffer.alloc(1 << 20, 'B')));
    assert.deepEqual(pipeline.allLabels(), {});
  }
});

test('a line that is not UTF-8 comes out as it came in', () => {
  const pipeline = compilePipeline(parseLogQuery('{a="b"} | line_format "{{__line__}}!"').stages, {
    nowMs: () => 0,
  });
  assert.equal(pipeline.process(Buffer.from([0x61, 0xff, 0xc3, 0xa9]), {}, {}, 0, 0), true);
  assert.deepEqual(pipeline.line, Buffer.from([0x61, 0xff, 0xc3, 0xa9, 0x21]));
});

test('names from lines: bounded in length, remembered without mixing lines up', () => {
  const long = 'k'.repeat(1025);
  assert.deepEqual(labels('| json', `{"${long}":{"a":1},"b":{"${long}":2,"c":3}}`), { b_c: '3' });
  assert.deepEqual(labels('| logfmt', `${long}=1 a=2`), { a: '2' });
  const deep = `${'{"kkkkkkkkk":'.repeat(200)}1${'}'.repeat(200)}`;
  assert.deepEqual(labels('| json', deep), {});
  // One pipeline, lines with ever new names, and one that comes again, set, deleted, given, and none of it.
  const pipeline = compilePipeline(parseLogQuery('{a="b"} | json | drop gone').stages, { nowMs: () => 0 });
  const given = { same: 'stream' };
  for (let i = 0; i < 10_000; i++) {
    const stream = i % 2 === 0 ? {} : given;
    const line = i % 3 === 0 ? '{}' : `{"n${i}":{"x":${i}},"same":"${i}","gone":1}`;
    pipeline.process(Buffer.from(line), stream, {}, 0, 0);
    const parsed =
      i % 3 === 0 ? {} : { [`n${i}_x`]: `${i}`, [i % 2 === 0 ? 'same' : 'same_extracted']: `${i}` };
    assert.deepEqual({ ...pipeline.allLabels() }, { ...stream, ...parsed });
  }
});

test('wanted labels: parsers set no others', () => {
  const stages = parseLogQuery('{a="b"} | json').stages;
  const line = Buffer.from('{"a": 1, "b": 2, "c"');
  const some = compilePipeline(stages, { nowMs: () => 0, wanted: new Set(['a']) });
  some.process(line, {}, {}, 0, 0);
  assert.deepEqual({ ...some.allLabels() }, { a: '1' }, 'and what follows is not read');
  const none = compilePipeline(stages, { nowMs: () => 0, wanted: new Set() });
  none.process(line, {}, {}, 0, 0);
  assert.deepEqual({ ...none.allLabels() }, {});
});

test('filters that a block scanner can take, and literals that an index can', () => {
  const { stages } = parseLogQuery(
    '{a="b"} |= "one" or "two" | json |~ "x(?i)err(or)?" != "no" | line_format "y" |= "late"',
  );
  assert.deepEqual(
    leadingLineFilters(stages).map(({ op }) => op),
    ['|=', '|~', '!='],
  );
  const needed = neededLiterals(stages).map((group) =>
    group.map(({ bytes, caseInsensitive }) => `${bytes}${caseInsensitive ? '/i' : ''}`),
  );
  assert.deepEqual(needed, [['one', 'two'], ['x'], ['err/i']]);
  assert.deepEqual(
    neededLiterals(parseLogQuery('{a="b"} |= "x" or ip("::1") |= "" |> "<_> took <_>"').stages)
      .flat()
      .map(({ bytes }) => String(bytes)),
    [' took '],
  );
  const pipeline = compilePipeline(stages.slice(0, 2), { nowMs: () => 0, leadingFiltersDone: true });
  assert.equal(pipeline.process(Buffer.from('neither'), {}, {}, 0, 0), true);
});

test('matchers: missing is empty, regexes match all of the value', () => {
  for (const [selector, given, expected] of [
    ['{a="b"}', { a: 'b' }, true],
    ['{a="b", c=""}', { a: 'b' }, true],
    ['{a="b", c!=""}', { a: 'b' }, false],
    ['{a=~"b|c"}', { a: 'bc' }, false],
    ['{a=~"b.*"}', { a: 'b\nc' }, true],
    ['{a=~".+", c!~"x"}', { a: 'b' }, true],
    ['{a!="b"}', { a: 'c' }, true],
  ] as const) {
    assert.equal(matches(parseMatchers(selector, true), given), expected, selector);
  }
});
