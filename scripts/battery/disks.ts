import { execFileSync } from 'node:child_process';
import { closeSync, existsSync, mkdirSync, openSync, ftruncateSync } from 'node:fs';

const EXT4_BYTES = 256 * 1024 * 1024;
/** EXT4_IOC_SHUTDOWN without flushing the journal: what was not fsynced is gone, as with the power. */
const CUT = `
  open(my $root, "<", $ARGV[0]) or die "$ARGV[0]: $!";
  my $flags = pack("L", 2);
  ioctl($root, 0x8004587d, $flags) or die "shutdown: $!";
`;

function run(command: string, ...argv: string[]): string {
  return execFileSync(command, argv, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] });
}

/** A file system of its own for a node's data, in a file, of which the power can be cut. */
export class CutDisk {
  readonly path: string;
  readonly #image: string;

  /** `path`: where it is mounted. */
  constructor(path: string) {
    this.path = path;
    this.#image = `${path}.ext4`;
    mkdirSync(path, { recursive: true });
    const file = openSync(this.#image, 'w');
    ftruncateSync(file, EXT4_BYTES);
    closeSync(file);
    run('mkfs.ext4', '-q', '-F', this.#image);
    this.mount();
  }

  mount(): void {
    run('mount', '-o', 'loop', this.#image, this.path);
  }

  /** From here on nothing reaches the disk, and what had not reached it never will. */
  cut(): void {
    run('perl', '-e', CUT, this.path);
  }

  unmount(): void {
    run('umount', this.path);
  }

  close(): void {
    unmountIfMounted(this.path);
  }
}

/** A disk of few bytes, in memory. */
export class SmallDisk {
  readonly path: string;

  constructor(path: string, bytes: number) {
    this.path = path;
    mkdirSync(path, { recursive: true });
    run('mount', '-t', 'tmpfs', '-o', `size=${bytes}`, 'tmpfs', path);
  }

  resize(bytes: number): void {
    run('mount', '-o', `remount,size=${bytes}`, this.path);
  }

  close(): void {
    unmountIfMounted(this.path);
  }
}

function unmountIfMounted(path: string): void {
  try {
    run('umount', '-l', path);
  } catch {
    // It is not mounted.
  }
}

/** What is missing for disks of their own here; undefined when nothing is. */
export function cannotMount(): string | undefined {
  if (process.getuid?.() !== 0) return 'mounting needs root';
  const path = `/tmp/logvine-battery-try-${process.pid}`;
  try {
    const disk = new SmallDisk(path, 65_536);
    disk.close();
    run('rmdir', path);
  } catch (error) {
    return `tmpfs cannot be mounted: ${(error as Error).message.split('\n')[0]}`;
  }
  return undefined;
}

export function cannotCut(): string | undefined {
  if (process.getuid?.() !== 0) return 'mounting needs root';
  if (!existsSync('/dev/loop-control')) return 'there are no loop devices';
  try {
    run('mkfs.ext4', '-V');
    run('perl', '-e', '1');
  } catch (error) {
    return `mkfs.ext4 and perl are needed: ${(error as Error).message.split('\n')[0]}`;
  }
  return undefined;
}
