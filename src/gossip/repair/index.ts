export {
  encodeMessage,
  holdingOf,
  INVENTORY_PROTOCOL,
  parseMessage,
  segmentBounds,
  answerInventory,
} from './inventory.ts';
export type { Holding } from './inventory.ts';
export { HoldingsKnown, ownHoldings } from './knowledge.ts';
export { FETCH_PROTOCOL, Repairer, serveFetch } from './repairer.ts';
export { countRuns, intersectRuns, subtractRuns, unionRuns } from './runs.ts';
export type { Run } from './runs.ts';
export { Watermarks } from './watermarks.ts';
export type { Watermark } from './watermarks.ts';
