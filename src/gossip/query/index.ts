export { Coordinator } from './coordinator.ts';
export { Coverage } from './coverage.ts';
export { Holder } from './holder.ts';
export type { HolderOptions } from './holder.ts';
export { COVERAGE_PROTOCOL, FOLLOW_PROTOCOL, followRequest, peersOf, SCAN_PROTOCOL } from './messages.ts';
export type { Receipt } from './receipt.ts';
export { GONE_PROTOCOL, serveGone } from './gone.ts';
export { HEARD_PROTOCOL, serveHeard } from './heard.ts';
