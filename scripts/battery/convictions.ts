import type { MeshNode } from '../../test/e2e/mesh.ts';
import type { Scene } from './scene.ts';

const LOOK_EVERY_MS = 200;

/** Counts what nodes that are up think wrongly of others that are up, while a fault lasts. */
export class Convictions {
  suspicions = 0;
  convictions = 0;
  readonly #scene: Scene;

  constructor(scene: Scene) {
    this.#scene = scene;
  }

  /** Looks at all nodes until `over` resolves; rejects as it does. All of them are up all the time. */
  async during(over: Promise<unknown>): Promise<void> {
    let isOver = false;
    const end = (): void => void (isOver = true);
    over.then(end, end);
    let before = new Set<string>();
    while (!isOver) {
      const now = await notAlive(this.#scene.nodes);
      for (const name of now) {
        if (before.has(name)) continue;
        if (name.endsWith('suspect')) this.suspicions++;
        else {
          this.convictions++;
          this.#scene.options.print(`  ${new Date().toISOString()} ${name}`);
        }
      }
      before = now;
      await this.#scene.last(LOOK_EVERY_MS);
    }
    await over;
  }

  /** Puts the figures under the table; a conviction breaks a promise. */
  report(): void {
    const { convictions, suspicions } = this;
    this.#scene.result.notes.push(`false convictions: ${convictions}, suspicions seen: ${suspicions}`);
    if (convictions > 0) this.#scene.violation(`${convictions} convictions of nodes that were up`);
  }
}

/** `A of B: STATE`, for every member that a node does not see alive. */
async function notAlive(nodes: readonly MeshNode[]): Promise<Set<string>> {
  const seen = new Set<string>();
  for (const node of nodes) {
    const status = await node.status().catch(() => undefined);
    for (const { peer, state } of status?.members ?? [])
      if (state !== 'alive')
        seen.add(`${node.name} of ${nodes.find((one) => one.peer === peer)?.name ?? peer}: ${state}`);
  }
  return seen;
}
