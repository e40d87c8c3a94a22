import type { FastifyReply, FastifyRequest } from 'fastify';
import { lineOf, type EntryRun, type Labels } from '../../store/index.ts';
import {
  compilePipeline,
  ERROR_DETAILS_LABEL,
  ERROR_LABEL,
  parseBytes,
  parseLogQuery,
  type Pipeline,
} from '../../store/logql/index.ts';
import { parseDuration } from '../config/index.ts';
import { inquiryOf, withReceipt } from './loki-labels.ts';
import { parseStep, type LokiContext, type Route } from './loki-query.ts';

const LINES_DEFAULT = 1000;
const LINES_MAX = 5000;
const FIELDS_DEFAULT = 1000;
const FIELDS_MAX = 5000;
const VALUES_OF_A_FIELD_MAX = 10_000;
const DEPTH_MAX = 16;
const LINE_BYTES_MAX = 64 * 1024;

/** What the newest lines of a query carry: fields of JSON and logfmt, structured metadata; and patterns. */
export function addFieldRoutes(route: Route, context: LokiContext): void {
  const { coordinator, admission } = context;

  /** Of one field, only the values are limited. */
  async function fieldsOf(request: FastifyRequest, reply: FastifyReply, name?: string) {
    const { parameters, range, signal } = inquiryOf(context, request, reply);
    const limit = parameters.limit(FIELDS_DEFAULT, FIELDS_MAX) || FIELDS_DEFAULT;
    const lineLimit = Math.min(LINES_MAX, parameters.count('line_limit', 0) || LINES_DEFAULT);
    const query = parameters.query();
    const fields = new FieldSet(name === undefined ? limit : FIELDS_MAX);
    const receipt = await admission.run(signal, async () => {
      const runs = coordinator.entries({ query, range, descending: true, limit: lineLimit, signal });
      for (;;) {
        const step = await runs.next();
        if (step.done) return step.value;
        fields.add(step.value);
      }
    });
    return { fields, limit, receipt };
  }

  route('detected_fields', async (request, reply) => {
    const { fields, limit, receipt } = await fieldsOf(request, reply);
    return withReceipt({ fields: fields.all(), limit }, receipt);
  });

  route('detected_field/:name/values', async (request, reply) => {
    const { name } = request.params as { name: string };
    const { fields, limit, receipt } = await fieldsOf(request, reply, name);
    return withReceipt({ values: fields.valuesOf(name).slice(0, limit), limit }, receipt);
  });

  route('patterns', async (request, reply) => {
    const { parameters, range, signal } = inquiryOf(context, request, reply);
    const query = parameters.query();
    const step = parameters.get('step');
    const spanMs = range.to.ms - range.from.ms;
    const stepMs = step
      ? Math.max(1, Number(parseStep(step, 'step') / 1_000_000n))
      : Math.max(10_000, Math.ceil(spanMs / 250 / 10_000) * 10_000);
    const { patterns, receipt } = await admission.run(signal, () =>
      coordinator.patterns({ query, range, stepMs, signal }),
    );
    const data = patterns.map(({ pattern, level, samples }) => ({
      pattern,
      level: level || 'unknown',
      samples: samples.map(([ms, lines]) => [Math.floor(ms / 1000), lines]),
    }));
    return withReceipt({ status: 'success', data }, receipt);
  });
}

type Parser = 'json' | 'logfmt';

interface Field {
  /** Undefined: structured metadata alone. */
  parsers: Set<Parser> | undefined;
  readonly jsonPath: readonly string[] | undefined;
  readonly values: Set<string>;
  type: FieldType | undefined;
}

type FieldType = 'boolean' | 'int' | 'float' | 'duration' | 'bytes' | 'string';

class FieldSet {
  readonly #max: number;
  readonly #fields = new Map<string, Field>();
  readonly #logfmt: Pipeline = compilePipeline(parseLogQuery('{a="a"} | logfmt').stages, { nowMs: () => 0 });

  constructor(max: number) {
    this.#max = max;
  }

  add(run: EntryRun): void {
    for (let row = 0; row < run.count; row++) {
      const labels = run.streams[run.streamIds[row]];
      const parsedNames = run.parsedNames?.[run.streamIds[row]] ?? [];
      for (const [name, value] of Object.entries(run.metadata[run.metadataIds[row]])) {
        this.#see(name, value, undefined, undefined);
      }
      const line = lineOf(run, row);
      if (line.length > LINE_BYTES_MAX) continue;
      this.#addLine(
        Buffer.from(line.buffer, line.byteOffset, line.byteLength),
        labels,
        parsedNames,
        run.ms[row],
      );
    }
  }

  #addLine(line: Buffer, labels: Labels, parsedNames: readonly string[], ms: number): void {
    const object = line[0] === 0x7b ? objectOf(line) : undefined;
    if (object) {
      for (const [path, value] of leavesOf(object, [])) {
        const name = nameOf(path);
        if (name === '' || name === ERROR_LABEL || name === ERROR_DETAILS_LABEL) continue;
        const isLabel = Object.hasOwn(labels, name) && !parsedNames.includes(name);
        this.#see(isLabel ? `${name}_extracted` : name, value, 'json', path);
      }
      return;
    }
    this.#logfmt.process(line, NO_LABELS, NO_LABELS, ms, 0);
    const { parsed } = this.#logfmt.categories();
    // A line of words is none of logfmt's.
    if (Object.hasOwn(parsed, '__error__')) return;
    for (const [name, value] of Object.entries(parsed)) {
      const isLabel = Object.hasOwn(labels, name) && !parsedNames.includes(name);
      this.#see(isLabel ? `${name}_extracted` : name, value, 'logfmt', undefined);
    }
  }

  #see(
    name: string,
    value: string,
    parser: Parser | undefined,
    jsonPath: readonly string[] | undefined,
  ): void {
    let field = this.#fields.get(name);
    if (!field) {
      if (this.#fields.size >= this.#max) return;
      const parsers = parser && new Set<Parser>();
      this.#fields.set(name, (field = { parsers, jsonPath, values: new Set(), type: undefined }));
    }
    if (parser) (field.parsers ??= new Set()).add(parser);
    if (field.values.size < VALUES_OF_A_FIELD_MAX) field.values.add(value);
    const type = typeOf(value);
    // Values of several types are text; whole numbers are numbers, too.
    if (field.type === undefined) field.type = type;
    else if (field.type !== type) field.type = isNumber(field.type) && isNumber(type) ? 'float' : 'string';
  }

  all(): object[] {
    return [...this.#fields].map(([label, { parsers, jsonPath, values, type }]) => ({
      label,
      type: type ?? 'string',
      cardinality: values.size,
      parsers: parsers ? [...parsers] : null,
      ...(jsonPath ? { jsonPath } : {}),
    }));
  }

  valuesOf(name: string): string[] {
    return [...(this.#fields.get(name)?.values ?? [])].sort();
  }
}

const NO_LABELS: Labels = {};

function isNumber(type: FieldType): boolean {
  return type === 'int' || type === 'float';
}

function typeOf(value: string): FieldType {
  if (/^[+-]?\d+$/.test(value)) return 'int';
  if (/^[+-]?(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?$/i.test(value)) return 'float';
  if (value === 'true' || value === 'false') return 'boolean';
  if (/^(?:\d+(?:\.\d+)?(?:ns|us|µs|ms|s|m|h))+$/.test(value) || parseDuration(value) !== undefined)
    return 'duration';
  if (/^\d/.test(value) && isBytes(value)) return 'bytes';
  return 'string';
}

function isBytes(value: string): boolean {
  try {
    parseBytes(value);
    return true;
  } catch {
    return false;
  }
}

function objectOf(line: Buffer): Record<string, unknown> | undefined {
  try {
    const value: unknown = JSON.parse(line.toString());
    return typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : undefined;
  } catch {
    return undefined;
  }
}

/** Values by path, as the parser `json` takes them: objects are gone into, arrays left out. */
function* leavesOf(object: Record<string, unknown>, path: string[]): Generator<[string[], string]> {
  for (const [name, value] of Object.entries(object)) {
    const here = [...path, name];
    if (typeof value === 'string') yield [here, value];
    else if (typeof value === 'number' || typeof value === 'boolean') yield [here, String(value)];
    else if (
      typeof value === 'object' &&
      value !== null &&
      !Array.isArray(value) &&
      here.length < DEPTH_MAX
    ) {
      yield* leavesOf(value as Record<string, unknown>, here);
    }
  }
}

function nameOf(path: readonly string[]): string {
  const name = path.map((part) => part.replaceAll(/[^a-zA-Z0-9_]/g, '_')).join('_');
  return /^\d/.test(name) ? `_${name}` : name;
}
