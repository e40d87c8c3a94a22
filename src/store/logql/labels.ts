/** The labels of the line at hand: the stream's, the entry's structured metadata, and what stages have made of them. */
import type { Labels, Metadata } from '../batch/columns.ts';

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

export class LabelState {
  #stream: Labels = NONE;
  #metadata: Metadata = NONE;
  /** The metadata with names that the stream has too renamed; the given object itself when none is. */
  #named: Metadata = NONE;
  readonly #parsed = new Map<string, string>();
  readonly #deleted = new Set<string>();
  /** Names that a stage has set, even if another deleted them since: a parser does not set them again. */
  readonly #extracted = new Set<string>();
  #changed = false;
  error = '';
  errorDetails = '';

  reset(stream: Labels, metadata: Metadata): void {
    if (stream !== this.#stream || metadata !== this.#metadata) {
      this.#stream = stream;
      this.#metadata = metadata;
      this.#named = renamed(stream, metadata);
    }
    if (this.#changed) {
      this.#parsed.clear();
      this.#deleted.clear();
      this.#extracted.clear();
      this.#changed = false;
    }
    this.error = '';
    this.errorDetails = '';
  }

  /** True when a stage set or deleted a label, or reported an error. */
  get changed(): boolean {
    return this.#changed || this.error !== '' || this.errorDetails !== '';
  }

  get(name: string): string | undefined {
    const parsed = this.#parsed.get(name);
    if (parsed !== undefined) return parsed;
    if (this.#deleted.has(name)) return undefined;
    return own(this.#named, name) ?? (own(this.#stream, name) || undefined);
  }

  /** What a string filter compares: the error where that is asked for, '' for a label that is not there. */
  valueOf(name: string): string {
    if (name === ERROR_LABEL) return this.error;
    return this.get(name) ?? '';
  }

  set(name: string, value: string): void {
    this.#changed = true;
    this.#parsed.set(name, value);
    this.#extracted.add(name);
  }

  delete(name: string): void {
    this.#changed = true;
    this.#parsed.delete(name);
    this.#deleted.add(name);
  }

  /** The name under which a parser sets a field: not the stream's or the metadata's own. */
  parsedName(name: string): string {
    return this.hasGiven(name) ? name + DUPLICATE_SUFFIX : name;
  }

  /** Did the label come with the line? */
  hasGiven(name: string): boolean {
    return (
      own(this.#stream, name) !== undefined ||
      (own(this.#named, name) !== undefined && !this.#deleted.has(name))
    );
  }

  wasExtracted(name: string): boolean {
    return this.#extracted.has(name);
  }

  /** Reports what went wrong, over whatever was reported before. */
  fail(error: string, details: string): void {
    this.error = error;
    if (details !== '') this.errorDetails = details;
  }

  /** Every label but the errors, in no particular order. */
  *entries(): Generator<[string, string]> {
    yield* this.#parsed;
    for (const name of Object.keys(this.#named)) {
      if (!this.#parsed.has(name) && !this.#deleted.has(name)) yield [name, this.#named[name]];
    }
    for (const name of Object.keys(this.#stream)) {
      if (own(this.#named, name) !== undefined || this.#parsed.has(name) || this.#deleted.has(name)) continue;
      yield [name, this.#stream[name]];
    }
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
    const kept = (labels: Labels): Record<string, string> =>
      record(Object.entries(labels).filter(([name]) => !this.#parsed.has(name) && !this.#deleted.has(name)));
    const parsed = record(this.#parsed);
    if (this.error !== '') parsed[ERROR_LABEL] = this.error;
    if (this.errorDetails !== '') parsed[ERROR_DETAILS_LABEL] = this.errorDetails;
    return { stream: kept(this.#stream), structuredMetadata: kept(this.#named), parsed };
  }
}

function own(labels: Labels, name: string): string | undefined {
  return Object.hasOwn(labels, name) ? labels[name] : undefined;
}

/** Entries as an object with its names sorted; `__proto__` is a name like any other. */
function record(entries: Iterable<readonly [string, string]>): Record<string, string> {
  return Object.fromEntries([...entries].sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0)));
}

function renamed(stream: Labels, metadata: Metadata): Metadata {
  const names = Object.keys(metadata);
  if (!names.some((name) => own(stream, name) !== undefined)) return metadata;
  return Object.fromEntries(
    names.map((name) => [own(stream, name) === undefined ? name : name + DUPLICATE_SUFFIX, metadata[name]]),
  );
}

/** A field's name as a label's: what is no letter, digit or underscore becomes one; none begins with a digit. */
export function sanitizeName(name: string): string {
  const trimmed = name.trim();
  if (/^[a-zA-Z_][a-zA-Z0-9_]*$/.test(trimmed)) return trimmed;
  const clean = trimmed.replace(/[^a-zA-Z0-9_]/gu, '_');
  return /^[0-9]/.test(clean) ? `_${clean}` : clean;
}
