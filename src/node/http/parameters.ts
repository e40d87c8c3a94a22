import type { FastifyRequest } from 'fastify';
import { LIMITS, LogvineError } from '../../store/index.ts';

/** Several of the longest queries, every byte of them escaped. */
const FORM_BYTES_MAX = 8 * LIMITS.queryLengthMax;

/** Query parameters of a GET, or the form of a POST; the last value of each, and all values by name. */
export class Parameters {
  readonly #values: URLSearchParams;

  constructor(request: FastifyRequest) {
    const at = request.url.indexOf('?');
    this.#values = new URLSearchParams(at < 0 ? '' : request.url.slice(at + 1));
    if (request.method === 'POST' && Buffer.isBuffer(request.body)) {
      // A form may be as large as a push, and every `&` in it would become an object.
      if (request.body.length > FORM_BYTES_MAX) {
        throw new LogvineError('LV_QUERY_INVALID', `a form of more than ${FORM_BYTES_MAX} bytes`);
      }
      for (const [name, value] of new URLSearchParams(request.body.toString('utf8')))
        this.#values.append(name, value);
    }
  }

  get(name: string): string | undefined {
    return this.#values.get(name) ?? undefined;
  }

  all(name: string): string[] {
    return this.#values.getAll(name);
  }

  range(): { start: string | undefined; end: string | undefined; since: string | undefined } {
    return { start: this.get('start'), end: this.get('end'), since: this.get('since') };
  }

  query(): string {
    const query = this.get('query') ?? '';
    if (query.length > LIMITS.queryLengthMax) {
      throw new LogvineError(
        'LV_QUERY_INVALID',
        `the query is longer than ${LIMITS.queryLengthMax} characters`,
      );
    }
    return query;
  }

  /** Loki's default is 100. */
  limit(fallback: number, max: number): number {
    const text = this.get('limit');
    if (text === undefined || text === '') return fallback;
    const limit = Number(text);
    if (!Number.isInteger(limit) || limit < 0)
      throw new LogvineError('LV_QUERY_INVALID', `limit ${text.slice(0, 100)} is not a count`);
    if (limit > max) {
      throw new LogvineError(
        'LV_QUERY_TOO_LARGE',
        `max entries limit per query exceeded, limit > max_entries_limit (${limit} > ${max})`,
      );
    }
    return limit;
  }

  descending(): boolean {
    const direction = (this.get('direction') ?? 'backward').toLowerCase();
    if (direction !== 'forward' && direction !== 'backward') {
      throw new LogvineError(
        'LV_QUERY_INVALID',
        `direction ${direction.slice(0, 100)} is neither forward nor backward`,
      );
    }
    return direction === 'backward';
  }
}
