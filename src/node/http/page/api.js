/** Talks to this peer's API. Paths are relative, so that the page also works behind a proxy that adds a prefix. */

const TOKEN_KEY = 'logvine-token';

/** The peer wants a token, or another one than it got. */
export class NeedsToken extends Error {}

/**
 * @param {string} token
 * @returns {boolean} Whether it could be one.
 */
export function keepToken(token) {
  if (!/^[\x21-\x7e]+$/.test(token)) return false;
  sessionStorage.setItem(TOKEN_KEY, token);
  return true;
}

/**
 * @param {string} path
 * @param {AbortSignal} signal
 * @returns {Promise<unknown>} The JSON that the peer answered. Rejects with NeedsToken, or with an Error whose message is for people.
 */
export async function ask(path, signal) {
  const token = sessionStorage.getItem(TOKEN_KEY);
  /** @type {Record<string, string>} */
  const headers = token ? { authorization: `Bearer ${token}` } : {};
  const response = await fetch(path, { signal, headers, cache: 'no-store' });
  if (response.status === 403) throw new NeedsToken('That token may not query here.');
  if (response.status === 401) throw new NeedsToken(token ? 'That token is not accepted here.' : '');
  const body = await response.json().catch(() => undefined);
  if (response.ok && body !== undefined) return body;
  throw new Error(body?.message ?? body?.error ?? `The peer answered with status ${response.status}.`);
}
