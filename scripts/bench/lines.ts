/** The lines that are measured with: what they look like, and the words that are looked for in them. */

/** Stands in two lines of each file, whatever its size. */
export const RARE_WORD = 'quicksilver-7731';
/** Stands in about a quarter of all lines, in every format. */
export const COMMON_WORD = 'completed';
/** Of two JSON lines with the rare word in one file, one has this level. */
export const RARE_LEVEL = 'error';

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

export const FORMATS = ['access', 'json', 'logfmt', 'syslog', 'java', 'plain'] as const;
export type Format = (typeof FORMATS)[number];

export interface Line {
  /** Without its newline; a stack trace has newlines within, and each of its lines is one of its own. */
  readonly text: string;
  /** What a reader finds in the first of the lines; `unknown` when it names none, as the lines after the first. */
  readonly level: string;
}

/** Makes lines of one format. `ms` is the line's time; a rare line carries the rare word, at the level that is given. */
export class LineMaker {
  readonly #random: () => number;
  readonly #format: Format;

  constructor(format: Format, seed: number) {
    this.#format = format;
    this.#random = seeded(seed);
  }

  /** Milliseconds to the next line: 0 … 2 × the mean. */
  stepMs(meanMs: number): number {
    return this.#random() * 2 * meanMs;
  }

  make(ms: number, rareLevel?: string): Line {
    const level = rareLevel ?? this.#pick(LEVELS);
    const rare = rareLevel === undefined ? '' : ` ${RARE_WORD}`;
    const iso = new Date(ms).toISOString();
    switch (this.#format) {
      case 'access': {
        const path = `/api/v${1 + this.#below(3)}/${this.#pick(NOUNS)}/${this.#below(1_000_000)}`;
        const status = `${this.#pick(STATUSES)} ${this.#below(90_000)}`;
        const referrer = this.#isOneOf(4) ? `https://shop.example/${COMMON_WORD}` : '-';
        const text = `${this.#ip()} - ${this.#user()} [${apacheTime(iso)}] "${this.#pick(METHODS)} ${path} HTTP/1.1" ${status} "${referrer}" "${this.#pick(AGENTS)}${rare}"`;
        return { text, level: 'unknown' };
      }
      case 'json': {
        const fields = `"service":"${this.#pick(SERVICES)}","tenant":"t${this.#tenant()}","msg":"${this.#phrase()}${rare}"`;
        const numbers = `"trace_id":"${this.#hex(32)}","duration_ms":${this.#below(3000)},"status":${this.#pick(STATUSES)}`;
        return { text: `{"ts":"${iso}","level":"${level}",${fields},${numbers}}`, level };
      }
      case 'logfmt': {
        const caller = `${this.#pick(SERVICES)}.go:${this.#below(900)}`;
        const text = `ts=${iso} level=${level} caller=${caller} msg="${this.#phrase()}${rare}" user=${this.#user()} took=${this.#below(900)}ms`;
        return { text, level };
      }
      case 'syslog': {
        const from = `from ${this.#ip()} port ${this.#below(65_536)} ssh2`;
        const text = `${iso} ${this.#pick(SERVICES)}[${this.#below(30_000)}]: ${this.#phrase()} ${from}${rare}`;
        return { text, level: 'unknown' };
      }
      case 'java': {
        const stamp = iso.replace('T', ' ').replace('Z', '').replace('.', ',');
        const thread = `[${this.#pick(SERVICES)}-${this.#below(64)}]`;
        const logger = `c.example.${this.#pick(NOUNS)}.${this.#pick(CLASSES)}`;
        const head = `${stamp} ${level.toUpperCase().padEnd(5)} ${thread} ${logger} - ${this.#phrase()} id=${this.#hex(16)}${rare}`;
        return { text: level === 'error' ? `${head}\n${this.#stackTrace()}` : head, level };
      }
      case 'plain': {
        const facts = `${this.#pick(NOUNS)}=${this.#below(1_000_000)} ${this.#pick(NOUNS)}=${this.#hex(8)}`;
        const text = `${iso} ${level} ${this.#pick(SERVICES)} ${this.#phrase()} ${facts} in ${this.#below(5000)} us${rare}`;
        return { text, level };
      }
    }
  }

  #below(bound: number): number {
    return Math.floor(this.#random() * bound);
  }

  #isOneOf(count: number): boolean {
    return this.#below(count) === 0;
  }

  #pick<Item>(items: readonly Item[]): Item {
    return items[this.#below(items.length)];
  }

  #hex(digits: number): string {
    let text = '';
    for (let left = digits; left > 0; left -= 4) text += HEX4[this.#below(65_536)];
    return text.slice(0, digits);
  }

  #ip(): string {
    return `10.${this.#below(40)}.${this.#below(256)}.${this.#below(256)}`;
  }

  #user(): string {
    return `user${this.#below(50_000)}`;
  }

  /** One of 1,000, a few of them with most of the lines. */
  #tenant(): number {
    return Math.floor(1000 * this.#random() ** 3);
  }

  #phrase(): string {
    return this.#isOneOf(4) ? `request ${COMMON_WORD}` : this.#pick(PHRASES);
  }

  #stackTrace(): string {
    const frames = Array.from(
      { length: 4 },
      () =>
        `\tat c.example.${this.#pick(NOUNS)}.${this.#pick(CLASSES)}.run(${this.#pick(CLASSES)}.java:${this.#below(900)})`,
    );
    return `java.io.IOException: Connection reset by peer\n${frames.join('\n')}`;
  }
}

/** `dd/Mon/yyyy:hh:mm:ss +0000` of an ISO time. */
function apacheTime(iso: string): string {
  const month = MONTHS[Number(iso.slice(5, 7)) - 1];
  return `${iso.slice(8, 10)}/${month}/${iso.slice(0, 4)}:${iso.slice(11, 19)} +0000`;
}

const HEX4 = Array.from({ length: 65_536 }, (_, value) => value.toString(16).padStart(4, '0'));
const MONTHS = ['Jan', 'Feb', 'Mar', 'Apr', 'May', 'Jun', 'Jul', 'Aug', 'Sep', 'Oct', 'Nov', 'Dec'];
const METHODS = ['GET', 'GET', 'GET', 'POST', 'PUT', 'DELETE'];
const STATUSES = [200, 200, 200, 200, 204, 301, 404, 500, 503];
const LEVELS = ['debug', 'info', 'info', 'info', 'info', 'info', 'info', 'warn', 'warn', 'error'];
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
