import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { loadConfig } from '../../src/node/config/index.ts';
import { startNode } from '../../src/node/node.ts';
import { systemDisk } from '../../src/store/index.ts';

test('a node tells the addresses that it is told to announce, and no others', async (context) => {
  const directory = mkdtempSync(join(tmpdir(), 'logvine-announce-'));
  const { config } = await loadConfig({
    flags: { data: directory, listen: '127.0.0.1:0', http: '127.0.0.1:0' },
    env: { LOGVINE_ANNOUNCE: 'logs.example:7421', LOGVINE_LOG_LEVEL: 'silent', LOGVINE_WORKERS: '1' },
    workingDirectory: directory,
    disk: systemDisk,
  });
  const node = await startNode(config);
  context.after(async () => {
    await node.close();
    rmSync(directory, { recursive: true, force: true });
  });
  assert.equal(node.ready.meshAddress, `/dns/logs.example/tcp/7421/p2p/${node.ready.peer}`);
});
