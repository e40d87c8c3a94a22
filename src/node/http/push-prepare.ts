import { LIMITS, type Columns, type Labels } from '../../store/index.ts';
import { withServiceName } from '../pipeline/index.ts';
import { digestOfPart, digestOfPush } from './push-digest.ts';
import { decodePush, PUSH_LIMITS, type PushHeaders } from './push.ts';

export interface PushBody {
  readonly body: Uint8Array;
  readonly headers: PushHeaders & { readonly tenant: string | undefined };
  readonly nowMs: number;
  readonly discoverServiceName: boolean;
}

/** Lines of one stream that go into one batch. */
export interface PreparedBlock {
  readonly labels: Labels;
  readonly columns: Columns;
}

export interface PreparedPush {
  readonly digest: string;
  readonly parts: readonly { readonly digest: string; readonly blocks: readonly PreparedBlock[] }[];
}

/** Time, end and metadata of one entry in its columns. */
const ROW_BYTES = 20;

/**
 * All that is done to a pushed body before its lines wait for their batch: decoded, checked, named, and divided into
 * parts that fit a batch, always in the same way. Throws LV_PUSH_INVALID.
 */
export function preparePush({ body, headers, nowMs, discoverServiceName }: PushBody): PreparedPush {
  const bytes = Buffer.from(body.buffer, body.byteOffset, body.byteLength);
  const { streams } = decodePush(bytes, headers, nowMs, PUSH_LIMITS);
  const blocks = streams.map(({ labels, columns }) => ({
    labels: discoverServiceName ? withServiceName(labels) : labels,
    columns,
  }));
  const digest = digestOfPush(bytes, headers);
  const parts = inParts(blocks);
  return {
    digest,
    parts: parts.map((part, at) => ({ digest: digestOfPart(digest, at, parts.length), blocks: part })),
  };
}

/**
 * Puts the columns where other threads see them, so that handing them on copies nothing. Each part is one piece of memory:
 * a message is slow by the pieces in it, and a push may have thousands of streams.
 */
export function shared(push: PreparedPush): PreparedPush {
  return {
    digest: push.digest,
    parts: push.parts.map(({ digest, blocks }) => ({ digest, blocks: inOnePiece(blocks) })),
  };
}

function inOnePiece(blocks: readonly PreparedBlock[]): PreparedBlock[] {
  let rows = 0;
  let lineBytes = 0;
  for (const { columns } of blocks) {
    rows += columns.count;
    lineBytes += columns.lines.length;
  }
  const memory = new SharedArrayBuffer(rows * ROW_BYTES + lineBytes);
  // The widest first, so that each array begins where its numbers may stand.
  const ms = new Float64Array(memory, 0, rows);
  const [sub, ends, metadataIds] = [8, 12, 16].map((at) => new Uint32Array(memory, rows * at, rows));
  const lines = new Uint8Array(memory, rows * ROW_BYTES, lineBytes);
  let row = 0;
  let at = 0;
  return blocks.map(({ labels, columns }) => {
    const [endRow, end] = [row + columns.count, at + columns.lines.length];
    ms.set(columns.ms, row);
    sub.set(columns.sub, row);
    ends.set(columns.ends, row);
    metadataIds.set(columns.metadataIds, row);
    lines.set(columns.lines, at);
    const placed: Columns = {
      count: columns.count,
      ms: ms.subarray(row, endRow),
      sub: sub.subarray(row, endRow),
      ends: ends.subarray(row, endRow),
      lines: lines.subarray(at, end),
      metadataIds: metadataIds.subarray(row, endRow),
      metadata: columns.metadata,
    };
    [row, at] = [endRow, end];
    return { labels, columns: placed };
  });
}

/** Room in one part: bytes of content, and of labels, which stand in the header. */
interface Room {
  content: number;
  labels: number;
}

function inParts(blocks: readonly PreparedBlock[]): PreparedBlock[][] {
  const parts: PreparedBlock[][] = [];
  let room: Room = { content: 0, labels: 0 };
  for (const { labels, columns } of blocks) {
    const labelBytes = bytesOf(labels);
    for (let row = 0; row < columns.count;) {
      const isFresh = room.content === LIMITS.pushPartBytes;
      if (room.labels < labelBytes && !isFresh) room.content = 0;
      const taken = rowsThatFit(columns, row, room.content, isFresh);
      if (taken.end === row) {
        parts.push([]);
        room = { content: LIMITS.pushPartBytes, labels: LIMITS.batchLabelBytesMax };
        continue;
      }
      const isWhole = row === 0 && taken.end === columns.count;
      parts.at(-1)!.push({ labels, columns: isWhole ? columns : rowsOf(columns, row, taken.end) });
      room.content -= taken.bytes;
      room.labels -= labelBytes;
      row = taken.end;
    }
  }
  return parts;
}

/** Rows from `start` that take up to `room` bytes; at least one where the part is fresh. */
function rowsThatFit(
  columns: Columns,
  start: number,
  room: number,
  isFresh: boolean,
): { end: number; bytes: number } {
  const { count, ends, metadataIds, metadata } = columns;
  const used = new Uint8Array(metadata.length);
  let bytes = 0;
  let end = start;
  for (; end < count; end++) {
    const set = metadataIds[end];
    const lineBytes = ends[end] - (end === 0 ? 0 : ends[end - 1] + 1) + 1;
    const more = lineBytes + ROW_BYTES + (used[set] === 1 ? 0 : bytesOf(metadata[set]));
    if (bytes + more > room && !(isFresh && end === start)) break;
    used[set] = 1;
    bytes += more;
  }
  return { end, bytes };
}

function bytesOf(pairs: Readonly<Record<string, string>>): number {
  let bytes = 0;
  for (const name of Object.keys(pairs)) bytes += Buffer.byteLength(name) + Buffer.byteLength(pairs[name]);
  return bytes;
}

function rowsOf(columns: Columns, start: number, end: number): Columns {
  const from = start === 0 ? 0 : columns.ends[start - 1] + 1;
  const ids = new Map<number, number>();
  const metadataIds = columns.metadataIds.slice(start, end).map((id) => {
    if (!ids.has(id)) ids.set(id, ids.size);
    return ids.get(id)!;
  });
  return {
    count: end - start,
    ms: columns.ms.slice(start, end),
    sub: columns.sub.slice(start, end),
    ends: columns.ends.slice(start, end).map((at) => at - from),
    lines: columns.lines.subarray(from, columns.ends[end - 1] + 1),
    metadataIds,
    metadata: [...ids.keys()].map((id) => columns.metadata[id]),
  };
}
