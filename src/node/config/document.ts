import { isMap, isScalar, isSeq, LineCounter, parseDocument, visit, type Document } from 'yaml';
import { messageOf } from '../../store/index.ts';

export interface Problem {
  /** `logvine.yaml:12`, `LOGVINE_WEIGHT` or `--listen`. */
  readonly where: string;
  readonly message: string;
}

/** A configuration file that has been read. */
export interface ConfigDocument {
  /** Plain values; not yet checked. Undefined when the file is empty or not YAML. */
  readonly values: unknown;
  /** What is wrong with it as YAML. */
  readonly problems: readonly Problem[];
  /** `file:line` of the deepest part of `path` that the file has. */
  whereIs(path: readonly PropertyKey[]): string;
}

export function readDocument(text: string, name: string): ConfigDocument {
  const lines = new LineCounter();
  const document = parseDocument(text, { lineCounter: lines, prettyErrors: false, uniqueKeys: true });
  const at = (offset: number) => `${name}:${lines.linePos(offset).line || 1}`;
  const problems = [...document.errors, ...document.warnings].map((error) => ({
    where: at(error.pos[0]),
    message: error.message,
  }));
  visit(document, {
    Pair(_, { key }) {
      // Objects swallow this key, so the schema would never see it.
      if (isScalar(key) && key.value === '__proto__') {
        problems.push({ where: at(key.range?.[0] ?? 0), message: '__proto__: this is not allowed as a key' });
      }
    },
  });
  let values: unknown;
  if (document.errors.length === 0) {
    try {
      values = document.toJS();
    } catch (error) {
      // Aliases that multiply: yaml gives up at a bound.
      problems.push({ where: `${name}:1`, message: messageOf(error) });
    }
  }
  return { values, problems, whereIs: (path) => at(offsetOf(document, path)) };
}

function offsetOf(document: Document.Parsed, path: readonly PropertyKey[]): number {
  let node: unknown = document.contents;
  let offset = document.contents?.range[0] ?? 0;
  for (const step of path) {
    if (isMap(node)) {
      const pair = node.items.find((item) => isScalar(item.key) && String(item.key.value) === String(step));
      if (!pair) break;
      if (isScalar(pair.key) && pair.key.range) offset = pair.key.range[0];
      node = pair.value;
    } else if (isSeq(node)) {
      node = node.items[Number(step)];
      const range = (node as { range?: [number, number, number] } | undefined)?.range;
      if (range) offset = range[0];
    } else break;
  }
  return offset;
}
