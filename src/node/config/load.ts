import { dirname, resolve } from 'node:path';
import type { PeerId } from '../../gossip/index.ts';
import { LogvineError, messageOf, type Disk, type Labels } from '../../store/index.ts';
import type { HostPort } from './address.ts';
import { readDocument, type ConfigDocument, type Problem } from './document.ts';
import { KNOBS, placeAt } from './knobs.ts';
import { isSection, overlay, type Environment, type Flags } from './layers.ts';
import { breaches } from './rules.ts';
import { configSchema, type WrittenConfig } from './schema.ts';
import { suggest } from './suggest.ts';

const FILE_BYTES_MAX = 1024 * 1024;

/** What a node runs on: checked, whole, paths absolute, times in milliseconds. docs/configuration.md explains each. */
export interface Config {
  readonly dataDirectory: string;
  readonly listen: HostPort;
  /** `host:port` or multiaddr; empty: those of the interfaces that it listens on. */
  readonly announce: readonly string[];
  readonly http: HostPort;
  readonly httpBehindProxy: boolean;
  /** Undefined: plain HTTP. */
  readonly tls: { readonly certFile: string; readonly keyFile: string } | undefined;
  readonly tokenFiles: { readonly push?: string; readonly query?: string; readonly admin?: string };
  /** `host:port` or multiaddr. */
  readonly join: readonly string[];
  readonly lostPeers: readonly PeerId[];
  readonly secretFile: string | undefined;
  readonly zone: string | undefined;
  readonly weight: number;
  readonly labels: Labels;
  readonly replicas: number;
  readonly ack: number;
  readonly tail: readonly TailConfig[];
  readonly discoverServiceName: boolean;
  readonly discoverLogLevels: boolean;
  /** `local`, or what Intl.DateTimeFormat takes. */
  readonly timeZone: string;
  readonly batch: {
    readonly targetBytes: number;
    readonly lingerBytes: number;
    readonly lingerMs: number;
    readonly ageMaxMs: number;
    readonly pushLingerMs: number;
  };
  readonly segment: { readonly bytesMax: number; readonly ageMaxMs: number };
  readonly retention: {
    /** Undefined: for ever. */
    readonly ageMsMax: number | undefined;
    readonly bytesMax: number | undefined;
    readonly streams: readonly { readonly selector: string; readonly ageMsMax: number }[];
  };
  readonly diskReserveBytes: number;
  readonly scrubPeriodMs: number;
  readonly repairDelayMs: number;
  readonly repairBytesPerSecond: number;
  readonly pushTimeoutMs: number;
  /** 0: pushes are not told apart. */
  readonly pushDedupWindowMs: number;
  /** Undefined: as many as there are cores. */
  readonly workers: number | undefined;
  readonly logLevel: 'trace' | 'debug' | 'info' | 'warn' | 'error' | 'silent';
}

export interface TailConfig {
  /** Absolute files and globs; `-` is stdin. */
  readonly paths: readonly string[];
  readonly labels: Labels;
  readonly exclude: readonly string[];
  readonly timeZone: string;
}

/** One key of the effective configuration and who said so. */
export interface Setting {
  readonly key: string;
  /** As the file would have it; undefined when nothing is set. */
  readonly value: unknown;
  /** `default`, `file:line`, a variable, a flag; several when they were put together. */
  readonly source: string;
}

export interface LoadedConfig {
  readonly config: Config;
  readonly settings: readonly Setting[];
  /** For the log: what is odd but no error. */
  readonly warnings: readonly string[];
}

export interface LoadOptions {
  readonly configFile?: string;
  readonly flags: Flags;
  readonly env: Environment;
  /** What relative paths of flags, variables and defaults start from; those in the file start from its directory. */
  readonly workingDirectory: string;
  readonly disk: Pick<Disk, 'readFile'>;
}

/**
 * Puts the layers together: flags over environment over file over defaults. Throws LV_CONFIG_INVALID with every
 * problem found, a line each: where, which key, what is allowed.
 */
export async function loadConfig(options: LoadOptions): Promise<LoadedConfig> {
  const document = await readConfigFile(options);
  const values = isSection(document.values) ? document.values : {};
  const isSet = (path: readonly PropertyKey[]) => valueAt(values, path) !== undefined;
  const inFile = new Set(KNOBS.filter(({ path }) => isSet(path)).map(({ key }) => key));
  const tailsInFile = arrayLength(valueAt(values, ['inputs', 'tail']));
  const { origins, problems, warnings } = overlay(values, options.env, options.flags);
  const whereIs = (path: readonly PropertyKey[]) => originOf(origins, path) ?? document.whereIs(path);

  const result = configSchema.safeParse(values);
  const all: Problem[] = [...document.problems, ...problems];
  if (!result.success) {
    for (const issue of result.error.issues) all.push(...problemsOf(issue, values, whereIs));
  } else {
    for (const { path, message } of breaches(result.data)) {
      all.push({ where: isSet(path) ? whereIs(path) : 'default', message: `${keyText(path)}: ${message}` });
    }
  }
  if (!result.success || all.length > 0) throw invalid(all.sort(byPlace));

  const fileDirectory = dirname(resolve(options.workingDirectory, options.configFile ?? 'none'));
  const baseOf = (key: string) =>
    inFile.has(key) && !origins.has(key) ? fileDirectory : options.workingDirectory;
  const baseOfTail = (index: number) => (index < tailsInFile ? fileDirectory : options.workingDirectory);
  const config = toConfig(result.data, baseOf, baseOfTail);
  return { config, settings: settingsOf(values, inFile, origins, document, config), warnings };
}

async function readConfigFile({ configFile, workingDirectory, disk }: LoadOptions): Promise<ConfigDocument> {
  if (configFile === undefined) return readDocument('', 'default');
  let bytes: Buffer | undefined;
  try {
    bytes = await disk.readFile(resolve(workingDirectory, configFile));
  } catch (error) {
    throw invalid([{ where: configFile, message: `the file cannot be read: ${messageOf(error)}` }], error);
  }
  if (!bytes) throw invalid([{ where: configFile, message: 'there is no such file' }]);
  if (bytes.length > FILE_BYTES_MAX) {
    throw invalid([{ where: configFile, message: `the file is larger than ${FILE_BYTES_MAX} bytes` }]);
  }
  const document = readDocument(bytes.toString(), configFile);
  if (document.problems.length > 0 || document.values === null || isSection(document.values)) return document;
  throw invalid([{ where: `${configFile}:1`, message: 'the file is not a list of `key: value` lines' }]);
}

interface Issue {
  readonly code?: string;
  readonly path: readonly PropertyKey[];
  readonly keys?: readonly string[];
}

/** Our own words for what the schema found: they name what is there and what may be there. */
function problemsOf(
  issue: Issue,
  values: unknown,
  whereIs: (path: readonly PropertyKey[]) => string,
): Problem[] {
  const { allowed, keys } = placeAt(issue.path);
  if (issue.code === 'unrecognized_keys') {
    return (issue.keys ?? []).map((key) => {
      const path = [...issue.path, key];
      const meant = suggest(key, keys);
      const help = meant ? `did you mean ${meant}?` : `allowed: ${keys.join(', ')}`;
      return { where: whereIs(path), message: `${keyText(path)}: unknown key; ${help}` };
    });
  }
  const value = valueAt(values, issue.path);
  const found = value === undefined ? 'it is missing' : `${short(value)} is not allowed`;
  return [{ where: whereIs(issue.path), message: `${keyText(issue.path)}: ${found}; allowed: ${allowed}` }];
}

/** As one reads the file: by line. Those from elsewhere keep their order. */
function byPlace(a: Problem, b: Problem): number {
  const [lineA, lineB] = [lineOf(a), lineOf(b)];
  return lineA === lineB ? 0 : lineA - lineB;
}

function lineOf({ where }: Problem): number {
  return Number(/:(\d+)$/.exec(where)?.[1] ?? Infinity);
}

function invalid(problems: readonly Problem[], cause?: unknown): LogvineError {
  const lines = problems.map(({ where, message }) => `${where}: ${message}`);
  const message = lines.length === 1 ? lines[0] : [`${lines.length} problems`, ...lines].join('\n  ');
  return new LogvineError('LV_CONFIG_INVALID', message, { cause });
}

function originOf(origins: ReadonlyMap<string, string>, path: readonly PropertyKey[]): string | undefined {
  for (let length = path.length; length > 0; length--) {
    const key = path.slice(0, length).map(String).join('.');
    const origin = origins.get(key);
    // The list of tails is put together: its own entries come from the file unless they say otherwise.
    if (origin && !(key === 'inputs.tail' && path.length > length)) return origin;
  }
  return undefined;
}

function valueAt(values: unknown, path: readonly PropertyKey[]): unknown {
  let value = values;
  for (const step of path) {
    if (typeof value !== 'object' || value === null || !Object.hasOwn(value, step)) return undefined;
    value = (value as Record<PropertyKey, unknown>)[step];
  }
  return value;
}

function keyText(path: readonly PropertyKey[]): string {
  let text = '';
  for (const step of path) {
    if (typeof step === 'number') text += `[${step}]`;
    else text += text === '' ? String(step) : `.${String(step)}`;
  }
  return text;
}

function short(value: unknown): string {
  const text = JSON.stringify(value) ?? String(value);
  return text.length > 80 ? `${text.slice(0, 80)}…` : text;
}

function arrayLength(value: unknown): number {
  return Array.isArray(value) ? value.length : 0;
}

function settingsOf(
  values: unknown,
  inFile: ReadonlySet<string>,
  origins: ReadonlyMap<string, string>,
  document: ConfigDocument,
  config: Config,
): Setting[] {
  return KNOBS.filter(({ key }) => !key.includes('[]')).map(({ key, path, defaultValue }) => {
    const set = valueAt(values, path);
    const above = [...origins].filter(([origin]) => origin === key || origin.startsWith(`${key}.`));
    const isReplaced = above.some(([origin]) => origin === key && key !== 'inputs.tail');
    const sources = new Set(above.map(([, source]) => source));
    const fromFile = inFile.has(key) && !isReplaced ? [document.whereIs(path)] : [];
    const source = [...fromFile, ...sources].join(', ') || 'default';
    return { key, value: set ?? (key === 'ack' ? config.ack : defaultValue), source };
  });
}

function toConfig(
  written: WrittenConfig,
  baseOf: (key: string) => string,
  baseOfTail: (index: number) => string,
): Config {
  const path = (key: string, value: string) => resolve(baseOf(key), value);
  const optionalPath = (key: string, value: string | undefined) =>
    value === undefined ? undefined : path(key, value);
  const { tls, tokenFiles, batch, segment, replicas } = written;
  const certFile = optionalPath('tls.certFile', tls.certFile);
  const keyFile = optionalPath('tls.keyFile', tls.keyFile);
  return {
    dataDirectory: path('data', written.data),
    listen: written.listen,
    announce: written.announce,
    http: written.http,
    httpBehindProxy: written.httpBehindProxy,
    tls: certFile && keyFile ? { certFile, keyFile } : undefined,
    tokenFiles: {
      push: optionalPath('tokenFiles.push', tokenFiles.push),
      query: optionalPath('tokenFiles.query', tokenFiles.query),
      admin: optionalPath('tokenFiles.admin', tokenFiles.admin),
    },
    join: written.join,
    lostPeers: written.lostPeers,
    secretFile: optionalPath('secretFile', written.secretFile),
    zone: written.zone,
    weight: written.weight,
    labels: written.labels,
    replicas,
    ack: written.ack ?? Math.min(2, replicas),
    tail: written.inputs.tail.map((tail, index) => {
      const absolute = (file: string) => (file === '-' ? file : resolve(baseOfTail(index), file));
      return {
        paths: tail.paths.map(absolute),
        labels: tail.labels,
        exclude: tail.exclude.map(absolute),
        timeZone: tail.timeZone ?? written.timeZone,
      };
    }),
    discoverServiceName: written.discover_service_name,
    discoverLogLevels: written.discover_log_levels,
    timeZone: written.timeZone,
    batch: {
      targetBytes: batch.targetBytes,
      lingerBytes: batch.lingerBytes,
      lingerMs: batch.linger,
      ageMaxMs: batch.ageMax,
      pushLingerMs: batch.pushLinger,
    },
    segment: { bytesMax: segment.bytesMax, ageMaxMs: segment.ageMax },
    retention: {
      ageMsMax: written.retention.ageMax,
      bytesMax: written.retention.bytesMax,
      streams: written.retention.streams.map(({ selector, ageMax }) => ({ selector, ageMsMax: ageMax })),
    },
    diskReserveBytes: written.diskReserve,
    scrubPeriodMs: written.scrubPeriod,
    repairDelayMs: written.repairDelay,
    repairBytesPerSecond: written.repairBytesPerSecond,
    pushTimeoutMs: written.pushTimeout,
    pushDedupWindowMs: written.pushDedupWindow,
    workers: written.workers,
    logLevel: written.logLevel,
  };
}
