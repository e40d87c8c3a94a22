/** The labels of the line at hand: the stream's, the entry's structured metadata, and what stages have made of them. */
import type { Labels, Metadata } from '../batch/columns.ts';
import { LIMITS } from '../limits.ts';

export const ERROR_LABEL = '__error__';
export const ERROR_DETAILS_LABEL = '__error_details__';
/** Set to "true", it lets a metric query pass lines with errors. */
export const PRESERVE_ERROR_LABEL = '__preserve_error__';
const DUPLICATE_SUFFIX = '_extracted';

export interface LabelCategories {
  readonly stream: Labels;
  readonly structuredMetadata: Labels;
  readonly parsed: Labels;
}

const NONE: Labels = Object.freeze({});

/** A parsed field whose name is longer gets no label: of one line, names must not take more memory than lines may. */
export const NAME_LENGTH_MAX = 1024;

/** What is known of one name, kept from line to line, so that a line costs no tables of its own. */
export interface LabelSlot {
  readonly name: string;
  /** What stages have set in line `setIn`; undefined when it was deleted since. */
  value: string | undefined;
  setIn: number;
  deletedIn: number;
  touchedIn: number;
  /** Whether a line with these labels and this metadata comes with it, for those last looked at. */
  ofStream: Labels | undefined;
  ofMetadata: Metadata | undefined;
  inStream: boolean;
  inMetadata: boolean;
  /** The slot of the name that a parsed field gets when the line comes with this one. */
  duplicate: LabelSlot | undefined;
}

/** Beyond it, names are forgotten between two lines: a log may have new ones in each. */
const SLOTS_MAX = 4096;

export class LabelState {
  #stream: Labels = NONE;
  #metadata: Metadata = NONE;
  /** The metadata with names that the stream has too renamed; the given object itself when none is. */
  #named: Metadata = NONE;
  /** Of this stream's metadata sets, since few of them alternate. */
  #namedSets = new WeakMap<Metadata, Metadata>();
  readonly #slots = new Map<string, LabelSlot>();
  /** The names that stages have set or deleted in this line, each once: the first `#touchedCount`. */
  readonly #touched: LabelSlot[] = [];
  #touchedCount = 0;
  #parsedCount = 0;
  #lineNumber = 1;
  error = '';
  errorDetails = '';

  reset(stream: Labels, metadata: Metadata): void {
    if (stream !== this.#stream || metadata !== this.#metadata) {
      if (stream !== this.#stream) this.#namedSets = new WeakMap();
      this.#stream = stream;
      this.#metadata = metadata;
      let named = this.#namedSets.get(metadata);
      if (named === undefined) this.#namedSets.set(metadata, (named = metadataBeside(stream, metadata)));
      this.#named = named;
    }
    this.#touchedCount = 0;
    this.#parsedCount = 0;
    this.#lineNumber++;
    if (this.#slots.size > SLOTS_MAX) this.#forget();
    this.error = '';
    this.errorDetails = '';
  }

  #forget(): void {
    this.#slots.clear();
    this.#touched.length = 0;
  }

  /** True when a stage set or deleted a label, or reported an error. */
  get changed(): boolean {
    return this.#touchedCount > 0 || this.error !== '' || this.errorDetails !== '';
  }

  get(name: string): string | undefined {
    const slot = this.#touchedCount > 0 ? this.#slots.get(name) : undefined;
    if (slot !== undefined) {
      if (slot.setIn === this.#lineNumber && slot.value !== undefined) return slot.value;
      if (slot.deletedIn === this.#lineNumber) return undefined;
    }
    return own(this.#named, name) ?? (own(this.#stream, name) || undefined);
  }

  /** What a string filter compares: the error where that is asked for, '' for a label that is not there. */
  valueOf(name: string): string {
    if (name === ERROR_LABEL) return this.error;
    return this.get(name) ?? '';
  }

  set(name: string, value: string): void {
    this.fill(this.#slot(name), value);
  }

  delete(name: string): void {
    const slot = this.#slot(name);
    this.#touch(slot);
    slot.value = undefined;
    slot.deletedIn = this.#lineNumber;
  }

  /**
   * Where a parser puts a field; it has its own name when the line comes with that label. Undefined when a stage has
   * set it already, even if another deleted it since, when nobody wants it, when the name is too long, or, with an error, when the
   * line has too many.
   */
  slotForParsed(name: string, wanted: ReadonlySet<string> | undefined): LabelSlot | undefined {
    if (name.length > NAME_LENGTH_MAX) return undefined;
    const slot = this.#parsedSlot(name);
    if (slot.setIn === this.#lineNumber || (wanted !== undefined && !wanted.has(slot.name))) return undefined;
    if (this.#parsedCount >= LIMITS.parsedLabelsMax) {
      this.fail('LabelLimitErr', `a line gives at most ${LIMITS.parsedLabelsMax} labels`);
      return undefined;
    }
    this.#parsedCount++;
    return slot;
  }

  fill(slot: LabelSlot, value: string): void {
    this.#touch(slot);
    slot.value = value;
    slot.setIn = this.#lineNumber;
  }

  /** Sets what a parser was told to extract, whoever has set it before; renamed like any field. */
  setExtracted(name: string, value: string): void {
    this.fill(this.#parsedSlot(name), value);
  }

  /** Did the label come with the line? */
  hasGiven(name: string): boolean {
    return this.#isGiven(this.#slot(name));
  }

  #slot(name: string): LabelSlot {
    let slot = this.#slots.get(name);
    if (slot === undefined) this.#slots.set(name, (slot = newSlot(name)));
    return slot;
  }

  #parsedSlot(name: string): LabelSlot {
    const slot = this.#slot(name);
    if (!this.#isGiven(slot)) return slot;
    slot.duplicate ??= this.#slot(name + DUPLICATE_SUFFIX);
    return slot.duplicate;
  }

  #isGiven(slot: LabelSlot): boolean {
    if (slot.ofStream !== this.#stream || slot.ofMetadata !== this.#named) {
      slot.ofStream = this.#stream;
      slot.ofMetadata = this.#named;
      slot.inStream = own(this.#stream, slot.name) !== undefined;
      slot.inMetadata = own(this.#named, slot.name) !== undefined;
    }
    return slot.inStream || (slot.inMetadata && slot.deletedIn !== this.#lineNumber);
  }

  #touch(slot: LabelSlot): void {
    if (slot.touchedIn === this.#lineNumber) return;
    slot.touchedIn = this.#lineNumber;
    this.#touched[this.#touchedCount++] = slot;
  }

  /** Is the label that came with the line still what it was? */
  #isUntouched(name: string): boolean {
    return this.#touchedCount === 0 || this.#slots.get(name)?.touchedIn !== this.#lineNumber;
  }

  /** Reports what went wrong, over whatever was reported before. */
  fail(error: string, details: string): void {
    this.error = error;
    if (details !== '') this.errorDetails = details;
  }

  /** What stages have set, in the order of its first touch. */
  #parsed(): [string, string][] {
    const parsed: [string, string][] = [];
    for (let i = 0; i < this.#touchedCount; i++) {
      const { name, value, setIn } = this.#touched[i];
      if (setIn === this.#lineNumber && value !== undefined) parsed.push([name, value]);
    }
    return parsed;
  }

  /** Every label but the errors, in no particular order. */
  entries(): [string, string][] {
    const entries = this.#parsed();
    for (const name of Object.keys(this.#named)) {
      if (this.#isUntouched(name)) entries.push([name, this.#named[name]]);
    }
    for (const name of Object.keys(this.#stream)) {
      if (own(this.#named, name) === undefined && this.#isUntouched(name))
        entries.push([name, this.#stream[name]]);
    }
    return entries;
  }

  /** Every label, errors included. */
  all(): Record<string, string> {
    const labels = record(this.entries());
    if (this.error !== '') labels[ERROR_LABEL] = this.error;
    if (this.errorDetails !== '') labels[ERROR_DETAILS_LABEL] = this.errorDetails;
    return labels;
  }

  /** The labels by where they came from; errors count as parsed. Objects are shared where nothing changed. */
  categories(): LabelCategories {
    if (!this.changed) return { stream: this.#stream, structuredMetadata: this.#named, parsed: NONE };
    const parsed = record(this.#parsed());
    if (this.error !== '') parsed[ERROR_LABEL] = this.error;
    if (this.errorDetails !== '') parsed[ERROR_DETAILS_LABEL] = this.errorDetails;
    return { stream: this.#kept(this.#stream), structuredMetadata: this.#kept(this.#named), parsed };
  }

  #kept(labels: Labels): Labels {
    const entries = Object.entries(labels);
    const kept = entries.filter(([name]) => this.#isUntouched(name));
    return kept.length === entries.length ? labels : record(kept);
  }
}

function newSlot(name: string): LabelSlot {
  return {
    name,
    value: undefined,
    setIn: 0,
    deletedIn: 0,
    touchedIn: 0,
    ofStream: undefined,
    ofMetadata: undefined,
    inStream: false,
    inMetadata: false,
    duplicate: undefined,
  };
}

function own(labels: Labels, name: string): string | undefined {
  return Object.hasOwn(labels, name) ? labels[name] : undefined;
}

/** Entries as an object with its names sorted; `__proto__` is a name like any other. */
function record(entries: Iterable<readonly [string, string]>): Record<string, string> {
  return Object.fromEntries([...entries].sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0)));
}

/** The metadata with names that the stream has, too, renamed; the given object itself when none is. */
export function metadataBeside(stream: Labels, metadata: Metadata): Metadata {
  for (const name in metadata) {
    if (own(stream, name) !== undefined) return renamed(stream, metadata);
  }
  return metadata;
}

function renamed(stream: Labels, metadata: Metadata): Metadata {
  const pairs = Object.entries(metadata);
  return Object.fromEntries(
    pairs.map(([name, value]) => [own(stream, name) === undefined ? name : name + DUPLICATE_SUFFIX, value]),
  );
}

const NAMES_MAX = 4096;
const sanitized = new Map<string, string>();

/** A field's name as a label's: what is no letter, digit or underscore becomes one; none begins with a digit. */
export function sanitizeName(name: string): string {
  if (name.length > NAME_LENGTH_MAX) return sanitize(name);
  let clean = sanitized.get(name);
  if (clean === undefined) {
    if (sanitized.size >= NAMES_MAX) sanitized.clear();
    // Often a piece of the line, which the table must not keep alive: the copy is the key.
    const key = Buffer.from(name, 'utf16le').toString('utf16le');
    sanitized.set(key, (clean = sanitize(key)));
  }
  return clean;
}

function sanitize(name: string): string {
  const trimmed = name.trim();
  if (/^[a-zA-Z_][a-zA-Z0-9_]*$/.test(trimmed)) return trimmed;
  const clean = trimmed.replace(/[^a-zA-Z0-9_]/gu, '_');
  return /^[0-9]/.test(clean) ? `_${clean}` : clean;
}
