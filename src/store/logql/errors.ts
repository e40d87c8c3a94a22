import { LogvineError } from '../errors.ts';

/** Where a token starts: line and column from 1, columns counted in characters. */
export interface Position {
  readonly line: number;
  readonly column: number;
}

/** A query that is not valid; the text follows Loki's, with the place where there is one. */
export function queryError(message: string, at?: Position, cause?: unknown): LogvineError {
  const place = at === undefined ? ' ' : ` at line ${at.line}, col ${at.column}`;
  return new LogvineError('LV_QUERY_INVALID', `parse error${place}: ${message}`, { cause });
}
