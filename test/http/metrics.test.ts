import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { metricsText } from '../../src/node/http/metrics.ts';
import { healthy, troubled } from './status-fixtures.ts';

interface Parsed {
  readonly types: Map<string, string>;
  readonly samples: Map<string, number>;
}

/** Reads the text format 0.0.4 as strictly as Prometheus does; throws on any line that it would refuse. */
function parse(text: string): Parsed {
  assert.ok(text.endsWith('\n'), 'the last line ends, too');
  const types = new Map<string, string>();
  const samples = new Map<string, number>();
  let helped = '';
  for (const line of text.slice(0, -1).split('\n')) {
    const help = /^# HELP ([a-z_]+) \S.*$/.exec(line);
    const type = /^# TYPE ([a-z_]+) (gauge|counter)$/.exec(line);
    if (help) {
      assert.ok(!types.has(help[1]), `${help[1]} comes once`);
      helped = help[1];
    } else if (type) {
      assert.equal(type[1], helped);
      types.set(type[1], type[2]);
    } else {
      const pair = String.raw`[a-z_]+="(?:[^"\\]|\\["\\n])*"`;
      const sample = new RegExp(`^([a-z_]+)(?:\\{${pair}(?:,${pair})*\\})? (\\S+)$`).exec(line);
      assert.ok(sample, `not a sample: ${line}`);
      assert.equal(sample[1], helped, 'a sample stands below its own family');
      const name = line.slice(0, line.lastIndexOf(' '));
      assert.ok(!samples.has(name), `${name} comes once`);
      const value = sample[2] === '+Inf' ? Infinity : Number(sample[2]);
      assert.ok(!Number.isNaN(value), `not a number: ${line}`);
      samples.set(name, value);
    }
  }
  return { types, samples };
}

describe('metrics', () => {
  test('every family has help and a type, and is named after the product', () => {
    const { types, samples } = parse(metricsText(healthy()));
    assert.ok(types.size > 25);
    for (const [name, type] of types) {
      assert.match(name, /^logvine_/);
      assert.equal(name.endsWith('_total'), type === 'counter', name);
    }
    const { peer, version } = healthy();
    assert.equal(samples.get(`logvine_info{peer="${peer}",version="${version}"}`), 1);
    assert.equal(samples.get('logvine_uptime_seconds'), 273_840);
    assert.equal(samples.get('logvine_store_entries'), 12_482_113);
    assert.equal(samples.get('logvine_ingest_bytes_total'), 1790 * 1024 * 1024);
    assert.equal(samples.get('logvine_share_ratio'), 0.341);
    assert.equal(samples.get('logvine_sealed_seq'), 1204);
    assert.equal(samples.get('logvine_clock_skew_seconds_max'), 0.003);
  });

  test('debt, members by state, inputs and problems are told', () => {
    const { samples } = parse(metricsText(troubled()));
    assert.equal(samples.get('logvine_replication_batches_below_k'), 312);
    assert.equal(samples.get('logvine_members{state="alive"}'), 1);
    assert.equal(samples.get('logvine_members{state="suspect"}'), 1);
    assert.equal(samples.get('logvine_members{state="dead"}'), 1);
    assert.equal(samples.get('logvine_members{state="gone"}'), 0);
    assert.equal(samples.get('logvine_inputs'), 5);
    assert.equal(samples.get('logvine_inputs_with_problem'), 1);
    assert.equal(samples.get('logvine_input_gap_bytes'), 81_233);
    assert.equal(samples.get('logvine_problems{code="LV_INPUT_UNREADABLE"}'), 1);
  });

  test('without problems each kind is 0', () => {
    const { samples } = parse(metricsText(healthy()));
    const problems = [...samples].filter(([name]) => name.startsWith('logvine_problems{'));
    assert.ok(problems.some(([name]) => name.includes('LV_PEER_UNREACHABLE')));
    for (const [name, value] of problems) assert.equal(value, 0, name);
  });

  test('the watermark is of this epoch, and zero before the first batch', () => {
    const status = { ...healthy(), epoch: 5 };
    assert.equal(parse(metricsText(status)).samples.get('logvine_sealed_seq'), 0);
  });

  test('two problems of one code are one sample', () => {
    const problem = { code: 'LV_INPUT_UNREADABLE', message: 'a file' };
    const { samples } = parse(metricsText({ ...healthy(), problems: [problem, problem] }));
    assert.equal(samples.get('logvine_problems{code="LV_INPUT_UNREADABLE"}'), 2);
  });

  test('label values are escaped, whatever they are', () => {
    const text = metricsText({ ...healthy(), version: 'a"b\\c\nd' });
    assert.ok(text.includes(String.raw`version="a\"b\\c\nd"`));
    fc.assert(
      fc.property(fc.string({ unit: 'binary' }), (version) => {
        const line = metricsText({ ...healthy(), version })
          .split('\n# ')[1]
          .split('\n')
          .slice(1)
          .join('\n');
        const escaped = /version="(.*)"\} 1$/s.exec(line);
        assert.ok(escaped && !escaped[1].includes('\n'));
        const back = escaped[1].replaceAll(/\\(.)/g, (_, sign: string) => (sign === 'n' ? '\n' : sign));
        assert.equal(back, version);
      }),
    );
  });

  test('the number of series does not grow with members or files', () => {
    const status = healthy();
    const many = {
      ...status,
      members: Array.from({ length: 500 }, (_, index) => ({ ...status.members[1], peer: `peer-${index}` })),
      inputs: Array.from({ length: 500 }, (_, index) => ({ ...status.inputs[0], source: `file-${index}` })),
    };
    assert.equal(parse(metricsText(many)).samples.size, parse(metricsText(status)).samples.size);
  });

  test('numbers that are not finite are written as Prometheus reads them', () => {
    const status = healthy();
    const text = metricsText({ ...status, uptimeSeconds: Infinity });
    assert.equal(parse(text).samples.get('logvine_uptime_seconds'), Infinity);
  });
});
