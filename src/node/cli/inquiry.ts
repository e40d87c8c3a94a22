import { Option, type Command } from 'commander';
import type { z } from 'zod';
import { LogvineError } from '../../store/index.ts';
import { getJson } from './http.ts';
import type { Io } from './io.ts';
import {
  endpointOf,
  outputOption,
  parseDurationOption,
  withEndpoint,
  type EndpointOptions,
} from './options.ts';
import { receiptOf, receiptText } from './receipt.ts';
import type { Services } from './services.ts';
import { startBefore } from './time.ts';

/** The options of commands that ask what there is in a range of time that ends now. */
export interface InquiryOptions extends EndpointOptions {
  readonly since: number;
  readonly output: 'text' | 'json';
}

/** `since` as in `6h` is the default of `--since`. */
export function withInquiry(command: Command, since: string): Command {
  return withEndpoint(command)
    .addOption(
      new Option('--since <duration>', 'how far back to look')
        .argParser(parseDurationOption)
        .default(parseDurationOption(since), since),
    )
    .addOption(outputOption(['text', 'json'] as const));
}

/**
 * Asks `path` for what matches `parameters` in the range, prints it, and what is missing on stderr. Resolves to the exit
 * code: 0, or 3 when the answer is incomplete. Throws LogvineError.
 */
export async function inquire<Answer extends { readonly logvine?: unknown }>(
  io: Io,
  services: Services,
  options: InquiryOptions,
  question: {
    readonly path: string;
    readonly parameters?: readonly string[][];
    readonly answer: z.ZodType<Answer>;
  },
  textOf: (answer: Answer) => string,
): Promise<number> {
  const nowNs = BigInt(Math.floor(io.clock.nowMs())) * 1_000_000n;
  const range = [
    ['start', String(startBefore(nowNs, options.since))],
    ['end', String(nowNs)],
  ];
  const parameters = new URLSearchParams([...(question.parameters ?? []), ...range]);
  const endpoint = await endpointOf(options, io, services);
  const body = await getJson(endpoint, `/loki/api/v1/${question.path}?${parameters}`);
  const parsed = question.answer.safeParse(body);
  if (!parsed.success) throw new LogvineError('LV_PROTOCOL', `${endpoint.addr} answered something else`);
  await io.write(textOf(parsed.data));
  const { logvine } = parsed.data;
  // Another implementation of Loki's paths says nothing of it.
  if (logvine === undefined) return 0;
  const receipt = receiptOf(logvine, endpoint.addr);
  if (receipt.complete) return 0;
  io.report(receiptText(receipt));
  return 3;
}
