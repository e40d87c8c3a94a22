import type { IncomingMessage } from 'node:http';
import type { AddressInfo } from 'node:net';
import Fastify, { type FastifyInstance, type FastifyReply } from 'fastify';
import type { Coordinator, LossAcceptor, Pushes, Verifier } from '../../gossip/index.ts';
import {
  LIMITS,
  LogvineError,
  messageOf,
  type Clock,
  type ErrorCode,
  type TaskRunner,
} from '../../store/index.ts';
import type { Config, Tls } from '../config/index.ts';
import type { LeaveProgress } from '../departure.ts';
import type { Follow } from '../follow.ts';
import type { Batcher } from '../pipeline/batcher.ts';
import type { Reporter } from '../report.ts';
import type { Tasks } from '../tasks.ts';
import { authorize, refuseForeign, type Role, type Tokens } from './auth.ts';
import { addLokiRoutes } from './loki-routes.ts';
import { addNativeRoutes } from './native-routes.ts';
import { addPageRoutes } from './page.ts';
import { addPushRoute } from './push-route.ts';
import { addVerifyRoute } from './verify-route.ts';

export interface ServerOptions {
  readonly config: Config;
  readonly tokens: Tokens;
  readonly tls: Tls | undefined;
  readonly clock: Clock;
  readonly batcher: Batcher;
  readonly pool: TaskRunner<Tasks>;
  /** Undefined: pushes are not told apart. */
  readonly pushes: Pushes | undefined;
  readonly introduced: Promise<void>;
  readonly coordinator: Coordinator;
  readonly losses: LossAcceptor;
  readonly verifier: Verifier;
  readonly follow: Follow;
  readonly reporter: Reporter;
  /** Begins to leave, or goes on; resolves when everything is handed over and the mesh knows. */
  leave(): Promise<void>;
  /** Undefined before the first look. */
  leaveProgress(): LeaveProgress | undefined;
  log(level: 'info' | 'warn' | 'error', message: string): void;
}

export interface Server {
  readonly url: string;
  close(): Promise<void>;
}

/** Starts HTTP. Rejects with LV_PORT_IN_USE, and with LV_CONFIG_INVALID for an address that is not this machine's to take. */
export async function startServer(options: ServerOptions): Promise<Server> {
  const { config, tokens, tls, log } = options;
  const app = Fastify({
    bodyLimit: LIMITS.requestBytesMax,
    forceCloseConnections: true,
    // Slower than any client that still means it: else slow ones could take all connections there are.
    requestTimeout: LIMITS.pushBodyMs,
    routerOptions: { maxParamLength: 1024 },
    ...(tls ? { https: { ...tls, shouldUpgradeCallback } } : { http: { shouldUpgradeCallback } }),
  }) as unknown as FastifyInstance;
  app.server.maxConnections = LIMITS.httpConnectionsMax;
  app.removeAllContentTypeParsers();
  app.addContentTypeParser('*', { parseAs: 'buffer' }, (_request, body, done) => done(null, body));
  app.addHook('onRequest', async (request) => {
    refuseForeign(tokens, request.headers);
    const role = roleFor(request.routeOptions.url);
    if (role) authorize(tokens, role, request.headers.authorization);
  });
  app.setErrorHandler((error, _request, reply) => sendError(error, reply, log));
  app.setNotFoundHandler((request, reply) => {
    void reply.code(404).send({ status: 'error', error: `there is nothing at ${request.url.split('?')[0]}` });
  });
  addPushRoute(app, options);
  addLokiRoutes(app, options);
  addNativeRoutes(app, options);
  addVerifyRoute(app, options);
  await addPageRoutes(app);

  const { host, port } = config.http;
  try {
    await app.listen({ host, port });
  } catch (cause) {
    const { code } = cause as NodeJS.ErrnoException;
    if (code === 'EADDRINUSE') {
      const message = `${host}:${port} is in use: choose another address with --http, or port 0 for a free one`;
      throw new LogvineError('LV_PORT_IN_USE', message, { cause });
    }
    if (code !== 'EADDRNOTAVAIL' && code !== 'EACCES') throw cause;
    const why = code === 'EACCES' ? 'may not be listened on by this user' : 'is no address of this machine';
    throw new LogvineError('LV_CONFIG_INVALID', `http: ${host}:${port} ${why}`, { cause });
  }
  const address = app.addresses()[0] as AddressInfo;
  const name = address.family === 'IPv6' ? `[${address.address}]` : address.address;
  return {
    url: `${tls ? 'https' : 'http'}://${name}:${address.port}`,
    close: () => app.close(),
  };
}

/** Some clients (Java's) offer HTTP/2 with every request: they are answered in HTTP/1.1. */
function shouldUpgradeCallback({ headers }: IncomingMessage): boolean {
  return headers.upgrade?.toLowerCase() === 'websocket';
}

/**
 * What a route needs: the one that answers, whatever the request's path looks like, since a router decodes it. The page's own
 * files, /ready, and what there is not need nothing.
 */
function roleFor(route: string | undefined): Role | undefined {
  if (route === undefined || route === '/' || route === '/ready' || route.startsWith('/page/'))
    return undefined;
  if (route === '/loki/api/v1/push') return 'push';
  if (route === '/api/v1/leave' || route === '/api/v1/accept-loss') return 'admin';
  return 'query';
}

const STATUS: Partial<Record<ErrorCode, number>> = {
  LV_PUSH_INVALID: 400,
  LV_QUERY_INVALID: 400,
  LV_CONFIG_INVALID: 400,
  LV_QUERY_TOO_LARGE: 400,
  LV_UNAUTHORIZED: 401,
  LV_PEER_UNREACHABLE: 409,
  LV_OVERLOADED: 429,
  LV_REPLICATION_TIMEOUT: 503,
  LV_DATA_UNSAFE: 503,
  LV_DISK_FULL: 503,
  LV_IDENTITY_CONFLICT: 503,
  LV_CLOSED: 503,
  LV_QUERY_TIMEOUT: 504,
};

/** Until a mesh that cannot store may have healed, and until a queue may have emptied. */
const RETRY_AFTER_SECONDS: Partial<Record<number, string>> = { 429: '1', 503: '5' };

const ERROR_TYPE: Partial<Record<number, string>> = {
  400: 'bad_data',
  413: 'bad_data',
  429: 'too_many_requests',
  504: 'timeout',
};

/** Errors as Loki gives them: the fitting status and the message; here with the stable code, too. */
function sendError(error: unknown, reply: FastifyReply, log: ServerOptions['log']): void {
  const { code, statusCode } = error as { code?: string; statusCode?: number };
  const status = statusCode ?? STATUS[code as ErrorCode] ?? 500;
  if (status === 500)
    log('error', `HTTP: ${error instanceof Error ? (error.stack ?? '') : messageOf(error)}`);
  const retryAfter = RETRY_AFTER_SECONDS[status];
  if (retryAfter !== undefined) void reply.header('retry-after', retryAfter);
  const message = messageOf(error);
  void reply
    .code(status)
    .send({ status: 'error', errorType: ERROR_TYPE[status] ?? 'unavailable', error: message, message, code });
}
