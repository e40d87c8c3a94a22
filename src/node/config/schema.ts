import { z } from 'zod';
import type { PeerId } from '../../gossip/index.ts';
import { compileQuery, isPrintable, LIMITS } from '../../store/index.ts';
import { parseHostPort } from './address.ts';
import { DURATION_ALLOWED, parseDuration, parseSize, SIZE_ALLOWED } from './units.ts';

/*
 * The kinds of values. Each carries what a message and the reference say is `allowed`, and the `form` in which an
 * environment variable writes it. A knob is a kind with a default (`prefault`: written as in the file) and a
 * description, which must come last: docs/configuration.md and `logvine init` are made of them.
 */

/** How a value is written in an environment variable; `file` can only stand in the file. */
export type Form = 'text' | 'path' | 'number' | 'boolean' | 'list' | 'pairs' | 'file';

function kind<T extends z.ZodType>(type: T, form: Form, allowed: string): T {
  return type.meta({ form, allowed });
}

function parsed<T>(parse: (text: string) => T | undefined) {
  return z.union([z.string(), z.number()]).transform((written, context): T => {
    const value = parse(String(written));
    if (value !== undefined) return value;
    context.addIssue({ code: 'custom', message: 'not allowed' });
    return z.NEVER;
  });
}

function duration(min: string, max: string) {
  const [minMs, maxMs] = [parseDuration(min) ?? 0, parseDuration(max) ?? 0];
  const type = parsed((text) => {
    const ms = parseDuration(text);
    return ms !== undefined && ms >= minMs && ms <= maxMs ? ms : undefined;
  });
  return kind(type, 'text', `${DURATION_ALLOWED}; from ${min} to ${max}`);
}

function size(min: string, max: string) {
  const [minBytes, maxBytes] = [parseSize(min) ?? 0, parseSize(max) ?? 0];
  const type = parsed((text) => {
    const bytes = parseSize(text);
    return bytes !== undefined && bytes >= minBytes && bytes <= maxBytes ? bytes : undefined;
  });
  return kind(type, 'text', `${SIZE_ALLOWED}; from ${min} to ${max}`);
}

function whole(min: number, max: number) {
  return kind(z.int().min(min).max(max), 'number', `a whole number from ${min} to ${max}`);
}

const flag = () => kind(z.boolean(), 'boolean', 'true or false');
const path = (what: string) => kind(z.string().min(1).max(4096), 'path', what);
const hostPort = () =>
  kind(
    parsed(parseHostPort),
    'text',
    'HOST:PORT, such as 127.0.0.1:7421 or [::1]:7421; port 0 picks a free one',
  );

const address = kind(
  z.string().refine((text) => /^\/[\w./:@-]+$/.test(text) || (parseHostPort(text)?.port ?? 0) > 0),
  'text',
  'HOST:PORT or a multiaddr, such as logs-1.example.net:7421',
);
const addresses = (max: number) =>
  kind(z.array(address).max(max), 'list', 'a list of HOST:PORT or multiaddrs');

/** Of an Ed25519 key. Parsing one takes libp2p, which no command but `run` should wait for. */
const PEER_ID = /^12D3Koo[1-9A-HJ-NP-Za-km-z]{45}$/;
const peerIds = () =>
  kind(
    z
      .array(
        z
          .string()
          .regex(PEER_ID)
          .transform((text) => text as PeerId),
      )
      .max(1000),
    'list',
    'a list of peer ids, as `logvine members` shows them',
  );

const labelName = z
  .string()
  .regex(/^[a-zA-Z_][a-zA-Z0-9_]*$/)
  .max(LIMITS.labelNameBytesMax)
  .refine((name) => name !== '__proto__');
const labels = () =>
  kind(
    z
      .record(labelName, z.string().min(1).max(1024))
      .refine((labels) => Object.keys(labels).length <= LIMITS.labelsPerStreamMax),
    'pairs',
    'label names ([a-zA-Z_][a-zA-Z0-9_]*) with texts; write a number or true in quotes',
  );

const timeZone = () =>
  kind(
    z.string().refine((zone) => zone === 'local' || isTimeZone(zone)),
    'text',
    'local, UTC, a name such as Europe/Berlin, or an offset such as +02:00',
  );

function isTimeZone(zone: string): boolean {
  try {
    return Intl.DateTimeFormat('en', { timeZone: zone }).resolvedOptions().timeZone !== '';
  } catch {
    return false;
  }
}

const pathList = (min: number) =>
  kind(z.array(path('a file or glob')).min(min).max(1000), 'list', 'a list of files or globs');

const tail = z.strictObject({
  paths: pathList(1).describe(
    'What to tail. Files that appear later are picked up too; `-` is stdin. A file that several entries lead to is read once, as the first of them says.',
  ),
  labels: labels().prefault({}).describe('Labels for these files, besides `host`, `filename` and `job`.'),
  exclude: pathList(0).prefault([]).describe('Files that the globs match and that are left out.'),
  timeZone: timeZone().optional().describe('Zone of times that name none; else the `timeZone` of the node.'),
});

const selector = kind(
  z.string().max(4096).refine(isSelector),
  'text',
  'a stream selector, such as {app="checkout"}',
);

function isSelector(text: string): boolean {
  try {
    compileQuery(text, () => 0);
    return /^\s*\{[^]*\}\s*$/.test(text);
  } catch {
    return false;
  }
}

const retentionOfStreams = z.strictObject({
  selector: selector.describe('Which streams it is for. The first entry that matches counts.'),
  ageMax: duration('1h', '36500d').describe('Instead of `retention.ageMax`.'),
});

export const configSchema = z.strictObject({
  data: path('a directory')
    .prefault('./logvine-data')
    .describe('Where batches, the identity and what is known of the mesh are kept. One node a directory.'),
  listen: hostPort()
    .prefault('127.0.0.1:7421')
    .describe('Where other peers reach this one. Beyond loopback it needs `secretFile`.'),
  announce: addresses(LIMITS.memberAddressesMax)
    .prefault([])
    .describe(
      'What this peer tells others to reach it at, where that is not what it listens on: behind NAT, or in a container.',
    ),
  http: hostPort()
    .prefault('127.0.0.1:7420')
    .describe(
      'Where the page, queries and pushes are served. Beyond loopback it needs a token, and TLS or `httpBehindProxy`.',
    ),
  httpBehindProxy: flag().prefault(false).describe('A proxy in front of `http` does the TLS.'),
  tls: z
    .strictObject({
      certFile: path('a file').optional().describe('Certificate chain (PEM) for `http`.'),
      keyFile: path('a file').optional().describe('Its private key (PEM).'),
    })
    .prefault({}),
  tokenFiles: z
    .strictObject({
      push: path('a file').optional().describe('Tokens that may push, one a line.'),
      query: path('a file').optional().describe('Tokens that may query and see the page.'),
      admin: path('a file')
        .optional()
        .describe(
          'Tokens that may do everything. Once any of the three is set, every request needs a token.',
        ),
    })
    .prefault({}),
  join: addresses(LIMITS.seedsMax)
    .prefault([])
    .describe('Peers to find the mesh through. They are redialled for ever; one that answers is enough.'),
  lostPeers: peerIds()
    .prefault([])
    .describe(
      'Peers that never come back, and their disks neither. A newcomer that only fewer than `ack` members know waits for all others, but not for these.',
    ),
  secretFile: path('a file')
    .optional()
    .describe(
      'The mesh secret, made by `logvine init`, the same on every peer. Two lines while it is being changed.',
    ),
  zone: kind(
    z.string().min(1).max(64).refine(isPrintable),
    'text',
    'a text of up to 64 characters, all of them visible',
  )
    .optional()
    .describe('Rack, room or region. The copies of a batch are spread over zones.'),
  weight: kind(z.number().min(0.01).max(1000), 'number', 'a number from 0.01 to 1000')
    .prefault(1)
    .describe('Share of the batches that this peer owns, relative to the others.'),
  labels: labels().prefault({}).describe('Labels for everything that this node tails.'),
  replicas: whole(1, LIMITS.ownersMax)
    .prefault(3)
    .describe('Copies of every batch (k). More survive more failures and cost as much more disk.'),
  ack: whole(1, LIMITS.ownersMax)
    .optional()
    .describe('Copies on disk before a batch counts as safe (w). 2, or 1 when `replicas` is 1.'),
  inputs: z
    .strictObject({
      tail: kind(z.array(tail).max(1000), 'file', 'a list of entries with `paths`')
        .prefault([])
        .describe('Files to tail; files named on the command line are added.'),
    })
    .prefault({}),
  discover_service_name: flag().prefault(true).describe('Give streams a `service_name` as Loki derives it.'),
  discover_log_levels: flag().prefault(true).describe('Give entries a `detected_level` as Loki derives it.'),
  timeZone: timeZone().prefault('local').describe('Zone of times in lines that name none.'),
  batch: z
    .strictObject({
      targetBytes: size('64KiB', '1536KiB').prefault('1MiB').describe('A batch is sealed at this size.'),
      lingerBytes: size('1KiB', '1536KiB')
        .prefault('64KiB')
        .describe('A batch this large is sealed once it is `linger` old.'),
      linger: duration('10ms', '1m').prefault('1s').describe('See `lingerBytes`.'),
      ageMax: duration('10ms', '10m')
        .prefault('10s')
        .describe('Every batch is sealed at this age. Unsealed lines are found by queries too.'),
      pushLinger: duration('1ms', '1m')
        .prefault('100ms')
        .describe('A batch that a push waits for is sealed at this age.'),
    })
    .prefault({}),
  segment: z
    .strictObject({
      bytesMax: size('16MiB', '64MiB')
        .prefault('64MiB')
        .describe('A segment closes at this size; the next one may have other owners.'),
      ageMax: duration('1m', '1h').prefault('1h').describe('A segment closes at this age.'),
    })
    .prefault({}),
  retention: z
    .strictObject({
      ageMax: duration('1h', '36500d')
        .optional()
        .describe(
          'Whole segments go once everything in them was sealed longer ago. Unset, they are kept for ever.',
        ),
      bytesMax: size('64MiB', '8000TiB')
        .optional()
        .describe('What all segments here may take: beyond it the oldest go, copies that others keep first.'),
      streams: kind(
        z.array(retentionOfStreams).max(1000),
        'file',
        'a list of entries with `selector`, `ageMax`',
      )
        .prefault([])
        .describe('Other ages for some streams. A segment stays as long as any stream in it.'),
    })
    .prefault({}),
  diskReserve: size('0', '1000TiB')
    .prefault('1GiB')
    .describe(
      'Never filled, or 5 % of the disk if that is less. At three times as much no copies of others are taken, at twice no pushes, at once files are not read on.',
    ),
  scrubPeriod: duration('1h', '365d')
    .prefault('7d')
    .describe('Everything stored is read again in this time, so that rot is found and healed.'),
  repairDelay: duration('1s', '1d')
    .prefault('10m')
    .describe(
      'How long a peer may be dead before others make the copies anew that it should hold. The same at every peer.',
    ),
  repairBytesPerSecond: size('64KiB', '100GiB')
    .prefault('32MiB')
    .describe('How fast this peer fetches copies that it should hold, and reads its own for others.'),
  pushTimeout: duration('100ms', '5m')
    .prefault('10s')
    .describe('How long a push waits for its copies before it is answered 503.'),
  pushDedupWindow: duration('0s', '1d')
    .prefault('1h')
    .describe(
      'A push that is sent again within this time, here or to another peer, is stored once. `0s`: every push is stored.',
    ),
  workers: whole(1, 64).optional().describe('Threads that seal and scan. As many as there are cores.'),
  logLevel: kind(
    z.enum(['trace', 'debug', 'info', 'warn', 'error', 'silent']),
    'text',
    'trace, debug, info, warn, error or silent',
  )
    .prefault('info')
    .describe('What the node says about itself on stderr.'),
});

export type WrittenConfig = z.output<typeof configSchema>;
