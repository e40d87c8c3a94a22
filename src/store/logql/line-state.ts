import { LabelState } from './labels.ts';
import { decodeText, encodeText } from './text.ts';

/** The line on its way through the stages: one object for all lines, its forms made when they are asked for. */
export class LineState {
  readonly labels = new LabelState();
  readonly nowMs: () => number;
  #line: Buffer | undefined;
  #text: string | undefined;
  /** Milliseconds since 1970. */
  ms = 0;
  /** Nanoseconds within the millisecond. */
  sub = 0;
  /** What its templates have gone over so far: see `WORK_MAX`. */
  templateWork = 0;

  constructor(nowMs: () => number) {
    this.nowMs = nowMs;
  }

  setLine(line: Buffer): void {
    this.#line = line;
    this.#text = undefined;
  }

  setText(text: string): void {
    this.#text = text;
    this.#line = undefined;
  }

  get line(): Buffer {
    this.#line ??= encodeText(this.#text ?? '');
    return this.#line;
  }

  get text(): string {
    this.#text ??= decodeText(this.#line ?? Buffer.alloc(0));
    return this.#text;
  }
}
