import type { Labels } from '../../store/batch/columns.ts';

/** The labels that Loki looks at for a service name, in its order. */
const SERVICE_NAME_SOURCES = [
  'service',
  'app',
  'application',
  'app_name',
  'name',
  'app_kubernetes_io_name',
  'container',
  'container_name',
  'k8s_container_name',
  'component',
  'workload',
  'job',
  'k8s_job_name',
] as const;

/** Adds `service_name` as Loki does: from the first label that tells, else `unknown_service`. Keeps one that is there. */
export function withServiceName(labels: Labels): Labels {
  if (labels.service_name !== undefined) return labels;
  const name = SERVICE_NAME_SOURCES.find((source) => labels[source] !== undefined && labels[source] !== '');
  return { ...labels, service_name: name === undefined ? 'unknown_service' : labels[name] };
}

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
