import { spawn } from 'node:child_process';

/** Runs `work` for each item, so many at once; the results stand in the order of the items. */
export async function eachAtOnce<Item, Result>(
  items: readonly Item[],
  atOnce: number,
  work: (item: Item) => Promise<Result>,
): Promise<Result[]> {
  const results: Result[] = [];
  let next = 0;
  const worker = async (): Promise<void> => {
    while (next < items.length) {
      const index = next++;
      results[index] = await work(items[index]);
    }
  };
  await Promise.all(Array.from({ length: Math.min(atOnce, items.length) }, worker));
  return results;
}

/** What a command printed. `$1`, `$2` … in it are the arguments. Rejects when it fails; an empty `rg` is no failure. */
export function shell(command: string, ...args: string[]): Promise<string> {
  const child = spawn('sh', ['-c', command, 'sh', ...args], { stdio: ['ignore', 'pipe', 'inherit'] });
  let output = '';
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    output += text;
  });
  return new Promise((resolve, reject) => {
    child.on('error', reject);
    child.on('close', (code) => {
      if (code === 0 || code === 1) resolve(output);
      else reject(new Error(`${command}: ended with ${code}`));
    });
  });
}

const LONG_MS = 8_000;

/** How long something takes, in ms. */
export async function timeMs(run: () => Promise<unknown>): Promise<number> {
  const startMs = performance.now();
  await run();
  return performance.now() - startMs;
}

/** The median after one run that warms up: of 5 runs, of 3 when one takes half a second. What takes long runs only once. */
export async function medianMs(run: () => Promise<unknown>): Promise<number> {
  const firstMs = await timeMs(run);
  if (firstMs > LONG_MS) return firstMs;
  const count = firstMs < 500 ? 5 : 3;
  const times: number[] = [];
  for (let i = 0; i < count; i++) times.push(await timeMs(run));
  return times.sort((a, b) => a - b)[(count - 1) / 2];
}
