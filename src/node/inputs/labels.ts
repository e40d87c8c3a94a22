import type { Labels } from '../../store/index.ts';
import { withServiceName } from '../pipeline/index.ts';

export interface FileLabelOptions {
  readonly host: string;
  /** Whether to add `service_name` (config `discover_service_name`). */
  readonly discoverServiceName: boolean;
}

/** The labels of a file's lines: `host`, `filename`, `job`; the user's own win over `host` and `job`. */
export function fileLabels(filename: string, own: Labels | undefined, options: FileLabelOptions): Labels {
  const labels = { host: options.host, job: 'logvine', ...own, filename };
  return options.discoverServiceName ? withServiceName(labels) : labels;
}
