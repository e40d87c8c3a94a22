export { LOSS_PROTOCOL, LossAcceptor } from './acceptor.ts';
export { doesStand, lossSchema, standingLosses, type StandingLosses } from './losses.ts';
