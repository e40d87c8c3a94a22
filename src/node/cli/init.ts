import { join, resolve } from 'node:path';
import type { Command } from 'commander';
import { LogvineError } from '../../store/index.ts';
import { commentedFile, readSecrets } from '../config/index.ts';
import type { Io } from './io.ts';

const CONFIG_NAME = 'logvine.yaml';
const SECRET_NAME = 'logvine.secret';
const SECRET_BYTES = 32;

export function registerInit(program: Command, io: Io): void {
  program
    .command('init')
    .description(`write a commented ${CONFIG_NAME} and a fresh mesh secret; nothing is overwritten`)
    .argument('[dir]', 'where to', '.')
    .action(async (dir: string) => {
      const directory = resolve(io.workingDirectory, dir);
      const configPath = join(directory, CONFIG_NAME);
      const secretPath = join(directory, SECRET_NAME);
      if (await io.disk.stat(configPath)) {
        throw new LogvineError('LV_CONFIG_INVALID', `${configPath} is there already: nothing was written`);
      }
      await io.disk.makeDirectory(directory);
      if (await io.disk.stat(secretPath)) {
        // The secret of a mesh that this node is to join, put there beforehand.
        await readSecrets(secretPath, io.disk);
        await io.write(`kept  ${secretPath}\n`);
      } else {
        await io.disk.replaceFile(secretPath, secretText(io.random.bytes(SECRET_BYTES)), 0o600);
        await io.write(`wrote ${secretPath}: copy it to every node of the mesh, and keep it private\n`);
      }
      await io.disk.replaceFile(configPath, Buffer.from(commentedFile({ secretFile: SECRET_NAME })), 0o644);
      await io.write(`wrote ${configPath}\nstart with: ${commandName(io)} run --config ${configPath}\n`);
    });
}

/** As this command was called, as far as npm tells: in a checkout there is only `npx logvine`. */
function commandName(io: Io): string {
  return io.env.npm_command === 'exec' ? 'npx logvine' : 'logvine';
}

function secretText(secret: Buffer): Buffer {
  return Buffer.from(
    `# Mesh secret: whoever has it can join. To change it, add the new one as a second line on every node and restart\n` +
      `# them, put it first everywhere and restart, then take the old one out.\n${secret.toString('hex')}\n`,
  );
}
