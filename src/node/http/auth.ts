import { createHash, timingSafeEqual } from 'node:crypto';
import type { IncomingHttpHeaders } from 'node:http';
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
  if (!hasAny(tokens)) return;
  const given = bearerOf(header ?? '');
  // Every token is compared, in constant time, so that the time taken says nothing.
  const hits = (['push', 'query', 'admin'] as const).filter((one) => holds(tokens[one], given));
  if (given !== '' && (hits.includes(role) || hits.includes('admin'))) return;
  if (given !== '' && hits.length > 0) {
    throw new Forbidden('LV_UNAUTHORIZED', `this needs ${NAMES[role]}, and the one that was sent is another`);
  }
  throw new LogvineError('LV_UNAUTHORIZED', `this needs ${NAMES[role]}: Authorization: Bearer TOKEN`);
}

/**
 * Without tokens, whoever reaches this node may do everything; on loopback that is also every web page that a browser here has
 * open. So a page of another origin is refused, and so is a name that stands for this host only since somebody's DNS says so
 * (rebinding). Programs send no Origin, and reach a loopback node by its address or as localhost. Throws LV_UNAUTHORIZED.
 */
export function refuseForeign(tokens: Tokens, { origin, host = '' }: IncomingHttpHeaders): void {
  if (hasAny(tokens)) return;
  const name = host.replace(/:\d+$/, '');
  const isHere = /^(localhost|[\d.]+|\[[\da-f:.]+\])?$/i.test(name);
  if (!isHere) {
    const how = 'reach it by its address or as localhost, or give it tokens (tokenFiles)';
    throw new Forbidden(
      'LV_UNAUTHORIZED',
      `a node without tokens does not answer as ${name.slice(0, 100)}: ${how}`,
    );
  }
  if (origin !== undefined && origin.replace(/^https?:\/\//, '') !== host)
    throw new Forbidden('LV_UNAUTHORIZED', 'a node without tokens does not answer pages of another origin');
}

const hasAny = ({ push, query, admin }: Tokens): boolean => push.length + query.length + admin.length > 0;

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
