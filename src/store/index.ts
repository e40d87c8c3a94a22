/** The store: what one peer keeps, and how it is searched. Knows no peers. */
export * from './batch/index.ts';
export * from './errors.ts';
export * from './host/index.ts';
export * from './limits.ts';
export * from './segment/index.ts';
export * from './query/index.ts';
export * from './retention/index.ts';
export * from './one-by-one.ts';
export * from './pace.ts';
export * from './printable.ts';
export * from './runs.ts';
export * from './store.ts';
export * from './workers/index.ts';
export { CatalogKeeper, openCatalog } from './catalog/index.ts';
export type { Catalog } from './catalog/index.ts';
