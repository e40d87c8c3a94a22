import type { Problem } from './document.ts';
import { KNOBS, type Knob } from './knobs.ts';
import { suggest } from './suggest.ts';

/** What the command line of `run` and `config` may say. Undefined is not given. */
export interface Flags {
  readonly data?: string;
  readonly listen?: string;
  readonly http?: string;
  readonly join?: readonly string[];
  readonly secretFile?: string;
  /** `name=value` each; they are added to the labels of the layers below. */
  readonly label?: readonly string[];
  /** Files and globs; they are added to the files of the layers below. */
  readonly files?: readonly string[];
}

export type Environment = Readonly<Record<string, string | undefined>>;
type Section = Record<string, unknown>;

/** Values of the layers above the file, laid over `values` in place. */
export interface Overlay {
  /** Dotted key → the variable or flag that set it. */
  readonly origins: ReadonlyMap<string, string>;
  readonly problems: readonly Problem[];
  readonly warnings: readonly string[];
}

/** Variables of the commands themselves, which are no knobs. */
const COMMAND_VARIABLES = ['LOGVINE_CONFIG', 'LOGVINE_ADDR', 'LOGVINE_TOKEN'];

export function overlay(values: Section, env: Environment, flags: Flags): Overlay {
  const origins = new Map<string, string>();
  const problems: Problem[] = [];
  const set = (path: readonly string[], value: unknown, origin: string) => {
    if (setPath(values, path, value)) origins.set(path.join('.'), origin);
  };
  const setPairs = (texts: readonly string[], origin: string) => {
    for (const text of texts) {
      const at = text.indexOf('=');
      if (at > 0 && text.slice(0, at).trim() !== '__proto__')
        set(['labels', text.slice(0, at).trim()], text.slice(at + 1).trim(), origin);
      else
        problems.push({
          where: origin,
          message: `${JSON.stringify(text)} is not allowed; allowed: NAME=VALUE`,
        });
    }
  };
  for (const knob of KNOBS) {
    const text = knob.variable === undefined ? undefined : env[knob.variable];
    if (text === undefined || text === '' || knob.variable === undefined) continue;
    if (knob.form === 'pairs') setPairs(splitList(text), knob.variable);
    else set(knob.path, valueOf(text, knob), knob.variable);
  }
  const { data, listen, http, join, secretFile, label = [], files = [] } = flags;
  for (const [key, value, flag] of [
    ['data', data, '--data'],
    ['listen', listen, '--listen'],
    ['http', http, '--http'],
    ['join', join?.length ? join : undefined, '--join'],
    ['secretFile', secretFile, '--secret-file'],
  ] as const) {
    if (value !== undefined) set([key], value, flag);
  }
  setPairs(label, '--label');
  if (files.length > 0) {
    const tails = (values.inputs as Section | undefined)?.tail ?? [];
    // A file whose list is no list keeps it, and is told so.
    if (Array.isArray(tails)) {
      set(['inputs', 'tail'], [...(tails as unknown[]), { paths: files }], 'FILE');
      origins.set(`inputs.tail.${tails.length}`, 'FILE');
    }
  }
  return { origins, problems, warnings: unknownVariables(env) };
}

/** As the file would have it; what cannot be read stays text, and the schema says what is wrong with it. */
function valueOf(text: string, knob: Knob): unknown {
  if (knob.form === 'number' && text.trim() !== '' && Number.isFinite(Number(text))) return Number(text);
  if (knob.form === 'boolean' && (text === 'true' || text === 'false')) return text === 'true';
  if (knob.form === 'list') return splitList(text);
  return text;
}

function splitList(text: string): string[] {
  return text
    .split(',')
    .map((item) => item.trim())
    .filter((item) => item !== '');
}

/** False when something on the way is not a section: the file's mistake stands, and is reported. */
function setPath(values: Section, path: readonly string[], value: unknown): boolean {
  let section = values;
  for (const name of path.slice(0, -1)) {
    if (!Object.hasOwn(section, name)) section[name] = {};
    const next = section[name];
    if (!isSection(next)) return false;
    section = next;
  }
  section[path[path.length - 1]] = value;
  return true;
}

export function isSection(value: unknown): value is Section {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** Not an error: orchestrators put variables with the names of services into every process. */
function unknownVariables(env: Environment): string[] {
  const known = KNOBS.flatMap(({ variable }) => variable ?? []).concat(COMMAND_VARIABLES);
  return Object.keys(env)
    .filter((name) => name.startsWith('LOGVINE_') && !known.includes(name))
    .map((name) => {
      const meant = suggest(name, known);
      return `the environment variable ${name} is not known${meant ? `; did you mean ${meant}?` : ''}`;
    });
}
