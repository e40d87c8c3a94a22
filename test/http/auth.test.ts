import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { connect } from 'node:net';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { loadConfig } from '../../src/node/config/index.ts';
import { authorize, refuseForeign, type Tokens } from '../../src/node/http/auth.ts';
import { startNode, type RunningNode } from '../../src/node/node.ts';
import { systemDisk } from '../../src/store/index.ts';

const TOKENS = { push: 'push-push-push-push', query: 'query-query-query', admin: 'admin-admin-admin' };
const GIVEN: Tokens = { push: [TOKENS.push], query: [TOKENS.query], admin: [TOKENS.admin] };

function refusal(role: keyof Tokens, header?: string): { message: string; statusCode?: number } | undefined {
  try {
    authorize(GIVEN, role, header);
    return undefined;
  } catch (error) {
    return error as { message: string; statusCode?: number };
  }
}

test('a token does what it is for, that of admin everything; as Bearer, or as the password of Basic', () => {
  assert.equal(refusal('push', `Bearer ${TOKENS.push}`), undefined);
  assert.equal(refusal('query', `Bearer ${TOKENS.query}`), undefined);
  for (const role of ['push', 'query', 'admin'] as const) {
    assert.equal(refusal(role, `Bearer ${TOKENS.admin}`), undefined);
  }
  const basic = Buffer.from(`me:${TOKENS.query}`).toString('base64');
  assert.equal(refusal('query', `Basic ${basic}`), undefined);
  authorize({ push: [], query: [], admin: [] }, 'admin', undefined);
});

test('what is missing or unknown says what is needed', () => {
  assert.equal(refusal('admin')?.message, 'this needs an admin token: Authorization: Bearer TOKEN');
  assert.equal(refusal('push')?.message, 'this needs a push token: Authorization: Bearer TOKEN');
  for (const header of [undefined, '', 'Bearer ', 'Bearer nonsense', 'Basic %%%']) {
    const refused = refusal('query', header);
    assert.ok(refused);
    assert.equal(refused.statusCode, undefined, String(header));
  }
});

describe('a node with tokens', () => {
  const directory = mkdtempSync(join(tmpdir(), 'logvine-auth-'));
  let node: RunningNode;
  before(async () => {
    const env: Record<string, string> = { LOGVINE_LOG_LEVEL: 'error' };
    for (const [role, token] of Object.entries(TOKENS)) {
      const path = join(directory, role);
      writeFileSync(path, `${token}\n`, { mode: 0o600 });
      env[`LOGVINE_TOKEN_FILES_${role.toUpperCase()}`] = path;
    }
    const flags = { data: join(directory, 'data'), listen: '127.0.0.1:0', http: '127.0.0.1:0' };
    const { config } = await loadConfig({
      ...{ configFile: undefined, flags, env, workingDirectory: directory, disk: systemDisk },
    });
    node = await startNode(config);
  });
  after(async () => {
    await node.close();
    rmSync(directory, { recursive: true, force: true });
  });

  const status = async (path: string, token?: string, method = 'GET'): Promise<number> => {
    const headers: Record<string, string> = token === undefined ? {} : { authorization: `Bearer ${token}` };
    const response = await fetch(`${node.ready.httpUrl}${path}`, { method, headers });
    await response.body?.cancel();
    return response.status;
  };

  test('401 without a valid token, 403 with one that may not do this', async () => {
    assert.equal(await status('/api/v1/status'), 401);
    assert.equal(await status('/api/v1/status', 'no-such-token-here'), 401);
    assert.equal(await status('/api/v1/status', TOKENS.push), 403);
    assert.equal(await status('/api/v1/status', TOKENS.query), 200);
    assert.equal(await status('/api/v1/status', TOKENS.admin), 200);
    assert.equal(await status('/api/v1/leave', TOKENS.query, 'POST'), 403);
    assert.equal(await status('/loki/api/v1/push', TOKENS.query, 'POST'), 403);
  });

  test('whatever a path is written like, what it leads to is asked for its token', async () => {
    const raw = (method: string, target: string, token?: string): Promise<number> => {
      const { hostname, port } = new URL(node.ready.httpUrl);
      return new Promise((resolve, reject) => {
        const socket = connect(Number(port), hostname);
        socket.on('error', reject);
        socket.once('data', (bytes: Buffer) => {
          socket.destroy();
          resolve(Number(bytes.toString('latin1').split(' ', 2)[1]));
        });
        const authorization = token === undefined ? '' : `authorization: Bearer ${token}\r\n`;
        socket.write(`${method} ${target} HTTP/1.1\r\nhost: x\r\n${authorization}content-length: 0\r\n\r\n`);
      });
    };
    const spellings = (path: string): string[] => [
      path,
      path.replace('a', '%61'),
      path.replace('/v1', '/%761'),
      `http://x${path}`,
      `${path}#a`,
      `${path}?a`,
      `${path};a`,
      `/.${path}`,
      `/${path}`,
      path.toUpperCase(),
    ];
    const refused = new Set([401, 403, 404, 400]);
    for (const target of spellings('/api/v1/leave')) {
      assert.ok(refused.has(await raw('POST', target)), target);
      assert.ok(refused.has(await raw('POST', target, TOKENS.query)), `${target} with a query token`);
    }
    for (const target of spellings('/loki/api/v1/push'))
      assert.ok(refused.has(await raw('POST', target, TOKENS.query)), `${target} with a query token`);
    for (const target of spellings('/api/v1/status'))
      assert.ok(refused.has(await raw('GET', target)), target);
    assert.equal(await raw('GET', '/ready'), 200);
    assert.equal(await raw('GET', '/'), 200);
  });
});

test('without tokens, pages of other origins and names that somebody made up are refused', () => {
  const none: Tokens = { push: [], query: [], admin: [] };
  const isRefused = (tokens: Tokens, headers: Record<string, string>): boolean => {
    try {
      refuseForeign(tokens, headers);
      return false;
    } catch (error) {
      assert.equal((error as { code?: string }).code, 'LV_UNAUTHORIZED');
      return true;
    }
  };
  for (const host of ['localhost:7420', '127.0.0.1:7420', '[::1]:7420', '127.0.0.1']) {
    assert.ok(!isRefused(none, { host }), host);
    assert.ok(!isRefused(none, { host, origin: `http://${host}` }), host);
    assert.ok(isRefused(none, { host, origin: 'https://evil.example' }), host);
    assert.ok(isRefused(none, { host, origin: 'null' }), host);
  }
  assert.ok(isRefused(none, { host: 'rebound.example:7420' }));
  assert.ok(isRefused(none, { host: '127.0.0.1.evil.example' }));
  // Who has a token was given it; a page of another origin has none.
  assert.ok(!isRefused(GIVEN, { host: 'logs.example', origin: 'https://elsewhere.example' }));
});
