import type { FastifyRequest } from 'fastify';
import { LIMITS, LogvineError } from '../../store/index.ts';

/** Query parameters of a GET, or the form of a POST; the last value of each, and all values by name. */
export class Parameters {
  readonly #values: URLSearchParams;

  constructor(request: FastifyRequest) {
    const at = request.url.indexOf('?');
    this.#values = new URLSearchParams(at < 0 ? '' : request.url.slice(at + 1));
    if (request.method === 'POST' && Buffer.isBuffer(request.body)) {
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

  /** A count; `fallback` where it isn't given. */
  count(name: string, fallback: number): number {
    const text = this.get(name);
    if (text === undefined || text === '') return fallback;
    const count = Number(text);
    if (!Number.isInteger(count) || count < 0)
      throw new LogvineError('LV_QUERY_INVALID', `${name} ${text.slice(0, 100)} is not a count`);
    return count;
  }

  limit(fallback: number, max: number): number {
    const limit = this.count('limit', fallback);
    if (limit > max) {
      throw new LogvineError(
        'LV_QUERY_TOO_LARGE',
        `max entries limit per query exceeded, limit > max_entries_limit (${limit} > ${max})`,
      );
    }
    return limit;
  }

  descending(): boolean {
    const direction = (this.get('direction') || 'backward').toLowerCase();
    if (direction !== 'forward' && direction !== 'backward') {
      throw new LogvineError(
        'LV_QUERY_INVALID',
        `direction ${direction.slice(0, 100)} is neither forward nor backward`,
      );
    }
    return direction === 'backward';
  }
}
