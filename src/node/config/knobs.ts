import { z } from 'zod';
import { configSchema, type Form } from './schema.ts';

/** One key of the configuration. */
export interface Knob {
  /** As written: `batch.linger`, `inputs.tail[].paths`. */
  readonly key: string;
  readonly path: readonly string[];
  readonly form: Form;
  readonly allowed: string;
  /** As it would be written in the file; undefined when leaving it out is not a value of its own. */
  readonly defaultValue: unknown;
  readonly description: string;
  /** Its environment variable; undefined where only the file can say it. */
  readonly variable: string | undefined;
}

export const KNOBS: readonly Knob[] = knobsOf(configSchema, [], '');

/** The type behind defaults and "may be left out". */
function unwrapped(type: z.ZodType): z.ZodType {
  let inner = type;
  while (inner instanceof z.ZodPrefault || inner instanceof z.ZodOptional)
    inner = inner.unwrap() as z.ZodType;
  return inner;
}

function knobsOf(object: z.ZodType, path: readonly string[], keyOfParent: string): Knob[] {
  if (!(object instanceof z.ZodObject)) return [];
  const knobs: Knob[] = [];
  for (const [name, type] of Object.entries(object.shape as Record<string, z.ZodType>)) {
    const inner = unwrapped(type);
    const key = `${keyOfParent}${name}`;
    const here = [...path, name];
    if (inner instanceof z.ZodObject) {
      knobs.push(...knobsOf(inner, here, `${key}.`));
      continue;
    }
    const form = formOf(inner);
    const isInList = key.includes('[]');
    knobs.push({
      key,
      path: here,
      form,
      allowed: allowedOf(inner) ?? '',
      defaultValue: type instanceof z.ZodPrefault ? type.def.defaultValue : undefined,
      description: type.description ?? '',
      variable: form === 'file' || isInList ? undefined : variableOf(here),
    });
    if (inner instanceof z.ZodArray) knobs.push(...knobsOf(inner.element as z.ZodType, here, `${key}[].`));
  }
  return knobs;
}

function formOf(type: z.ZodType): Form {
  return (type.meta()?.form ?? 'text') as Form;
}

function allowedOf(type: z.ZodType): string | undefined {
  const allowed = type.meta()?.allowed;
  return typeof allowed === 'string' ? allowed : undefined;
}

/** `batch.targetBytes` → `LOGVINE_BATCH_TARGET_BYTES`. */
function variableOf(path: readonly string[]): string {
  return `LOGVINE_${path.map((name) => name.replace(/[A-Z]/g, (letter) => `_${letter}`).toUpperCase()).join('_')}`;
}

/** What the schema says about a place in a configuration, as far as the path leads. */
export interface Place {
  /** What the innermost value with a kind may be. */
  readonly allowed: string;
  /** The keys that the section at the path may have; empty when it is no section. */
  readonly keys: readonly string[];
}

export function placeAt(path: readonly PropertyKey[]): Place {
  let type: z.ZodType | undefined = configSchema;
  let allowed: string | undefined;
  for (const step of path) {
    type = type && childOf(unwrapped(type), step);
    if (!type) break;
    allowed = allowedOf(unwrapped(type)) ?? allowed;
  }
  const inner = type && unwrapped(type);
  const keys = inner instanceof z.ZodObject ? Object.keys(inner.shape as object) : [];
  return { allowed: allowed ?? `a section with: ${keys.join(', ')}`, keys };
}

function childOf(type: z.ZodType, step: PropertyKey): z.ZodType | undefined {
  if (type instanceof z.ZodArray) return type.element as z.ZodType;
  if (!(type instanceof z.ZodObject) || !Object.hasOwn(type.shape as object, step)) return undefined;
  return (type.shape as Record<PropertyKey, z.ZodType>)[step];
}
