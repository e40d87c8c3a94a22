import { ERROR_CODES, LogvineError, messageOf, type Clock, type ErrorCode } from '../../store/index.ts';
import type { Io } from './io.ts';
import { visibleText } from './visible.ts';

const ANSWER_BYTES_MAX = 64 * 1024 * 1024;
const ANSWER_TIMEOUT_MS = 30_000;

export interface Endpoint {
  readonly addr: string;
  readonly token: string | undefined;
  readonly fetch: typeof fetch;
  readonly clock: Clock;
}

/** The JSON that a node answers with. Throws LogvineError when it cannot be had. */
export async function getJson(
  endpoint: Endpoint,
  path: string,
  method: 'GET' | 'POST' = 'GET',
): Promise<unknown> {
  const abort = new AbortController();
  const timer = endpoint.clock.after(ANSWER_TIMEOUT_MS, () =>
    abort.abort(
      new LogvineError(
        'LV_PEER_TIMEOUT',
        `${endpoint.addr} did not answer within ${ANSWER_TIMEOUT_MS / 1000} s`,
      ),
    ),
  );
  try {
    const response = await open(endpoint, path, method, abort.signal);
    let text = '';
    for await (const chunk of textOf(response)) {
      text += chunk;
      if (text.length > ANSWER_BYTES_MAX) throw new LogvineError('LV_PROTOCOL', 'the answer is too long');
    }
    return parseJson(text, endpoint.addr);
  } finally {
    timer.cancel();
    abort.abort();
  }
}

/** Yields the JSON of each line of the answer as it comes. */
export async function* fetchLines(
  endpoint: Endpoint,
  method: 'GET' | 'POST',
  path: string,
  signal: AbortSignal,
): AsyncGenerator<unknown> {
  const response = await open(endpoint, path, method, signal);
  let rest = '';
  for await (const chunk of textOf(response)) {
    const lines = (rest + chunk).split('\n');
    rest = lines.pop() ?? '';
    if (rest.length > ANSWER_BYTES_MAX)
      throw new LogvineError('LV_PROTOCOL', 'a line of the answer is too long');
    for (const line of lines) if (line.trim() !== '') yield parseJson(line, endpoint.addr);
  }
  if (rest.trim() !== '') yield parseJson(rest, endpoint.addr);
}

/** A signal that fires when the process is told to stop, with LV_CLOSED, and when `abort` is called. */
export function untilStopped(io: Io, message = 'stopped before the answer was whole'): AbortController {
  const controller = new AbortController();
  io.onStop(() => controller.abort(new LogvineError('LV_CLOSED', message)));
  return controller;
}

/** Rejects with LogvineError, or with the reason of the signal. */
export async function open(
  { addr, token, fetch }: Pick<Endpoint, 'addr' | 'token' | 'fetch'>,
  path: string,
  method: 'GET' | 'POST',
  signal: AbortSignal,
): Promise<Response> {
  const headers: Record<string, string> = token === undefined ? {} : { authorization: `Bearer ${token}` };
  let response: Response;
  try {
    // A token could be sent on to somebody else by a redirect.
    response = await fetch(`${addr}${path}`, { method, headers, signal, redirect: 'error' });
  } catch (error) {
    signal.throwIfAborted();
    if (error instanceof LogvineError) throw error;
    throw unreachable(addr, error);
  }
  if (response.ok) return response;
  throw await refusal(response, addr);
}

function unreachable(addr: string, error: unknown): LogvineError {
  const cause = error instanceof Error && error.cause instanceof Error ? error.cause : error;
  const message = `no node answers at ${addr} (${messageOf(cause)}): ${adviceFor(cause)}`;
  return new LogvineError('LV_PEER_UNREACHABLE', message, { cause: error });
}

function adviceFor(cause: unknown): string {
  // What fetch says of ports that it never asks, such as 1 and 9, since they are other services' by convention.
  if (messageOf(cause) === 'bad port') {
    return 'HTTP clients refuse this port, which belongs to another service: have the node serve another one with --http';
  }
  if ((cause as { code?: unknown }).code === 'ECONNRESET') {
    return 'something listens there and does not speak HTTP. It may be the mesh port of a node: HTTP is on the port of --http';
  }
  return 'start one with logvine run, or name another with --addr';
}

/** The error behind an answer that is none: the node's own words, made safe for a terminal. */
async function refusal(response: Response, addr: string): Promise<LogvineError> {
  let text = '';
  for await (const chunk of textOf(response)) {
    text += chunk;
    if (text.length > MESSAGE_LENGTH_MAX) break;
  }
  const isToken = response.status === 401 || response.status === 403;
  const error = errorIn(text, isToken ? 'LV_UNAUTHORIZED' : 'LV_PROTOCOL');
  return error.message === '' ? new LogvineError(error.code, `${addr} answered ${response.status}`) : error;
}

const MESSAGE_LENGTH_MAX = 4096;

/** An error in the words of a node, `{code, message}` as JSON or plain text, made safe for a terminal. */
export function errorIn(text: string, fallback: ErrorCode = 'LV_PROTOCOL'): LogvineError {
  try {
    const body = JSON.parse(text) as { code?: unknown; message?: unknown; error?: unknown } | null;
    const words = body?.message ?? body?.error;
    return errorFrom({ code: body?.code, message: typeof words === 'string' ? words : text }, fallback);
  } catch {
    // Plain text, as Loki answers: it is the message.
    return errorFrom({ message: text }, fallback);
  }
}

/** The same, once it is parsed; a code that this version doesn't know becomes `fallback`. */
export function errorFrom(
  { code, message }: { readonly code?: unknown; readonly message: string },
  fallback: ErrorCode = 'LV_PROTOCOL',
): LogvineError {
  const isKnown = typeof code === 'string' && Object.hasOwn(ERROR_CODES, code);
  return new LogvineError(
    isKnown ? (code as ErrorCode) : fallback,
    visibleText(message.trim().slice(0, MESSAGE_LENGTH_MAX)),
  );
}

async function* textOf(response: Response): AsyncGenerator<string> {
  if (!response.body) return;
  const decoder = new TextDecoder();
  try {
    for await (const chunk of response.body) yield decoder.decode(chunk as Uint8Array, { stream: true });
  } catch (error) {
    if (error instanceof LogvineError) throw error;
    throw new LogvineError('LV_PROTOCOL', `the answer broke off: ${messageOf(error)}`, { cause: error });
  }
  yield decoder.decode();
}

/** Throws LV_PROTOCOL. */
export function parseJson(text: string, addr: string): unknown {
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new LogvineError('LV_PROTOCOL', `${addr} did not answer in JSON: is it a Logvine node?`, {
      cause: error,
    });
  }
}
