/** A log query's stages as one thing that takes a line at a time. */
import type { Labels, Metadata } from '../batch/columns.ts';
import type { Stage } from './ast.ts';
import type { LabelCategories } from './labels.ts';
import { unchangedStages } from './line-filter.ts';
import { LineState } from './line-state.ts';
import { compileStage, type StageRunner } from './stages.ts';

export interface PipelineOptions {
  /** For `now` in templates: milliseconds since 1970. */
  readonly nowMs: () => number;
  /** The caller has applied `leadingLineFilters` already. */
  readonly leadingFiltersDone?: boolean;
  /** Labels that are needed afterwards; parsers leave out all others. Undefined: all are. */
  readonly wanted?: ReadonlySet<string>;
}

/** Made once, used for many lines; it holds the state of the last one. */
export interface Pipeline {
  /** There is no stage: every line passes as it is. */
  readonly isEmpty: boolean;
  /** Takes a line through the stages; false when it is dropped. Time as in Columns. */
  process(line: Buffer, stream: Labels, metadata: Metadata, ms: number, sub: number): boolean;
  /** After `process`: the line as it came out. */
  readonly line: Buffer;
  /** After `process`: one label's value, parsed before structured metadata before stream; undefined without. */
  label(name: string): string | undefined;
  /** After `process`: all labels, `__error__` and `__error_details__` included, names sorted. */
  allLabels(): Labels;
  /** After `process`: the same, by where they came from. */
  categories(): LabelCategories;
  /** After `process`: the state itself, for what comes after the stages. */
  readonly state: LineState;
}

/** The stages have been checked by `parse`. */
export function compilePipeline(stages: readonly Stage[], options: PipelineOptions): Pipeline {
  const leading = options.leadingFiltersDone === true ? unchangedStages(stages) : 0;
  const runners = stages
    .filter((stage, i) => i >= leading || stage.kind !== 'lineFilter')
    .map((stage) => compileStage(stage, options.wanted));
  return new CompiledPipeline(runners, new LineState(options.nowMs));
}

class CompiledPipeline implements Pipeline {
  readonly #runners: readonly StageRunner[];
  readonly state: LineState;

  constructor(runners: readonly StageRunner[], state: LineState) {
    this.#runners = runners;
    this.state = state;
  }

  get isEmpty(): boolean {
    return this.#runners.length === 0;
  }

  get line(): Buffer {
    return this.state.line;
  }

  process(line: Buffer, stream: Labels, metadata: Metadata, ms: number, sub: number): boolean {
    const { state } = this;
    state.setLine(line);
    state.ms = ms;
    state.sub = sub;
    state.templateWork = 0;
    state.labels.reset(stream, metadata);
    for (const run of this.#runners) if (!run(state)) return false;
    return true;
  }

  label(name: string): string | undefined {
    return this.state.labels.get(name);
  }

  allLabels(): Labels {
    return this.state.labels.all();
  }

  categories(): LabelCategories {
    return this.state.labels.categories();
  }
}
