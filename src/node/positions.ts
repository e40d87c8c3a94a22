import type { Store } from '../store/index.ts';

/** Whether this peer sealed anything in an earlier run. */
export function hasEarlierRuns(store: Store): boolean {
  for (const { id } of store.segments())
    if (id.origin === store.origin && id.epoch < store.epoch) return true;
  return false;
}

/**
 * Where each source of this peer stands (I3): as the store read it from its own files, or behind that, where batches of
 * earlier runs were fetched back from other peers since. To be made after that, and before anything is read.
 */
export function positionsOf(store: Store): (source: string) => string | undefined {
  const own = [...store.segments()]
    .filter(({ id }) => id.origin === store.origin)
    .sort((a, b) => a.id.epoch - b.id.epoch || a.id.index - b.id.index);
  const newest = new Map<string, string>();
  for (const { record } of own) {
    for (const [source, { position }] of record.positions) newest.set(source, position);
  }
  const fetched = new Map<string, { stale: string | undefined; position: string }>();
  for (const [source, position] of newest) {
    const stale = store.position(source);
    if (stale !== position) fetched.set(source, { stale, position });
  }
  return (source) => {
    const position = store.position(source);
    const later = fetched.get(source);
    return later && later.stale === position ? later.position : position;
  };
}
