import { constants, zstdCompressSync, zstdDecompressSync } from 'node:zlib';
import {
  holdingsSaved,
  Turns,
  type HoldingsKnown,
  type HoldingsSaved,
  type PeerId,
} from '../gossip/index.ts';
import { LogvineError, type Clock, type Disk } from '../store/index.ts';

/** Of about 70 bytes a holding: 1.9 million of them. A mesh of 500 hosts that keeps 30 days has 1.1 million. */
const FILE_BYTES_MAX = 128 * 1024 * 1024;
const LENGTH_BYTES = 4;
/** Far more than any piece: one segment alone may have 100,000 runs, of some 20 bytes. */
const PIECE_BYTES_MAX = 64 * 1024 * 1024;
const LEVEL = { params: { [constants.ZSTD_c_compressionLevel]: 1 } };

export interface HoldingsFileOptions {
  readonly clock: Clock;
  readonly disk: Pick<Disk, 'readFile' | 'replaceFile'>;
  readonly path: string;
  readonly known: HoldingsKnown;
  /** Live peers tell everything again at the next start: what others had comes first. */
  isAlive(peer: PeerId): boolean;
  readonly bytesMax?: number | undefined;
}

/**
 * What every peer was last heard to hold, for the next start. Pieces of JSON, each compressed and behind its length: as one text, what
 * is known of a large mesh would be longer than a string can be, and would hold up everything else while it is made.
 */
export class HoldingsFile {
  readonly #options: HoldingsFileOptions;

  constructor(options: HoldingsFileOptions) {
    this.#options = options;
  }

  get path(): string {
    return this.#options.path;
  }

  /** Takes in what was saved. Rejects in the end when some of it cannot be read. */
  async load(): Promise<void> {
    const { clock, disk, path, known } = this.#options;
    const turns = new Turns(clock);
    const bytes = await disk.readFile(path);
    let failure: unknown;
    for (let at = 0; bytes && at < bytes.length;) {
      const from = at + LENGTH_BYTES;
      if (bytes.length < from) throw new LogvineError('LV_PROTOCOL', 'it ends in the middle of a piece');
      at = from + bytes.readUInt32LE(at);
      try {
        known.restore(decode(bytes.subarray(from, at)));
      } catch (error) {
        failure = error;
      }
      if (turns.isOver) await turns.next();
    }
    if (failure) throw failure;
  }

  /** Resolves with the number of holdings for which there was no room. */
  async save(): Promise<number> {
    const { clock, disk, path, known, isAlive, bytesMax = FILE_BYTES_MAX } = this.#options;
    const peers = known.peers();
    const ordered = [...peers.filter((peer) => !isAlive(peer)), ...peers.filter(isAlive)];
    const turns = new Turns(clock);
    const parts: Buffer[] = [];
    let bytes = 0;
    let leftOut = 0;
    for (const piece of known.pieces(ordered)) {
      if (turns.isOver) await turns.next();
      const packed = encode(piece);
      // The others are small, whatever is known.
      if (piece.holdings.length === 0 || (leftOut === 0 && bytes + packed.length <= bytesMax)) {
        parts.push(packed);
        bytes += packed.length;
      } else for (const [, holdings] of piece.holdings) leftOut += holdings.length;
    }
    await disk.replaceFile(path, Buffer.concat(parts));
    return leftOut;
  }
}

function encode(piece: HoldingsSaved): Buffer {
  const packed = zstdCompressSync(Buffer.from(JSON.stringify(piece)), LEVEL);
  const length = Buffer.alloc(LENGTH_BYTES);
  length.writeUInt32LE(packed.length);
  return Buffer.concat([length, packed]);
}

function decode(packed: Buffer): HoldingsSaved {
  const text = zstdDecompressSync(packed, { maxOutputLength: PIECE_BYTES_MAX }).toString('utf8');
  return holdingsSaved.parse(JSON.parse(text));
}
