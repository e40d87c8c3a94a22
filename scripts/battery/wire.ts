import { execFileSync, spawn, type ChildProcessByStdio } from 'node:child_process';
import { existsSync } from 'node:fs';
import { createInterface } from 'node:readline';
import type { Readable, Writable } from 'node:stream';
import type { Rules } from './wire-switch.ts';

const PREFIX = 'lvbattery';
/** Of this run: another one may go on beside it. */
const NETWORK = `10.203.${process.pid % 256}`;
const MTU = '1500';
/** Opens as many tun devices as there are names, and becomes the command that follows them. */
const ATTACH = `
  use Fcntl; $^F = 255;
  my @names = split /,/, shift @ARGV;
  for my $name (@names) {
    sysopen(my $device, "/dev/net/tun", O_RDWR) or die "tun: $!";
    ioctl($device, 0x400454ca, pack("a16 s x22", $name, 0x1001)) or die "$name: $!";
    push @open, $device;
  }
  exec @ARGV;
`;

function ip(...argv: string[]): string {
  return execFileSync('ip', argv, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] });
}

/** Namespaces of runs that were killed. */
function removeLeftOver(): void {
  for (const [name, pid] of ip('netns', 'list').matchAll(/^lvbattery-(\d+)-\d+/gm))
    if (!existsSync(`/proc/${pid}`)) ip('netns', 'del', name);
}

/** What is missing for a wire here; undefined when nothing is. */
export function cannotWire(): string | undefined {
  if (process.getuid?.() !== 0) return 'network namespaces need root';
  if (!existsSync('/dev/net/tun')) return 'there is no /dev/net/tun';
  try {
    execFileSync('perl', ['-e', '1']);
    ip('netns', 'add', `${PREFIX}-try`);
    ip('netns', 'del', `${PREFIX}-try`);
  } catch (error) {
    return `perl and ip netns are needed: ${(error as Error).message.split('\n')[0]}`;
  }
  return undefined;
}

/**
 * A network of hosts, each a namespace of its own, which can lose, delay and cut what goes between them. The battery
 * itself reaches each of them all the time.
 */
export class Wire {
  readonly #namespaces: string[];
  readonly #devices: string[];
  readonly #switch: ChildProcessByStdio<Writable, Readable, null>;
  #rules: Rules = { cut: [], loss: 0, delayMs: 0 };
  readonly #answers: ((sentBytes: number[]) => void)[] = [];

  constructor(hosts: number) {
    removeLeftOver();
    this.#devices = Array.from({ length: hosts + 1 }, (_, index) => `lv${process.pid}-${index}`);
    this.#namespaces = this.#devices.slice(1).map((_, index) => `${PREFIX}-${process.pid}-${index + 1}`);
    for (const name of this.#namespaces) ip('netns', 'add', name);
    const program = new URL('wire-switch.ts', import.meta.url).pathname;
    const command = [process.execPath, program, String(this.#devices.length)];
    this.#switch = spawn('perl', ['-e', ATTACH, this.#devices.join(), ...command], {
      stdio: ['pipe', 'pipe', 'inherit'],
      env: { ...process.env, UV_THREADPOOL_SIZE: String(this.#devices.length + 2) },
    });
    createInterface({ input: this.#switch.stdout }).on('line', (line) =>
      this.#answers.shift()?.(JSON.parse(line) as number[]),
    );
  }

  /** Resolves once packets pass. */
  async open(): Promise<void> {
    await this.#tell(this.#rules);
    for (const [index, device] of this.#devices.entries()) {
      const namespace = this.#namespaces[index - 1];
      const inside = namespace === undefined ? [] : ['-n', namespace];
      if (namespace !== undefined) {
        ip('link', 'set', device, 'netns', namespace);
        ip(...inside, 'link', 'set', 'lo', 'up');
      }
      ip(...inside, 'addr', 'add', `${NETWORK}.${index + 1}/24`, 'dev', device);
      ip(...inside, 'link', 'set', device, 'mtu', MTU, 'up');
    }
  }

  /** The address of a host; hosts count from 1. */
  address(host: number): string {
    return `${NETWORK}.${host + 1}`;
  }

  /** What runs a command on a host. */
  on(host: number): readonly string[] {
    // Not `ip netns exec`, which would also keep every mount of now alive in a namespace of its own.
    return ['nsenter', `--net=/run/netns/${this.#namespaces[host - 1]}`];
  }

  /** Nothing passes between hosts of different groups. */
  async partition(...groups: readonly (readonly number[])[]): Promise<void> {
    const cut: string[] = [];
    for (const [at, group] of groups.entries())
      for (const others of groups.toSpliced(at, 1))
        for (const a of group) for (const b of others) cut.push(`${a}>${b}`);
    await this.#change({ cut });
  }

  /** What these hosts send to those is lost; the other way it passes. */
  async cutOneWay(from: readonly number[], to: readonly number[]): Promise<void> {
    await this.#change({ cut: from.flatMap((a) => to.map((b) => `${a}>${b}`)) });
  }

  async degrade(loss: number, delayMs: number): Promise<void> {
    await this.#change({ loss, delayMs });
  }

  /** What this host sends and gets passes at so many bytes a second, each way. */
  async slow(host: number, bytesPerSecond: number): Promise<void> {
    await this.#change({ slow: [[host, bytesPerSecond]] });
  }

  async heal(): Promise<void> {
    await this.#change({ cut: [], loss: 0, delayMs: 0, slow: [] });
  }

  /** Bytes (with the headers of IP and TCP) that each host has sent to others so far. */
  async sentBytes(): Promise<readonly number[]> {
    return (await this.#change({})).slice(1);
  }

  #change(change: Partial<Rules>): Promise<number[]> {
    this.#rules = { ...this.#rules, ...change };
    return this.#tell(this.#rules);
  }

  #tell(rules: Rules): Promise<number[]> {
    return new Promise((resolve, reject) => {
      if (this.#switch.exitCode !== null) reject(new Error(`the switch ended with ${this.#switch.exitCode}`));
      this.#answers.push(resolve);
      this.#switch.stdin.write(`${JSON.stringify(rules)}\n`);
    });
  }

  close(): void {
    this.#switch.kill('SIGKILL');
    for (const name of this.#namespaces) {
      try {
        ip('netns', 'del', name);
      } catch {
        // Gone already.
      }
    }
  }
}
