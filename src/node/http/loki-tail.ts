import type { IncomingMessage } from 'node:http';
import type { Duplex } from 'node:stream';
import type { FastifyInstance } from 'fastify';
import { WebSocketServer, type WebSocket } from 'ws';
import { LIMITS, LogvineError, messageOf, type Instant, type Labels } from '../../store/index.ts';
import { isLog, parse } from '../../store/logql/index.ts';
import { Awaited } from '../awaited.ts';
import { RANGE_ALWAYS } from '../follow.ts';
import { MissedCounter, type Missed } from '../missed.ts';
import { authorize, refuseForeign } from './auth.ts';
import { LokiStreams, type LokiStream } from './loki.ts';
import { wantsCategories } from './loki-query.ts';
import { whenFollowed } from './native-routes.ts';
import type { ServerOptions } from './server.ts';
import { parseInstant } from './time-range.ts';

const PATH = '/loki/api/v1/tail';
const LIMIT_DEFAULT = 100;
const PING_EVERY_MS = 20_000;
/** What was missed is told so soon, also when no line comes after it. */
const MISSED_TOLD_MS = 1_000;
/** A tail's client has nothing to say but control frames. */
const MESSAGE_BYTES_MAX = 4096;
/** RFC 6455: an unexpected condition at the server. */
const CLOSE_INTERNAL_ERROR = 1011;
const CLOSE_REASON_BYTES_MAX = 123;

interface TailRequest {
  readonly query: string;
  readonly categorize: boolean;
  /** From when on the past is told first; undefined: not at all. */
  readonly start: Instant | undefined;
  readonly limit: number;
}

/**
 * Loki's live tail: a WebSocket that gets `{streams, dropped_entries}` as lines are written. With `start` it begins with the
 * past, so that a client that was cut off resumes after the last time that it saw. A client that reads too slowly holds this
 * peer's sending back and is told what it missed.
 *
 * A node that shuts down drops the connection without a close frame (1006): Grafana comes back only after that one.
 */
export function addLokiTail(app: FastifyInstance, options: ServerOptions): void {
  const sockets = new WebSocketServer({ noServer: true, maxPayload: MESSAGE_BYTES_MAX });
  const open = new Set<WebSocket>();

  app.server.on('upgrade', (request: IncomingMessage, socket: Duplex, head: Buffer) => {
    try {
      const [path, parameters] = (request.url ?? '').split('?', 2);
      if (path !== PATH) throw new Refusal(404, `there is no WebSocket at ${path}`);
      refuseForeign(options.tokens, request.headers);
      authorize(options.tokens, 'query', request.headers.authorization);
      const wanted = tailRequest(new URLSearchParams(parameters), request);
      if (open.size >= LIMITS.tailsAtOnceMax) {
        throw new Refusal(
          429,
          `max concurrent tail requests limit exceeded, count > limit (${LIMITS.tailsAtOnceMax})`,
        );
      }
      sockets.handleUpgrade(request, socket, head, (client) => {
        open.add(client);
        client.once('close', () => open.delete(client));
        void serveTail(client, wanted, options);
      });
    } catch (error) {
      refuse(socket, error);
    }
  });
  app.get(PATH, async (_request, reply) =>
    reply
      .code(400)
      .send({ status: 'error', message: `${PATH} wants a WebSocket: the Upgrade header is missing` }),
  );
  app.addHook('preClose', () => {
    for (const client of open) client.terminate();
  });
}

class Refusal extends Error {
  readonly status: number;
  constructor(status: number, message: string) {
    super(message);
    this.status = status;
  }
}

function refuse(socket: Duplex, error: unknown): void {
  const { code, statusCode } = error as { code?: string; statusCode?: number };
  const status =
    error instanceof Refusal ? error.status : (statusCode ?? (code === 'LV_UNAUTHORIZED' ? 401 : 400));
  const body = JSON.stringify({ status: 'error', message: messageOf(error), code });
  const head = [`HTTP/1.1 ${status} Refused`, 'content-type: application/json', 'connection: close'];
  socket.on('error', () => undefined);
  // Nobody else looks after it any more.
  socket.once('finish', () => socket.destroy());
  socket.end(`${[...head, `content-length: ${Buffer.byteLength(body)}`].join('\r\n')}\r\n\r\n${body}`);
}

function tailRequest(parameters: URLSearchParams, { headers }: IncomingMessage): TailRequest {
  const query = parameters.get('query') ?? '';
  if (query.length > LIMITS.queryLengthMax)
    throw new LogvineError('LV_QUERY_INVALID', 'the query is too long');
  if (!isLog(parse(query))) throw new LogvineError('LV_QUERY_INVALID', 'only log selector is supported');
  const delaySeconds = Number(parameters.get('delay_for') ?? 0);
  if (!(delaySeconds >= 0 && delaySeconds <= 5)) {
    throw new LogvineError('LV_QUERY_INVALID', "delay_for can't be greater than 5");
  }
  const start = parameters.get('start');
  const limit = Number(parameters.get('limit') ?? LIMIT_DEFAULT);
  if (!Number.isInteger(limit) || limit < 0)
    throw new LogvineError('LV_QUERY_INVALID', 'limit is not a count');
  return {
    query,
    categorize: wantsCategories(headers),
    start: start ? parseInstant(start, 'start') : undefined,
    limit: Math.min(limit || LIMIT_DEFAULT, LIMITS.queryLimitMax),
  };
}

async function serveTail(client: WebSocket, wanted: TailRequest, options: ServerOptions): Promise<void> {
  const { follow, coordinator, log } = options;
  const gone = new AbortController();
  client.once('close', () => gone.abort(new LogvineError('LV_CLOSED', 'the client has gone')));
  client.on('error', () => client.terminate());
  keepAlive(client, options);
  const missed = new MissedCounter();
  const followed = Promise.withResolvers<void>();
  const live = follow.everywhere(wanted.query, gone.signal, missed.merge.bind(missed), followed.resolve);
  try {
    // Followed from now on: what is written while the past is searched comes after it.
    const first = live.next();
    if (wanted.start) {
      await whenFollowed(followed.promise, first);
      const range = { from: wanted.start, to: RANGE_ALWAYS.to };
      const { query, limit } = wanted;
      // The newest of the past, so that the present follows it without a gap.
      const past = coordinator.entries({ query, range, descending: true, limit, signal: gone.signal });
      const streams = streamsFor(wanted, true);
      for await (const run of past) streams.add(run);
      if (streams.entries > 0) await send(client, streams, undefined);
    }
    let next = new Awaited(first);
    for (;;) {
      const step = await next.within(MISSED_TOLD_MS, options.clock);
      if (step?.done) return;
      const streams = streamsFor(wanted, false);
      if (step) streams.add(step.value);
      const untold = missed.take();
      if (step || untold) await send(client, streams, untold);
      if (step) next = new Awaited(live.next());
    }
  } catch (error) {
    if (gone.signal.aborted) return;
    log('warn', `a tail failed: ${messageOf(error)}`);
    client.close(CLOSE_INTERNAL_ERROR, reasonOf(error));
  } finally {
    gone.abort(new LogvineError('LV_CLOSED', 'the tail is over'));
    await live.return(undefined);
  }
}

function streamsFor({ categorize }: TailRequest, descending: boolean): LokiStreams {
  return new LokiStreams({ categorize, descending, intervalNs: 0n, limit: Infinity });
}

/** Entries in order of time, whatever their streams: logcli prints them as they come. Those of one stream in a row share it. */
function inOrder(streams: LokiStreams): LokiStream[] {
  const { descending } = streams.options;
  const entries = streams.streams().flatMap(({ stream, values }) => {
    const inTime = descending ? values.toReversed() : values;
    return inTime.map((value) => ({ stream, value, ns: BigInt(value[0] as string) }));
  });
  entries.sort((a, b) => (a.ns < b.ns ? -1 : a.ns > b.ns ? 1 : 0));
  const ordered: LokiStream[] = [];
  for (const { stream, value } of entries) {
    const last = ordered.at(-1);
    if (last?.stream === stream) last.values.push(value);
    else ordered.push({ stream, values: [value] });
  }
  return ordered;
}

/** Sends entries, oldest first. Resolves when the frame has been handed to the network: a slow client holds the tail back. */
function send(client: WebSocket, streams: LokiStreams, missed: Missed | undefined): Promise<void> {
  const message = JSON.stringify({
    streams: inOrder(streams),
    ...streams.encodingFlags,
    dropped_entries: missed === undefined ? [] : droppedEntries(missed),
    ...(missed && { dropped_count: missed.count + missed.unheard.length }),
  });
  return new Promise((resolve, reject) => {
    client.send(message, (error) => (error ? reject(error) : resolve()));
  });
}

/** A peer that could not be followed is told like a line that was dropped: clients show those. */
function droppedEntries({ entries, unheard }: Missed): { labels: Labels; timestamp: string }[] {
  const silent = unheard.map(({ peer, fromMs }) => ({ labels: { logvine_unheard: peer }, ms: fromMs }));
  return [...silent, ...entries].map(({ labels, ms }) => ({ labels, timestamp: `${Math.floor(ms)}000000` }));
}

/** Pings, and drops a client that has not answered the last one. */
function keepAlive(client: WebSocket, { clock }: ServerOptions): void {
  let isAlive = true;
  client.on('pong', () => {
    isAlive = true;
  });
  const ping = (): void => {
    if (!isAlive) {
      client.terminate();
      return;
    }
    isAlive = false;
    client.ping();
    timer = clock.after(PING_EVERY_MS, ping);
  };
  let timer = clock.after(PING_EVERY_MS, ping);
  client.once('close', () => timer.cancel());
}

function reasonOf(error: unknown): string {
  return Buffer.from(messageOf(error))
    .subarray(0, CLOSE_REASON_BYTES_MAX)
    .toString()
    .replace(/\uFFFD+$/u, '');
}
