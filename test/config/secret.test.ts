import assert from 'node:assert/strict';
import { chmod, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { readSecrets, readTls, readTokens } from '../../src/node/config/index.ts';
import { LogvineError, systemDisk } from '../../src/store/index.ts';

let directory = '';
before(async () => {
  directory = await mkdtemp(join(tmpdir(), 'logvine-secret-'));
});
after(() => rm(directory, { recursive: true }));

async function file(text: string, mode = 0o600): Promise<string> {
  const path = join(directory, 'file');
  await writeFile(path, text);
  await chmod(path, mode);
  return path;
}

const FIRST = Buffer.from(Array.from({ length: 32 }, (_, i) => 255 - i));
const SECOND = Buffer.alloc(32, 7);

describe('secrets', () => {
  test('hex, base64, and two during a change', async () => {
    const hex = FIRST.toString('hex');
    assert.deepEqual(await readSecrets(await file(hex), systemDisk), [FIRST]);
    assert.deepEqual(await readSecrets(await file(hex.toUpperCase(), 0o400), systemDisk), [FIRST]);
    const text = `# new\r\n${SECOND.toString('base64')}\r\n\n${FIRST.toString('base64url')}\n`;
    assert.deepEqual(await readSecrets(await file(text), systemDisk), [SECOND, FIRST]);
  });

  const bad: [string, string, RegExp][] = [
    ['a passphrase', 'correct horse battery staple', /passphrase/],
    ['a passphrase of 43 characters', 'correcthorsebatterystaple-correcthorsebatte', /passphrase/],
    ['too few digits', 'ab'.repeat(31), /:1: it is not 32 random bytes/],
    ['too many digits', 'ab'.repeat(33), /not 32 random bytes/],
    ['nothing', '\n# none\n', /holds no secret/],
    ['three', `${'ab'.repeat(32)}\n`.repeat(3), /holds 3 secrets/],
  ];
  for (const [name, text, message] of bad) {
    test(`${name} is refused, and not repeated in the message`, async () => {
      const path = await file(text);
      await assert.rejects(readSecrets(path, systemDisk), (error: unknown) => {
        assert.ok(error instanceof LogvineError, String(error));
        assert.equal(error.code, 'LV_SECRET_INVALID');
        assert.match(error.message, message);
        assert.ok(text.startsWith('\n') || !error.message.includes(text.split('\n', 1)[0]));
        return true;
      });
    });
  }

  test('a file that others may read is refused, and a missing one', async () => {
    for (const mode of [0o640, 0o604, 0o660]) {
      const path = await file('ab'.repeat(32), mode);
      await assert.rejects(readSecrets(path, systemDisk), /others may read it .*chmod 600/);
    }
    await assert.rejects(readSecrets(join(directory, 'gone'), systemDisk), /there is no such file/);
    await assert.rejects(readSecrets(directory, systemDisk), /cannot be read/);
  });
});

describe('tokens', () => {
  test('one a line', async () => {
    const tokens = ['a'.repeat(16), 'b-_./~'.repeat(4)];
    assert.deepEqual(await readTokens(await file(`${tokens.join('\n')}\n`), systemDisk), tokens);
  });

  test('short, spaced and missing ones are refused', async () => {
    for (const text of ['short', 'with a space in the middle', '', 'ü'.repeat(20)]) {
      await assert.rejects(readTokens(await file(text), systemDisk), { code: 'LV_CONFIG_INVALID' });
    }
  });
});

test('a certificate that is not there, or is none, is refused by the name of its key', async () => {
  const [garbage, gone] = [await file('-----BEGIN NOTHING-----'), join(directory, 'gone')];
  const refused = (certFile: string, keyFile: string, message: RegExp) =>
    assert.rejects(readTls({ certFile, keyFile }, systemDisk), { code: 'LV_CONFIG_INVALID', message });
  await refused(gone, garbage, /tls\.certFile.*gone/);
  await refused(garbage, gone, /tls\.keyFile.*gone/);
  await refused(garbage, garbage, /no certificate and its key/);
});
