import { dirname } from 'node:path';
import { crc32 } from 'node:zlib';
import { Level } from 'level';
import { LogvineError, messageOf } from '../errors.ts';
import {
  decodeRecord,
  emptyRecord,
  encodeRecord,
  segmentName,
  type SegmentId,
  type SegmentRecord,
  type StreamPool,
} from '../segment/index.ts';

export { CatalogKeeper } from './keeper.ts';
export { CatalogWriter } from './writer.ts';

/**
 * What the segment files hold, remembered so that a start needn't read them. A cache and never the truth (I5): an entry
 * counts only while its own checksum holds and the file has the length that it says.
 */
export interface Catalog {
  /** Its streams are taken from the pool. */
  get(id: SegmentId, pool: StreamPool): Promise<SegmentRecord | undefined>;
  put(record: SegmentRecord): Promise<void>;
  /**
   * The file is to be read again: nothing of the record counts any more but what rot took. Resolves when no power cut can bring
   * back what was there before.
   */
  doubt(record: SegmentRecord): Promise<void>;
  /** Resolves when no power cut can bring it back. */
  remove(id: SegmentId): Promise<void>;
  close(): Promise<void>;
}

/** The part of abstract-level that the catalog uses; `memory-level` has it too. */
export interface KeyValueStore {
  open(): Promise<void>;
  get(key: string): Promise<Uint8Array | undefined>;
  put(key: string, value: Uint8Array, options?: { readonly sync: boolean }): Promise<void>;
  del(key: string, options: { readonly sync: boolean }): Promise<void>;
  close(): Promise<void>;
}

/**
 * Opens the LevelDB in `directory`, whose lock also keeps a second node off the data directory (LV_DATA_IN_USE). One
 * that cannot be opened is deleted and made anew: nothing in it is needed.
 */
export async function openCatalog(directory: string, removeAll: () => Promise<void>): Promise<Catalog> {
  const make = (): KeyValueStore => new Level<string, Uint8Array>(directory, { valueEncoding: 'view' });
  let database = make();
  try {
    await database.open();
  } catch (error) {
    const cause = (error as Error).cause as { code?: string; message?: string } | undefined;
    if (cause?.code === 'LEVEL_LOCKED') {
      throw new LogvineError(
        'LV_DATA_IN_USE',
        `another node uses the data directory ${dirname(directory)}: stop it, or give this one its own --data`,
        { cause: error },
      );
    }
    if (/No space left/.test(cause?.message ?? messageOf(error))) {
      throw new LogvineError('LV_DISK_FULL', `no space left to open ${directory}`, { cause: error });
    }
    await removeAll();
    database = make();
    await database.open();
  }
  return catalogOver(database);
}

function valueOf(record: SegmentRecord): Buffer {
  const encoded = encodeRecord(record);
  const value = Buffer.allocUnsafe(4 + encoded.length);
  value.writeUInt32LE(crc32(encoded), 0);
  encoded.copy(value, 4);
  return value;
}

export function catalogOver(database: KeyValueStore): Catalog {
  return {
    async get(id, pool) {
      const value = await database.get(segmentName(id)).catch(() => undefined);
      if (!value || value.length < 4) return undefined;
      const bytes = Buffer.from(value.buffer, value.byteOffset, value.byteLength);
      if (bytes.readUInt32LE(0) !== crc32(bytes.subarray(4))) return undefined;
      try {
        return decodeRecord(id, bytes.subarray(4), pool);
      } catch {
        return undefined;
      }
    },
    put: (record) => database.put(segmentName(record.id), valueOf(record)),
    async doubt({ id, rotten }) {
      if (rotten.length === 0) await database.del(segmentName(id), { sync: true });
      // No file is believed to be without a byte.
      else await database.put(segmentName(id), valueOf({ ...emptyRecord(id), rotten }), { sync: true });
    },
    remove: (id) => database.del(segmentName(id), { sync: true }),
    close: () => database.close(),
  };
}
