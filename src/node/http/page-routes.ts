import type { FastifyInstance } from 'fastify';
import { CONTENT_SECURITY_POLICY, pageFiles } from './page.ts';

/** The status page and its files. */
export async function addPageRoutes(app: FastifyInstance): Promise<void> {
  for (const [path, { contentType, body }] of await pageFiles()) {
    app.get(path, async (_request, reply) =>
      reply
        .header('content-security-policy', CONTENT_SECURITY_POLICY)
        .header('x-content-type-options', 'nosniff')
        .header('referrer-policy', 'no-referrer')
        .header('cache-control', 'no-cache')
        .type(contentType)
        .send(body),
    );
  }
}
