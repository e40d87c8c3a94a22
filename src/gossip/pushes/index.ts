export { digestOfPart, digestOfPush, type PushIdentity } from './digest.ts';
export { PUSH_PROTOCOL } from './messages.ts';
export { Pushes, type PushMember } from './pushes.ts';
