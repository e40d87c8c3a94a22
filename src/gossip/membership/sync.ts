import { LogvineError } from '../../store/index.ts';
import { withDeadline, type Channel, type PeerId, type Transport } from '../transport/index.ts';
import { BOUNDS, SWIM_PROTOCOL } from './constants.ts';
import { encodeMessage, parseSyncAnswer, type StateRow } from './messages.ts';

/** What push-pull exchanges, and who takes it. */
export interface StateHost {
  readonly transport: Transport;
  rows(): StateRow[];
  applyRow(row: StateRow, from: PeerId): void;
  /** Opaque state of another component. */
  fullState(): Buffer;
  onFullState(from: PeerId, bytes: Buffer): void;
}

/**
 * Push-pull: sends the full state of `host` to `peer` and takes its state. Each side sends two messages: its rows, then
 * the attached state. Rejects with LV_PEER_UNREACHABLE, LV_PEER_TIMEOUT or LV_PROTOCOL.
 */
export async function askForState(host: StateHost, peer: PeerId): Promise<void> {
  const channel = await host.transport.open(peer, SWIM_PROTOCOL, { timeoutMs: BOUNDS.openTimeoutMs });
  const late = () => new LogvineError('LV_PEER_TIMEOUT', `${peer} did not answer a sync`);
  try {
    await withDeadline(host.transport.clock, BOUNDS.syncTimeoutMs, late, async () => {
      await sendState(host, channel);
      const { members } = parseSyncAnswer(await expect(channel));
      const attached = await expectAttached(channel);
      takeState(host, peer, members, attached);
      await channel.close();
    });
  } catch (error) {
    channel.abort(error as Error);
    throw error;
  }
}

/**
 * The other side of `askForState`, after its first message. The asker's state is taken first, so that the answer
 * already refutes what the asker holds against this peer.
 */
export async function answerWithState(
  host: StateHost,
  channel: Channel,
  rows: readonly StateRow[],
): Promise<void> {
  takeState(host, channel.peer, rows, await expectAttached(channel));
  await sendState(host, channel);
}

async function sendState(host: StateHost, channel: Channel): Promise<void> {
  await channel.send(encodeMessage({ kind: 'sync', members: host.rows() }));
  const attached = host.fullState();
  if (attached.length > BOUNDS.fullStateBytes)
    throw new LogvineError('LV_OVERLOADED', 'Attached state is too large');
  await channel.send(attached);
}

function takeState(host: StateHost, from: PeerId, rows: readonly StateRow[], attached: Buffer): void {
  for (const row of rows) host.applyRow(row, from);
  host.onFullState(from, attached);
}

async function expect(channel: Channel): Promise<Buffer> {
  const message = await channel.receive();
  if (message === undefined) throw new LogvineError('LV_PROTOCOL', `${channel.peer} ended a sync early`);
  return message;
}

async function expectAttached(channel: Channel): Promise<Buffer> {
  const attached = await expect(channel);
  if (attached.length > BOUNDS.fullStateBytes)
    throw new LogvineError('LV_PROTOCOL', 'Attached state is too large');
  return attached;
}
