export { PUSH_PROTOCOL } from './messages.ts';
export { Pushes, type PushMember } from './pushes.ts';
