export type { Columns, Labels, Lines, Metadata } from './columns.ts';
export { labelsKey, labelsText, lineStart, parseLabelsKey, setLabel } from './columns.ts';
export { concatColumns, decodeColumns, decodeLines, encodeColumns, readSets } from './content.ts';
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
export { compareInstants, COUNTED_LEVELS, encodeHeader, PUSH_DIGEST_BYTES } from './header.ts';
export type { BatchHeader, EpochLink, Instant, SourcePosition, StreamPart } from './header.ts';
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
export type { PackedBatch, PackedStream, StreamContent } from './pack.ts';
export { ByteReader, ByteWriter } from './bytes.ts';
