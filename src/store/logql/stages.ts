/** The stages of a pipeline, ready to run on one line after another. A stage answers false to drop the line. */
import type { LabelChoice, LabelFormat, Stage } from './ast.ts';
import { eachStringMember, extractJson, findJson, type Wanted } from './json.ts';
import { parseJsonPath, parseLogfmtField } from './json-path.ts';
import { compileLabelFilter } from './label-filter.ts';
import {
  ERROR_DETAILS_LABEL,
  ERROR_LABEL,
  PRESERVE_ERROR_LABEL,
  sanitizeName,
  type LabelState,
} from './labels.ts';
import { compileLineFilter } from './line-filter.ts';
import type { LineState } from './line-state.ts';
import { eachPair } from './logfmt.ts';
import { compileMatcher } from './matchers.ts';
import { compilePattern } from './pattern.ts';
import { compileRegex } from './regex.ts';
import { compileTemplate, type Template, type TemplateContext } from './template.ts';
import { TemplateError, WORK_MAX } from './template-values.ts';
import { withoutInvalid } from './text.ts';

export type StageRunner = (state: LineState) => boolean;

/** `wanted`: parsers set these labels only (undefined: all); an empty set turns parsers off. */
export function compileStage(stage: Stage, wanted: Wanted): StageRunner {
  switch (stage.kind) {
    case 'lineFilter': {
      const filter = compileLineFilter(stage);
      return (state) => filter.test(state.line);
    }
    case 'labelFilter': {
      const test = compileLabelFilter(stage.filter);
      return (state) => test(state.labels);
    }
    case 'lineFormat':
      return lineFormat(compileTemplate(stage.template, 'line'));
    case 'labelFormat':
      return labelFormat(stage.formats);
    case 'decolorize':
      return decolorize;
    case 'drop':
      return drop(stage.labels);
    case 'keep':
      return keep(stage.labels);
    default:
      return wanted?.size === 0 ? () => true : compileParser(stage, wanted);
  }
}

type ParserStage = Extract<Stage, { kind: 'json' | 'logfmt' | 'regexp' | 'pattern' | 'unpack' }>;

function compileParser(stage: ParserStage, wanted: Wanted): StageRunner {
  switch (stage.kind) {
    case 'json':
      return stage.extractions.length > 0 ? jsonPaths(stage.extractions) : allJson(wanted);
    case 'logfmt':
      return stage.extractions.length > 0
        ? logfmtFields(stage.extractions, stage.strict)
        : allLogfmt(stage.strict, stage.keepEmpty, wanted);
    case 'regexp':
      return regexp(stage.pattern, wanted);
    case 'pattern':
      return pattern(stage.pattern, wanted);
    case 'unpack':
      return unpack(wanted);
  }
}

/** Sets a parsed label, unless an earlier one has that name or nobody asks for it. */
function setParsed(labels: LabelState, name: string, value: string, wanted: Wanted): boolean {
  const slot = labels.slotForParsed(name, wanted);
  if (slot === undefined) return false;
  labels.fill(slot, value);
  return true;
}

function allJson(wanted: Wanted): StageRunner {
  return (state) => {
    const error = extractJson(state.text, state.labels, wanted);
    if (error !== undefined) state.labels.fail('JSONParserErr', error);
    return true;
  };
}

function jsonPaths(extractions: readonly { label: string; expression: string }[]): StageRunner {
  const paths = extractions.map(({ label, expression }) => ({ label, path: parseJsonPath(expression) }));
  return ({ text, labels }) => {
    if (text === '') return true;
    if (!'"{['.includes(text[0])) {
      labels.fail('JSONParserErr', '');
      return true;
    }
    for (const { label, path } of paths) {
      const value = findJson(text, path);
      if (value !== undefined) labels.setExtracted(label, value);
      else if (labels.get(label) === undefined) labels.set(label, '');
    }
    return true;
  };
}

function allLogfmt(strict: boolean, keepEmpty: boolean, wanted: Wanted): StageRunner {
  return ({ text, labels }) => {
    let missing = wanted?.size ?? Infinity;
    const error = eachPair(text, strict, (key, value) => {
      const name = sanitizeName(key);
      if (name === '' || (value === '' && !keepEmpty)) return true;
      if (setParsed(labels, name, withoutInvalid(value), wanted)) missing--;
      return missing > 0;
    });
    if (error !== undefined) labels.fail('LogfmtParserErr', error);
    return true;
  };
}

function logfmtFields(
  extractions: readonly { label: string; expression: string }[],
  strict: boolean,
): StageRunner {
  // Of two expressions for one label, the last counts.
  const expressions = new Map(extractions.map(({ label, expression }) => [label, expression]));
  const labelOf = new Map(
    [...expressions].map(([label, expression]) => [parseLogfmtField(expression), label]),
  );
  return ({ text, labels }) => {
    for (const { label } of extractions) if (!labels.hasGiven(label)) labels.set(label, '');
    const error = eachPair(text, strict, (key, value) => {
      const label = labelOf.get(sanitizeName(key));
      if (label !== undefined) labels.setExtracted(label, value.isWellFormed() ? value : '');
      return true;
    });
    if (error !== undefined) labels.fail('LogfmtParserErr', error);
    return true;
  };
}

function regexp(source: string, wanted: Wanted): StageRunner {
  const regex = compileRegex(source);
  const names = regex.groupNames.map(sanitizeName);
  return ({ text, labels }) => {
    const groups = regex.exec(text);
    if (groups === undefined) return true;
    for (let i = 0; i < names.length; i++) {
      if (names[i] !== '') setParsed(labels, names[i], groups[i + 1] ?? '', wanted);
    }
    return true;
  };
}

function pattern(source: string, wanted: Wanted): StageRunner {
  const parser = compilePattern(source);
  return ({ text, labels }) => {
    parser.parse(text, (name, value) => setParsed(labels, name, value, wanted));
    return true;
  };
}

/** Promtail's packed lines: string fields become labels, `_entry` the line. */
function unpack(wanted: Wanted): StageRunner {
  return (state) => {
    const { text, labels } = state;
    if (text === '') return true;
    if (text[0] !== '{') {
      labels.fail('JSONParserErr', 'expecting json object(6), but it is not');
      return true;
    }
    const found: [string, string][] = [];
    let entry: string | undefined;
    const error = eachStringMember(text, (key, value) => {
      if (key === '_entry') entry = value;
      else found.push([key, value]);
    });
    if (error !== undefined) {
      labels.fail('JSONParserErr', error);
    } else if (entry !== undefined) {
      // Of two members of one name, the last counts: it is set first, and the other is then left out.
      for (let i = found.length - 1; i >= 0; i--)
        setParsed(labels, sanitizeName(found[i][0]), found[i][1], wanted);
      state.setText(entry);
    }
    return true;
  };
}

function contextOf(state: LineState): TemplateContext {
  return {
    label: (name) => {
      const { labels } = state;
      if (name === ERROR_LABEL && labels.error !== '') return labels.error;
      if (name === ERROR_DETAILS_LABEL && labels.errorDetails !== '') return labels.errorDetails;
      return labels.get(name) ?? '';
    },
    labels: () => new Map(Object.entries(state.labels.all())),
    line: () => state.text,
    timeNs: () => BigInt(state.ms) * 1_000_000n + BigInt(state.sub),
    nowNs: () => BigInt(Math.floor(state.nowMs())) * 1_000_000n,
    spend(characters) {
      state.templateWork += characters;
      if (state.templateWork > WORK_MAX) throw new TemplateError('it is too much work for one line');
    },
  };
}

/** The text, or undefined with the error set. */
function render(template: Template, context: TemplateContext, labels: LabelState): string | undefined {
  try {
    return template.render(context);
  } catch (error) {
    // A RangeError of JavaScript's own comes of the line, too: a number that is no character, or a text too long.
    if (!(error instanceof TemplateError || error instanceof RangeError)) throw error;
    labels.fail('TemplateFormatErr', error.message);
    return undefined;
  }
}

function lineFormat(template: Template): StageRunner {
  return (state) => {
    const text = render(template, contextOf(state), state.labels);
    if (text !== undefined) state.setText(text);
    return true;
  };
}

function labelFormat(formats: readonly LabelFormat[]): StageRunner {
  const compiled = formats.map((format) => ({
    format,
    template: format.kind === 'template' ? compileTemplate(format.template, 'label') : undefined,
  }));
  return (state) => {
    const { labels } = state;
    const context = contextOf(state);
    for (const { format, template } of compiled) {
      if (format.kind === 'rename') {
        const value = labels.get(format.source);
        if (value === undefined) continue;
        labels.set(format.name, value);
        if (format.source !== format.name) labels.delete(format.source);
      } else if (template !== undefined) {
        const text = render(template, context, labels);
        if (text !== undefined) labels.set(format.name, text);
      }
    }
    return true;
  };
}

/** Terminal control sequences: colours, cursor movements, titles. */
// oxlint-disable-next-line no-control-regex
const CONTROL_SEQUENCES =
  /[\x1b\x9b][[\]()#;?]*(?:(?:(?:[a-zA-Z\d]*(?:;[a-zA-Z\d]*)*)?\x07)|(?:(?:\d{1,4}(?:;\d{0,4})*)?[\dA-PRZcf-ntqry=><~]))/g;

function decolorize(state: LineState): boolean {
  const { text } = state;
  const plain = text.replace(CONTROL_SEQUENCES, '');
  if (plain !== text) state.setText(plain);
  return true;
}

interface CompiledChoice {
  readonly name: string;
  readonly test: ((value: string) => boolean) | undefined;
}

function compileChoice(choice: LabelChoice): CompiledChoice {
  if (choice.kind === 'name') return { name: choice.name, test: undefined };
  return { name: choice.matcher.name, test: compileMatcher(choice.matcher) };
}

function drop(choices: readonly LabelChoice[]): StageRunner {
  const compiled = choices.map(compileChoice);
  return ({ labels }) => {
    for (const { name, test } of compiled) {
      if (name === ERROR_LABEL) {
        if (test === undefined || test(labels.error)) labels.error = '';
      } else if (name === ERROR_DETAILS_LABEL) {
        if (test === undefined || test(labels.errorDetails)) labels.errorDetails = '';
      } else {
        const value = labels.get(name);
        if (test === undefined ? value !== undefined : test(value ?? '')) labels.delete(name);
      }
    }
    return true;
  };
}

/** Also when they are fields of a line. */
const ALWAYS_KEPT: ReadonlySet<string> = new Set([ERROR_LABEL, ERROR_DETAILS_LABEL, PRESERVE_ERROR_LABEL]);

function keep(choices: readonly LabelChoice[]): StageRunner {
  const compiled = choices.map(compileChoice);
  return ({ labels }) => {
    for (const [name, value] of labels.entries()) {
      if (ALWAYS_KEPT.has(name)) continue;
      const kept = compiled.some(
        (choice) => choice.name === name && (choice.test === undefined || choice.test(value)),
      );
      if (!kept) labels.delete(name);
    }
    return true;
  };
}
