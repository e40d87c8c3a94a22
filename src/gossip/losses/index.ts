export { LOSS_PROTOCOL, LossAcceptor } from './acceptor.ts';
export { lossSchema, standingLosses, type StandingLosses } from './losses.ts';
