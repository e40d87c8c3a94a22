import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { loadConfig } from '../../src/node/config/index.ts';
import { authorize, type Tokens } from '../../src/node/http/auth.ts';
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
});
