import type { Cluster } from './cluster.ts';
import type { SimHost, SimProcess } from './host.ts';

const POLL_MS = 400;
const LINES_PER_BLOCK = 6;

/** The name under which a tailed file's position is kept. */
export const sourceOf = (file: string): string => `file:${file}`;

/** Reads a host's log file into a node from where the store says that earlier runs got to, as src/node/inputs does. */
export function tailFile(cluster: Cluster, host: SimHost, process: SimProcess): void {
  const core = process.core!;
  const { file } = host;
  const source = sourceOf(file);
  const labels = { job: 'sim', filename: file };
  let next = Number(core.store.position(source) ?? 0);
  process.resumedAt = next;
  process.acknowledgedTo = next;
  cluster.story.tell(host.name, `reads ${file} from line ${next}`);
  /** Looks again after a while; a file that nothing is written to need not be looked at. */
  const wait = () =>
    new Promise<void>((resolve) => {
      cluster.ledger.whenAppended(file, () => void process.clock.after(POLL_MS, resolve));
    });

  const readOn = async (): Promise<void> => {
    while (process.alive && process.ready && !process.leaving) {
      const lines = cluster.ledger.linesOf(file).slice(next, next + LINES_PER_BLOCK);
      if (lines.length === 0) {
        await wait();
        continue;
      }
      // As src/node/node.ts does it: a disk without room stops the reading before it stops the writing.
      await core.space.untilRoom();
      next += lines.length;
      await core.batcher.write({
        kind: 'raw',
        labels,
        bytes: Buffer.from(lines.map(({ text }) => `${text}\n`).join('')),
        readAtMs: process.clock.nowMs(),
        position: { source, position: String(next) },
      });
    }
  };
  readOn().catch((error: Error) => {
    if (process.alive) cluster.story.tell(host.name, `stops reading: ${error.message}`);
  });
}
