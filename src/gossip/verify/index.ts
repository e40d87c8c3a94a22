export { Auditor } from './auditor.ts';
export { VERIFY_PROTOCOL, type SealedRange } from './messages.ts';
export type { Verdict } from './verdict.ts';
export { Verifier, type VerifyProgress } from './verifier.ts';
