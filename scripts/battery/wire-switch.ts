/**
 * The switch of a `Wire`, in a process of its own: moves IP packets between tun devices, which it was given as file
 * descriptors 3, 4, …, and loses, delays or drops them as it is told. Argument: how many devices. On stdin, one JSON a
 * line: `Rules`, in force at once. On stdout, after each: the bytes that each device has sent so far.
 */
import { read, writeSync } from 'node:fs';
import { createInterface } from 'node:readline';

export interface Rules {
  /** `FROM>TO`: packets of this way are dropped. Devices count from 1; 0 is the battery's own, which is left alone. */
  readonly cut: readonly string[];
  /** Share of packets lost, 0…1. */
  readonly loss: number;
  readonly delayMs: number;
  /** What such a device sends, and what it gets, passes at so many bytes a second each way. */
  readonly slow?: readonly (readonly [device: number, bytesPerSecond: number])[];
}

const PACKET_BYTES_MAX = 65_536;
const FIRST_FD = 3;
/** What stands in line for a slow link longer than this is lost, as at a router whose buffer is full. */
const QUEUE_MS_MAX = 1_000;
/** Of an IPv4 header. */
const [SOURCE_END, DESTINATION_END] = [15, 19];

let rules: Rules = { cut: [], loss: 0, delayMs: 0 };
let cut = new Set<string>();
let bytesPerSecond = new Map<number, number>();
/** When the last packet that a slow link took is through, by `DEVICE out` and `DEVICE in`. */
const throughMs = new Map<string, number>();
const count = Number(process.argv[2]);
const sentBytes = Array.from({ length: count }, () => 0);

function pass(packet: Buffer, from: number): void {
  const isIpv4 = packet.length >= 20 && packet[0] >> 4 === 4;
  if (!isIpv4) return;
  // Addresses end in the number of the device.
  const to = packet[DESTINATION_END] - 1;
  if (packet[SOURCE_END] - 1 !== from || to < 0 || to >= count) return;
  const isOwn = from === 0 || to === 0;
  if (!isOwn) {
    sentBytes[from] += packet.length;
    if (cut.has(`${from}>${to}`) || Math.random() < rules.loss) return;
  }
  const out = isOwn ? 0 : queueMs(from, 'out', packet.length);
  const into = isOwn ? 0 : queueMs(to, 'in', packet.length);
  if (out === undefined || into === undefined) return;
  const waitMs = isOwn ? 0 : rules.delayMs + Math.max(out, into);
  if (waitMs === 0) deliver(packet, to);
  else setTimeout(() => deliver(packet, to), waitMs);
}

/** How long a packet takes through a device's link; undefined when too much waits there already. */
function queueMs(device: number, way: 'out' | 'in', bytes: number): number | undefined {
  const rate = bytesPerSecond.get(device);
  if (rate === undefined) return 0;
  const nowMs = performance.now();
  const freeMs = Math.max(nowMs, throughMs.get(`${device} ${way}`) ?? 0);
  if (freeMs - nowMs > QUEUE_MS_MAX) return undefined;
  const endMs = freeMs + (bytes / rate) * 1000;
  throughMs.set(`${device} ${way}`, endMs);
  return endMs - nowMs;
}

function deliver(packet: Buffer, to: number): void {
  try {
    writeSync(FIRST_FD + to, packet);
  } catch {
    // The device is full, or gone: a lost packet.
  }
}

function readOn(device: number): void {
  const buffer = Buffer.allocUnsafe(PACKET_BYTES_MAX);
  read(FIRST_FD + device, buffer, 0, buffer.length, null, (error, length) => {
    if (!error) pass(Buffer.from(buffer.subarray(0, length)), device);
    // A device whose namespace is going says so with errors until it is gone.
    setImmediate(() => readOn(device));
  });
}

for (let device = 0; device < count; device++) readOn(device);
createInterface({ input: process.stdin })
  .on('line', (line) => {
    rules = JSON.parse(line) as Rules;
    cut = new Set(rules.cut);
    bytesPerSecond = new Map(rules.slow);
    process.stdout.write(`${JSON.stringify(sentBytes)}\n`);
  })
  // Reading threads stand in the kernel; there is no other way to end them.
  .on('close', () => process.kill(process.pid, 'SIGKILL'));
