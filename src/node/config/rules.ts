import { isLoopback } from './address.ts';
import type { WrittenConfig } from './schema.ts';

/** A rule between keys that does not hold. */
export interface Breach {
  readonly path: readonly string[];
  readonly message: string;
}

/** What the schema cannot say of one key alone. */
export function breaches(config: WrittenConfig): Breach[] {
  const { listen, http, tls, tokenFiles, batch, segment, replicas, ack } = config;
  const found: Breach[] = [];
  const must = (holds: boolean, path: string[], message: string) => {
    if (!holds) found.push({ path, message });
  };
  must(
    isLoopback(listen.host) || config.secretFile !== undefined,
    ['listen'],
    `${listen.host} is beyond loopback: it needs secretFile (make one with: logvine init)`,
  );
  const isPublic = !isLoopback(http.host);
  const hasToken = Object.values(tokenFiles).some((file) => file !== undefined);
  must(
    !isPublic || hasToken,
    ['http'],
    `${http.host} is beyond loopback: it needs a token (tokenFiles.push, .query or .admin)`,
  );
  must(
    !isPublic || tls.certFile !== undefined || config.httpBehindProxy,
    ['http'],
    `${http.host} is beyond loopback: it needs TLS (tls.certFile and tls.keyFile), or httpBehindProxy: true where a proxy does it`,
  );
  must(
    (tls.certFile === undefined) === (tls.keyFile === undefined),
    ['tls'],
    'certFile and keyFile need each other',
  );
  must(
    ack === undefined || ack <= replicas,
    ['ack'],
    `${ack} is more than the ${replicas} copies there will be (replicas)`,
  );
  must(
    batch.lingerBytes <= batch.targetBytes,
    ['batch', 'lingerBytes'],
    'it must not exceed batch.targetBytes',
  );
  must(batch.linger <= batch.ageMax, ['batch', 'linger'], 'it must not exceed batch.ageMax');
  must(batch.pushLinger <= batch.ageMax, ['batch', 'pushLinger'], 'it must not exceed batch.ageMax');
  must(batch.ageMax < segment.ageMax, ['batch', 'ageMax'], 'it must be less than segment.ageMax');
  must(
    batch.pushLinger < config.pushTimeout,
    ['pushTimeout'],
    'it must exceed batch.pushLinger, or every push runs out of time',
  );
  return found;
}
