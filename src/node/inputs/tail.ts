import { LogvineError, messageOf, type Clock, type Timer } from '../../store/index.ts';
import { BoundedDisk } from './bounded-disk.ts';
import type { TailDisk, TailHandle, TailStat } from './files.ts';
import { HandleCache } from './handles.ts';
import { decodePosition, fileOfSource, sameFile, sourceName, type TailPosition } from './identity.ts';
import type { BlockSink, Input, InputStatus, SourcePosition } from './index.ts';
import { TAIL_LIMITS, checkTailLimits, type TailLimits } from './limits.ts';
import { readTurn, writeDeletedGap, type TurnContext } from './read-turn.ts';
import { findRenamed, rotatedSiblings } from './relatives.ts';
import { Rotation, type RotationHost } from './rotation.ts';
import { TailSources, type FoundPath, type TailLog, type TailSource, type FoundBy } from './tail-sources.ts';
import { TailedFile } from './tailed-file.ts';
import { WhileDown } from './while-down.ts';

export interface TailOptions {
  readonly patterns: readonly TailSource[];
  readonly sink: BlockSink;
  readonly disk: TailDisk;
  readonly clock: Clock;
  readonly log: TailLog;
  /** The label `host`. */
  readonly host: string;
  /** Whether to add `service_name`. */
  readonly discoverServiceName: boolean;
  /** The position of the newest sealed block of a source, from the batch headers; undefined if there is none. */
  readonly resume: (source: string) => string | undefined;
  /** All sources that have one, with it; may hold those of other inputs. */
  readonly remembered: () => Iterable<readonly [source: string, position: string]>;
  readonly limits?: Partial<TailLimits>;
}

/** What could not be read, over all files since the start. */
export interface TailTotals {
  readonly gaps: number;
  readonly gapBytes: number;
}

/** A name under which a file is watched. The file behind it may change, and be found under other names too. */
export interface Watch {
  readonly path: string;
  readonly found: FoundPath;
  file: TailedFile | undefined;
  problem: string | undefined;
  /** Wall clock of the last look that found `file` here. */
  seenAtMs: number;
}

const STATS_AT_ONCE = 32;
const RELEASED_MAX = 10_000;
const WARNINGS_PER_SCAN_MAX = 20;
const LOST_ROWS_MAX = 100;

/** Starts to tail. Throws LV_CONFIG_INVALID when a pattern is malformed. */
export function startTail(options: TailOptions): Tail {
  const tail = new Tail(options);
  tail.start();
  return tail;
}

/**
 *              every scan                every tick               when there is something to read
 *   patterns ───────────► watches (names) ─────────► files (inodes) ─────────► queue ─► readers ─► sink
 *
 * A watch is a name that is looked at; a file is what was found behind it, and stays the same under a new name.
 */
export class Tail implements Input {
  readonly #options: TailOptions;
  readonly #limits: TailLimits;
  readonly #clock: Clock;
  readonly #disk: TailDisk;
  readonly #sources: TailSources;
  readonly #handles: HandleCache;
  readonly #rotation: Rotation;
  readonly #rotationHost: RotationHost = {
    watchAt: (path) => this.#watches.get(path),
    fileOf: (source) => this.#files.get(source),
    positionOf: (source) => this.#positionOf(source),
    adopt: (path, stat, foundBy, position) => this.#adopt(path, stat, foundBy, position),
    remember: (file) => this.#remember(file),
    copiesBelow: async ({ path, realPath = path, downSinceMs }) =>
      (downSinceMs !== undefined && (await this.#whileDown?.below(realPath))) || [],
  };
  readonly #context: TurnContext;
  /** For the search after a start. */
  readonly #boundedDisk: BoundedDisk;
  #whileDown: WhileDown | undefined;
  readonly #watches = new Map<string, Watch>();
  readonly #files = new Map<string, TailedFile>();
  /** Watches whose files change; the others are looked at in turn. */
  readonly #lively = new Set<Watch>();
  readonly #queue = new Set<TailedFile>();
  readonly #turns = new Map<TailedFile, Promise<void>>();
  /** Files that are nowhere to be found, until that is told; their inodes may be those of others by now. */
  readonly #gone = new Set<TailedFile>();
  /** The newest of those with which something was lost: their rows go on telling it. */
  readonly #lost: TailedFile[] = [];
  /** Where files stood that were let go: their names may come back. */
  readonly #released = new Map<string, string>();
  #idleWaiters: Array<() => void> = [];
  #quietTurn: Iterator<Watch> | undefined;
  #nextScanMs = 0;
  #hasScanned = false;
  #warnings = 0;
  #isClosing = false;
  #timer: Timer | undefined;
  #polling: Promise<void> | undefined;
  #gaps = 0;
  #gapBytes = 0;

  constructor(options: TailOptions) {
    this.#options = options;
    this.#limits = { ...TAIL_LIMITS, ...options.limits };
    checkTailLimits(this.#limits);
    this.#clock = options.clock;
    this.#disk = options.disk;
    this.#sources = new TailSources(options.patterns, { ...options, filesMax: this.#limits.filesMax });
    this.#handles = new HandleCache(options.disk, this.#limits.openFilesMax);
    this.#boundedDisk = new BoundedDisk(options.disk, options.clock);
    this.#rotation = new Rotation(options.disk, this.#rotationHost);
    this.#context = {
      sink: options.sink,
      clock: options.clock,
      limits: this.#limits,
      isClosing: () => this.#isClosing,
      isSuperseded: (file) => {
        const owner = this.#files.get(file.source) ?? file;
        return owner !== file && (owner.isWriting || owner.offset > 0);
      },
      onTruncated: (file) => this.#rotation.saveCopyOf(file),
      onGap: (file, lostBytes) => {
        this.#gaps++;
        this.#gapBytes += lostBytes;
        const atLeast = file.downSinceMs === undefined ? '' : 'at least ';
        this.#warn(`${file.labelPath}: gap, ${atLeast}${lostBytes} bytes lost`);
      },
      onUnknownLoss: (text) => {
        if (++this.#warnings <= WARNINGS_PER_SCAN_MAX) options.log.info(text);
      },
    };
  }

  start(): void {
    const loop = async (): Promise<void> => {
      await this.poll();
      if (!this.#isClosing) this.#timer = this.#clock.after(this.#limits.tickMs, () => void loop());
    };
    void loop();
  }

  /** One look at everything that is due; reading goes on after it. Never rejects. `start` calls it every tick. */
  poll(): Promise<void> {
    this.#polling ??= this.#pollOnce()
      .catch((error: unknown) => this.#warn(`Looking for files failed: ${messageOf(error)}`))
      .finally(() => (this.#polling = undefined));
    return this.#polling;
  }

  async #pollOnce(): Promise<void> {
    if (this.#isClosing) return;
    if (this.#clock.monotonicMs() >= this.#nextScanMs) await this.#scan();
    const due = this.#dueWatches();
    for (let at = 0; at < due.length && !this.#isClosing; at += STATS_AT_ONCE) {
      await Promise.all(due.slice(at, at + STATS_AT_ONCE).map((watch) => this.#look(watch)));
    }
    for (const file of this.#files.values()) {
      if (file.names === 0 && !file.isReading && !this.#isClosing) await this.#lookAtLost(file);
    }
    for (const file of this.#gone) {
      if (this.#clock.monotonicMs() >= file.retryAtMs) this.#enqueue(file);
    }
    this.#startTurns();
  }

  /** Resolves when nothing is left to read of what was found so far. */
  settled(): Promise<void> {
    if (this.#queue.size === 0 && this.#turns.size === 0) return Promise.resolve();
    return new Promise((resolve) => this.#idleWaiters.push(resolve));
  }

  async #scan(): Promise<void> {
    const startMs = this.#clock.monotonicMs();
    this.#warnings = 0;
    const fresh: Watch[] = [];
    for (const found of await this.#sources.find()) {
      if (this.#watches.has(found.path)) continue;
      if (this.#watches.size >= this.#limits.filesMax) {
        this.#warn(`More than ${this.#limits.filesMax} files: ${found.path} is not read`);
        break;
      }
      const watch: Watch = { path: found.path, found, file: undefined, problem: undefined, seenAtMs: 0 };
      this.#watches.set(found.path, watch);
      fresh.push(watch);
    }
    for (let at = 0; at < fresh.length && !this.#isClosing; at += STATS_AT_ONCE) {
      await Promise.all(fresh.slice(at, at + STATS_AT_ONCE).map((watch) => this.#look(watch)));
    }
    if (!this.#hasScanned && !this.#isClosing) {
      this.#hasScanned = true;
      await this.#settleWhileDown();
    }
    const tookMs = this.#clock.monotonicMs() - startMs;
    this.#nextScanMs = startMs + Math.max(this.#limits.scanMs, tookMs * 50);
  }

  async #settleWhileDown(): Promise<void> {
    const host = {
      ...this.#rotationHost,
      remembered: this.#options.remembered,
      leadingTo: (path: string) => this.#sources.leadingTo(path),
      isWrittenLately: (mtimeMs: number) => this.#clock.nowMs() - mtimeMs < this.#limits.rotatedLingerMs,
      tellGone: (source: string, position: TailPosition, foundBy: FoundBy) =>
        this.#tellGone(source, position, foundBy),
      warn: (message: string) => {
        if (!this.#isClosing) this.#warn(message);
      },
    };
    this.#whileDown = new WhileDown(this.#boundedDisk, host);
    await this.#whileDown.settle();
  }

  /** All lively watches, and as many of the quiet ones as are due in a tick for each to be seen about once a second. */
  #dueWatches(): Watch[] {
    const due = new Set(this.#lively);
    const share = Math.ceil((this.#watches.size * this.#limits.tickMs) / 1_000);
    for (let count = Math.min(share, this.#limits.quietChecksPerTickMax); count > 0; count--) {
      let next = this.#quietTurn?.next();
      if (next === undefined || next.done === true) {
        this.#quietTurn = this.#watches.values();
        next = this.#quietTurn.next();
        if (next.done === true) break;
      }
      due.add(next.value);
    }
    return [...due];
  }

  /** Looks at what stands under a name. */
  async #look(watch: Watch): Promise<void> {
    let stat: TailStat | undefined;
    const askedMs = this.#clock.monotonicMs();
    try {
      stat = await this.#disk.stat(watch.path);
    } catch (error) {
      this.#setProblem(watch, watch.path, messageOf(error));
      return;
    }
    if (this.#watches.get(watch.path) !== watch) return;
    if (stat === undefined || !stat.isFile) {
      this.#leave(watch);
      const problem = stat === undefined ? 'no such file' : this.#whyNotRead(stat);
      if (watch.found.isExplicit) this.#setProblem(watch, watch.path, problem);
      else if (stat === undefined) this.#forget(watch);
      return;
    }
    this.#setProblem(watch, watch.path, undefined);
    const before = watch.file;
    const sinceMs = watch.seenAtMs;
    watch.seenAtMs = this.#clock.nowMs();
    if (before === undefined || !sameFile(stat, before)) {
      this.#leave(watch);
      this.#enter(watch, stat);
      if (before !== undefined) await this.#adoptBetween(watch, sinceMs);
    }
    this.#note(watch, stat, askedMs);
  }

  async #adoptBetween({ path, file, found }: Watch, sinceMs: number): Promise<void> {
    const relatives = await rotatedSiblings(this.#disk, path).catch(() => []);
    await this.#rotation.adoptBetween({ path, file, foundBy: found.foundBy }, relatives, sinceMs, sinceMs);
  }

  #whyNotRead(stat: TailStat): string {
    return stat.isDirectory
      ? 'is a directory; for the files in it, write DIRECTORY/*'
      : 'is not a plain file';
  }

  #forget(watch: Watch): void {
    this.#watches.delete(watch.path);
    this.#lively.delete(watch);
  }

  /** The file is no longer there under this name. */
  #leave(watch: Watch): void {
    const { file } = watch;
    if (file === undefined) return;
    watch.file = undefined;
    file.isAtPath = false;
    this.#lively.delete(watch);
    if (--file.names === 0) file.lostMs = this.#clock.monotonicMs();
    if (watch.path === file.labelPath) file.namedAtMs = this.#clock.nowMs();
  }

  #enter(watch: Watch, stat: TailStat): void {
    const source = sourceName(stat);
    let file = this.#files.get(source);
    if (file === undefined) {
      file = this.#make(watch.path, stat, watch.found.foundBy, this.#positionOf(source));
    } else if (file.names === 0) {
      file.path = watch.path;
    }
    file.names++;
    if (watch.path === file.labelPath) file.namedAtMs = undefined;
    watch.file = file;
  }

  /** Follows a file that no pattern leads to (any more). */
  #adopt(path: string, stat: TailStat, foundBy: FoundBy, position: TailPosition | undefined): void {
    if (this.#files.has(sourceName(stat))) return;
    const file = this.#make(path, stat, foundBy, position);
    file.isFresh = false;
    file.isAtPath = true;
    if (position !== undefined) this.#remember(file);
    this.#enqueue(file);
  }

  #remember(file: TailedFile): void {
    const position = file.positionAt(file.progress, this.#clock.nowMs());
    if (!this.#isClosing) this.#options.sink.note({ source: file.source, position });
  }

  /** A file of an earlier run is nowhere to be found: that is told in its stream, like all that is lost. */
  #tellGone(source: string, position: TailPosition, foundBy: FoundBy): void {
    const { path, seenBytes: size, birthMs, readAtMs } = position;
    const nowhere = { ...fileOfSource(source), isFile: true, isDirectory: false, links: 0 };
    const stat = { ...nowhere, size, birthMs, mtimeMs: readAtMs };
    const file = new TailedFile({ stat, path, foundBy, nowMs: this.#clock.monotonicMs(), position });
    file.downSinceMs = readAtMs;
    this.#gone.add(file);
  }

  #make(path: string, stat: TailStat, foundBy: FoundBy, position: TailPosition | undefined): TailedFile {
    const isOther = position?.offset === 0 && position.birthMs !== stat.birthMs;
    const own = isOther
      ? {
          ...position,
          path,
          birthMs: stat.birthMs,
          seenBytes: stat.size,
          generation: position.generation + 1,
        }
      : position;
    const file = new TailedFile({ stat, path, foundBy, nowMs: this.#clock.monotonicMs(), position: own });
    this.#files.set(file.source, file);
    return file;
  }

  #positionOf(source: string): TailPosition | undefined {
    const text = this.#released.get(source) ?? this.#options.resume(source);
    return text === undefined ? undefined : decodePosition(text);
  }

  #note(watch: Watch, stat: TailStat, askedMs: number): void {
    const { file } = watch;
    if (file === undefined) return;
    const nowMs = this.#clock.monotonicMs();
    file.observe(stat, nowMs, askedMs);
    if (nowMs - file.changedMs < this.#limits.quietMs) this.#lively.add(watch);
    else this.#lively.delete(watch);
    this.#considerReading(file);
  }

  #considerReading(file: TailedFile): void {
    const nowMs = this.#clock.monotonicMs();
    if (nowMs < file.retryAtMs) return;
    const hasWaited = file.offset < file.sizeBytes && nowMs - file.changedMs >= this.#limits.idleFlushMs;
    if (file.isDue || hasWaited || file.copyOf !== undefined) this.#enqueue(file);
  }

  /** A file without a name: read to its end, then let go once that is durable and nothing more comes. */
  async #lookAtLost(file: TailedFile): Promise<void> {
    const nowMs = this.#clock.monotonicMs();
    if (this.#queue.has(file) || nowMs < file.retryAtMs) return;
    const stat = await this.#statLost(file).catch(() => undefined);
    if (stat === undefined) {
      // To be opened again, or found to be gone.
      this.#enqueue(file);
      return;
    }
    if (stat.links === 0) file.isAtPath = false;
    file.observe(stat, this.#clock.monotonicMs(), nowMs);
    this.#considerReading(file);
    const lingerMs = stat.links > 0 ? this.#limits.rotatedLingerMs : this.#limits.deletedLingerMs;
    const isQuiet = nowMs - Math.max(file.lostMs, file.changedMs) >= lingerMs;
    if (file.isCaughtUp && isQuiet && file.isDurable && !this.#queue.has(file)) await this.#release(file);
  }

  async #statLost(file: TailedFile): Promise<TailStat | undefined> {
    if (file.handle !== undefined) return await file.handle.stat();
    const stat = file.isAtPath ? await this.#disk.stat(file.path) : undefined;
    return stat !== undefined && sameFile(stat, file) ? stat : undefined;
  }

  async #release(file: TailedFile, progress = file.progress): Promise<void> {
    this.#files.delete(file.source);
    this.#released.delete(file.source);
    if (file.offset > 0) {
      this.#released.set(file.source, file.positionAt(progress, this.#clock.nowMs()));
    }
    if (this.#released.size > RELEASED_MAX) this.#released.delete(this.#released.keys().next().value!);
    await this.#handles.release(file);
  }

  #enqueue(file: TailedFile): void {
    if (!file.isReading && !this.#isClosing) this.#queue.add(file);
  }

  #startTurns(): void {
    for (const file of this.#queue) {
      if (this.#turns.size >= this.#limits.readersMax || this.#isClosing) break;
      this.#queue.delete(file);
      file.isReading = true;
      this.#turns.set(file, this.#turn(file));
    }
    if (this.#turns.size > 0) return;
    const waiters = this.#idleWaiters;
    this.#idleWaiters = [];
    for (const resolve of waiters) resolve();
  }

  /** One reader's work on one file. Never rejects. */
  async #turn(file: TailedFile): Promise<void> {
    let hasMore = false;
    try {
      hasMore = await this.#read(file);
      // Waiting is usual during a copytruncate: shown, but no reason for a warning.
      file.problem = file.copyOf && `a copy of ${file.copyOf.original.path}, which is read instead`;
      file.retryMs = 0;
    } catch (error) {
      this.#failed(file, error);
    }
    file.isReading = false;
    this.#turns.delete(file);
    if (this.#isClosing) await this.#handles.release(file);
    else if (hasMore) this.#queue.add(file);
    this.#startTurns();
  }

  async #read(file: TailedFile): Promise<boolean> {
    const handle = this.#gone.has(file) ? undefined : await this.#open(file);
    if (handle === undefined) {
      // With a name, the next look at it will tell. Without one, the file is gone.
      if (file.names === 0) await this.#letGo(file);
      return false;
    }
    if (file.isFresh && !(await this.#rotation.settleFresh(file, handle))) return false;
    return await readTurn(file, handle, this.#context);
  }

  /** Of a file that is gone, what is lost with it is told. */
  async #letGo(file: TailedFile): Promise<void> {
    if (!this.#gone.has(file)) {
      this.#gone.add(file);
      // The next file with its inode does not tell it again.
      await this.#release(file, { ...file.progress, isGone: true });
    }
    await writeDeletedGap(file, this.#context);
    this.#gone.delete(file);
    if (file.gaps > 0) this.#lost.push(file);
    if (this.#lost.length > LOST_ROWS_MAX) this.#lost.shift();
  }

  async #open(file: TailedFile): Promise<TailHandle | undefined> {
    const handle = await this.#handles.acquire(file);
    if (handle !== undefined) return handle;
    // Renamed while it was not open: it is most likely still beside its old name.
    file.path = (await findRenamed(this.#disk, file)) ?? file.path;
    return this.#handles.acquire(file);
  }

  #failed(file: TailedFile, error: unknown): void {
    if (this.#isClosing || (error instanceof LogvineError && error.code === 'LV_CLOSED')) return;
    file.retryMs = Math.min(Math.max(this.#limits.retryMs, file.retryMs * 2), this.#limits.retryMsMax);
    file.retryAtMs = this.#clock.monotonicMs() + file.retryMs;
    file.isDue = true;
    this.#setProblem(file, file.path, messageOf(error));
    void this.#handles.release(file);
  }

  #setProblem(holder: { problem: string | undefined }, path: string, problem: string | undefined): void {
    if (problem !== undefined && problem !== holder.problem) this.#warn(`${path}: ${problem}`);
    holder.problem = problem;
  }

  /** Thousands of unreadable files must not flood the log; the status has them all. */
  #warn(message: string): void {
    if (++this.#warnings <= WARNINGS_PER_SCAN_MAX) this.#options.log.warn(message);
  }

  onDurable({ source, position }: SourcePosition): void {
    const file = this.#files.get(source) ?? this.#lost.find((lost) => lost.source === source);
    file?.onDurable(position);
  }

  totals(): TailTotals {
    return { gaps: this.#gaps, gapBytes: this.#gapBytes };
  }

  status(): InputStatus[] {
    const nothing = { sizeBytes: 0, readBytes: 0, durableBytes: 0 };
    const rows = [...this.#files.values(), ...this.#gone, ...this.#lost].map((file) => file.status());
    for (const { path, problem, file } of this.#watches.values()) {
      if (problem !== undefined && file === undefined) rows.push({ source: path, path, ...nothing, problem });
    }
    for (const { pattern, problem } of this.#sources.problems()) {
      rows.push({ source: pattern, path: pattern, ...nothing, problem });
    }
    return rows;
  }

  /** Does not wait for a sink that has no room: what it takes later is resumed or re-read after a restart (I3). */
  async close(): Promise<void> {
    this.#isClosing = true;
    this.#timer?.cancel();
    this.#boundedDisk.end();
    await this.#polling;
    await Promise.all([...this.#turns].filter(([file]) => !file.isWriting).map(([, turn]) => turn));
    const idle = [...this.#files.values()].filter((file) => !file.isReading);
    await Promise.all(idle.map((file) => this.#handles.release(file)));
    this.#queue.clear();
  }
}
