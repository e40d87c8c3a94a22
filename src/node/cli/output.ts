import { isUtf8 } from 'node:buffer';
import { basename } from 'node:path';
import type { Labels } from '../../store/index.ts';
import type { ReceivedEntry } from './client.ts';
import { CSV_HEAD, csvEntry, levelOf } from './csv.ts';
import { visible, visibleJson, visibleText } from './visible.ts';

export const OUTPUTS = ['text', 'json', 'raw', 'csv'] as const;
export type Output = (typeof OUTPUTS)[number];

/** Turns entries that arrived together into what stdout gets. */
export type EntryFormat = (entries: readonly ReceivedEntry[]) => string | Uint8Array;

export function entryFormat(output: Output, isColoured: boolean): EntryFormat {
  if (output === 'raw') return rawLines;
  if (output === 'csv') return csvLines();
  const format = output === 'json' ? jsonEntry : (entry: ReceivedEntry) => textEntry(entry, isColoured);
  return (entries) => entries.map((entry) => `${format(entry)}\n`).join('');
}

function csvLines(): EntryFormat {
  let head = `${CSV_HEAD}\n`;
  return (entries) => {
    const rows = entries.map((entry) => `${csvEntry(entry)}\n`).join('');
    const text = head + rows;
    head = '';
    return text;
  };
}

const NEWLINE = Buffer.from('\n');

function rawLines(entries: readonly ReceivedEntry[]): Uint8Array {
  return Buffer.concat(entries.flatMap(({ line }) => [line, NEWLINE]));
}

function jsonEntry({ timeNs, labels, metadata, line }: ReceivedEntry): string {
  const text = { timeNs: String(timeNs), labels, metadata, line: line.toString() };
  // JSON has no bytes: what text cannot carry is there a second time, whole.
  return visibleJson(isUtf8(line) ? text : { ...text, lineBase64: line.toString('base64') });
}

function textEntry({ timeNs, labels, metadata, line }: ReceivedEntry, isColoured: boolean): string {
  const level = levelOf({ labels, metadata });
  const shown = visibleText(level.slice(0, 8)).toUpperCase().padEnd(5);
  const colour = isColoured ? levelColour(level) : undefined;
  const paint = (text: string, code: string | undefined) =>
    isColoured && code !== undefined ? `\x1b[${code}m${text}\x1b[0m` : text;
  return `${paint(localTime(timeNs), '2')} ${paint(shown, colour)} ${paint(shortLabels(labels), '2')} ${visible(line)}`;
}

function levelColour(level: string): string | undefined {
  switch (level.toLowerCase()) {
    case 'fatal':
    case 'critical':
      return '1;31';
    case 'error':
      return '31';
    case 'warn':
    case 'warning':
      return '33';
    case 'info':
      return '36';
    case 'debug':
    case 'trace':
      return '2';
    default:
      return undefined;
  }
}

/** Where the line is from in two words; all labels when they don't say. */
function shortLabels(labels: Labels): string {
  const source = labels.filename ? basename(labels.filename) : (labels.service_name ?? labels.job);
  const words = [labels.host, source].filter((word) => word !== undefined);
  if (words.length > 0) return visibleText(words.join(' '));
  const pairs = Object.entries(labels).map(([name, value]) => `${name}=${JSON.stringify(value)}`);
  return visibleText(`{${pairs.join(', ')}}`);
}

/** `2026-01-31 23:59:59.123` in the zone of this machine. */
export function localTime(timeNs: bigint): string {
  return localTimeMs(Number(timeNs / 1_000_000n) - (timeNs % 1_000_000n < 0n ? 1 : 0));
}

function localTimeMs(ms: number): string {
  const date = new Date(ms);
  if (Number.isNaN(date.getTime())) return String(ms);
  const day = `${String(date.getFullYear()).padStart(4, '0')}-${two(date.getMonth() + 1)}-${two(date.getDate())}`;
  const time = `${two(date.getHours())}:${two(date.getMinutes())}:${two(date.getSeconds())}`;
  return `${day} ${time}.${String(date.getMilliseconds()).padStart(3, '0')}`;
}

function two(number: number): string {
  return String(number).padStart(2, '0');
}

/** Columns as wide as their widest cell; cells are made safe for a terminal. */
export function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const cells = [head, ...rows].map((row) => row.map((cell) => visibleText(cell)));
  const widths = head.map((_, column) => Math.max(...cells.map((row) => (row[column] ?? '').length)));
  const lines = cells.map((row) => row.map((cell, column) => cell.padEnd(widths[column])).join('  '));
  return lines.map((line) => `${line.trimEnd()}\n`).join('');
}
