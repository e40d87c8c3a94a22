import { isIP } from 'node:net';
import { multiaddr, type Multiaddr } from '@multiformats/multiaddr';
import { LogvineError } from '../../store/errors.ts';

const ADDRESS_LENGTH_MAX = 512;
const HOST_NAME = /^[a-zA-Z0-9]([a-zA-Z0-9_-]{0,62})(\.[a-zA-Z0-9_-]{1,63})*\.?$/;

/** A host and port as written in flags and configuration: `host:port`, `1.2.3.4:port`, `[::1]:port`. */
export interface HostPort {
  readonly host: string;
  readonly port: number;
}

/** @throws LV_CONFIG_INVALID */
export function parseHostPort(text: string): HostPort {
  const match = /^(?:\[([0-9a-fA-F:.]+)\]|([^:[\]/\s]+)):([0-9]{1,5})$/.exec(text);
  const host = match?.[1] ?? match?.[2];
  const port = Number(match?.[3]);
  const named = host !== undefined && (isIP(host) > 0 || (host.length <= 253 && HOST_NAME.test(host)));
  if (!named || port > 65_535) {
    throw new LogvineError('LV_CONFIG_INVALID', `"${text.slice(0, 100)}" is not an address: write host:port`);
  }
  return { host, port };
}

function tcpMultiaddr({ host, port }: HostPort): Multiaddr {
  const kind = isIP(host) === 4 ? 'ip4' : isIP(host) === 6 ? 'ip6' : 'dns';
  return multiaddr(`/${kind}/${host}/tcp/${port}`);
}

/** The multiaddr of `host:port`, or of a multiaddr's text. @throws LV_CONFIG_INVALID */
export function parseAddress(text: string): Multiaddr {
  if (text.length > ADDRESS_LENGTH_MAX) {
    throw new LogvineError('LV_CONFIG_INVALID', 'An address is longer than any address');
  }
  if (!text.startsWith('/')) return tcpMultiaddr(parseHostPort(text));
  try {
    return multiaddr(text);
  } catch (cause) {
    throw new LogvineError('LV_CONFIG_INVALID', `"${text.slice(0, 100)}" is not a multiaddr`, { cause });
  }
}

/** The multiaddr to listen on. Host names other than localhost name too many things. @throws LV_CONFIG_INVALID */
export function parseListenAddress(text: string): { address: Multiaddr; loopback: boolean } {
  const { host, port } = parseHostPort(text);
  const ip = host === 'localhost' ? '127.0.0.1' : host;
  if (isIP(ip) === 0) {
    throw new LogvineError(
      'LV_CONFIG_INVALID',
      `listen: "${host}" is a name; write the IP address to listen on`,
    );
  }
  return { address: tcpMultiaddr({ host: ip, port }), loopback: isLoopback(ip) };
}

function isLoopback(ip: string): boolean {
  return ip.startsWith('127.') || ip === '::1';
}

/** Drops loopback addresses as long as others remain: on another host they name that host. */
export function reachableFromElsewhere(addresses: Multiaddr[]): Multiaddr[] {
  const elsewhere = addresses.filter((address) => {
    const host = address.getComponents()[0];
    return host === undefined || host.value === undefined || !isLoopback(host.value);
  });
  return elsewhere.length > 0 ? elsewhere : addresses;
}
