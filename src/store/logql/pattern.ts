/** `<name> literal <_>` patterns: of the pattern parser, and of the line filters `|>` and `!>`. */
import { encodeText } from './text.ts';

type Part =
  | { readonly kind: 'literal'; readonly text: string; readonly bytes: Buffer }
  | { readonly kind: 'capture'; readonly name: string };

const CAPTURE = /<([a-zA-Z_][a-zA-Z0-9_]*)>/g;

function split(pattern: string): Part[] {
  const parts: Part[] = [];
  let from = 0;
  const literal = (text: string) => {
    if (text !== '') parts.push({ kind: 'literal', text, bytes: encodeText(text) });
  };
  for (const found of pattern.matchAll(CAPTURE)) {
    literal(pattern.slice(from, found.index));
    const previous = parts[parts.length - 1];
    if (previous?.kind === 'capture') {
      throw new SyntaxError(`found consecutive capture '<${previous.name}>${found[0]}': invalid expression`);
    }
    parts.push({ kind: 'capture', name: found[1] });
    from = found.index + found[0].length;
  }
  literal(pattern.slice(from));
  return parts;
}

export interface PatternParser {
  /** Calls `set` for each named capture, in order, as far as the pattern matches. */
  parse(line: string, set: (name: string, value: string) => void): void;
  readonly names: readonly string[];
}

/** Throws SyntaxError with Loki's text. */
export function compilePattern(pattern: string): PatternParser {
  const parts = pattern === '' ? [] : split(pattern);
  const names = parts.flatMap((part) => (part.kind === 'capture' && part.name !== '_' ? [part.name] : []));
  if (names.length === 0) throw new SyntaxError('at least one capture is required');
  const twice = names.find((name, i) => names.indexOf(name) !== i);
  if (twice !== undefined) throw new SyntaxError(`duplicate capture name (${twice}): invalid expression`);
  return { names, parse: (line, set) => runPattern(parts, line, set) };
}

function runPattern(parts: readonly Part[], line: string, set: (name: string, value: string) => void): void {
  if (line === '') return;
  let at = 0;
  let i = 0;
  if (parts[0].kind === 'literal') {
    if (!line.startsWith(parts[0].text)) return;
    at = parts[0].text.length;
    i = 1;
  }
  for (; i < parts.length; i += 2) {
    const { name } = parts[i] as { name: string };
    const next = parts[i + 1];
    const end = next?.kind === 'literal' ? line.indexOf(next.text, at) : -1;
    if (name !== '_') set(name, end === -1 ? line.slice(at) : line.slice(at, end));
    if (end === -1 || next?.kind !== 'literal') return;
    at = end + next.text.length;
  }
}

export interface PatternFilter {
  /** Does the whole line have this shape? Captures are never empty. */
  test(line: Buffer): boolean;
  /** Texts that a matching line contains. */
  readonly literals: readonly string[];
}

/** Throws SyntaxError with Loki's text; only `<_>` may capture. */
export function compilePatternFilter(pattern: string): PatternFilter {
  const parts = split(pattern);
  const named = parts.find((part) => part.kind === 'capture' && part.name !== '_');
  if (named?.kind === 'capture') {
    throw new SyntaxError(`named captures are not allowed: found '<${named.name}>'`);
  }
  return {
    test: (line) => hasShape(parts, line),
    literals: parts.flatMap((part) => (part.kind === 'literal' ? [part.text] : [])),
  };
}

function hasShape(parts: readonly Part[], line: Buffer): boolean {
  if (line.length === 0 || parts.length === 0) return line.length === parts.length;
  let at = 0;
  for (const [i, part] of parts.entries()) {
    if (part.kind === 'capture') continue;
    const found = line.indexOf(part.bytes, at);
    // A capture takes at least one byte, and the first literal stands at the start or after a capture.
    if (found === -1 || (i > 0 && found === at)) return false;
    at = found + part.bytes.length;
  }
  const endsOpen = parts[parts.length - 1].kind === 'capture';
  return endsOpen === at < line.length;
}
