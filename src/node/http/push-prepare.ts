import { LIMITS, sliceRows, type Columns, type StreamRows } from '../../store/index.ts';
import { LEVEL_LENGTH_MAX, LEVEL_NAME, LEVELS } from '../pipeline/index.ts';
import { digestOfPart, digestOfPush } from './push-digest.ts';
import { decodePush, PUSH_LIMITS, type PushHeaders } from './push.ts';

export interface PushBody {
  readonly body: Uint8Array;
  readonly headers: PushHeaders & { readonly tenant: string | undefined };
  readonly nowMs: number;
  readonly discoverServiceName: boolean;
}

/** Lines of a push that go into one batch. */
export interface PreparedPart {
  readonly digest: string;
  readonly rows: StreamRows;
  /** Of lines, times and metadata, as much as they can become in a batch. */
  readonly bytes: number;
  /** Of the keys of its streams, in UTF-8. */
  readonly labelBytes: number;
}

export interface PreparedPush {
  readonly digest: string;
  readonly parts: readonly PreparedPart[];
}

/** Time, end and number of the metadata of one entry in its columns. */
const ROW_BYTES = 20;
/** The lengths of a name and its value. */
const PAIR_BYTES = 6;
/** The level that packing adds to a metadata set. */
const LEVEL_BYTES = LEVEL_NAME.length + LEVEL_LENGTH_MAX + PAIR_BYTES;

/**
 * All that is done to a pushed body before its lines wait for their batch: decoded, checked, named, and divided into
 * parts that fit a batch, always in the same way. Throws LV_PUSH_INVALID.
 */
export function preparePush({ body, headers, nowMs, discoverServiceName }: PushBody): PreparedPush {
  const bytes = Buffer.from(body.buffer, body.byteOffset, body.byteLength);
  const { rows } = decodePush(bytes, headers, { nowMs, discoverServiceName, limits: PUSH_LIMITS });
  const digest = digestOfPush(bytes, headers);
  const parts = inParts(rows);
  return {
    digest,
    parts: parts.map((part, at) => ({ digest: digestOfPart(digest, at, parts.length), ...part })),
  };
}

/** Puts the rows where other threads see them, each part in one piece of memory, so that handing them on copies nothing. */
export function shared(push: PreparedPush): PreparedPush {
  const parts = push.parts.map((part) => ({ ...part, rows: sharedRows(part.rows) }));
  return { digest: push.digest, parts };
}

function sharedRows({ keys, rowEnds, columns }: StreamRows): StreamRows {
  const { count, lines, metadata } = columns;
  const memory = new SharedArrayBuffer(count * ROW_BYTES + rowEnds.length * 4 + lines.length);
  // The widest first, so that each array begins where its numbers may stand.
  let at = 0;
  const placed = <Numbers extends Float64Array | Uint32Array>(own: Numbers, from: Numbers): Numbers => {
    own.set(from);
    at += own.byteLength;
    return own;
  };
  const ms = placed(new Float64Array(memory, at, count), columns.ms);
  const sub = placed(new Uint32Array(memory, at, count), columns.sub);
  const ends = placed(new Uint32Array(memory, at, count), columns.ends);
  const metadataIds = placed(new Uint32Array(memory, at, count), columns.metadataIds);
  const ownEnds = placed(new Uint32Array(memory, at, rowEnds.length), rowEnds);
  const ownLines = new Uint8Array(memory, at);
  ownLines.set(lines);
  const own: Columns = { count, ms, sub, ends, lines: ownLines, metadataIds, metadata };
  return { keys, rowEnds: ownEnds, columns: own };
}

/** Where a part begins: its first row, and the stream that this row is of. */
interface Cut {
  readonly stream: number;
  readonly row: number;
}

function inParts(rows: StreamRows): Omit<PreparedPart, 'digest'>[] {
  const { keys, rowEnds, columns } = rows;
  const cuts: Cut[] = [];
  const bytes: number[] = [];
  const labelBytes: number[] = [];
  const weights = new RowWeights(columns);
  let contentRoom = 0;
  let labelsRoom = 0;
  let row = 0;
  for (let stream = 0; stream < keys.length; stream++) {
    const keyBytes = Buffer.byteLength(keys[stream]);
    while (row < rowEnds[stream]) {
      const isFresh = contentRoom === LIMITS.pushPartBytes;
      const hasRoom = isFresh || labelsRoom >= keyBytes;
      const taken = weights.rowsThatFit(row, rowEnds[stream], hasRoom ? contentRoom : 0, isFresh);
      if (taken.end === row) {
        cuts.push({ stream, row });
        bytes.push(0);
        labelBytes.push(0);
        contentRoom = LIMITS.pushPartBytes;
        labelsRoom = LIMITS.batchLabelBytesMax;
        continue;
      }
      contentRoom -= taken.bytes;
      labelsRoom -= keyBytes;
      bytes[bytes.length - 1] += taken.bytes;
      labelBytes[labelBytes.length - 1] += keyBytes;
      row = taken.end;
    }
  }
  return cuts.map((cut, at) => ({
    rows: cuts.length === 1 ? rows : cutOut(rows, cut, cuts[at + 1]),
    bytes: bytes[at],
    labelBytes: labelBytes[at],
  }));
}

/**
 * What rows weigh in a batch, where each stream has the metadata sets of its own rows, and each set may become one for every
 * level that its lines have.
 */
class RowWeights {
  readonly #columns: Columns;
  readonly #bytesOfSet: (number | undefined)[] = [];
  /** The last question that counted a set, and how often it did. */
  readonly #countedIn: Uint32Array;
  readonly #timesCounted: Uint8Array;
  #question = 0;

  constructor(columns: Columns) {
    this.#columns = columns;
    this.#countedIn = new Uint32Array(columns.metadata.length);
    this.#timesCounted = new Uint8Array(columns.metadata.length);
  }

  /** Rows of one stream from `start` that take up to `room` bytes; at least one where the part is fresh. */
  rowsThatFit(
    start: number,
    rowsEnd: number,
    room: number,
    isFresh: boolean,
  ): { end: number; bytes: number } {
    const { ends, metadataIds, metadata } = this.#columns;
    const question = ++this.#question;
    let bytes = 0;
    let end = start;
    for (; end < rowsEnd; end++) {
      const set = metadataIds[end];
      let more = ends[end] - (end === 0 ? 0 : ends[end - 1] + 1) + 1 + ROW_BYTES;
      const times = this.#countedIn[set] === question ? this.#timesCounted[set] : 0;
      if (times < LEVELS.length) more += this.#bytesOfSet[set] ??= bytesOf(metadata[set]);
      if (bytes + more > room && !(isFresh && end === start)) break;
      this.#countedIn[set] = question;
      this.#timesCounted[set] = Math.min(times + 1, LEVELS.length);
      bytes += more;
    }
    return { end, bytes };
  }
}

function bytesOf(pairs: Readonly<Record<string, string>>): number {
  let bytes = LEVEL_BYTES;
  for (const name of Object.keys(pairs))
    bytes += Buffer.byteLength(name) + Buffer.byteLength(pairs[name]) + PAIR_BYTES;
  return bytes;
}

/** The rows from one cut to the next one, or to the end. */
function cutOut({ keys, rowEnds, columns }: StreamRows, from: Cut, to: Cut | undefined): StreamRows {
  const rowEnd = to?.row ?? columns.count;
  // A part that begins within a stream takes the rest of it; one that begins with a stream leaves that to itself.
  const isWithin = to !== undefined && to.row > (to.stream === 0 ? 0 : rowEnds[to.stream - 1]);
  const streamEnd = to === undefined ? keys.length : to.stream + (isWithin ? 1 : 0);
  return {
    keys: keys.slice(from.stream, streamEnd),
    rowEnds: rowEnds.slice(from.stream, streamEnd).map((end) => Math.min(end, rowEnd) - from.row),
    columns: sliceRows(columns, from.row, rowEnd),
  };
}
