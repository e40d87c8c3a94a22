/** What a node is told: the schema of its configuration, the layers it comes from, and its secret files. */
export { formatHostPort, isLoopback, parseHostPort, type HostPort } from './address.ts';
export type { Environment, Flags } from './layers.ts';
export {
  loadConfig,
  type Config,
  type LoadedConfig,
  type LoadOptions,
  type Setting,
  type TailConfig,
} from './load.ts';
export { commentedFile, referenceTable, settingsText } from './reference.ts';
export { parseSecret, readSecrets, readTls, readTokens, type Tls } from './secret.ts';
export { suggest } from './suggest.ts';
export { formatDuration, formatSize, parseDuration, parseSize } from './units.ts';
