import { z } from 'zod';
import { LIMITS, signedBy } from '../../store/index.ts';
import { parsePeerId } from '../transport/index.ts';
import { listOf } from '../wire.ts';
import { encodeMessage, parseMessage } from './inventory.ts';

/** The newest ones are kept; each names the end of the one before it in its first batch, too. */
export const EPOCHS_PER_ORIGIN_MAX = 1_000;
/** Signatures looked at for one message, or before one is sent: 65 µs each. What is left out comes with a later message. */
export const SIGNATURES_CHECKED_MAX = 500;
/** Marks in one full state: as many as fit what push-pull takes (4 MiB) at their longest, some 260 bytes each. */
export const PASSED_ON_MAX = 15_000;
const SIGNATURE_BYTES = 64;
const SIGNATURE_LENGTH = Math.ceil(SIGNATURE_BYTES / 3) * 4;

/** How far a run of an origin is, in its own word. */
export interface Progress {
  readonly origin: string;
  readonly epoch: number;
  readonly sealed: number;
  readonly durable: number;
}

export interface Watermark extends Progress {
  /** Base64 of the origin's Ed25519 signature over the rest: who passes it on cannot change it. */
  readonly signature: string;
}

const isCounter = (value: unknown): value is number =>
  Number.isSafeInteger(value) && (value as number) >= 0 && (value as number) <= LIMITS.counterMax;

/** By hand: thousands come with every full state, and some with every ping. */
const watermark = z.unknown().transform((value, context): Watermark => {
  const { origin, epoch, sealed, durable, signature } = (value ?? {}) as Partial<Watermark>;
  const isSound =
    typeof origin === 'string' &&
    origin.length <= 128 &&
    isCounter(epoch) &&
    isCounter(sealed) &&
    isCounter(durable) &&
    durable <= sealed &&
    typeof signature === 'string' &&
    signature.length === SIGNATURE_LENGTH;
  if (isSound) return { origin, epoch, sealed, durable, signature };
  context.addIssue({ code: 'custom', message: 'not a watermark' });
  return z.NEVER;
});

/** What known.json keeps. */
export const marksSaved = listOf(
  watermark.and(z.object({ heardMs: z.number().nonnegative() })),
  2 * LIMITS.membersMax * EPOCHS_PER_ORIGIN_MAX,
);

function signedText({ origin, epoch, sealed, durable }: Progress): Buffer {
  return Buffer.from(JSON.stringify(['logvine/watermark/1', origin, epoch, sealed, durable]));
}

export function signWatermark(progress: Progress, sign: (bytes: Uint8Array) => Uint8Array): Watermark {
  const { origin, epoch, sealed, durable } = progress;
  const signature = Buffer.from(sign(signedText(progress))).toString('base64');
  return { origin, epoch, sealed, durable, signature };
}

function isSigned(mark: Watermark): boolean {
  return signedBy(mark.origin, signedText(mark), Buffer.from(mark.signature, 'base64'));
}

/** What rides on membership's messages. */
const rider = z.object({
  marks: listOf(watermark, PASSED_ON_MAX),
  /** Which inventory the sender has now. */
  inventory: z.object({ instance: z.string().max(64), version: z.number().int().nonnegative() }),
  /** Its disk takes no copies of others. */
  isFull: z.boolean(),
});
export type Rider = z.infer<typeof rider>;

export function encodeRider({
  marks,
  ...rest
}: Omit<Rider, 'marks'> & { marks: readonly Watermark[] }): Buffer {
  const plain = marks.map(({ origin, epoch, sealed, durable, signature }) => ({
    origin,
    epoch,
    sealed,
    durable,
    signature,
  }));
  return encodeMessage({ marks: plain, ...rest });
}

/** Throws LV_PROTOCOL. */
export const parseRider = (bytes: Uint8Array): Rider => parseMessage(rider, bytes, 'rider');

/** `heardMs`: wall clock at which the origin itself was last heard to say it; 0 when it came through others. */
export type HeardMark = Watermark & { readonly heardMs: number };

type Known = Watermark & {
  heardMs: number;
  /** What came from its origin itself is believed at once: the signature is looked at only before it is passed on. */
  signed: 'unchecked' | 'good' | 'bad';
};

function newestIn(epochs: ReadonlyMap<number, Known> | undefined): number | undefined {
  return epochs && epochs.size > 0 ? Math.max(...epochs.keys()) : undefined;
}

/** Of two words of one origin about one run, the later: both numbers only rise. */
function isLater(mark: Progress, known: Progress): boolean {
  return mark.durable > known.durable || (mark.durable === known.durable && mark.sealed > known.sealed);
}

/**
 * The last word of every origin on each of its runs that this peer has heard of, also after the origin is gone. It only
 * rises, so that merging in any order, any number of times, gives the same; and only the origin can raise it.
 */
export class Watermarks {
  readonly #marks = new Map<string, Map<number, Known>>();
  readonly #isMember: (peer: string) => boolean;
  #changed = false;
  /** What was last chosen to be passed on, while nothing is news. */
  #passedOn: Watermark[] | undefined;

  /** `isMember`: of the mesh, dead ones included. Members have a place here whoever else is heard of. */
  constructor(isMember: (peer: string) => boolean = () => false) {
    this.#isMember = isMember;
  }

  /** Takes in what this peer says of itself. */
  raise(mark: Watermark, heardMs: number): void {
    this.#take(mark, heardMs, 'good');
  }

  /** Takes back what was saved; what is not signed, for a disk may rot, is left out. */
  restore(marks: readonly HeardMark[]): void {
    for (const { heardMs, ...mark } of marks) if (isSigned(mark)) this.#take(mark, heardMs, 'good');
  }

  /** Takes in what a peer says. Signatures are checked only where something is news, and not its sender's own. */
  merge(from: string, marks: readonly Watermark[], nowMs: number): void {
    let checksLeft = SIGNATURES_CHECKED_MAX;
    for (const mark of marks) {
      if (mark.origin === from) this.#take(mark, nowMs, 'unchecked');
      else if (checksLeft > 0 && this.#isNews(mark) && this.#hasRoom(mark)) {
        checksLeft--;
        if (isSigned(mark)) this.#take(mark, 0, 'good');
      }
    }
  }

  #isNews(mark: Watermark): boolean {
    const known = this.get(mark.origin, mark.epoch);
    if (known) return isLater(mark, known);
    // A run in which nothing was sealed promises nothing: only that it is the newest says something.
    return mark.sealed > 0 || mark.epoch > (newestIn(this.#marks.get(mark.origin)) ?? -1);
  }

  #take(mark: Watermark, heardMs: number, signed: Known['signed']): void {
    const { origin, epoch } = mark;
    const known = this.#marks.get(origin)?.get(epoch);
    if (known) known.heardMs = Math.max(known.heardMs, heardMs);
    if (!this.#isNews(mark) || !this.#hasRoom(mark)) return;
    let epochs = this.#marks.get(origin);
    if (!epochs) {
      this.#makeRoom();
      this.#marks.set(origin, (epochs = new Map()));
    }
    const before = newestIn(epochs);
    epochs.set(epoch, { ...mark, heardMs: Math.max(heardMs, known?.heardMs ?? 0), signed });
    // Else an origin that crashes at each start would fill its places here with runs that say nothing.
    if (before !== undefined && before < epoch && epochs.get(before)!.sealed === 0) epochs.delete(before);
    if (epochs.size > EPOCHS_PER_ORIGIN_MAX) epochs.delete(Math.min(...epochs.keys()));
    this.#changed = true;
    this.#passedOn = undefined;
  }

  /** Members always have a place, beside as many others. */
  #hasRoom({ origin, epoch }: Watermark): boolean {
    const epochs = this.#marks.get(origin);
    if (epochs) {
      const isFull = epochs.size >= EPOCHS_PER_ORIGIN_MAX && !epochs.has(epoch);
      return !isFull || epoch > Math.min(...epochs.keys());
    }
    if (parsePeerId(origin) === undefined) return false;
    return this.#marks.size < LIMITS.membersMax || this.#isMember(origin);
  }

  /** As many origins as there can be members, and as many again: then the one goes that has been gone for longest. */
  #makeRoom(): void {
    if (this.#marks.size < 2 * LIMITS.membersMax) return;
    let oldest: { origin: string; epoch: number } | undefined;
    for (const { origin, epoch } of this.latest()) {
      if (!this.#isMember(origin) && epoch < (oldest?.epoch ?? Infinity)) oldest = { origin, epoch };
    }
    if (oldest) this.#marks.delete(oldest.origin);
  }

  get(origin: string, epoch: number): Watermark | undefined {
    return this.#marks.get(origin)?.get(epoch);
  }

  /** The newest epoch of each origin, with the time it was last heard from. */
  latest(): HeardMark[] {
    return [...this.#marks.values()].map((epochs) => epochs.get(newestIn(epochs)!)!);
  }

  all(): HeardMark[] {
    return [...this.#marks.values()].flatMap((epochs) => [...epochs.values()]);
  }

  /**
   * What others should know, up to a bound: the newest run of each origin before the second newest of any, members first.
   * Only what its origin has signed.
   */
  toPassOn(): readonly Watermark[] {
    if (this.#passedOn) return this.#passedOn;
    const ranked: { mark: Known; depth: number; isMember: boolean }[] = [];
    for (const [origin, epochs] of this.#marks) {
      const isMember = this.#isMember(origin);
      const newestFirst = [...epochs.values()].sort((a, b) => b.epoch - a.epoch);
      for (const [depth, mark] of newestFirst.entries()) ranked.push({ mark, depth, isMember });
    }
    ranked.sort(
      (a, b) => a.depth - b.depth || Number(b.isMember) - Number(a.isMember) || b.mark.epoch - a.mark.epoch,
    );
    const chosen: Watermark[] = [];
    let checksLeft = SIGNATURES_CHECKED_MAX;
    for (const { mark } of ranked) {
      if (chosen.length >= PASSED_ON_MAX) break;
      if (mark.signed === 'unchecked' && checksLeft > 0) {
        checksLeft--;
        mark.signed = isSigned(mark) ? 'good' : 'bad';
      }
      if (mark.signed === 'good') chosen.push(mark);
    }
    // Who is a member decides only over what there is no room for.
    if (ranked.length <= PASSED_ON_MAX && checksLeft > 0) this.#passedOn = chosen;
    return chosen;
  }

  /** True once after each change: what is on disk is older. */
  takeChanged(): boolean {
    const changed = this.#changed;
    this.#changed = false;
    return changed;
  }
}
