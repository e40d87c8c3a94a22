import type {
  Columns,
  EntryRun,
  Labels,
  PackedBatch,
  ScanRequest,
  ScanResult,
  StreamRows,
  TimeRange,
} from '../store/index.ts';
import type { PreparedPush, PushBody } from './http/push-prepare.ts';
import type { LineBlock } from './pipeline/index.ts';

/** Lines of one stream that are not sealed yet: as they were read, or with times of their own. */
export interface UnsealedStream {
  readonly labels: Labels;
  readonly timeZone: string;
  readonly blocks: readonly LineBlock[];
  readonly columns: Columns | undefined;
}

/** What the workers do; see worker.ts. */
export type Tasks = {
  pack: {
    request: {
      /** Lines as they were read. */
      streams: UnsealedStream[];
      pushed: StreamRows[];
      discoverLevels: boolean;
      compressionLevel: number;
    };
    response: PackedBatch;
  };
  /** The body is handed over, not copied. */
  decodePush: { request: PushBody; response: PreparedPush };
  scan: { request: ScanRequest; response: ScanResult };
  scanUnsealed: {
    request: {
      query: string;
      range: TimeRange;
      descending: boolean;
      limit: number;
      rank: string;
      discoverLevels: boolean;
      streams: UnsealedStream[];
    };
    response: EntryRun | undefined;
  };
};
