import type { Fault } from './fault.ts';
import { Result } from './result.ts';
import { Scene, type SceneOptions } from './scene.ts';

export type RunOptions = Omit<SceneOptions, 'name'>;

let running: Scene | undefined;

/** One mesh, from its start to its end. Never rejects: what goes wrong is a violation. */
async function runMesh(fault: Fault, options: RunOptions): Promise<Result> {
  const scene = new Scene({ ...options, name: fault.name });
  running = scene;
  try {
    await fault.run(scene);
  } catch (error) {
    scene.violation(error instanceof Error ? (error.stack ?? error.message) : String(error));
  }
  await scene.close();
  running = undefined;
  return scene.result;
}

/** Runs a fault for its rounds, in one mesh or in a fresh one each time. */
export async function runFault(fault: Fault, options: RunOptions): Promise<Result> {
  if (!fault.isFresh) return runMesh(fault, options);
  const all = new Result();
  const untilMs = performance.now() + options.minutes * 60_000;
  for (let round = 1; round <= options.rounds && performance.now() < untilMs; round++)
    all.add(await runMesh(fault, { ...options, rounds: 1 }), `mesh ${round}`);
  return all;
}

/** Ends the processes, mounts and namespaces of what is running. */
export async function stopRunning(): Promise<void> {
  await running?.close();
}
