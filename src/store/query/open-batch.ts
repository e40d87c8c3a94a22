import {
  checkEntries,
  decodeColumns,
  decodeLines,
  decompress,
  openParts,
  parseHeader,
  PREAMBLE_BYTES,
  readFrame,
  readHead,
  type BatchHeader,
  type Columns,
  type EncodedPart,
  type Labels,
  type Lines,
  type StreamPart,
} from '../batch/index.ts';
import type { DiskReader } from '../host/index.ts';
import type { BatchToScan, SegmentScan } from './scan.ts';

/** A batch that is read as far as it is asked for. Throws what `isRot` knows when its bytes are not what was written. */
export class OpenBatch {
  readonly header: BatchHeader;
  /** Streams whose metadata proved to be levels alone. */
  readonly plain: number[] = [];
  bytesScanned = 0;
  readonly #segment: SegmentScan;
  readonly #batch: BatchToScan;
  readonly #reader: DiskReader;
  #payload: Buffer | undefined;
  readonly #columns = new Map<number, Columns>();
  readonly #lines = new Map<number, Columns>();
  readonly #searchable = new Map<number, Lines>();
  readonly #parts = new Map<number, EncodedPart>();
  /** By block: its columns, and where each part's begin. */
  readonly #blocks = new Map<number, { bytes: Buffer; starts: Map<number, number> }>();

  constructor(segment: SegmentScan, batch: BatchToScan, reader: DiskReader) {
    const head = readHead(reader.readAt(segment.path, batch.offset, PREAMBLE_BYTES + batch.headerBytes));
    if (!head) throw new RangeError('checksum');
    this.header = parseHeader(head.header, { withoutLabels: true });
    checkIsBatch(this.header, segment, batch);
    this.#segment = segment;
    this.#batch = batch;
    this.#reader = reader;
  }

  get isFrameRead(): boolean {
    return this.#payload !== undefined;
  }

  get parts(): readonly StreamPart[] {
    return this.header.streams;
  }

  labelsOf(stream: number): Labels | undefined {
    return this.#segment.streams.get(stream);
  }

  isPlain(stream: number): boolean {
    return this.#batch.plainStreams?.includes(stream) ?? false;
  }

  /** The whole frame is read even for a part of it: there is one checksum over it. */
  #readPayload(): Buffer {
    if (this.#payload) return this.#payload;
    const { offset, frameBytes } = this.#batch;
    const frame = readFrame(this.#reader.readAt(this.#segment.path, offset, frameBytes));
    if (!frame) throw new RangeError('checksum');
    this.#payload = frame.payload;
    return frame.payload;
  }

  /** A part with its lines. */
  lines(at: number): Columns {
    let columns = this.#lines.get(at);
    if (!columns) {
      const encoded = this.#encoded(at);
      columns = decodeColumns(encoded.columns, encoded.lines);
      checkEntries(this.header, at, columns);
      this.#lines.set(at, columns);
    }
    return columns;
  }

  /** A part's lines alone. */
  searchable(at: number): Lines {
    let lines: Lines | undefined = this.#lines.get(at) ?? this.#searchable.get(at);
    if (!lines) {
      const encoded = this.#encoded(at);
      lines = decodeLines(encoded.columns, encoded.lines);
      checkEntries(this.header, at, lines);
      this.#searchable.set(at, lines);
    }
    return lines;
  }

  #encoded(at: number): EncodedPart {
    let encoded = this.#parts.get(at);
    if (!encoded) {
      // Every part of the block at once, since they are decompressed together.
      const { streams } = this.header;
      const { block } = streams[at];
      const wanted = [...streams.keys()].filter(
        (other) => streams[other].block === block && this.labelsOf(streams[other].stream) !== undefined,
      );
      for (const one of openParts(this.header, this.#readPayload(), wanted)) {
        this.#parts.set(one.part, one);
        this.bytesScanned += one.lines.length;
      }
      encoded = this.#parts.get(at)!;
    }
    return encoded;
  }

  /** A part without its lines: `lines` has their length and nothing in it. */
  columns(at: number): Columns {
    const known = this.#lines.get(at) ?? this.#columns.get(at);
    if (known) return known;
    const part = this.header.streams[at];
    const block = this.#columnsBlock(part.block);
    const start = block.starts.get(at)!;
    const bytes = block.bytes.subarray(start, start + part.columnsBytes);
    const columns = decodeColumns(bytes, noLines(part.linesBytes));
    this.#columns.set(at, columns);
    const isLevel = (name: string): boolean => name === 'detected_level';
    if (columns.metadata.every((set) => Object.keys(set).every(isLevel))) this.plain.push(part.stream);
    return columns;
  }

  #columnsBlock(block: number): { bytes: Buffer; starts: Map<number, number> } {
    let opened = this.#blocks.get(block);
    if (!opened) {
      const { blocks, filterBytes, streams } = this.header;
      let stored = filterBytes;
      for (const { columnsStored, linesStored } of blocks.slice(0, block))
        stored += columnsStored + linesStored;
      const { columnsStored, columnsRaw } = blocks[block];
      const bytes = decompress(this.#readPayload().subarray(stored, stored + columnsStored), columnsRaw);
      const starts = new Map<number, number>();
      let start = 0;
      for (const [at, part] of streams.entries()) {
        if (part.block !== block) continue;
        starts.set(at, start);
        start += part.columnsBytes;
      }
      this.#blocks.set(block, (opened = { bytes, starts }));
      this.bytesScanned += bytes.length;
    }
    return opened;
  }
}

/**
 * Throws RangeError when a sound frame is not the one that was to stand there: a write that came to nothing, or went
 * astray, leaves another batch in its place.
 */
export function checkIsBatch(header: BatchHeader, segment: SegmentScan, batch: BatchToScan): void {
  const { origin, epoch, seq } = header;
  if (origin !== segment.origin || epoch !== segment.epoch || seq !== batch.seq)
    throw new RangeError(`another batch: ${origin}/${epoch}/${seq}`);
}

let blank = new Uint8Array(0);

/** Bytes that nobody reads, as many as there are lines: one piece of memory for all. */
function noLines(length: number): Uint8Array {
  if (blank.length < length) blank = new Uint8Array(length);
  return blank.subarray(0, length);
}
