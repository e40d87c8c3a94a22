import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { CONTENT_SECURITY_POLICY, pageFiles } from '../../src/node/http/page.ts';
import type { Status } from '../../src/node/status.ts';
import { healthy, receipt } from './status-fixtures.ts';

/** May push and not query. */
export const PUSH_TOKEN = 'p4sh';

/** A peer as the page sees it: the page's files with their policy, and canned answers that a test can change. */
export class PagePeer {
  url = '';
  status: Status = healthy();
  /** The answer to a search: data of `query_range`, or an error with its HTTP status. */
  answer: { status: number; body: unknown } = { status: 200, body: streams([]) };
  /** When set, the API wants it. */
  token: string | undefined;
  /** When false, connections to the API break off. */
  answers = true;
  statusAsked = 0;
  readonly searches: URLSearchParams[] = [];
  /** Paths that were asked for and are nowhere. */
  readonly strayPaths: string[] = [];
  readonly #server = createServer((request, response) => this.#handle(request, response));

  static async start(): Promise<PagePeer> {
    const peer = new PagePeer();
    peer.#files = await pageFiles();
    await new Promise<void>((resolve) => peer.#server.listen(0, '127.0.0.1', resolve));
    peer.url = `http://127.0.0.1:${(peer.#server.address() as AddressInfo).port}/`;
    return peer;
  }
  #files: Awaited<ReturnType<typeof pageFiles>> = new Map();

  async [Symbol.asyncDispose](): Promise<void> {
    this.#server.closeAllConnections();
    await new Promise((resolve) => this.#server.close(resolve));
  }

  #handle(request: IncomingMessage, response: ServerResponse): void {
    const { pathname, searchParams } = new URL(request.url ?? '/', 'http://peer');
    const file = this.#files.get(pathname);
    if (file) {
      response.writeHead(200, {
        'content-type': file.contentType,
        'content-security-policy': CONTENT_SECURITY_POLICY,
      });
      response.end(file.body);
      return;
    }
    const isApi = pathname === '/api/v1/status' || pathname === '/loki/api/v1/query_range';
    if (!isApi) {
      this.strayPaths.push(pathname);
      json(response, 404, {});
    } else if (!this.answers) {
      request.socket.destroy();
    } else if (request.headers.authorization === `Bearer ${PUSH_TOKEN}`) {
      json(response, 403, { message: 'this needs a query token, and the one that was sent is another' });
    } else if (this.token !== undefined && request.headers.authorization !== `Bearer ${this.token}`) {
      json(response, 401, { message: 'this needs a query token: Authorization: Bearer TOKEN' });
    } else if (pathname === '/api/v1/status') {
      this.statusAsked++;
      json(response, 200, this.status);
    } else {
      this.searches.push(searchParams);
      json(response, this.answer.status, this.answer.body);
    }
  }
}

function json(response: ServerResponse, status: number, body: unknown): void {
  response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body));
}

/** An answer of `query_range` to a metric query. */
export function matrix(
  result: readonly { metric: Record<string, string>; values: [number, string][] }[],
): object {
  return { status: 'success', data: { resultType: 'matrix', result, stats: { logvine: receipt() } } };
}

/** An answer of `query_range`. */
export function streams(
  result: readonly { stream: Record<string, string>; values: [string, string][] }[],
  logvine = receipt(),
): object {
  return { status: 'success', data: { resultType: 'streams', result, stats: { logvine } } };
}
