/** `1 batch`, `1,204 batches`: a number and what it counts. */
export function plural(count: number, one: string, many = `${one}s`): string {
  return `${count.toLocaleString('en-US')} ${count === 1 ? one : many}`;
}

/** `plural(count, 'batch', 'batches')` is what most sentences need. */
export function batches(count: number): string {
  return plural(count, 'batch', 'batches');
}

export function isOrAre(count: number): string {
  return count === 1 ? 'is' : 'are';
}

/** The end of a peer id: all Ed25519 ids begin alike. */
export function shortPeer(peer: string): string {
  return `…${peer.slice(-6)}`;
}
