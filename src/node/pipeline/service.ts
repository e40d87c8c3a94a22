import type { Labels } from '../../store/index.ts';

export const SERVICE_NAME = 'service_name';
export const UNKNOWN_SERVICE = 'unknown_service';
/** Labels that name a service, in Loki's order; the first present counts. */
const SERVICE_LABELS = [
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
];

/** How much a label of this name says about the service: the lowest counts. Undefined where it says nothing. */
export function serviceRank(name: string): number | undefined {
  if (name === SERVICE_NAME) return -1;
  const rank = SERVICE_LABELS.indexOf(name);
  return rank < 0 ? undefined : rank;
}

/** The labels with a `service_name`, as Loki adds it: their own, that of another label, or `unknown_service`. */
export function withServiceName(labels: Labels): Labels {
  if (Object.hasOwn(labels, SERVICE_NAME)) return labels;
  const source = SERVICE_LABELS.find((name) => Object.hasOwn(labels, name) && labels[name] !== '');
  return { ...labels, [SERVICE_NAME]: source === undefined ? UNKNOWN_SERVICE : labels[source] };
}
