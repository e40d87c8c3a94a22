import { LogvineError } from '../../store/errors.ts';
import { LIMITS } from '../../store/limits.ts';
import type { UnfinishedBytes } from './frames.ts';
import type { PeerId } from './index.ts';

/**
 * Bytes of messages that have begun and not ended, over all channels of a transport. A peer may open many channels and leave
 * the most that a message may have on each: it must not fill this peer's memory, nor take the room of the others.
 */
export class UnfinishedMessages {
  readonly #byPeer = new Map<PeerId, number>();
  #total = 0;

  get total(): number {
    return this.#total;
  }

  of(peer: PeerId): UnfinishedBytes {
    return { take: (bytes) => this.#take(peer, bytes), give: (bytes) => this.#add(peer, -bytes) };
  }

  #take(peer: PeerId, bytes: number): void {
    const ofPeer = (this.#byPeer.get(peer) ?? 0) + bytes;
    if (ofPeer > LIMITS.unfinishedBytesPerPeerMax || this.#total + bytes > LIMITS.unfinishedBytesMax) {
      throw new LogvineError('LV_OVERLOADED', `${peer} has too many messages under way that it does not end`);
    }
    this.#add(peer, bytes);
  }

  #add(peer: PeerId, bytes: number): void {
    const ofPeer = (this.#byPeer.get(peer) ?? 0) + bytes;
    if (ofPeer > 0) this.#byPeer.set(peer, ofPeer);
    else this.#byPeer.delete(peer);
    this.#total += bytes;
  }
}
