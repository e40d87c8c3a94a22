export const metricsText = (_status: unknown): string => '';
