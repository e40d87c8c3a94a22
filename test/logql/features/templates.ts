import assert from 'node:assert/strict';
import { formatted, type Feature } from './rig.ts';

const LABELS = {
  path: '/a b/c',
  d: '1m30s',
  from: '1679577215',
  foo: 'foo',
  empty: '',
  json: '{"queries":[{"query":"a"},{"query":"b"}]}',
};

/** Each template with what it writes, for the labels above, the line `The Line` and 2024-02-29T23:05:09.007000005Z. */
function writes(name: string, ...cases: readonly (readonly [template: string, expected: string])[]): Feature {
  return {
    name,
    run() {
      for (const [template, expected] of cases) assert.equal(formatted(template, LABELS), expected, template);
    },
  };
}

export const templates: Feature[] = [
  writes('.label_name', ['{{ .path }}', '/a b/c'], ['{{.gone}}', ''], ['{{.path | upper}}', '/A B/C']),
  writes('__line__', ['{{ __line__ | lower }}', 'the line']),
  writes('__timestamp__', [
    '{{ __timestamp__ | date "2006-01-02T15:04:05.000Z07:00" }}',
    '2024-02-29T23:05:09.007Z',
  ]),
  writes(
    'template pipelines and conditions',
    ['{{ .path | replace " " "_" | trunc 5 | upper }}', '/A_B/'],
    ['{{ if and (contains "he" "hello") (contains "llo" "hello") }}yes{{end}}', 'yes'],
    ['{{ if or (contains "he" "hello") (contains "x" "hello") }}yes{{end}}', 'yes'],
    ['{{ if contains "x" .foo }}a{{else if contains "oo" .foo}}b{{else}}c{{end}}', 'b'],
    ['{{ with .empty }}a{{ else }}b{{ end }}{{- /* comment */ -}}  !', 'b!'],
    ['{{ $x := .foo }}{{ range $i, $e := fromJson "[1,2]" }}{{ $x }}{{ $i }}{{ end }}', 'foo0foo1'],
  ),
  writes(
    'text/template functions',
    [
      '{{ len "héllo" }} {{ not true }} {{ ne 1 2 }} {{ lt 1 2 }} {{ le 2 2 }} {{ gt 1 2 }} {{ ge 2 2 }}',
      '6 false true true true false true',
    ],
    ['{{ index (fromJson .json) "queries" | len }} {{ slice "hello" 1 3 }} {{ print "a" 1 2 }}', '2 el a1 2'],
    ['{{ html "<a>" }} {{ urlquery "a b" }} {{ js "it\'s" }}', "&lt;a&gt; a+b it\\'s"],
  ),
  writes(
    'date',
    ['{{ date "2006-01-02" now }}', '2026-11-21'],
    ['{{ date "15:04:05.000" __timestamp__ }}', '23:05:09.007'],
  ),
  writes('duration', ['{{ .d | duration }} {{ duration "1.5h" }}', '90 5400']),
  writes('duration_seconds', ['{{ .d | duration_seconds }} {{ duration_seconds "250ms" }}', '90 0.25']),
  writes('now', ['{{ now | date "2006-01-02T15:04:05Z07:00" }}', '2026-11-21T12:00:00Z']),
  writes('toDate', [
    '{{ toDate "2006-01-02" "2021-11-02" | date "Mon Jan _2 3:04PM" }}',
    'Tue Nov  2 12:00AM',
  ]),
  writes(
    'toDateInZone',
    ['{{ toDateInZone "2006-01-02 15:04" "Europe/Berlin" "2024-07-01 12:00" | unixEpoch }}', '1719828000'],
    [
      '{{ "2024-01-01T00:00:00.5Z" | toDateInZone "2006-01-02T15:04:05.999999999Z" "UTC" | unixEpochMillis }}',
      '1704067200500',
    ],
  ),
  writes('unixEpoch', ['{{ __timestamp__ | unixEpoch }}', '1709247909']),
  writes('unixEpochMillis', ['{{ unixEpochMillis __timestamp__ }}', '1709247909007']),
  writes('unixEpochNanos', ['{{ unixEpochNanos __timestamp__ }}', '1709247909007000005']),
  writes(
    'unixToTime',
    ['{{ date "2006-01-02" (unixToTime .from) }}', '2023-03-23'],
    ['{{ date "2006-01-02" (unixToTime "19373") }}', '2023-01-16'],
    ['{{ unixEpochNanos (unixToTime "1673798889902000") }}', '1673798889902000000'],
  ),
  writes('alignLeft', ['{{ alignLeft 5 "hello world"}}|{{ alignLeft 5 "hi"}}|', 'hello|hi   |']),
  writes('alignRight', ['{{ alignRight 5 "hello world"}}|{{ alignRight 5 "hi"}}|', 'world|   hi|']),
  writes('b64enc', ['{{ .foo | b64enc }}', 'Zm9v']),
  writes(
    'b64dec',
    ['{{ b64dec "Zm9v" }} {{ b64dec "aGk=" }}', 'foo hi'],
    [
      '{{ b64dec "Zm9vaGk" }}|{{ b64dec "Zm9*" }}',
      'illegal base64 data at input byte 4|illegal base64 data at input byte 3',
    ],
  ),
  writes('bytes', ['{{ bytes "2KB" }} {{ "1KiB" | bytes }}', '2000 1024']),
  writes('default', ['{{ default "-" "" }} {{ default "-" "foo" }} {{ .gone | default "x" }}', '- foo x']),
  writes(
    'fromJson',
    ['{{ range $q := (fromJson .json).queries }}[{{ $q.query }}]{{ end }}', '[a][b]'],
    ['{{ fromJson "{\\"foo\\": 55}" }}', 'map[foo:55]'],
    [
      '{{ fromJson "not json" }}{{ (fromJson "not json").a }}{{ range fromJson "[" }}x{{ end }}|',
      '<no value><no value>|',
    ],
  ),
  writes('lower', ['{{ "HELLO" | lower }}', 'hello'], ['{{ lower "ΟΔΟΣ İ" }}', 'οδοσ i']),
  writes('indent', ['{{ indent 2 "a\\nb" }}', '  a\n  b']),
  writes('nindent', ['x{{ nindent 4 "b" }}', 'x\n    b']),
  writes('repeat', ['{{ repeat 3 "hello" }}', 'hellohellohello']),
  writes(
    'printf',
    ['{{ printf "The method is %s, took %.2f for %d" .foo 1.234 7 }}', 'The method is foo, took 1.23 for 7'],
    [
      '{{ printf "%-6.3s|%5d|%05.1f|%q|%x|%t|%v" .path 42 3.14159 "q" "hi" true 1.5 }}',
      '/a    |   42|003.1|"q"|6869|true|1.5',
    ],
  ),
  writes('replace', ['{{ .path | replace " " "-" }} {{ replace "a" "b" "banana" }}', '/a-b/c bbnbnb']),
  writes(
    'substr',
    [
      '{{ substr 0 5 "hello world"}}|{{ substr 6 11 "hello world"}}|{{ substr -1 5 "hello world" }}|{{ substr 6 -1 "hello world" }}',
      'hello|world|hello|world',
    ],
    ['{{ substr 0 3 "日本語" }}{{ substr 3 -1 "日本語" }}', '日本語'],
  ),
  writes(
    'title',
    ['{{ title "hello world" }}', 'Hello World'],
    [`{{ title "o'neil a_b été 2x" }}`, "O'Neil A_b Été 2x"],
  ),
  writes('trim', ['{{ trim "   hello   " }}', 'hello']),
  writes('trimAll', ['{{ trimAll "$" "$5.00" }}', '5.00']),
  writes('trimPrefix', ['{{ trimPrefix "-" "-hello" }}{{ trimPrefix "x" "-y" }}', 'hello-y']),
  writes('trimSuffix', ['{{ trimSuffix "-" "hello-" }}', 'hello']),
  writes(
    'trunc',
    ['{{ trunc 5 "hello world" }}|{{ trunc -5 "hello world" }}|{{ trunc 9 "hi" }}', 'hello|world|hi'],
    ['{{ trunc 3 "日本語" }}{{ trunc -3 "日本語" }}', '日語'],
  ),
  writes('upper', ['{{ "hello" | upper }}', 'HELLO'], ['{{ upper "straße" }} {{ ToUpper "ﬁ" }}', 'STRAßE ﬁ']),
  writes('urlencode', ['{{ urlencode "a b&c/ä" }}', 'a+b%26c%2F%C3%A4']),
  writes('urldecode', ['{{ urldecode "a+b%26c" }}', 'a b&c']),
  writes('contains', ['{{ if contains "oo" .foo }}yes{{ end }}{{ contains "x" .foo }}', 'yesfalse']),
  writes('eq', ['{{ if eq .foo "foo" }}yes{{ end }}{{ eq 1 2 3 }}{{ eq 1 2 1 }}', 'yesfalsetrue']),
  writes('hasPrefix and hasSuffix', [
    '{{ if hasPrefix "fo" .foo }}1{{end}}{{ if hasSuffix "oo" .foo }}2{{end}}{{ hasSuffix "x" .foo }}',
    '12false',
  ]),
  writes('add', ['{{ add 3 2 5 }}', '10']),
  writes('addf', ['{{ addf 3.5 2 5 }}', '10.5'], ['{{ addf 0.1 0.2 }} {{ addf }}', '0.3 0']),
  writes('ceil', ['{{ ceil 123.001 }}', '124']),
  writes('div', ['{{ div 10 2}} {{ div 10 3 }} {{ div -7 2 }}', '5 3 -3']),
  writes(
    'divf',
    ['{{ divf 10 2 4 }}', '1.25'],
    [
      '{{ divf 1 3 }} {{ divf -2 3 }} {{ divf 200 7 }}',
      '0.3333333333333333 -0.6666666666666667 28.571428571428573',
    ],
  ),
  writes('float64', ['{{ float64 "3.5" }} {{ "7" | float64 }}', '3.5 7']),
  writes('floor', ['{{ floor 123.9999 }}', '123']),
  writes(
    'int',
    ['{{ "3" | int }} {{ int 3.9 }}', '3 3'],
    [
      '{{ int "3.9" }} {{ int "-0x1f" }} {{ int "017" }} {{ int "08" }} {{ int "1_000" }} {{ int "1e3" }} {{ int "9223372036854775808" }}',
      '3 -31 15 0 1000 0 0',
    ],
  ),
  writes('max', ['{{ max 1 2 3 }}', '3']),
  writes('maxf', ['{{ maxf 1 2.5 3 }}', '3']),
  writes('min', ['{{ min 1 2 3 }}', '1']),
  writes('minf', ['{{ minf 1 2.5 1.5 }}', '1']),
  writes('mul', ['{{ mul 5 2 3 }}', '30']),
  writes('mulf', ['{{ mulf 5.5 2 2.5 }}', '27.5']),
  writes('mod', ['{{ mod 10 3 }} {{ mod 0b111 0o5 }}', '1 2']),
  writes('round', ['{{ round 123.555555 3 }} {{ round 123.88571428571 5 .2 }}', '123.556 123.88572']),
  writes('sub', ['{{ sub 5 2 }}', '3']),
  writes('subf', ['{{ subf 5.5 2 1.5 }}', '2']),
  writes('count', ['{{ count "a|b" "abab" }} {{ __line__ | count "XYZ" }}', '4 0']),
  writes(
    'regexReplaceAll and regexReplaceAllLiteral',
    ['{{ regexReplaceAll "(a*)bc" "aabc" "${1}a" }}', 'aaa'],
    ['{{ regexReplaceAllLiteral "(ts=)" "ts=1" "$1=" }}', '$1=1'],
  ),
  writes(
    'deprecated functions',
    ['{{ ToLower "A" }}{{ ToUpper "a" }}{{ Replace "aaa" "a" "b" 2 }}{{ Trim "xax" "x" }}', 'aAbbaa'],
    [
      '{{ TrimLeft "xxa" "x" }}{{ TrimRight "axx" "x" }}{{ TrimPrefix "-a" "-" }}{{ TrimSuffix "a-" "-" }}{{ TrimSpace " a " }}',
      'aaaaa',
    ],
  ),
];
