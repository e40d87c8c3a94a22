import { visible, visibleText } from './visible.ts';
import type { ReceivedEntry } from './client.ts';

/** A row of RFC 4180, without its line end. What could move a cursor is escaped, line ends within a cell too. */
export function csvRow(cells: readonly string[]): string {
  return cells.map((cell) => quoted(visibleText(cell))).join(',');
}

function quoted(text: string): string {
  return /[",]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

export const CSV_HEAD = csvRow(['time', 'level', 'labels', 'metadata', 'line']);

/** As it was found when the line came in, else as its labels say. */
export function levelOf({ labels, metadata }: Pick<ReceivedEntry, 'labels' | 'metadata'>): string {
  return metadata.detected_level ?? labels.level ?? labels.detected_level ?? '';
}

/** Time with all its nanoseconds, level, labels and metadata as JSON, and the line. */
export function csvEntry({ timeNs, labels, metadata, line }: ReceivedEntry): string {
  const row = [
    isoTimeNs(timeNs),
    levelOf({ labels, metadata }),
    JSON.stringify(labels),
    JSON.stringify(metadata),
  ];
  return `${csvRow(row)},${quoted(visible(line))}`;
}

function isoTimeNs(timeNs: bigint): string {
  const ms = Number(timeNs / 1_000_000n);
  if (timeNs < 0n || Math.abs(ms) > 8.64e15) return String(timeNs);
  const fraction = String(timeNs % 1_000_000_000n).padStart(9, '0');
  return `${new Date(ms).toISOString().slice(0, -5)}.${fraction}Z`;
}
