/** Go's text/template, the part that formats a line: text, actions, pipelines, variables, if, with, range. */
import { unescapeGo } from './strings.ts';

export type TemplateNode =
  | { readonly kind: 'text'; readonly text: string }
  | { readonly kind: 'action'; readonly pipe: Pipe }
  | {
      readonly kind: 'if' | 'with' | 'range';
      readonly pipe: Pipe;
      readonly body: readonly TemplateNode[];
      readonly otherwise: readonly TemplateNode[];
    }
  | { readonly kind: 'break' | 'continue' };

/** `$a, $b := commands`: each command gets the result of the one before as its last argument. */
export interface Pipe {
  readonly variables: readonly string[];
  readonly assigns: boolean;
  readonly commands: readonly (readonly Operand[])[];
}

export type Operand =
  | { readonly kind: 'field'; readonly path: readonly string[] }
  | { readonly kind: 'variable'; readonly name: string; readonly path: readonly string[] }
  | { readonly kind: 'function'; readonly name: string }
  | { readonly kind: 'constant'; readonly value: string | bigint | number | boolean | null }
  | { readonly kind: 'pipe'; readonly pipe: Pipe; readonly path: readonly string[] };

const NESTING_MAX = 100;

/** Throws SyntaxError. `knows` says which functions there are. */
export function parseTemplate(
  source: string,
  name: string,
  knows: (name: string) => boolean,
): TemplateNode[] {
  return new TemplateReader(source, name, knows).read();
}

const TOKEN =
  /\s+|(?<string>"(?:[^"\\\n]|\\[^\n])*"|`[^`]*`)|(?<char>'(?:[^'\\\n]|\\[^']+|\\')')|(?<number>[+-]?(?:0[xX][0-9a-fA-F_]+|0[bB][01_]+|0[oO][0-7_]+|(?:\d[\d_]*\.?\d*|\.\d+)(?:[eE][+-]?\d+)?))|(?<field>\.[\p{L}_][\p{L}\p{N}_]*)|(?<variable>\$[\p{L}\p{N}_]*)|(?<word>[\p{L}_][\p{L}\p{N}_]*)|(?<sign>:=|[=|(),.])/uy;

interface Item {
  readonly kind: string;
  readonly text: string;
  /** White space stands before it: `.a .b` are two operands, `.a.b` is one. */
  readonly spaced: boolean;
}

class TemplateReader {
  readonly #source: string;
  readonly #name: string;
  readonly #knows: (name: string) => boolean;
  #at = 0;
  #items: Item[] = [];
  #next = 0;
  #nesting = 0;
  #loops = 0;
  readonly #variables: string[] = ['$'];

  constructor(source: string, name: string, knows: (name: string) => boolean) {
    this.#source = source;
    this.#name = name;
    this.#knows = knows;
  }

  read(): TemplateNode[] {
    const { nodes, end } = this.#list();
    if (end !== '') throw this.#error(`unexpected {{${end}}}`);
    return nodes;
  }

  #error(message: string): SyntaxError {
    const line = this.#source.slice(0, this.#at).split('\n').length;
    return new SyntaxError(`template: ${this.#name}:${line}: ${message}`);
  }

  /** Nodes up to `{{end}}`, `{{else…}}` or the end of the text; `end` says which, and the action stays open after it. */
  #list(): { nodes: TemplateNode[]; end: string } {
    const nodes: TemplateNode[] = [];
    for (;;) {
      const open = this.#source.indexOf('{{', this.#at);
      let text = this.#source.slice(this.#at, open === -1 ? undefined : open);
      const trimsBefore =
        open !== -1 && /^\{\{- /.test(this.#source.slice(open, open + 4).replace(/\s/g, ' '));
      if (trimsBefore) text = text.trimEnd();
      if (text !== '') nodes.push({ kind: 'text', text });
      if (open === -1) {
        this.#at = this.#source.length;
        return { nodes, end: '' };
      }
      this.#at = open + (trimsBefore ? 3 : 2);
      if (this.#comment()) continue;
      this.#lexAction();
      const first = this.#peek();
      if (first?.kind === 'word' && (first.text === 'end' || first.text === 'else')) {
        this.#next++;
        return { nodes, end: first.text };
      }
      const node = this.#action();
      if (node !== undefined) nodes.push(node);
    }
  }

  #comment(): boolean {
    const found = /^\s*\/\*[^]*?\*\/(?:\s+-)?\}\}/.exec(this.#source.slice(this.#at));
    if (found === null) return false;
    this.#at += found[0].length;
    if (found[0].endsWith('-}}')) this.#skipSpace();
    return true;
  }

  #skipSpace(): void {
    while (/\s/.test(this.#source[this.#at] ?? '')) this.#at++;
  }

  /** Splits an action into items, up to its `}}`. */
  #lexAction(): void {
    this.#items = [];
    this.#next = 0;
    let spaced = true;
    for (;;) {
      const close = /^\s+-\}\}|^\s*\}\}/.exec(this.#source.slice(this.#at, this.#at + 400));
      if (close !== null) {
        this.#at += close[0].length;
        if (close[0].endsWith('-}}')) this.#skipSpace();
        return;
      }
      if (this.#at >= this.#source.length) throw this.#error('unclosed action');
      TOKEN.lastIndex = this.#at;
      const found = TOKEN.exec(this.#source);
      if (found === null) {
        throw this.#error(`unexpected ${JSON.stringify(this.#source[this.#at])} in command`);
      }
      this.#at += found[0].length;
      const kind = Object.entries(found.groups ?? {}).find(([, text]) => text !== undefined)?.[0];
      if (kind === undefined) {
        spaced = true;
        continue;
      }
      this.#items.push({ kind, text: found[0], spaced });
      spaced = false;
    }
  }

  #peek(): Item | undefined {
    return this.#items[this.#next];
  }

  #sign(text: string): boolean {
    const item = this.#peek();
    if (item?.kind !== 'sign' || item.text !== text) return false;
    this.#next++;
    return true;
  }

  #closed(what: string): void {
    const item = this.#peek();
    if (item !== undefined) throw this.#error(`unexpected ${JSON.stringify(item.text)} in ${what}`);
  }

  #action(): TemplateNode | undefined {
    const first = this.#peek();
    if (first?.kind === 'word') {
      if (first.text === 'if' || first.text === 'with' || first.text === 'range') {
        this.#next++;
        return this.#branch(first.text);
      }
      if (first.text === 'break' || first.text === 'continue') {
        this.#next++;
        this.#closed(first.text);
        if (this.#loops === 0) throw this.#error(`{{${first.text}}} outside {{range}}`);
        return { kind: first.text };
      }
      if (['define', 'template', 'block'].includes(first.text)) {
        throw this.#error(`{{${first.text}}} has no use in a query`);
      }
    }
    const pipe = this.#pipe('command');
    this.#closed('command');
    return { kind: 'action', pipe };
  }

  #branch(kind: 'if' | 'with' | 'range'): TemplateNode {
    if (++this.#nesting > NESTING_MAX) throw this.#error(`nested deeper than ${NESTING_MAX} levels`);
    const scope = this.#variables.length;
    const pipe = this.#pipe(kind);
    this.#closed(kind);
    if (kind === 'range') this.#loops++;
    const body = this.#list();
    if (kind === 'range') this.#loops--;
    let otherwise: TemplateNode[] = [];
    let { end } = body;
    if (end === 'else') {
      const chained = this.#peek();
      if (chained?.kind === 'word' && chained.text === kind && kind !== 'range') {
        // `{{else if …}}` shares its `{{end}}` with the outer one.
        this.#next++;
        otherwise = [this.#branch(kind)];
        end = 'end';
      } else {
        this.#closed('else');
        const list = this.#list();
        otherwise = list.nodes;
        end = list.end;
      }
    }
    if (end !== 'end') throw this.#error(end === '' ? 'unexpected EOF' : `unexpected {{${end}}}`);
    this.#closed('end');
    this.#variables.length = scope;
    this.#nesting--;
    return { kind, pipe, body: body.nodes, otherwise };
  }

  /** pipe = [ variable [ "," variable ] ( ":=" | "=" ) ] command { "|" command } */
  #pipe(context: string): Pipe {
    if (++this.#nesting > NESTING_MAX) throw this.#error(`nested deeper than ${NESTING_MAX} levels`);
    const { variables, assigns } = this.#declarations(context);
    const commands: Operand[][] = [];
    do {
      const command: Operand[] = [];
      for (let operand = this.#operand(); operand !== undefined; operand = this.#operand())
        command.push(operand);
      if (command.length === 0) throw this.#error(`missing value for ${context}`);
      const [head] = command;
      if (head.kind === 'constant' && (command.length > 1 || commands.length > 0)) {
        throw this.#error('non executable command in pipeline');
      }
      commands.push(command);
    } while (this.#sign('|'));
    if (!assigns) this.#variables.push(...variables);
    this.#nesting--;
    return { variables, assigns, commands };
  }

  #declarations(context: string): { variables: string[]; assigns: boolean } {
    const start = this.#next;
    const variables: string[] = [];
    while (this.#peek()?.kind === 'variable') {
      variables.push((this.#items[this.#next++] as Item).text);
      if (context === 'range' && variables.length === 1 && this.#sign(',')) continue;
      break;
    }
    if (variables.length > 0 && this.#sign(':=')) return { variables, assigns: false };
    if (variables.length > 0 && this.#sign('=')) return { variables, assigns: true };
    this.#next = start;
    return { variables: [], assigns: false };
  }

  #operand(): Operand | undefined {
    const item = this.#peek();
    if (item === undefined) return undefined;
    switch (item.kind) {
      case 'string':
      case 'char':
      case 'number':
        this.#next++;
        return { kind: 'constant', value: this.#constant(item) };
      case 'field':
        return { kind: 'field', path: this.#path() };
      case 'variable': {
        this.#next++;
        if (!this.#variables.includes(item.text))
          throw this.#error(`undefined variable ${JSON.stringify(item.text)}`);
        return { kind: 'variable', name: item.text, path: this.#tail() };
      }
      case 'word':
        this.#next++;
        return this.#word(item.text);
      default:
        if (this.#sign('.')) return { kind: 'field', path: [] };
        if (!this.#sign('(')) return undefined;
    }
    const pipe = this.#pipe('parenthesized pipeline');
    if (!this.#sign(')')) throw this.#error('unclosed left paren');
    return { kind: 'pipe', pipe, path: this.#tail() };
  }

  #word(text: string): Operand {
    if (text === 'true' || text === 'false') return { kind: 'constant', value: text === 'true' };
    if (text === 'nil') return { kind: 'constant', value: null };
    if (!this.#knows(text)) throw this.#error(`function ${JSON.stringify(text)} not defined`);
    return { kind: 'function', name: text };
  }

  /** `.a.b.c` */
  #path(): string[] {
    const first = this.#items[this.#next++] as Item;
    return [first.text.slice(1), ...this.#tail()];
  }

  #tail(): string[] {
    const path: string[] = [];
    for (let item = this.#peek(); item?.kind === 'field' && !item.spaced; item = this.#peek()) {
      path.push(item.text.slice(1));
      this.#next++;
    }
    return path;
  }

  #constant(item: Item): string | bigint | number {
    if (item.kind === 'number') {
      const plain = item.text.replaceAll('_', '');
      if (!/^[+-]?(?:\d+|0[xX][0-9a-fA-F]+|0[bB][01]+|0[oO][0-7]+)$/.test(plain)) return Number(plain);
      const value = BigInt(plain.replace(/^[+-]/, ''));
      return plain.startsWith('-') ? -value : value;
    }
    if (item.text.startsWith('`')) return item.text.slice(1, -1);
    const text = unescapeGo(item.text.slice(1, -1));
    if (text === undefined) throw this.#error(`invalid syntax: ${item.text}`);
    return item.kind === 'char' ? BigInt(text.codePointAt(0) ?? 0) : text;
  }
}
