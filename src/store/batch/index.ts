export type { Columns, Labels, Lines, Metadata, StreamRows } from './columns.ts';
export { labelsKey, labelsText, lineStart, parseLabelsKey, setLabel, sliceRows } from './columns.ts';
export { decodeColumns, decodeLines, encodeColumns, joinRows, readSets } from './content.ts';
export { filterMayContain, gramsOf, readFilter } from './filter.ts';
export {
  frameHead,
  FRAME_MAGIC,
  headerHash,
  PREAMBLE_BYTES,
  readFrame,
  readHead,
  readPreamble,
} from './frame.ts';
export { encodeHeader, isOfThisVersion, PUSH_DIGEST_BYTES } from './header.ts';
export type { BatchHeader, EpochLink, SealedHeader, SourcePosition } from './header.ts';
export { compareInstants, COUNTED_LEVELS, totalsOf } from './stream-table.ts';
export type { Instant, StreamPart } from './stream-table.ts';
export { signedBy } from './identity.ts';
export {
  batchName,
  checkEntries,
  decompress,
  openParts,
  openStreams,
  parseHeader,
  verifyFrame,
} from './open.ts';
export type { EncodedPart, VerifiedBatch } from './open.ts';
export { packBatch } from './pack.ts';
export type { PackedBatch, StreamContent } from './pack.ts';
export { ByteReader, ByteWriter } from './bytes.ts';
