export { CONFIRM_PROTOCOL } from './confirm.ts';
export { Dropper } from './dropper.ts';
export { FETCH_PROTOCOL, serveFetch } from './fetch.ts';
export { Handover } from './handover.ts';
export type { Remaining } from './handover.ts';
export {
  serveInventory,
  encodeMessage,
  expiredRun,
  coveredBy,
  holdingOf,
  holdingsSaved,
  INVENTORY_PROTOCOL,
  parseMessage,
} from './inventory.ts';
export type { Holding, HoldingsSaved } from './inventory.ts';
export { HoldingsKnown, ownHoldings, partsOf } from './knowledge.ts';
export type { RunKnown } from './knowledge.ts';
export { Repairer } from './repairer.ts';
export type { Backlog } from './repairer.ts';
export { WantedOwners } from './wanted.ts';
export { encodeRider, marksSaved, parseRider, signWatermark, Watermarks } from './watermarks.ts';
export type { Rider, Watermark } from './watermarks.ts';
export { countRuns, intersectRuns, subtractRuns, unionRuns, type Run } from '../../store/index.ts';
