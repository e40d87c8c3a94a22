import type { ErrorCode } from '../../store/index.ts';
import type { Status } from '../status.ts';

type Sample = readonly [labels: Readonly<Record<string, string>>, value: number];

const MEMBER_STATES = ['alive', 'suspect', 'leaving', 'dead', 'left', 'gone'] as const;
/** What problems are mostly about: each has a sample at any time, so that a rule can tell 'none' from 'not scraped'. */
const PROBLEM_CODES: readonly ErrorCode[] = [
  'LV_BATCH_CONFLICT',
  'LV_BATCH_LOST',
  'LV_CLOCK_SKEW',
  'LV_DATA_UNSAFE',
  'LV_DISK_FULL',
  'LV_IDENTITY_CONFLICT',
  'LV_INPUT_UNREADABLE',
  'LV_PEER_UNREACHABLE',
  'LV_REPLICATION_TIMEOUT',
];

/**
 * A status in Prometheus's text format 0.0.4. Every peer tells of itself: the sum over peers is the mesh. No label grows
 * with the number of peers or files, which would cost n² series in a mesh that scrapes itself.
 */
export function metricsText(status: Status): string {
  return [...families(status)].join('');
}

function* families(status: Status): Generator<string> {
  const { peer, version, replication, store, ingest } = status;
  yield gauge('info', 'Who this peer is; always 1.', [[{ peer, version }, 1]]);
  yield gauge('uptime_seconds', 'Seconds since the peer started.', status.uptimeSeconds);
  yield gauge('epoch', 'The run of this peer as an origin.', status.epoch);
  yield gauge('members', 'Members of the mesh as this peer knows them, by state.', membersByState(status));
  yield gauge(
    'share_ratio',
    'Share of new segments that this peer is an owner of, 0 to 1.',
    ownShare(status),
  );

  yield gauge('replication_copies_wanted', 'Copies wanted of every batch (k).', replication.k);
  yield gauge('replication_quorum', 'Disks that an acknowledgement needs (W).', replication.w);
  yield gauge(
    'replication_batches_below_k',
    'Batches of this peer, or of peers that are away, with too few copies.',
    replication.batchesBelowK,
  );
  yield gauge('replication_bytes_below_k', 'Stored bytes of those batches.', replication.bytesBelowK);
  yield gauge(
    'replication_unacknowledged_bytes',
    'Bytes sealed here that wait for their acknowledgement.',
    replication.unacknowledgedBytes,
  );
  yield counter(
    'replication_repaired_bytes_total',
    'Bytes fetched from others by repair.',
    replication.repairedBytes,
  );

  yield gauge('store_segments', 'Segments on this disk.', store.segments);
  yield gauge('store_batches', 'Batches on this disk.', store.batches);
  yield gauge('store_entries', 'Entries on this disk.', store.entries);
  yield gauge('store_raw_bytes', 'Bytes of the lines on this disk, before compression.', store.rawBytes);
  yield gauge('store_stored_bytes', 'Bytes that the batches take on this disk.', store.storedBytes);

  const { upkeep } = status;
  yield gauge(
    'to_fetch_batches',
    'Batches that this peer should hold and has not fetched yet.',
    upkeep.toFetch.batches,
  );
  yield gauge('to_fetch_bytes', 'Bytes of batches that this peer has to fetch.', upkeep.toFetch.bytes);
  yield counter(
    'surplus_dropped_bytes_total',
    'Bytes dropped here since others keep them.',
    upkeep.surplusDroppedBytes,
  );
  yield counter('expired_bytes_total', 'Bytes that retention dropped here.', upkeep.expiredBytes);
  yield counter('scrubbed_bytes_total', 'Bytes read again to find rot.', upkeep.scrub.bytes);
  yield counter(
    'scrub_rotten_batches_total',
    'Batches that proved rotten when read again.',
    upkeep.scrub.rottenBatches,
  );
  if (upkeep.disk.freeBytes !== null)
    yield gauge('disk_free_bytes', 'Room on the disk of the data directory.', upkeep.disk.freeBytes);

  const own = status.origins.find((origin) => origin.peer === peer && origin.epoch === status.epoch);
  yield gauge('sealed_seq', 'The last batch that this peer sealed in this epoch.', own?.sealedSeq ?? 0);
  yield gauge('durable_seq', 'The last batch of this epoch that is acknowledged.', own?.durableSeq ?? 0);

  yield counter('ingest_bytes_total', 'Bytes of lines taken in.', ingest.bytesTaken);
  yield* inputFamilies(status.inputs);
  yield gauge(
    'clock_skew_seconds_max',
    "Largest difference between this peer's clock and that of another one that is up.",
    clockSkewSecondsMax(status),
  );
  yield gauge('problems', 'What a person should look at now, by code.', problemsByCode(status));

  const { rssBytes, cpuSeconds } = status.process;
  yield gauge('process_resident_memory_bytes', 'Memory that the process holds.', rssBytes);
  yield counter('process_cpu_seconds_total', 'CPU time, user and system.', cpuSeconds);
}

function* inputFamilies(inputs: Status['inputs']): Generator<string> {
  // One pass over what may be tens of thousands of files. Sums can fall when a file goes away: gauges, all of them.
  const sum = { sizeBytes: 0, readBytes: 0, durableBytes: 0, gaps: 0, gapBytes: 0, withProblem: 0 };
  for (const input of inputs) {
    sum.sizeBytes += input.sizeBytes;
    sum.readBytes += input.readBytes;
    sum.durableBytes += input.durableBytes;
    sum.gaps += input.gaps ?? 0;
    sum.gapBytes += input.gapBytes ?? 0;
    if (input.problem !== undefined) sum.withProblem++;
  }
  yield gauge('inputs', 'Inputs of this peer.', inputs.length);
  yield gauge('inputs_with_problem', 'Inputs that are not being read.', sum.withProblem);
  yield gauge('input_size_bytes', 'Size of the inputs.', sum.sizeBytes);
  yield gauge('input_read_bytes', 'How far the inputs are read.', sum.readBytes);
  yield gauge('input_durable_bytes', 'How far the inputs are acknowledged.', sum.durableBytes);
  yield gauge('input_gaps', 'Places where bytes were gone before they were read.', sum.gaps);
  yield gauge(
    'input_gap_bytes',
    'Bytes that were gone before they were read, as far as known.',
    sum.gapBytes,
  );
}

function membersByState({ members }: Status): Sample[] {
  return MEMBER_STATES.map((state) => [{ state }, members.filter((member) => member.state === state).length]);
}

function clockSkewSecondsMax({ members }: Status): number {
  const skews = members.map(({ clockSkewMs, state }) => (state === 'alive' ? Math.abs(clockSkewMs ?? 0) : 0));
  return Math.max(0, ...skews) / 1000;
}

function ownShare({ peer, members }: Status): number {
  return members.find((member) => member.peer === peer)?.share ?? 0;
}

function problemsByCode({ problems }: Status): Sample[] {
  const counts = new Map<string, number>(PROBLEM_CODES.map((code) => [code, 0]));
  for (const { code } of problems) counts.set(code, (counts.get(code) ?? 0) + 1);
  return [...counts].map(([code, count]) => [{ code }, count]);
}

function gauge(name: string, help: string, value: number | readonly Sample[]): string {
  return family('gauge', name, help, value);
}

function counter(name: string, help: string, value: number): string {
  return family('counter', name, help, value);
}

function family(type: string, name: string, help: string, value: number | readonly Sample[]): string {
  const samples: readonly Sample[] = typeof value === 'number' ? [[{}, value]] : value;
  const lines = samples.map(
    ([labels, number]) => `logvine_${name}${labelSet(labels)} ${numberText(number)}\n`,
  );
  return `# HELP logvine_${name} ${help}\n# TYPE logvine_${name} ${type}\n${lines.join('')}`;
}

function labelSet(labels: Readonly<Record<string, string>>): string {
  const pairs = Object.entries(labels).map(([name, value]) => `${name}="${escapeLabelValue(value)}"`);
  return pairs.length === 0 ? '' : `{${pairs.join(',')}}`;
}

function escapeLabelValue(value: string): string {
  return value.replaceAll('\\', '\\\\').replaceAll('\n', '\\n').replaceAll('"', '\\"');
}

/** As Go's ParseFloat reads it. */
function numberText(value: number): string {
  if (value === Infinity) return '+Inf';
  if (value === -Infinity) return '-Inf';
  return String(value);
}
