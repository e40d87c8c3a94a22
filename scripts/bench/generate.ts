import { closeSync, openSync, writeSync } from 'node:fs';

/** A small seeded generator (mulberry32), so that every run writes the same bytes. */
export function seeded(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

export const RARE_WORD = 'quicksilver-7731';
export const COMMON_WORD = 'completed';
const CHUNK_BYTES = 4 * 1024 * 1024;

/**
 * Writes about `bytes` of varied lines in time order: access logs, JSON, logfmt, syslog, Java with stack traces. The rare
 * word stands in a handful of lines. Returns the number of lines.
 */
export function generateLogs(path: string, bytes: number, startMs: number, seed = 1): number {
  const random = seeded(seed);
  const pick = <T>(items: readonly T[]): T => items[Math.floor(random() * items.length)];
  const hex = (digits: number): string =>
    Array.from({ length: digits }, () => Math.floor(random() * 16).toString(16)).join('');
  const number = (below: number): number => Math.floor(random() * below);
  const ip = (): string => `10.${number(40)}.${number(256)}.${number(256)}`;
  const user = (): string => `user${number(50_000)}`;
  const path_ = (): string => `/api/v${1 + number(3)}/${pick(NOUNS)}/${number(1_000_000)}`;
  const file = openSync(path, 'w');
  let written = 0;
  let lines = 0;
  let ms = startMs;
  let chunk: string[] = [];
  let chunkBytes = 0;
  while (written + chunkBytes < bytes) {
    ms += number(4);
    const iso = new Date(ms).toISOString();
    const level = pick(LEVELS);
    let line: string;
    switch (number(6)) {
      case 0:
        line = `${ip()} - ${user()} [${apacheTime(ms)}] "${pick(METHODS)} ${path_()} HTTP/1.1" ${pick(STATUSES)} ${number(90_000)} "-" "${pick(AGENTS)}"`;
        break;
      case 1:
        line = `{"ts":"${iso}","level":"${level}","service":"${pick(SERVICES)}","msg":"request ${COMMON_WORD}","trace_id":"${hex(32)}","duration_ms":${number(3000)},"status":${pick(STATUSES)}}`;
        break;
      case 2:
        line = `ts=${iso} level=${level} caller=${pick(SERVICES)}.go:${number(900)} msg="${pick(PHRASES)}" user=${user()} took=${number(900)}ms`;
        break;
      case 3:
        line = `${iso} ${pick(SERVICES)}[${number(30_000)}]: ${pick(PHRASES)} from ${ip()} port ${number(65_536)} ssh2`;
        break;
      case 4:
        line = `${iso.replace('T', ' ').replace('Z', '').replace('.', ',')} ${level.toUpperCase().padEnd(5)} [${pick(SERVICES)}-${number(64)}] c.example.${pick(NOUNS)}.${pick(CLASSES)} - ${pick(PHRASES)} id=${hex(16)}`;
        break;
      default:
        line = `${iso} ${level} ${pick(SERVICES)} ${pick(PHRASES)} ${pick(NOUNS)}=${number(1_000_000)} ${pick(NOUNS)}=${hex(8)} ${COMMON_WORD} in ${number(5000)} us`;
    }
    if (random() < 2e-6) line += ` ${RARE_WORD}`;
    chunk.push(line, '\n');
    chunkBytes += line.length + 1;
    lines++;
    if (chunkBytes >= CHUNK_BYTES) {
      written += writeSync(file, chunk.join(''));
      chunk = [];
      chunkBytes = 0;
    }
  }
  writeSync(file, chunk.join(''));
  closeSync(file);
  return lines;
}

function apacheTime(ms: number): string {
  const date = new Date(ms);
  const two = (value: number): string => String(value).padStart(2, '0');
  const month = MONTHS[date.getUTCMonth()];
  const clock = [date.getUTCHours(), date.getUTCMinutes(), date.getUTCSeconds()].map(two).join(':');
  return `${two(date.getUTCDate())}/${month}/${date.getUTCFullYear()}:${clock} +0000`;
}

const MONTHS = ['Jan', 'Feb', 'Mar', 'Apr', 'May', 'Jun', 'Jul', 'Aug', 'Sep', 'Oct', 'Nov', 'Dec'];
const METHODS = ['GET', 'GET', 'GET', 'POST', 'PUT', 'DELETE'];
const STATUSES = [200, 200, 200, 200, 204, 301, 404, 500, 503];
const LEVELS = ['debug', 'info', 'info', 'info', 'info', 'warn', 'error'];
const SERVICES = ['checkout', 'inventory', 'gateway', 'billing', 'search', 'sshd', 'kubelet', 'scheduler'];
const NOUNS = ['orders', 'carts', 'users', 'items', 'payments', 'sessions', 'volumes', 'shards', 'leases'];
const CLASSES = ['RequestHandler', 'ConnectionPool', 'RetryPolicy', 'LeaderElection', 'BlockManager'];
const AGENTS = ['Mozilla/5.0 (X11; Linux x86_64)', 'curl/8.5.0', 'kube-probe/1.31', 'okhttp/4.12.0'];
const PHRASES = [
  'connection accepted',
  'cache miss, loading from the database',
  'failed to acquire lease, will retry',
  'rebalancing partitions across consumers',
  'handshake finished',
  'slow query detected',
  'token refreshed for session',
  'upstream timed out while reading response header',
  'Failed password for invalid user',
  'snapshot written',
];
