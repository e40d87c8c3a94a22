export { createMembership } from './membership.ts';
export type { Attachment } from './exchange.ts';
export type { IdentityConflict } from './identities.ts';
export type { Membership, MembershipEvents, MembershipOptions, SelfDescription } from './membership.ts';
export { MEMBERS_TOPIC, type MembershipTiming } from './constants.ts';
export type { Member } from './table.ts';
