import { createHash } from 'node:crypto';
import { Pushes, PUSH_PROTOCOL, type PushMember } from '../../src/gossip/pushes/index.ts';
import { LogvineError, type Random } from '../../src/store/index.ts';
import { linePack } from '../store/material.ts';
import { StoreMesh, type MeshOptions, type Peer, type Sealed } from './store-mesh.ts';

export const LINGER_MS = 100;
export const PATIENCE_MS = 10_000;

/** One run of a peer, with lines that are in no batch yet. */
interface Run {
  readonly pushes: Pushes;
  readonly process: NonNullable<Peer['process']>;
  /** Bodies that wait for their batch. */
  readonly lingering: Set<string>;
}

export interface Kept {
  readonly body: string;
  readonly part: number;
  readonly peer: string;
  sealed: Sealed | undefined;
}

export const digestOf = (body: string): string =>
  createHash('sha256').update(body).digest().subarray(0, 16).toString('base64url');

/** A mesh of peers that take pushes; a body is one line, or as many lines as it has parts. */
export class PushMesh {
  readonly mesh: StoreMesh;
  readonly runs = new Map<string, Run>();
  /** Every time that a part of a body was stored. */
  readonly kept: Kept[] = [];
  readonly windowMs: number;
  /** Called before a body is stored. */
  onKeep: (body: string, peer: string) => void = () => undefined;

  private constructor(mesh: StoreMesh, windowMs: number) {
    this.mesh = mesh;
    this.windowMs = windowMs;
  }

  static async of(
    names: readonly string[],
    random: Random,
    options: MeshOptions & { windowMs?: number } = {},
  ): Promise<PushMesh> {
    const all = new PushMesh(await StoreMesh.of(names, random, options), options.windowMs ?? 3_600_000);
    for (const name of names) await all.#attach(name);
    await all.mesh.clock.advance(1_000);
    return all;
  }

  async start(name: string): Promise<void> {
    await this.mesh.start(name);
    await this.#attach(name);
  }

  async #attach(name: string): Promise<void> {
    const { mesh } = this;
    const peer = mesh.peer(name);
    const process = peer.running;
    const { transport, store, replicator } = process;
    const reader = peer.disk.reader();
    const pushes = new Pushes({
      transport,
      clock: mesh.clock,
      store,
      disk: {
        open: async (path) => ({
          read: async (position, length) => reader.readAt(path, position, length),
          close: async () => undefined,
        }),
      },
      replicas: mesh.options.replicas,
      windowMs: this.windowMs,
      patienceMs: PATIENCE_MS,
      members: () => this.#membersAs(peer),
      quorum: () => replicator.quorum,
      log: (level, message) => void peer.said.push(`${mesh.clock.monotonicMs()} ${level}: ${message}`),
    });
    transport.handle(PUSH_PROTOCOL, (channel) => pushes.serve(channel));
    this.runs.set(name, { pushes, process, lingering: new Set() });
    await mesh.clock.run(pushes.start());
    const watch = (): void => {
      if (peer.process !== process) return;
      pushes.membersChanged();
      mesh.clock.after(1_000, watch);
    };
    watch();
  }

  #membersAs(viewer: Peer): PushMember[] {
    return [...this.mesh.peers.values()].map((peer) => ({
      peer: peer.id,
      zone: '',
      weight: 1,
      leaving: false,
      epoch: peer.process?.store.epoch ?? 0,
      incarnation: 1,
      ...(peer === viewer
        ? { state: 'alive' as const, stateSinceMs: 0 }
        : (viewer.beliefs.get(peer.id) ?? { state: 'dead' as const, stateSinceMs: 0 })),
    }));
  }

  /** Sends a body to a peer, as a client would; rejects when the peer refuses it or dies. */
  push(name: string, body: string, parts = 1): Promise<void> {
    const run = this.runs.get(name)!;
    const { replicator } = run.process;
    const keep = (wanted: readonly number[]): Promise<void> => {
      const why = replicator.whyNoAcknowledgement;
      if (why !== undefined) throw new LogvineError('LV_REPLICATION_TIMEOUT', why);
      this.onKeep(body, name);
      run.lingering.add(body);
      const kept = wanted.map((part): Kept => ({ body, part, peer: name, sealed: undefined }));
      this.kept.push(...kept);
      return Promise.all(kept.map((one) => this.#store(run, one, parts))).then(() => undefined);
    };
    const digests = Array.from({ length: parts }, (_, part) => partDigest(body, part, parts));
    return run.pushes.once({ digest: digestOf(body), parts: digests, keep });
  }

  async #store(run: Run, kept: Kept, parts: number): Promise<void> {
    const { mesh } = this;
    await new Promise<void>((resolve) => void mesh.clock.after(LINGER_MS, resolve));
    run.lingering.delete(kept.body);
    if (this.mesh.peer(kept.peer).process !== run.process) return new Promise(() => {});
    const line = `${kept.body} ${kept.part}`;
    const pushes = [Buffer.from(partDigest(kept.body, kept.part, parts), 'base64url')];
    const packed = { ...linePack(line), pushes };
    kept.sealed = mesh.seal(kept.peer, packed, [line]);
    await kept.sealed.tracked.acknowledged;
  }

  /** From now on the peer does not say what is held: to one other, or to nobody. Answers what ends that. */
  silence(name: string, asker?: string): () => void {
    const { transport } = this.mesh.peer(name).running;
    const { pushes } = this.runs.get(name)!;
    transport.handle(PUSH_PROTOCOL, async (channel) => {
      const message = await channel.receive();
      const isToAsker = asker === undefined || channel.peer === this.mesh.peer(asker).id;
      if (isToAsker && message?.includes('"find"')) return new Promise(() => {});
      await pushes.serve({
        peer: channel.peer,
        receive: () => Promise.resolve(message),
        send: (answer) => channel.send(answer),
        close: () => channel.close(),
        abort: (reason) => channel.abort(reason),
      });
    });
    return () => transport.handle(PUSH_PROTOCOL, (channel) => pushes.serve(channel));
  }

  kill(name: string, tear?: Parameters<StoreMesh['kill']>[1]): void {
    this.runs.get(name)!.pushes.close();
    this.mesh.kill(name, tear);
  }

  /** Whether a peer that runs has a body, on its disk or on the way there. */
  has(name: string, body: string): boolean {
    const peer = this.mesh.peer(name);
    const run = this.runs.get(name);
    if (!peer.process || run?.process !== peer.process) return false;
    if (run.lingering.has(body)) return true;
    return this.kept.some(
      (kept) => kept.body === body && kept.sealed !== undefined && this.mesh.holds(peer, kept.sealed, true),
    );
  }

  /** Batches with a part of a body that some of these disks have. */
  copies(body: string, part = 0, peers = [...this.mesh.peers.values()]): number {
    return this.kept.filter(
      (kept) =>
        kept.body === body &&
        kept.part === part &&
        kept.sealed !== undefined &&
        peers.some((peer) => this.mesh.holds(peer, kept.sealed!, true)),
    ).length;
  }
}

function partDigest(body: string, part: number, parts: number): string {
  return parts === 1 ? digestOf(body) : digestOf(`${body} ${part}/${parts}`);
}
