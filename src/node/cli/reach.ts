import type { Io } from './io.ts';
import type { Endpoint } from './http.ts';
import { getStatus } from './node-status.ts';
import { visibleText } from './visible.ts';

const LOOK_EVERY_MS = 5_000;

/**
 * Says on stderr which peers are out of reach, now and whenever that changes: what follows the mesh has no receipt to say it.
 * The returned function ends that. A status that cannot be had changes nothing.
 */
export function watchReach(io: Io, endpoint: Endpoint): () => void {
  let known = '';
  let isOver = false;
  let cancel = (): void => undefined;
  const look = async (): Promise<void> => {
    const away = await awayText(endpoint).catch(() => known);
    if (isOver) return;
    if (away !== known) io.report(reachText(away));
    known = away;
    const timer = io.clock.after(LOOK_EVERY_MS, () => void look());
    cancel = () => timer.cancel();
  };
  void look();
  return () => {
    isOver = true;
    cancel();
  };
}

function reachText(away: string): string {
  if (away !== '') return `INCOMPLETE: ${away}; lines that only they have are not shown`;
  return 'all peers are within reach again; what they wrote meanwhile is found with logvine query';
}

/** In the words of the node; empty when nobody is away. */
async function awayText(endpoint: Endpoint): Promise<string> {
  const { status } = await getStatus(endpoint);
  const found = status.problems.filter(({ code }) => code === 'LV_PEER_UNREACHABLE');
  return visibleText(found.map(({ message }) => message).join('; '));
}
