/** `ip("…")`: single addresses, ranges and CIDR blocks, found anywhere in a line. */

/** An address as a number of 32 or 128 bits. */
interface Address {
  readonly bits: 32 | 128;
  readonly value: bigint;
}

/** The addresses from `low` to `high`, of one family. */
interface AddressRange {
  readonly bits: 32 | 128;
  readonly low: bigint;
  readonly high: bigint;
}

export interface IpMatcher {
  /** Does the text hold an address that is meant? */
  findIn(text: string): boolean;
}

/** Throws SyntaxError with Loki's text when the pattern is none of the three kinds. */
export function compileIp(pattern: string): IpMatcher {
  const range = parseSingle(pattern) ?? parsePrefix(pattern) ?? parseSpan(pattern);
  if (range === undefined) throw new SyntaxError(`ip: invalid pattern: ${JSON.stringify(pattern)}`);
  return { findIn: (text) => holdsAddress(text, range) };
}

function parseSingle(text: string): AddressRange | undefined {
  const address = parseAddress(text);
  return address && { bits: address.bits, low: address.value, high: address.value };
}

/** `192.168.0.0/16` */
function parsePrefix(text: string): AddressRange | undefined {
  const parts = /^([^/]+)\/(\d{1,3})$/.exec(text);
  const address = parts === null ? undefined : parseAddress(parts[1]);
  if (parts === null || address === undefined) return undefined;
  const length = Number(parts[2]);
  if (length > address.bits) return undefined;
  const rest = (1n << BigInt(address.bits - length)) - 1n;
  const low = (address.value | rest) ^ rest;
  return { bits: address.bits, low, high: low | rest };
}

/** `192.168.0.1-192.168.0.200` */
function parseSpan(text: string): AddressRange | undefined {
  const [from, to, more] = text.split('-').map((part) => parseAddress(part.trim()));
  if (from === undefined || to === undefined || more !== undefined) return undefined;
  if (from.bits !== to.bits || from.value > to.value) return undefined;
  return { bits: from.bits, low: from.value, high: to.value };
}

function parseAddress(text: string): Address | undefined {
  return text.includes(':') ? parseIpv6(text) : parseIpv4(text);
}

function parseIpv4(text: string): Address | undefined {
  const fields = text.split('.');
  if (fields.length !== 4) return undefined;
  let value = 0;
  for (const field of fields) {
    if (!/^(?:0|[1-9]\d{0,2})$/.test(field) || Number(field) > 255) return undefined;
    value = value * 256 + Number(field);
  }
  return { bits: 32, value: BigInt(value) };
}

function parseIpv6(text: string): Address | undefined {
  const halves = text.split('::');
  if (halves.length > 2) return undefined;
  const head = ipv6Fields(halves[0]);
  const tail = ipv6Fields(halves[1] ?? '');
  if (head === undefined || tail === undefined) return undefined;
  const missing = 8 - head.length - tail.length;
  if (halves.length === 2 ? missing < 1 : missing !== 0) return undefined;
  let value = 0n;
  for (const field of [...head, ...Array<number>(missing).fill(0), ...tail])
    value = (value << 16n) | BigInt(field);
  return { bits: 128, value };
}

function ipv6Fields(half: string): number[] | undefined {
  if (half === '') return [];
  const fields: number[] = [];
  const parts = half.split(':');
  for (const [i, part] of parts.entries()) {
    const embedded = i === parts.length - 1 && part.includes('.') ? parseIpv4(part) : undefined;
    if (embedded !== undefined) fields.push(Number(embedded.value >> 16n), Number(embedded.value & 0xffffn));
    else if (/^[0-9a-fA-F]{1,4}$/.test(part)) fields.push(Number.parseInt(part, 16));
    else return undefined;
  }
  return fields.length <= 8 ? fields : undefined;
}

/** Where an address may start, by its first characters, and as many as may belong to it. */
const IPV4_CANDIDATE = /(?=\d[\d.]{0,2}\.)[\d.]+/y;
const IPV6_CANDIDATE = /(?=::[0-9a-fA-F]|[0-9a-fA-F]{1,4}:)[0-9a-fA-F:.]+/y;
const CANDIDATE_START = /[\d.:a-fA-F]/g;

function holdsAddress(text: string, range: AddressRange): boolean {
  CANDIDATE_START.lastIndex = 0;
  for (let start = CANDIDATE_START.exec(text); start !== null; start = CANDIDATE_START.exec(text)) {
    const found = candidate(text, start.index);
    if (found === '') continue;
    const address = parseAddress(found);
    if (address?.bits === range.bits && address.value >= range.low && address.value <= range.high)
      return true;
    // As Loki: the character after a candidate that was none is not looked at.
    CANDIDATE_START.lastIndex = start.index + found.length + 1;
  }
  return false;
}

function candidate(text: string, at: number): string {
  for (const pattern of [IPV4_CANDIDATE, IPV6_CANDIDATE]) {
    pattern.lastIndex = at;
    const found = pattern.exec(text);
    if (found !== null) return found[0];
  }
  return '';
}
