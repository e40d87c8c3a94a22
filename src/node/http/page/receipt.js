/** A query's receipt in words. */
import { html } from './dom.js';
import { batches, count, plural, shortPeer, size } from './format.js';

/** @typedef {import('../../../gossip/index.ts').Receipt} Receipt */

const NAMED_MAX = 20;

/**
 * @param {Receipt} receipt
 * @returns {{ complete: boolean, title: string, text: string, points: string[] }}
 */
export function receiptWords(receipt) {
  let lost = 0;
  for (const { fromSeq, toSeq } of receipt.missing) lost += toSeq - fromSeq + 1;
  const points = [...receipt.missing.map(missingWords), ...receipt.silent.map(silentWords)];
  const shown = points.slice(0, NAMED_MAX);
  if (points.length > NAMED_MAX) shown.push(`and ${count(points.length - NAMED_MAX)} more`);
  return {
    complete: receipt.complete,
    title: receipt.complete ? 'This answer is whole.' : incompleteTitle(receipt, lost),
    text: coverageWords(receipt),
    points: shown,
  };
}

/**
 * @param {Receipt} receipt
 * @param {number} lost
 */
function incompleteTitle({ expected, silent }, lost) {
  const parts = [];
  if (lost > 0) parts.push(`${count(lost)} of ${batches(expected)} ${lost === 1 ? 'is' : 'are'} missing`);
  if (silent.length > 0)
    parts.push(`${plural(silent.length, 'peer')} ${silent.length === 1 ? 'is' : 'are'} silent`);
  return `This answer is not whole${parts.length > 0 ? `: ${parts.join(', ')}` : ''}.`;
}

/** @param {Receipt} receipt */
function coverageWords(receipt) {
  const { expected, read, pruned, unneeded, expired, members, bytesScanned, durationMs } = receipt;
  const parts = [`${count(read)} read`];
  if (pruned > 0) parts.push(`${count(pruned)} ruled out by an index`);
  if (unneeded > 0) parts.push(`${count(unneeded)} not needed for this many lines`);
  const sentences = [
    expected === 0
      ? 'No batch lies in this range.'
      : `${batches(expected)} in this range: ${parts.join(', ')}.`,
  ];
  if (expired > 0) sentences.push(`${batches(expired)} expired by retention.`);
  sentences.push(`${members.answered} of ${plural(members.asked, 'peer')} answered.`);
  sentences.push(`${size(bytesScanned)} scanned in ${count(Math.round(durationMs))} ms.`);
  return sentences.join(' ');
}

/** @param {Receipt['missing'][number]} missing */
function missingWords({ origin, epoch, fromSeq, toSeq, fromTime, toTime, lastOwners, reason }) {
  const which =
    fromSeq === toSeq ? `batch ${count(fromSeq)}` : `batches ${count(fromSeq)} to ${count(toSeq)}`;
  const when = fromTime && toTime ? `, lines from ${fromTime} to ${toTime}` : '';
  const who = lastOwners.length > 0 ? `, last held by ${lastOwners.map(shortPeer).join(', ')}` : '';
  const why =
    reason === 'corrupt'
      ? 'every copy that can be reached is damaged'
      : 'no peer that holds it can be reached';
  return `${which} of ${shortPeer(origin)} (epoch ${epoch})${when}${who}: ${why}`;
}

/** @param {Receipt['silent'][number]} silent */
function silentWords({ peer, durableSeq, lastHeard }) {
  // A peer that has not found the mesh yet names the others in words, since it does not know them.
  if (peer.includes(' ')) return `${peer}: none has answered yet, and what they have is not here`;
  const since = lastHeard ? ` since ${lastHeard}` : '';
  const after = durableSeq === null ? '' : ` after batch ${count(durableSeq)}`;
  return `${shortPeer(peer)} was not heard${since}: there may be lines of it${after} that no reachable peer knows of`;
}

/**
 * @param {Receipt} receipt
 * @returns {Node}
 */
export function receiptView(receipt) {
  const { complete, title, text, points } = receiptWords(receipt);
  return html(
    'div',
    { class: `receipt ${complete ? 'whole' : 'partial'}` },
    html('p', {}, html('strong', {}, title), ` ${text}`),
    points.length > 0 &&
      html(
        'ul',
        {},
        points.map((point) => html('li', {}, html('bdi', {}, point))),
      ),
  );
}
