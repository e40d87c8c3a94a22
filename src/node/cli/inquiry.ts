import type { Receipt } from './client.ts';
import type { Io } from './io.ts';
import { receiptText } from './receipt.ts';

/** What is missing goes to stderr; true when nothing is, or the node says nothing of it. */
export function reportGaps(io: Io, receipt: unknown): boolean {
  const { complete = true } = (receipt ?? {}) as Partial<Receipt>;
  if (!complete) io.report(receiptText(receipt as Receipt));
  return complete;
}

/** Milliseconds since 1970 as a parameter in nanoseconds; nothing is looked for before that. */
export function nsText(ms: number): string {
  return String(BigInt(Math.max(0, Math.floor(ms))) * 1_000_000n);
}
