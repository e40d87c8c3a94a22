import { Coordinator, Dropper, encodeMessage } from '../../src/gossip/index.ts';
import { Segment } from '../../src/store/index.ts';

/**
 * Faults put into the product on purpose, to see that the checkers find them: each patches a prototype of it, in this
 * process, and returns how to take that back.
 */
export const BREAKS = {
  /** An owner confirms what it has only handed to the page cache. */
  'ack-before-fsync': () => {
    const { append } = Segment.prototype;
    Segment.prototype.append = function (frame) {
      void append.call(this, frame).catch(() => undefined);
      return Promise.resolve(true);
    };
    return () => (Segment.prototype.append = append);
  },
  /** A peer that is asked whether it keeps a copy, so that another may drop its own, says yes without a look. */
  'drop-early': () => {
    const { serveConfirm } = Dropper.prototype;
    Dropper.prototype.serveConfirm = async (channel) => {
      await channel.receive();
      await channel.send(encodeMessage({ held: true }));
      await channel.close();
    };
    return () => (Dropper.prototype.serveConfirm = serveConfirm);
  },
  /** A receipt says nothing of what only departed peers had. */
  'forget-departed': () => {
    const { entries } = Coordinator.prototype;
    Coordinator.prototype.entries = async function* (query) {
      const receipt = yield* entries.call(this, query);
      const departed = new Set(receipt.silent.map(({ peer }) => peer));
      receipt.silent = [];
      receipt.missing = receipt.missing.filter(({ origin }) => !departed.has(origin));
      receipt.complete = receipt.missing.length === 0;
      return receipt;
    };
    return () => (Coordinator.prototype.entries = entries);
  },
} satisfies Record<string, () => () => unknown>;

export type BreakName = keyof typeof BREAKS;

export const isBreak = (name: string): name is BreakName => Object.hasOwn(BREAKS, name);
