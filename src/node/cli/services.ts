import type { RunningNode } from '../node.ts';
import type { Config } from '../config/index.ts';
import { fetchEntries } from './client.ts';

/** What commands do their work with; a test brings its own. */
export interface Services {
  startNode(config: Config): Promise<RunningNode>;
  readonly fetchEntries: typeof fetchEntries;
  readonly fetch: typeof fetch;
}

export const systemServices: Services = {
  // Loaded late: every other command starts faster without a node's dependencies.
  startNode: async (config) => (await import('../node.ts')).startNode(config),
  fetchEntries,
  fetch: (...request) => fetch(...request),
};
