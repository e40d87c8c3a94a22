import type { Scene } from './scene.ts';

/** Something that goes wrong in the life of a mesh. */
export interface Fault {
  /** As it is called on the command line. */
  readonly name: string;
  /** As it stands in the table. */
  readonly title: string;
  /** How many rounds unless told otherwise. */
  readonly rounds: number;
  /** Each round needs a mesh of its own. */
  readonly isFresh?: boolean;
  /** What this machine lacks for it. */
  cannot?(): string | undefined;
  run(scene: Scene): Promise<void>;
}
