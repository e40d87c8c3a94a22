import { createHash, timingSafeEqual } from 'node:crypto';
import { LogvineError } from '../../store/index.ts';

export type Role = 'push' | 'query' | 'admin';

/** Tokens by role; when all are empty, every request is let in (a loopback node without tokens). */
export type Tokens = Readonly<Record<Role, readonly string[]>>;

const NAMES: Readonly<Record<Role, string>> = {
  push: 'a push token',
  query: 'a query token',
  admin: 'an admin token',
};

/** The token is known and may not do this: another status than that of a token that is missing or wrong. */
class Forbidden extends LogvineError {
  readonly statusCode = 403;
}

/** Throws LV_UNAUTHORIZED unless the Authorization header carries a token of `role` or of admin. */
export function authorize(tokens: Tokens, role: Role, header: string | undefined): void {
  if (tokens.push.length + tokens.query.length + tokens.admin.length === 0) return;
  const given = bearerOf(header ?? '');
  // Every token is compared, in constant time, so that the time taken says nothing.
  const hits = (['push', 'query', 'admin'] as const).filter((one) => holds(tokens[one], given));
  if (given !== '' && (hits.includes(role) || hits.includes('admin'))) return;
  if (given !== '' && hits.length > 0) {
    throw new Forbidden('LV_UNAUTHORIZED', `this needs ${NAMES[role]}, and the one that was sent is another`);
  }
  throw new LogvineError('LV_UNAUTHORIZED', `this needs ${NAMES[role]}: Authorization: Bearer TOKEN`);
}

function holds(tokens: readonly string[], given: string): boolean {
  return tokens.filter((token) => timingSafeEqual(digest(token), digest(given))).length > 0;
}

/** Bearer tokens, and the password of Basic, which is what Grafana and promtail know. */
function bearerOf(header: string): string {
  const bearer = /^Bearer +(\S+)$/i.exec(header);
  if (bearer) return bearer[1];
  const basic = /^Basic +(\S+)$/i.exec(header);
  if (!basic) return '';
  const decoded = Buffer.from(basic[1], 'base64').toString('utf8');
  return decoded.slice(decoded.indexOf(':') + 1);
}

function digest(text: string): Buffer {
  return createHash('sha256').update(text).digest();
}
