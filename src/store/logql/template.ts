/** Go templates of line_format and label_format: parsed once, run for each line. */
import { timeOf } from './go-time.ts';
import { callTemplateFunction, isTemplateFunction, workOf } from './template-functions.ts';
import { parseTemplate, type Operand, type Pipe, type TemplateNode } from './template-parse.ts';
import {
  isList,
  isMap,
  isTruthy,
  OUTPUT_LENGTH_MAX,
  sizeOf,
  TemplateError,
  textOf,
  type Value,
} from './template-values.ts';

/** What a template can see of a line. */
export interface TemplateContext {
  /** A label's value, '' when there is none. */
  label(name: string): string;
  /** All labels, for `{{.}}`. */
  labels(): ReadonlyMap<string, string>;
  line(): string;
  timeNs(): bigint;
  nowNs(): bigint;
  /** Told how many characters are gone over; throws TemplateError when that is too much for one line. */
  spend(characters: number): void;
}

export interface Template {
  /** Throws TemplateError; its message is what goes into __error_details__. */
  render(context: TemplateContext): string;
  /** Labels that the template names. */
  readonly fields: readonly string[];
}

/** Nodes and loop rounds that one rendering may run. */
const STEPS_MAX = 100_000;

/** Throws SyntaxError. `name` stands in messages. */
export function compileTemplate(source: string, name: string): Template {
  const nodes = parseTemplate(source, name, isTemplateFunction);
  const fields = new Set<string>();
  collectFields(nodes, fields);
  const only = nodes.length === 1 ? soleField(nodes[0]) : undefined;
  return {
    fields: [...fields],
    render(context) {
      if (only !== undefined) return context.label(only);
      try {
        return new Rendering(context).run(nodes);
      } catch (cause) {
        if (!(cause instanceof TemplateError)) throw cause;
        throw new TemplateError(`template: ${name}: executing ${JSON.stringify(name)}: ${cause.message}`);
      }
    },
  };
}

/** `{{.field}}` and nothing else. */
function soleField(node: TemplateNode): string | undefined {
  if (node.kind !== 'action' || node.pipe.variables.length > 0 || node.pipe.commands.length !== 1)
    return undefined;
  const [operand, more] = node.pipe.commands[0];
  return more === undefined && operand.kind === 'field' && operand.path.length === 1
    ? operand.path[0]
    : undefined;
}

function collectFields(nodes: readonly TemplateNode[], into: Set<string>): void {
  const visit = (pipe: Pipe): void => {
    for (const operand of pipe.commands.flat()) {
      if (operand.kind === 'field' && operand.path.length > 0) into.add(operand.path[0]);
      else if (operand.kind === 'pipe') visit(operand.pipe);
    }
  };
  for (const node of nodes) {
    if ('pipe' in node) visit(node.pipe);
    if ('body' in node) {
      collectFields(node.body, into);
      collectFields(node.otherwise, into);
    }
  }
}

/** Stands for the labels as a whole, so that they need not be gathered for a single field. */
const ROOT = Symbol('labels');
type Dot = Value | typeof ROOT;

/** How a list of nodes ended: `break` and `continue` reach up to the loop. */
type Outcome = 'done' | 'break' | 'continue';

class Rendering {
  readonly #context: TemplateContext;
  readonly #variables: { name: string; value: Dot }[] = [{ name: '$', value: ROOT }];
  #out = '';
  #steps = 0;

  constructor(context: TemplateContext) {
    this.#context = context;
  }

  run(nodes: readonly TemplateNode[]): string {
    this.#list(nodes, ROOT);
    return this.#out;
  }

  #step(): void {
    if (++this.#steps > STEPS_MAX) throw new TemplateError(`more than ${STEPS_MAX} steps`);
    if (this.#out.length > OUTPUT_LENGTH_MAX) throw new TemplateError('the text is too long');
  }

  #list(nodes: readonly TemplateNode[], dot: Dot): Outcome {
    for (const node of nodes) {
      this.#step();
      switch (node.kind) {
        case 'text':
          this.#out += node.text;
          break;
        case 'action': {
          const value = this.#pipe(node.pipe, dot);
          if (node.pipe.variables.length === 0) this.#out += this.#text(value);
          break;
        }
        case 'break':
        case 'continue':
          return node.kind;
        default: {
          const outcome = this.#scoped(() =>
            node.kind === 'range' ? this.#range(node, dot) : this.#branch(node, dot),
          );
          if (outcome !== 'done') return outcome;
        }
      }
    }
    return 'done';
  }

  #scoped(run: () => Outcome): Outcome {
    const depth = this.#variables.length;
    const outcome = run();
    this.#variables.length = depth;
    return outcome;
  }

  #branch(node: TemplateNode & { kind: 'if' | 'with' | 'range' }, dot: Dot): Outcome {
    const value = this.#pipe(node.pipe, dot);
    const holds = value === ROOT ? this.#context.labels().size > 0 : isTruthy(value);
    if (!holds) return this.#list(node.otherwise, dot);
    return this.#list(node.body, node.kind === 'with' ? value : dot);
  }

  #range(node: TemplateNode & { kind: 'if' | 'with' | 'range' }, dot: Dot): Outcome {
    const value = this.#value(this.#evaluate(node.pipe, dot));
    this.#context.spend(typeof value === 'bigint' ? Math.max(0, Number(value)) : sizeOf(value));
    const items = this.#items(value);
    if (items.length === 0) return this.#list(node.otherwise, dot);
    const names = node.pipe.variables;
    const depth = this.#variables.length;
    for (const [key, item] of items) {
      this.#step();
      if (names.length === 2) this.#declare(names[0], key);
      if (names.length > 0) this.#declare(names[names.length - 1], item);
      const outcome = this.#list(node.body, item);
      this.#variables.length = depth;
      if (outcome === 'break') break;
    }
    return 'done';
  }

  #items(value: Value): [Value, Value][] {
    if (isList(value)) return value.map((item, i) => [BigInt(i), item]);
    if (isMap(value)) return [...value.keys()].sort().map((key) => [key, value.get(key)]);
    if (typeof value === 'bigint' && value <= BigInt(STEPS_MAX)) {
      return Array.from({ length: Math.max(0, Number(value)) }, (_, i) => [BigInt(i), BigInt(i)]);
    }
    if (value === null || value === undefined) return [];
    throw new TemplateError(`range can't iterate over ${textOf(value)}`);
  }

  #declare(name: string, value: Dot): void {
    this.#variables.push({ name, value });
  }

  #pipe(pipe: Pipe, dot: Dot): Dot {
    const value = this.#evaluate(pipe, dot);
    for (const name of pipe.variables) {
      if (pipe.assigns) this.#find(name).value = value;
      else this.#declare(name, value);
    }
    return value;
  }

  #find(name: string): { name: string; value: Dot } {
    const found = this.#variables.findLast((variable) => variable.name === name);
    if (found === undefined) throw new TemplateError(`undefined variable: ${name}`);
    return found;
  }

  #evaluate(pipe: Pipe, dot: Dot): Dot {
    let result: { value: Dot } | undefined;
    for (const command of pipe.commands) result = { value: this.#command(command, result, dot) };
    return result?.value;
  }

  #command(command: readonly Operand[], last: { value: Dot } | undefined, dot: Dot): Dot {
    const [head, ...rest] = command;
    if (head.kind !== 'function') {
      if (rest.length > 0 || last !== undefined)
        throw new TemplateError(`can't give argument to non-function`);
      return this.#operand(head, dot);
    }
    if (head.name === 'and' || head.name === 'or') return this.#shortCircuit(head.name, rest, last, dot);
    const args = rest.map((operand) => this.#value(this.#operand(operand, dot)));
    if (last !== undefined) args.push(this.#value(last.value));
    return this.#call(head.name, args);
  }

  /** The first operand that decides, or the last. */
  #shortCircuit(
    name: 'and' | 'or',
    rest: readonly Operand[],
    last: { value: Dot } | undefined,
    dot: Dot,
  ): Dot {
    if (rest.length === 0 && last === undefined)
      throw new TemplateError(`wrong number of args for ${name}: want at least 1 got 0`);
    let value: Value;
    for (const operand of rest) {
      value = this.#value(this.#operand(operand, dot));
      if (isTruthy(value) === (name === 'or')) return value;
    }
    return last === undefined ? value : last.value;
  }

  #call(name: string, args: readonly Value[]): Value {
    if (name === '__line__' || name === '__timestamp__') {
      if (args.length > 0)
        throw new TemplateError(`wrong number of args for ${name}: want 0 got ${args.length}`);
      return name === '__line__' ? this.#context.line() : timeOf(this.#context.timeNs());
    }
    this.#context.spend(workOf(name, args));
    const value = callTemplateFunction(name, args, () => this.#context.nowNs());
    this.#context.spend(sizeOf(value));
    return value;
  }

  #operand(operand: Operand, dot: Dot): Dot {
    switch (operand.kind) {
      case 'constant':
        return operand.value;
      case 'field':
        return this.#path(dot, operand.path);
      case 'variable':
        return this.#path(this.#find(operand.name).value, operand.path);
      case 'pipe':
        return this.#path(this.#pipe(operand.pipe, dot), operand.path);
      case 'function':
        if (operand.name === 'and' || operand.name === 'or')
          throw new TemplateError(`wrong number of args for ${operand.name}`);
        return this.#call(operand.name, []);
    }
  }

  #path(start: Dot, path: readonly string[]): Dot {
    let value = start;
    for (const name of path) {
      if (value === ROOT) value = this.#context.label(name);
      else if (isMap(value)) value = value.get(name);
      else if (value === null || value === undefined) return undefined;
      else throw new TemplateError(`can't evaluate field ${name} in ${textOf(value)}`);
    }
    return value;
  }

  #value(dot: Dot): Value {
    if (dot !== ROOT) return dot;
    const labels = this.#context.labels();
    this.#context.spend(labels.size);
    return labels;
  }

  #text(dot: Dot): string {
    const value = this.#value(dot);
    const text = value === undefined || value === null ? '<no value>' : textOf(value);
    this.#context.spend(text.length);
    return text;
  }
}
