import assert from 'node:assert/strict';
import { ask, kept, labelsAfter, passes, refusal, type Feature } from './rig.ts';

const NGINX =
  '0.191.12.2 - - [10/Jun/2021:09:14:29 +0000] "GET /api/plugins/versioncheck HTTP/1.1" 200 2 "-" ' +
  '"Go-http-client/2.0" "13.76.247.102, 34.120.177.193" "TLSv1.2" "US" ""';
const NESTED = JSON.stringify({
  protocol: 'HTTP/2.0',
  servers: ['129.0.1.1', '10.2.1.3'],
  request: { time: '6.032', method: 'GET', headers: { Accept: '*/*', 'User-Agent': 'curl/7.68.0' } },
  response: { status: 401, latency_seconds: '6.031' },
});
const LOGFMT = 'at=info method=GET path=/ host=grafana.net fwd="124.133.124.161" service=8ms status=200';
const IPS = ['3.180.71.3 - GET', '93.180.71.3 - GET', '192.168.4.7 - GET', '[2001:db8::2]:80 - GET'];

const streams = (query: string): string[] =>
  ask(query, [
    { line: 'one', stream: { name: 'mysql', env: 'dev' } },
    { line: 'two', stream: { name: 'mysql-backup', env: 'prod' } },
    { line: 'three', stream: { name: 'kafka' } },
  ]).map(({ line }) => line);

export const selectors: Feature[] = [
  {
    name: 'stream selectors',
    run() {
      assert.deepEqual(streams('{name="mysql"}'), ['one']);
      assert.deepEqual(streams('{name=~"mysql.*", env!="prod"}'), ['one']);
      assert.deepEqual(streams('{name=~"mysql"}'), ['one'], 'anchored at both ends');
      assert.deepEqual(streams('{name=~".+", name!~"mysql.+"}'), ['one', 'three']);
      assert.deepEqual(streams('{name=~".+", env=""}'), ['three'], 'a label that is not there is empty');
      assert.deepEqual(streams('{name=~`my\\w+`}'), ['one'], 'backquotes take no escapes');
    },
  },
  {
    name: 'a selector must select',
    run() {
      for (const query of ['{}', '{name=~".*"}', '{name!="x"}', '{name=""}']) {
        assert.match(
          refusal(query),
          /^parse error at line 1, col 1: queries require at least one regexp or equality matcher that does not have an empty-compatible value\. For instance, app=~"\.\*" does not meet this requirement, but app=~"\.\+" will$/,
        );
      }
    },
  },
  {
    name: 'comments',
    run() {
      const query = '{app="api"} # what is left\n  | json\n  # a whole line\n  | bar="baz" # and an end';
      assert.equal(ask(query, [{ line: '{"bar":"baz"}', stream: { app: 'api' } }]).length, 1);
      assert.deepEqual(kept('/* Go\'s */ |= "a" // too\n', 'a', 'b'), ['a']);
    },
  },
  {
    name: 'strings',
    run() {
      assert.deepEqual(kept('|= "tab\\there"', 'tab\there', 'tab here'), ['tab\there']);
      assert.deepEqual(kept('|= "\\u00e9\\x41"', 'éA', 'e'), ['éA']);
      assert.deepEqual(kept('|= `a\\tb`', 'a\\tb', 'a\tb'), ['a\\tb']);
    },
  },
  {
    name: 'errors point at the place',
    run() {
      for (const [query, message] of [
        ['{app="api"', 'parse error at line 1, col 11: syntax error: unexpected $end, expecting } or ,'],
        ['{app=api}', 'parse error at line 1, col 6: syntax error: unexpected IDENTIFIER, expecting STRING'],
        ['{app="api"}\n  | json |', 'parse error at line 2, col 11: syntax error: unexpected $end'],
        [
          '{app="api"} |= error',
          'parse error at line 1, col 16: syntax error: unexpected IDENTIFIER, expecting STRING or ip',
        ],
        [
          '{app="api"} |~ "a("',
          'parse error at line 1, col 13: error parsing regexp: missing closing ): `a(`',
        ],
        ['{app="api} ', 'parse error at line 1, col 6: literal not terminated'],
      ] as const) {
        assert.equal(refusal(query), message);
      }
    },
  },
];

export const lineFilters: Feature[] = [
  {
    name: '|= contains',
    run() {
      assert.deepEqual(kept('|= "error"', 'an error', 'an Error', 'none'), ['an error']);
      assert.deepEqual(kept('|= ""', 'a', ''), ['a', '']);
    },
  },
  {
    name: '!= does not contain',
    run: () => assert.deepEqual(kept('!= "error"', 'an error', 'an Error'), ['an Error']),
  },
  {
    name: '|~ matches',
    run() {
      assert.deepEqual(kept('|~ `error=\\w+`', 'x error=timeout', 'error=', 'error'), ['x error=timeout']);
      assert.deepEqual(kept('|~ "(?i)ERROR"', 'an Error'), ['an Error'], 'anywhere, case as asked');
      assert.deepEqual(kept('|~ "tsdb-ops.*io:2003"', 'a tsdb-ops x io:2003 b', 'io:2003 tsdb-ops'), [
        'a tsdb-ops x io:2003 b',
      ]);
    },
  },
  {
    name: '!~ does not match',
    run: () => assert.deepEqual(kept('!~ "err|warn"', 'err', 'a warning', 'info'), ['info']),
  },
  {
    name: '|> has the pattern',
    run() {
      assert.deepEqual(
        kept(
          '|> `<_> caller=http.go:194 level=debug <_> msg="POST /push.v1.PusherService/Push <_>`',
          'ts=2024-04-05T08:40:13Z caller=http.go:194 level=debug traceID=23e5 orgID=3648 msg="POST /push.v1.PusherService/Push (200) 12ms"',
          'ts=2024-04-05T08:40:13Z caller=http.go:195 level=debug traceID=23e5 orgID=3648 msg="POST /push.v1.PusherService/Push (200) 12ms"',
        ).length,
        1,
      );
      assert.deepEqual(kept('|> "GET <_>"', 'GET /', 'a GET /', 'GET '), ['GET /', 'a GET /']);
      assert.deepEqual(kept('|> "<_> took <_>ms"', 'GET took 12ms', 'GET took 12ms!', ' took 12ms'), [
        'GET took 12ms',
      ]);
      assert.match(refusal('{app="api"} |> "<a>"'), /named captures are not allowed/);
    },
  },
  {
    name: '!> has not the pattern',
    run: () => assert.deepEqual(kept('!> "GET <_>"', 'GET /', 'POST /'), ['POST /']),
  },
  {
    name: 'ip() in lines',
    run() {
      assert.deepEqual(kept('|= ip("3.180.71.3")', ...IPS), [IPS[0]], 'not 93.180.71.3');
      assert.deepEqual(kept('|= ip("192.168.4.5/16")', ...IPS), [IPS[2]]);
      assert.deepEqual(kept('!= ip("192.168.4.5-192.168.4.20")', ...IPS), [IPS[0], IPS[1], IPS[3]]);
      assert.deepEqual(kept('|= ip("2001:db8::1-2001:db8::8")', ...IPS), [IPS[3]]);
      assert.match(refusal('{app="api"} |= ip("x")'), /ip: invalid pattern/);
      assert.match(refusal('{app="api"} |~ ip("::1")'), /ip: invalid operation/);
    },
  },
  {
    name: 'or between line filters',
    run() {
      assert.deepEqual(kept('|= "a" or "b" or "c"', 'xa', 'xb', 'xd'), ['xa', 'xb']);
      assert.deepEqual(kept('|~ "^a" or "b$"', 'ax', 'xb', 'xax'), ['ax', 'xb']);
      assert.deepEqual(kept('!= "a" or "b"', 'xa', 'xb', 'xd'), ['xd'], 'neither');
      assert.deepEqual(kept('|> "a<_>" or "b<_>"', 'a1', 'b1', 'c1'), ['a1', 'b1']);
      assert.deepEqual(kept('|= "GET" or ip("10.0.0.1") != "x"', 'GET', '10.0.0.1 POST', 'GETx'), [
        'GET',
        '10.0.0.1 POST',
      ]);
    },
  },
  {
    name: 'chained line filters',
    run() {
      assert.deepEqual(kept('|= "error" != "timeout"', 'error', 'error timeout', 'x'), ['error']);
      assert.deepEqual(kept('| json | line_format "{{.m}}" |= "y"', '{"m":"x","n":"y"}', '{"m":"y"}'), ['y']);
    },
  },
  {
    name: 'decolorize',
    run() {
      assert.deepEqual(kept('| decolorize', '\x1b[31mred\x1b[0m and \x1b[1;32mgreen\x1b[0m'), [
        'red and green',
      ]);
      assert.deepEqual(kept('| decolorize |= "a b"', 'a\x1b[0m b', 'ab'), ['a b']);
    },
  },
];

export const parsers: Feature[] = [
  {
    name: 'json',
    run() {
      assert.deepEqual(labelsAfter('| json', NESTED), {
        protocol: 'HTTP/2.0',
        request_headers_Accept: '*/*',
        request_headers_User_Agent: 'curl/7.68.0',
        request_method: 'GET',
        request_time: '6.032',
        response_latency_seconds: '6.031',
        response_status: '401',
      });
      assert.deepEqual(labelsAfter('| json', '{"a.b": {"c": "d"}, "e": "f"}'), { a_b_c: 'd', e: 'f' });
    },
  },
  {
    name: 'json with expressions',
    run() {
      assert.deepEqual(
        labelsAfter('| json first_server="servers[0]", ua="request.headers[\\"User-Agent\\"]"', NESTED),
        { first_server: '129.0.1.1', ua: 'curl/7.68.0' },
      );
      assert.deepEqual(labelsAfter('| json server_list="servers", status="response.status"', NESTED), {
        server_list: '["129.0.1.1","10.2.1.3"]',
        status: '401',
      });
      assert.deepEqual(labelsAfter('| json protocol', NESTED), { protocol: 'HTTP/2.0' });
      assert.deepEqual(labelsAfter('| json x="servers[7]"', NESTED), { x: '' });
      assert.match(refusal('{app="api"} | json x="a.b["'), /cannot parse expression/);
    },
  },
  {
    name: 'json that is none',
    run() {
      assert.deepEqual(labelsAfter('| json', 'INFO GET / loki.net 200'), {
        __error__: 'JSONParserErr',
        __error_details__: "Value looks like object, but can't find closing '}' symbol",
      });
      assert.deepEqual(kept('| json | __error__=""', '{"a":1}', 'plain'), ['{"a":1}']);
      assert.deepEqual(kept('| json | __error__="JSONParserErr"', '{"a":1}', 'plain'), ['plain']);
      assert.deepEqual(labelsAfter('| json | drop __error__, __error_details__', 'plain'), {});
    },
  },
  {
    name: 'logfmt',
    run() {
      assert.deepEqual(labelsAfter('| logfmt', LOGFMT), {
        at: 'info',
        fwd: '124.133.124.161',
        host: 'grafana.net',
        method: 'GET',
        path: '/',
        service: '8ms',
        status: '200',
      });
      assert.deepEqual(labelsAfter('| logfmt', 'a=1 =x foo=bar=buzz fo"o=bar b=2 flag'), { a: '1', b: '2' });
    },
  },
  {
    name: 'logfmt with expressions',
    run() {
      assert.deepEqual(labelsAfter('| logfmt host, fwd_ip="fwd"', LOGFMT), {
        fwd_ip: '124.133.124.161',
        host: 'grafana.net',
      });
      assert.deepEqual(labelsAfter('| logfmt flag', 'a=1 flag'), { flag: '' });
    },
  },
  {
    name: 'logfmt --strict',
    run() {
      assert.deepEqual(labelsAfter('| logfmt --strict', 'a=1 foo=bar=buzz b=2'), {
        __error__: 'LogfmtParserErr',
        __error_details__: "logfmt syntax error at pos 12 : unexpected '='",
        a: '1',
      });
      assert.deepEqual(labelsAfter('| logfmt --strict host, ip="fwd"', LOGFMT), {
        host: 'grafana.net',
        ip: '124.133.124.161',
      });
    },
  },
  {
    name: 'logfmt --keep-empty',
    run() {
      assert.deepEqual(labelsAfter('| logfmt --keep-empty', 'a=1 flag b='), { a: '1', b: '', flag: '' });
      assert.deepEqual(labelsAfter('| logfmt', 'a=1 flag b='), { a: '1' });
      assert.deepEqual(labelsAfter('| logfmt --keep-empty --strict flag', 'a=1 flag'), { flag: '' });
    },
  },
  {
    name: 'pattern',
    run() {
      assert.deepEqual(
        labelsAfter('| pattern `<ip> - - <_> "<method> <uri> <_>" <status> <size> <_> "<agent>" <_>`', NGINX),
        {
          agent: 'Go-http-client/2.0',
          ip: '0.191.12.2',
          method: 'GET',
          size: '2',
          status: '200',
          uri: '/api/plugins/versioncheck',
        },
      );
      const msg = 'level=debug ts=2021 msg="POST /loki/api/v1/push (204) 16.652862ms"';
      assert.deepEqual(labelsAfter('| pattern `<_> msg="<method> <path> (<status>) <latency>"`', msg), {
        latency: '16.652862ms',
        method: 'POST',
        path: '/loki/api/v1/push',
        status: '204',
      });
      assert.deepEqual(labelsAfter('| pattern `msg="<x>"`', msg), {}, 'anchored at the start');
      assert.match(refusal('{app="api"} | pattern "<_>"'), /at least one capture is required/);
      assert.match(refusal('{app="api"} | pattern "<a><b>"'), /found consecutive capture '<a><b>'/);
    },
  },
  {
    name: 'regexp',
    run() {
      const query =
        '| regexp "(?P<method>\\\\w+) (?P<path>[\\\\w|/]+) \\\\((?P<status>\\\\d+?)\\\\) (?P<duration>.*)"';
      assert.deepEqual(labelsAfter(query, 'POST /api/prom/api/v1/query_range (200) 1.5s'), {
        duration: '1.5s',
        method: 'POST',
        path: '/api/prom/api/v1/query_range',
        status: '200',
      });
      assert.deepEqual(labelsAfter(query, 'nothing of it'), {});
      assert.match(refusal('{app="api"} | regexp "(x)"'), /at least one named capture must be supplied/);
      assert.match(refusal('{app="api"} | regexp "(?P<a>x)(?P<a>y)"'), /duplicate/);
    },
  },
  {
    name: 'unpack',
    run() {
      const packed = '{"container": "myapp", "pod": "pod-3223f", "_entry": "original log message"}';
      assert.deepEqual(ask('{app="api"} | unpack', [{ line: packed, stream: { app: 'api' } }]), [
        { line: 'original log message', labels: { app: 'api', container: 'myapp', pod: 'pod-3223f' } },
      ]);
      assert.equal(labelsAfter('| unpack', 'plain')?.__error__, 'JSONParserErr');
      assert.deepEqual(kept('| unpack | logfmt | a="1"', '{"_entry":"a=1"}', '{"_entry":"a=2"}'), ['a=1']);
    },
  },
  {
    name: 'names that a label has already',
    run() {
      assert.deepEqual(labelsAfter('| json', '{"level":"x","app":"y"}', { level: 'stream' }), {
        app_extracted: 'y',
        level: 'stream',
        level_extracted: 'x',
      });
      assert.deepEqual(labelsAfter('| logfmt', 'a=1 a=2'), { a: '1' }, 'the first value counts');
      assert.deepEqual(labelsAfter('| logfmt', 'a.b=1 2c=3'), { _2c: '3', a_b: '1' });
    },
  },
];

export const labelFilters: Feature[] = [
  {
    name: 'string label filters',
    run() {
      const stream = { method: 'GET' };
      for (const [filter, expected] of [
        ['method="GET"', true],
        ['method!="GET"', false],
        ['method=~"G.T|PUT"', true],
        ['method=~"G"', false],
        ['method!~"P.+"', true],
        ['gone=""', true],
        ['gone!=""', false],
      ] as const) {
        assert.equal(passes(filter, stream), expected, filter);
      }
    },
  },
  {
    name: 'number label filters',
    run() {
      const stream = { status: '404', ratio: '0.5' };
      for (const [filter, expected] of [
        ['status == 404', true],
        ['status = 404.0', true],
        ['status != 404', false],
        ['status > 403.9', true],
        ['status >= 405', false],
        ['status < 0x195p0', true],
        ['status <= 4.04e2', true],
        ['ratio > -1', true],
        ['gone > 0', false],
        ['gone < 1', false],
      ] as const) {
        assert.equal(passes(filter, stream), expected, filter);
      }
      assert.match(
        refusal('{app="api"} | status > 0x10'),
        /unable to parse literal as a float: strconv\.ParseFloat: parsing "0x10": invalid syntax/,
      );
    },
  },
  {
    name: 'duration label filters',
    run() {
      const stream = { took: '1m30s', tiny: '0.10ms' };
      for (const [filter, expected] of [
        ['took > 1m', true],
        ['took == 90s', true],
        ['took >= 1.5m', true],
        ['took < 1h', true],
        ['took != 1m30s', false],
        ['tiny = 100us', true],
        ['tiny = 100µs', true],
        ['tiny < 1d', true],
        ['tiny <= 1w2d', true],
      ] as const) {
        assert.equal(passes(filter, stream), expected, filter);
      }
    },
  },
  {
    name: 'bytes label filters',
    run() {
      const stream = { size: '1.5KiB', big: '42MB' };
      for (const [filter, expected] of [
        ['size == 1536B', true],
        ['size > 1.5KB', true],
        ['size >= 2KiB', false],
        ['big = 42000kB', true],
        ['big < 1GiB', true],
        ['big > 20MB and size < 1PB', true],
      ] as const) {
        assert.equal(passes(filter, stream), expected, filter);
      }
    },
  },
  {
    name: 'ip() label filters',
    run() {
      const stream = { addr: '192.168.4.2' };
      assert.equal(passes('addr = ip("192.168.4.5/16")', stream), true);
      assert.equal(passes('addr = ip("192.168.4.5/16") | addr != ip("192.168.4.2")', stream), false);
      assert.equal(passes('addr = ip("10.0.0.0/8") or addr = ip("192.168.4.1-192.168.4.9")', stream), true);
      assert.equal(passes('gone != ip("10.0.0.0/8")', stream), false);
      assert.deepEqual(
        kept('| json | addr = ip("::1")', 'not json'),
        ['not json'],
        'a line with an error stays',
      );
    },
  },
  {
    name: 'and, or, comma, space between label filters',
    run() {
      const variants = [
        'took >= 20ms or size == 20KB and method!~"2.."',
        'took >= 20ms or size == 20KB , method!~"2.."',
        'took >= 20ms or size == 20KB  method!~"2.."',
        'took >= 20ms or (size == 20KB and method!~"2..")',
      ];
      const slow = { took: '20ms', size: '1KB', method: '200' };
      const large = { took: '1ms', size: '20KB', method: '200' };
      for (const filter of variants) {
        assert.equal(passes(filter, slow), true, filter);
        assert.equal(passes(filter, large), false, filter);
        assert.equal(passes(filter, { ...large, method: '404' }), true, filter);
      }
      assert.equal(passes('(took >= 20ms or size == 20KB) and method!~"2.."', slow), false);
      assert.equal(passes('took >= 20ms or size == 20KB | method!~"2.."', slow), false);
    },
  },
  {
    name: 'label values that cannot be converted',
    run() {
      assert.deepEqual(labelsAfter('| logfmt | n > 5', 'n=x'), {
        __error__: 'LabelFilterErr',
        __error_details__: 'strconv.ParseFloat: parsing "x": invalid syntax',
        n: 'x',
      });
      assert.match(
        String(labelsAfter('| logfmt | n > 5s', 'n=5')?.__error_details__),
        /^time: missing unit in duration "5"$/,
      );
      assert.deepEqual(kept('| logfmt | n > 5 | __error__=""', 'n=x', 'n=6', 'n=5'), ['n=6']);
      assert.deepEqual(kept('| logfmt | __error__ > 0', 'n=x'), [], 'only strings reach __error__');
    },
  },
];

export const formats: Feature[] = [
  {
    name: 'line_format',
    run() {
      assert.deepEqual(
        kept(
          '| logfmt | line_format "{{.ip}} {{.status}} {{div .duration 1000}}"',
          'ip=1.1.1.1 status=200 duration=3000',
        ),
        ['1.1.1.1 200 3'],
      );
      assert.deepEqual(kept('| logfmt | line_format `{{.gone}}|{{.a}}`', 'a=1'), ['|1']);
      assert.match(refusal('{app="api"} | line_format "{{.a"'), /invalid line template: template: line:1: /);
    },
  },
  {
    name: 'label_format',
    run() {
      assert.deepEqual(
        labelsAfter('| logfmt | label_format dst=src, both="{{.a}}-{{.b}}"', 'src=x a=1 b=2'),
        {
          a: '1',
          b: '2',
          both: '1-2',
          dst: 'x',
        },
      );
      assert.deepEqual(labelsAfter('| logfmt | label_format dst="{{.src}}"', 'src=x'), {
        dst: 'x',
        src: 'x',
      });
      assert.deepEqual(labelsAfter('| label_format level="fixed"', '', { level: 'stream' }), {
        level: 'fixed',
      });
      assert.match(
        refusal('{app="api"} | label_format foo=bar,foo="new"'),
        /multiple label name 'foo' not allowed in a single format operation/,
      );
      assert.match(refusal('{app="api"} | label_format __error__="x"'), /__error__ cannot be formatted/);
    },
  },
  {
    name: 'templates that fail',
    run() {
      const labels = labelsAfter('| logfmt | line_format `{{ div .a 0 }}`', 'a=1');
      assert.equal(labels?.__error__, 'TemplateFormatErr');
      assert.match(String(labels?.__error_details__), /divide by zero/);
      assert.deepEqual(kept('| line_format `{{ div 1 0 }}`', 'as it was'), ['as it was']);
    },
  },
  {
    name: 'drop',
    run() {
      const line = '{"level": "info", "method": "GET", "path": "/", "host": "grafana.net", "status": "200"}';
      assert.deepEqual(labelsAfter('|json|drop level, method="GET"', line), {
        host: 'grafana.net',
        path: '/',
        status: '200',
      });
      assert.deepEqual(labelsAfter('|json|drop level, path, host=~"graf.*", method=~"P.*"', line), {
        method: 'GET',
        status: '200',
      });
    },
  },
  {
    name: 'keep',
    run() {
      const line = (method: string) => `{"level": "info", "method": "${method}", "path": "/"}`;
      assert.deepEqual(labelsAfter('|json|keep level, method="GET"', line('GET')), {
        level: 'info',
        method: 'GET',
      });
      assert.deepEqual(labelsAfter('|json|keep level, method="GET"', line('POST')), { level: 'info' });
      assert.equal(labelsAfter('| json | keep level', 'plain')?.__error__, 'JSONParserErr', 'errors stay');
    },
  },
  {
    name: 'structured metadata',
    run() {
      const metadata = { trace_id: '7f', level: 'error' };
      assert.deepEqual(labelsAfter('| trace_id="7f"', '', {}, metadata), metadata);
      assert.equal(labelsAfter('| trace_id="80"', '', {}, metadata), undefined);
      assert.deepEqual(labelsAfter('| logfmt', 'level=info x=1', {}, metadata), {
        level: 'error',
        level_extracted: 'info',
        trace_id: '7f',
        x: '1',
      });
      assert.deepEqual(labelsAfter('| label_format t=trace_id | drop level', '', {}, metadata), { t: '7f' });
    },
  },
];
