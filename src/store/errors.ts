/** Stable error codes. `docs/errors.md` says for each what happened and what to do; a test ties the two. */
export const ERROR_CODES = {
  LV_CONFIG_INVALID: 'The configuration has a key, value or flag that is not allowed',
  LV_DATA_IN_USE: 'Another node uses this data directory',
  LV_DATA_UNSAFE:
    'The disk failed an fsync; nothing more is acknowledged until a restart has verified the data',
  LV_DISK_FULL: 'The disk is full',
  LV_IDENTITY_INVALID: 'The identity file of the data directory cannot be used',
  LV_PORT_IN_USE: 'The address to listen on is taken',
  LV_SECRET_INVALID: 'The mesh secret is missing or malformed',
  LV_FRAME_CORRUPT: 'A stored or received batch does not match its checksum, hash, signature or chain',
  LV_BATCH_LOST: 'Nobody is known to have some batches any more',
  LV_BATCH_CONFLICT: 'Two different batches carry the same id',
  LV_IDENTITY_CONFLICT: 'Two nodes run with one identity',
  LV_CLOCK_SKEW: 'The clocks of two peers are far apart',
  LV_PROTOCOL: 'A peer sent something that the protocol does not allow',
  LV_PEER_UNREACHABLE: 'A peer cannot be reached',
  LV_PEER_TIMEOUT: 'A peer did not answer in time',
  LV_REPLICATION_TIMEOUT: 'The batch did not reach enough disks in time',
  LV_OVERLOADED: 'A bounded queue is full',
  LV_PUSH_INVALID: 'A pushed body is malformed',
  LV_QUERY_INVALID: 'The query is not valid LogQL',
  LV_QUERY_TIMEOUT: 'The query ran past its deadline',
  LV_QUERY_TOO_LARGE: 'The query needs more memory or results than its bound',
  LV_INPUT_UNREADABLE: 'An input cannot be read',
  LV_UNAUTHORIZED: 'The request carries no token that allows it',
  LV_CLOSED: 'The node is shutting down',
} as const;

export type ErrorCode = keyof typeof ERROR_CODES;

/** Peers come and go: that one does not answer says nothing about the place in the code that hears of it. */
const ORDINARY: ReadonlySet<ErrorCode> = new Set(['LV_PEER_UNREACHABLE', 'LV_PEER_TIMEOUT', 'LV_CLOSED']);

/** The only error that Logvine throws on purpose: a stable code, and a message that says what, where and what to do. */
export class LogvineError extends Error {
  readonly code: ErrorCode;
  constructor(code: ErrorCode, message: string, options?: { cause?: unknown }) {
    // A stack costs more than all else that is done about a peer that is gone.
    const { stackTraceLimit } = Error;
    if (ORDINARY.has(code)) Error.stackTraceLimit = 0;
    super(message, options);
    Error.stackTraceLimit = stackTraceLimit;
    this.name = 'LogvineError';
    this.code = code;
  }
}

/** The message of anything that was thrown. */
export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
