import { InvalidArgumentError, Option, type Command } from 'commander';
import { LogvineError } from '../../store/index.ts';
import {
  formatHostPort,
  loadConfig,
  parseDuration,
  parseHostPort,
  type LoadedConfig,
} from '../config/index.ts';
import type { Endpoint } from './http.ts';
import type { Io } from './io.ts';
import type { Services } from './services.ts';
import { notBefore1970, parseTimeNs, startBefore, TIME_ALLOWED } from './time.ts';

const ADDR_DEFAULT = 'http://127.0.0.1:7420';

/** The options of every command that speaks to a running node. */
export interface EndpointOptions {
  readonly addr?: string;
  readonly tokenFile?: string;
}

export function withEndpoint(command: Command): Command {
  return command
    .option(
      '--addr <url>',
      `the node to ask, as URL or HOST:PORT (else LOGVINE_ADDR, else ${ADDR_DEFAULT})`,
      parseAddr,
    )
    .option('--token-file <file>', 'file with the token to show (else the variable LOGVINE_TOKEN)');
}

export async function endpointOf(options: EndpointOptions, io: Io, services: Services): Promise<Endpoint> {
  const addr = options.addr ?? parseAddr(io.env.LOGVINE_ADDR || ADDR_DEFAULT);
  const { clock } = io;
  return { addr, token: await tokenOf(options, io), fetch: services.fetch, clock };
}

async function tokenOf({ tokenFile }: EndpointOptions, io: Io): Promise<string | undefined> {
  if (tokenFile === undefined) return io.env.LOGVINE_TOKEN || undefined;
  const bytes = await io.disk.readFile(tokenFile);
  if (!bytes)
    throw new LogvineError('LV_CONFIG_INVALID', `--token-file: ${tokenFile}: there is no such file`);
  const token = bytes.toString().split('\n', 1)[0].trim();
  if (!token || !/^[\x21-\x7e]+$/.test(token)) {
    throw new LogvineError('LV_CONFIG_INVALID', `--token-file: ${tokenFile} holds no token`);
  }
  return token;
}

function parseAddr(text: string): string {
  const hostPort = parseHostPort(text);
  const url = URL.parse(hostPort ? `http://${formatHostPort(hostPort)}` : text);
  if (!url || !['http:', 'https:'].includes(url.protocol)) {
    throw new InvalidArgumentError('allowed: a URL such as http://127.0.0.1:7420, or HOST:PORT');
  }
  return `${url.origin}${url.pathname}`.replace(/\/+$/, '');
}

export function parseDurationOption(text: string): number {
  const ms = parseDuration(text);
  if (ms === undefined) throw new InvalidArgumentError('allowed: a duration such as 15m, 2h or 7d');
  return ms;
}

/** For options that take a time; `now` is when the command started. */
function timeOption(nowMs: number): (text: string) => bigint {
  return (text) => {
    const ns = parseTimeNs(text, nowMs);
    if (ns === undefined) throw new InvalidArgumentError(`allowed: ${TIME_ALLOWED}`);
    return notBefore1970(ns);
  };
}

export interface RangeOptions {
  readonly since?: number;
  readonly from?: bigint;
  readonly to?: bigint;
}

/** `--since`, or `--from` and `--to`. */
export function withRange(
  command: Command,
  nowMs: number,
  help: { readonly since: string; readonly from: string; readonly to: string },
): Command {
  const parseTime = timeOption(nowMs);
  return command
    .addOption(
      new Option('--since <duration>', help.since).argParser(parseDurationOption).conflicts(['from', 'to']),
    )
    .option('--from <time>', help.from, parseTime)
    .option('--to <time>', help.to, parseTime);
}

/** Ends the command when the range is none. Without `--since` and `--from` it has no start. */
export function rangeOf(
  command: Command,
  { since, from, to }: RangeOptions,
  nowMs: number,
): { readonly startNs: bigint | undefined; readonly endNs: bigint } {
  const endNs = to ?? BigInt(Math.ceil(nowMs)) * 1_000_000n;
  const startNs = since === undefined ? from : startBefore(endNs, since);
  if (startNs !== undefined && startNs >= endNs) command.error("option '--from' is not before '--to'");
  return { startNs, endNs };
}

export function parseCount(text: string): number {
  const count = Number(text);
  if (!/^\d+$/.test(text) || !Number.isSafeInteger(count)) {
    throw new InvalidArgumentError('allowed: a whole number; 0 is all');
  }
  return count;
}

export function outputOption<T extends string>(choices: readonly T[]): Option {
  return new Option('--output <format>', 'how to print').choices(choices).default(choices[0]);
}

/** The options of commands that read a node's configuration, as commander gives them. */
export interface ConfigOptions {
  readonly config?: string;
  readonly data?: string;
  readonly listen?: string;
  readonly http?: string;
  readonly join?: readonly string[];
  readonly secretFile?: string;
  readonly label?: readonly string[];
}

export function withConfig(command: Command): Command {
  return command
    .argument('[files...]', 'files and globs to tail; - is stdin')
    .option('--config <file>', 'configuration file (else LOGVINE_CONFIG)')
    .option('--data <dir>', 'data directory')
    .option('--listen <host:port>', 'where other peers reach this one')
    .option('--http <host:port>', 'where the page, queries and pushes are served')
    .option('--join <host:port>', 'a peer of the mesh; repeatable', append)
    .option('--secret-file <file>', 'file with the mesh secret')
    .option('--label <name=value>', 'label for everything that is tailed; repeatable', append);
}

function append(value: string, before: readonly string[] = []): string[] {
  return [...before, value];
}

/** The configuration that a command line asks for; what is odd in it goes to stderr. Throws LV_CONFIG_INVALID. */
export async function configOf(
  io: Io,
  options: ConfigOptions,
  files: readonly string[],
): Promise<Omit<LoadedConfig, 'warnings'>> {
  const { env, workingDirectory, disk } = io;
  const { data, listen, http, join = [], secretFile, label = [] } = options;
  const flags = { data, listen, http, join, secretFile, label, files };
  const configFile = options.config ?? (env.LOGVINE_CONFIG || undefined);
  const { warnings, ...loaded } = await loadConfig({ configFile, flags, env, workingDirectory, disk });
  for (const warning of warnings) io.report(`logvine: warning: ${warning}`);
  return loaded;
}
