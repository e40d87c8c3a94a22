import { lineStart, openStreams, parseHeader, readFrame, type Columns, type Labels } from '../batch/index.ts';
import type { DiskReader } from '../host/index.ts';
import { LIMITS } from '../limits.ts';
import type { CompiledQuery } from './compile.ts';
import { checkIsBatch } from './open-batch.ts';
import { neededOf, selectionsLeft } from './prune.ts';
import { selectRows } from './rows.ts';
import { isRot, type PatternScan, type PatternScanResult } from './scan.ts';

/** Lines of one shape: words that differ between them are `<_>`. */
export interface PatternCount {
  readonly pattern: string;
  /** The detected level, or ''. */
  readonly level: string;
  /** Start of a step, in milliseconds since 1970, and lines in it. */
  readonly samples: [number, number][];
}

export const VARIABLE = '<_>';
const LINE_BYTES_MAX = 512;
const TOKENS_MAX = 64;
/** Lines of one stream in one batch that are looked at; each stands for as many as were passed over. */
const ROWS_LOOKED_AT_MAX = 1000;
/** As in Drain: lines whose words agree to this share are of one pattern. */
const SIMILARITY_MIN = 0.6;
const TOKEN = /<_>|[A-Za-z0-9_.+@#%$~^&*\\-]+|\s+|[^\s]/g;
const IS_WORD = /^[A-Za-z0-9_.+@#%$~^&*\\-]/;

interface Cluster {
  readonly tokens: string[];
  readonly level: string;
  readonly samples: Map<number, number>;
}

/**
 * Clusters lines as Drain does (He et al., 2017: "Drain: An Online Log Parsing Approach with Fixed Depth Tree"): by level,
 * number of tokens and first word, then by how many words agree. Words with digits are variable from the start. Keeps
 * `patternsMax` clusters; lines that would need more are left out.
 */
export class PatternTree {
  readonly #groups = new Map<string, Cluster[]>();
  #count = 0;

  add(line: string, level: string, samples: Iterable<readonly [number, number]>): void {
    const tokens = tokensOf(line);
    if (tokens.length === 0) return;
    const key = `${level}\n${tokens.length}\n${tokens[0]}`;
    let group = this.#groups.get(key);
    if (!group) this.#groups.set(key, (group = []));
    let cluster = bestOf(group, tokens);
    if (cluster) generalise(cluster.tokens, tokens);
    else {
      if (this.#count >= LIMITS.patternsMax) return;
      this.#count++;
      group.push((cluster = { tokens, level, samples: new Map() }));
    }
    for (const [step, lines] of samples) cluster.samples.set(step, (cluster.samples.get(step) ?? 0) + lines);
  }

  /** The most frequent first. */
  patterns(): PatternCount[] {
    const total = ({ samples }: PatternCount): number => samples.reduce((sum, [, lines]) => sum + lines, 0);
    return [...this.#groups.values()]
      .flat()
      .map(({ tokens, level, samples }) => ({
        pattern: textOf(tokens),
        level,
        samples: [...samples].sort(([a], [b]) => a - b),
      }))
      .sort((a, b) => total(b) - total(a) || (a.pattern < b.pattern ? -1 : 1));
  }
}

function tokensOf(line: string): string[] {
  const tokens: string[] = [];
  for (const [token] of line.matchAll(TOKEN)) {
    const shown = /\d/.test(token) ? VARIABLE : token;
    // A row of variables is one.
    if (shown === VARIABLE && tokens.at(-1) === VARIABLE) continue;
    tokens.push(shown);
    if (tokens.length === TOKENS_MAX) {
      tokens.push(VARIABLE);
      break;
    }
  }
  return tokens;
}

function textOf(tokens: readonly string[]): string {
  return tokens.join('').replaceAll(/(?:<_>)+/g, VARIABLE);
}

function bestOf(group: readonly Cluster[], tokens: readonly string[]): Cluster | undefined {
  let best: Cluster | undefined;
  let bestShare = SIMILARITY_MIN;
  for (const cluster of group) {
    const share = similarity(cluster.tokens, tokens);
    if (share < bestShare) continue;
    best = cluster;
    bestShare = share;
  }
  return best;
}

/** The share of words that agree; 0 when anything but words differs. */
function similarity(a: readonly string[], b: readonly string[]): number {
  let words = 0;
  let same = 0;
  for (let i = 0; i < a.length; i++) {
    const isWord = a[i] === VARIABLE || b[i] === VARIABLE || (IS_WORD.test(a[i]) && IS_WORD.test(b[i]));
    if (a[i] === b[i]) same += isWord ? 1 : 0;
    else if (!isWord) return 0;
    words += isWord ? 1 : 0;
  }
  return words === 0 ? 1 : same / words;
}

function generalise(into: string[], tokens: readonly string[]): void {
  for (let i = 0; i < into.length; i++) if (into[i] !== tokens[i]) into[i] = VARIABLE;
}

/** Clusters the lines that a log query selects, in a worker. Never throws for rot: it names the batch in `failed`. */
export function scanPatterns(
  request: PatternScan,
  query: CompiledQuery,
  reader: DiskReader,
): PatternScanResult {
  const tree = new PatternTree();
  const selections = [neededOf(query)];
  const read: [number, number][] = [];
  const failed: [number, number][] = [];
  const filters: PatternScanResult['filters'] = [];
  let bytesScanned = 0;
  for (const [index, segment] of request.segments.entries()) {
    for (const batch of segment.batches) {
      const opened: { columns: Columns; labels: Labels }[] = [];
      try {
        const found = (filter: Uint8Array) => filters.push([index, batch.seq, filter]);
        if (selectionsLeft(segment, batch, selections, reader, found).length === 0) continue;
        const frame = readFrame(reader.readAt(segment.path, batch.offset, batch.frameBytes));
        if (!frame) throw new RangeError('checksum');
        const header = parseHeader(frame.header, { withoutLabels: true });
        checkIsBatch(header, segment, batch);
        const wanted = [...header.streams.keys()].filter((at) =>
          segment.streams.has(header.streams[at].stream),
        );
        // Opened whole before anything counts, so that a rotten batch is counted by who has it whole.
        for (const { part, columns } of openStreams(header, frame.payload, wanted))
          opened.push({ columns, labels: segment.streams.get(header.streams[part].stream)! });
      } catch (error) {
        if (!isRot(error)) throw error;
        failed.push([index, batch.seq]);
        continue;
      }
      for (const { columns, labels } of opened) {
        bytesScanned += columns.lines.length;
        addLines(tree, request, query, columns, labels);
      }
      read.push([index, batch.seq]);
    }
  }
  const { rows } = request;
  if (rows) addLines(tree, request, query, rows, undefined);
  return { kind: 'patterns', patterns: tree.patterns(), read, failed, filters, bytesScanned };
}

/** `labels` undefined: the lines went through the query already. */
function addLines(
  tree: PatternTree,
  { range, stepMs }: PatternScan,
  query: CompiledQuery,
  columns: Columns,
  labels: Labels | undefined,
): void {
  const { from, to } = range;
  const { ms, sub, ends, metadata, metadataIds } = columns;
  const rows = labels
    ? selectRows(columns, query.lineFilters)
    : Uint32Array.from({ length: columns.count }, (_, row) => row);
  const stride = Math.ceil(rows.length / ROWS_LOOKED_AT_MAX);
  for (let at = 0; at < rows.length; at += stride) {
    const row = rows[at];
    const beforeStart = ms[row] < from.ms || (ms[row] === from.ms && sub[row] < from.sub);
    const afterEnd = ms[row] > to.ms || (ms[row] === to.ms && sub[row] >= to.sub);
    if (beforeStart || afterEnd) continue;
    const set = metadata[metadataIds[row]];
    let line: Uint8Array = columns.lines.subarray(lineStart(columns, row), ends[row]);
    if (labels && query.process) {
      const entry = query.process(line, labels, set, ms[row], sub[row]);
      if (!entry) continue;
      line = entry.line;
    }
    const text = Buffer.from(line.buffer, line.byteOffset, Math.min(line.length, LINE_BYTES_MAX)).toString();
    const stands = Math.min(stride, rows.length - at);
    tree.add(text, set.detected_level ?? '', [[Math.floor(ms[row] / stepMs) * stepMs, stands]]);
  }
}
