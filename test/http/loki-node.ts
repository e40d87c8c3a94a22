import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join as joinPath } from 'node:path';
import { loadConfig } from '../../src/node/config/index.ts';
import { startNode } from '../../src/node/node.ts';
import { systemDisk } from '../../src/store/index.ts';

export interface Receipt {
  readonly complete: boolean;
  readonly expected: number;
  readonly read: number;
  readonly fromIndex: number;
  readonly pruned: number;
  readonly unneeded: number;
  readonly bytesScanned: number;
}

/** A stream of entries, or a series. */
export interface ResultItem {
  readonly stream: Record<string, string>;
  readonly metric: Record<string, string>;
  readonly value: [number, string];
  readonly values: [string | number, string, unknown?][];
}

/** What `query`, `query_range` and the volumes answer. */
export interface QueryBody {
  readonly status: string;
  readonly warnings?: string[];
  readonly data: {
    readonly resultType: string;
    readonly result: ResultItem[];
    readonly encodingFlags?: string[];
    readonly stats: { readonly logvine: Receipt };
  };
}

/** What the paths about labels answer. */
export interface ListBody<Item = string> {
  readonly data: Item[];
  readonly logvine: Receipt;
}

export interface FieldsBody {
  readonly fields: { readonly label: string; readonly type: string }[];
  readonly values: string[];
  readonly limit: number;
}

export interface PatternItem {
  readonly pattern: string;
  readonly level: string;
  readonly samples: [number, number][];
}

/** A node of its own in this process, with lines pushed to it, and asked as Loki's clients ask. */
export class LokiNode {
  readonly url: string;
  readonly #close: () => Promise<void>;

  private constructor(url: string, close: () => Promise<void>) {
    this.url = url;
    this.#close = close;
  }

  static async start(files: string[] = [], join: string[] = []): Promise<LokiNode> {
    const directory = mkdtempSync(joinPath(tmpdir(), 'logvine-loki-'));
    const { config } = await loadConfig({
      configFile: undefined,
      flags: { data: directory, listen: '127.0.0.1:0', http: '127.0.0.1:0', files, join },
      env: { LOGVINE_LOG_LEVEL: 'error' },
      workingDirectory: directory,
      disk: systemDisk,
    });
    const node = await startNode(config);
    return new LokiNode(node.ready.httpUrl, async () => {
      await node.close();
      rmSync(directory, { recursive: true, force: true });
    });
  }

  close(): Promise<void> {
    return this.#close();
  }

  async push(streams: { stream: Record<string, string>; values: unknown[][] }[]): Promise<void> {
    const response = await fetch(`${this.url}/loki/api/v1/push`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ streams }),
    });
    assert.equal(response.status, 204, await response.text());
  }

  /** By GET, and by POST with a form: both give the same. */
  async ask<Body = QueryBody>(
    path: string,
    parameters: string[][],
    headers: Record<string, string> = {},
  ): Promise<Body> {
    const form = new URLSearchParams(parameters);
    const got = await this.answer<Body>(`${path}?${form}`, { headers });
    const posted = await this.answer<Body>(path, {
      method: 'POST',
      headers: { ...headers, 'content-type': 'application/x-www-form-urlencoded' },
      body: String(form),
    });
    assert.equal(got.status, 200, JSON.stringify(got.body));
    assert.deepEqual(withoutTimes(posted), withoutTimes(got), path);
    return got.body;
  }

  async answer<Body = { message: string }>(
    path: string,
    init?: RequestInit,
  ): Promise<{ status: number; body: Body }> {
    const response = await fetch(`${this.url}/loki/api/v1/${path}`, init);
    return { status: response.status, body: (await response.json()) as Body };
  }
}

/** What a query took differs each time. */
function withoutTimes(answer: unknown): unknown {
  return JSON.parse(JSON.stringify(answer), (key, value: unknown) =>
    [
      'durationMs',
      'execTime',
      'bytesProcessedPerSecond',
      'fromIndex',
      'bytesScanned',
      'totalBytesProcessed',
    ].includes(key)
      ? undefined
      : value,
  );
}
