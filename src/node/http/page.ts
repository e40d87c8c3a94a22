import { readdir, readFile } from 'node:fs/promises';
import { extname } from 'node:path';
import type { FastifyInstance } from 'fastify';

/** Only the page's own files may load, and it may talk to its own peer only: what a log line says cannot run (I12). */
export const CONTENT_SECURITY_POLICY = [
  "default-src 'none'",
  "script-src 'self'",
  "style-src 'self'",
  "connect-src 'self'",
  "img-src 'self' data:",
  "base-uri 'none'",
  "frame-ancestors 'none'",
  "form-action 'none'",
].join('; ');

const CONTENT_TYPES: Readonly<Record<string, string>> = {
  '.html': 'text/html; charset=utf-8',
  '.css': 'text/css; charset=utf-8',
  '.js': 'text/javascript; charset=utf-8',
  '.svg': 'image/svg+xml',
};

export interface PageFile {
  readonly contentType: string;
  readonly body: Buffer;
}

/** The page's files by URL path: `/` is the page, `/page/NAME` what it loads. Read once, at start. */
export async function pageFiles(): Promise<Map<string, PageFile>> {
  const folder = new URL('./page/', import.meta.url);
  const files = new Map<string, PageFile>();
  for (const name of (await readdir(folder)).sort()) {
    if (!Object.hasOwn(CONTENT_TYPES, extname(name))) continue;
    const path = name === 'index.html' ? '/' : `/page/${name}`;
    files.set(path, {
      contentType: CONTENT_TYPES[extname(name)],
      body: await readFile(new URL(name, folder)),
    });
  }
  return files;
}

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
