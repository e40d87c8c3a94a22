import { createHash, timingSafeEqual } from 'node:crypto';
import { LogvineError } from '../../store/index.ts';

export type Role = 'push' | 'query' | 'admin';

/** Tokens by role; when all are empty, every request is let in (a loopback node without tokens). */
export type Tokens = Readonly<Record<Role, readonly string[]>>;

/** Throws LV_UNAUTHORIZED unless the Authorization header carries a token of `role` or of admin. */
export function authorize(tokens: Tokens, role: Role, header: string | undefined): void {
  if (tokens.push.length + tokens.query.length + tokens.admin.length === 0) return;
  const given = bearerOf(header ?? '');
  const allowed = [...tokens[role], ...tokens.admin];
  // Every token is compared, in constant time, so that the time taken says nothing.
  const hits = allowed.filter((token) => timingSafeEqual(digest(token), digest(given)));
  if (given === '' || hits.length === 0) {
    throw new LogvineError('LV_UNAUTHORIZED', `this needs a ${role} token: Authorization: Bearer TOKEN`);
  }
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
