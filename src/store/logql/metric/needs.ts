/** What a leaf has to read of its entries: often less than their lines. */
import type { Grouping, LogExpr, RangeAggregation, Stage } from '../ast.ts';
import { filteredLabels } from '../label-filter.ts';
import { unchangedStages } from '../line-filter.ts';

export type LeafNeeds =
  /** Times, lengths and labels of the entries. */
  | {
      readonly kind: 'columns';
      /** What an entry adds: one, or its bytes. */
      readonly adds: 'count' | 'bytes';
      /** The labels that series and filters depend on; undefined: all. */
      readonly labels: ReadonlySet<string> | undefined;
    }
  /** Those, of the entries that line filters select: no stage after them looks at a line. */
  | {
      readonly kind: 'rows';
      readonly adds: 'count' | 'bytes';
      readonly labels: ReadonlySet<string> | undefined;
    }
  | { readonly kind: 'lines' };

const COUNTS: readonly string[] = ['count_over_time', 'rate', 'absent_over_time'];
const BYTES: readonly string[] = ['bytes_over_time', 'bytes_rate'];

export function needsOf(aggregation: RangeAggregation, grouping: Grouping | undefined): LeafNeeds {
  const adds = addsOf(aggregation);
  const { stages } = aggregation.range.log;
  if (adds === undefined || !stages.every((stage) => isAboutLabels(stage) || stage.kind === 'lineFilter')) {
    return { kind: 'lines' };
  }
  const kind = stages.every(isAboutLabels) ? 'columns' : 'rows';
  if (grouping === undefined || grouping.without) return { kind, adds, labels: undefined };
  const labels = new Set([...grouping.labels, ...stages.flatMap(labelsOf)]);
  // Errors are made by stages, and none of these makes one of a line.
  for (const name of labels) if (name.startsWith('__error')) labels.delete(name);
  return { kind, adds, labels };
}

function addsOf({ op, range }: RangeAggregation): 'count' | 'bytes' | undefined {
  if (range.unwrap !== undefined) return undefined;
  if (COUNTS.includes(op)) return 'count';
  return BYTES.includes(op) ? 'bytes' : undefined;
}

function isAboutLabels({ kind }: Stage): boolean {
  return kind === 'labelFilter' || kind === 'drop' || kind === 'keep';
}

function labelsOf(stage: Stage): string[] {
  if (stage.kind === 'labelFilter') return filteredLabels(stage.filter);
  if (stage.kind !== 'drop' && stage.kind !== 'keep') return [];
  return stage.labels.map((choice) => (choice.kind === 'name' ? choice.name : choice.matcher.name));
}

/** The matchers and those line filters that see the line as it is stored: `leadingFiltersDone` leaves them out. */
export function selectionOf({ matchers, stages }: LogExpr): LogExpr {
  const filters = stages.slice(0, unchangedStages(stages)).filter(({ kind }) => kind === 'lineFilter');
  return { kind: 'log', matchers, stages: filters };
}
