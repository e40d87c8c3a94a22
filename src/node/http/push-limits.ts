import { LIMITS, LogvineError } from '../../store/index.ts';

/** What one pushed body may hold. A line beyond its bound is refused, loudly: the client still has it. */
export interface PushLimits {
  /** After decompression; the decoder's memory is a small multiple of it. */
  readonly bodyBytesMax: number;
  readonly streamsMax: number;
  readonly entriesMax: number;
  readonly lineBytesMax: number;
  readonly labelsMax: number;
  readonly labelNameBytesMax: number;
  readonly labelValueBytesMax: number;
  readonly metadataPairsMax: number;
  /** Names and values of one entry together. */
  readonly metadataBytesMax: number;
}

export const PUSH_LIMITS: PushLimits = {
  bodyBytesMax: LIMITS.pushBytesMax,
  streamsMax: 10_000,
  entriesMax: 500_000,
  lineBytesMax: LIMITS.lineBytesMax,
  labelsMax: LIMITS.labelsPerStreamMax,
  labelNameBytesMax: LIMITS.labelNameBytesMax,
  labelValueBytesMax: LIMITS.labelValueBytesMax,
  metadataPairsMax: 128,
  metadataBytesMax: 64 * 1024,
};

/** Names and values as they arrive: in any order, not yet known to be unique. */
export type Pairs = readonly (readonly [string, string])[];

export function pushInvalid(message: string, cause?: unknown): LogvineError {
  return new LogvineError('LV_PUSH_INVALID', message, { cause });
}

/** Bounds of one entry's structured metadata, and names that can be kept. */
export function checkMetadata(pairs: Pairs, bytes: number, where: string, limits: PushLimits): void {
  if (pairs.length > limits.metadataPairsMax || bytes > limits.metadataBytesMax) {
    throw pushInvalid(
      `${where}: structured metadata of ${pairs.length} pairs and ${bytes} bytes, allowed are ` +
        `${limits.metadataPairsMax} pairs and ${limits.metadataBytesMax} bytes`,
    );
  }
  for (const [name] of pairs) {
    if (name === '' || name === '__proto__') {
      throw pushInvalid(`${where}: structured metadata name ${quote(name)} is not allowed`);
    }
  }
}

export function lineTooLong(where: string, length: number, limits: PushLimits) {
  return pushInvalid(`${where}: line too long, ${length} bytes, allowed are ${limits.lineBytesMax}`);
}

/** Client text as it may stand in a message: quoted and cut. */
export function quote(text: string): string {
  return JSON.stringify(text.length > 80 ? `${text.slice(0, 80)}…` : text);
}
