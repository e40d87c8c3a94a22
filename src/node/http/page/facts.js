/** The cards beside the ring: ingest, copies, store; and the footer. */
import { html } from './dom.js';
import { batches, count, duration, percent, plural, shortPeer, size } from './format.js';
import { sparkline } from './sparkline.js';
import { copiesText } from './verdict.js';

/** @typedef {import('../../status.ts').Status} Status */
/** @typedef {import('./sparkline.js').History} History */

/**
 * @param {Status} status
 * @param {History} history
 * @param {number} nowMs
 * @param {number} gapMs
 * @returns {Node[]}
 */
export function ingestView({ ingest, replication }, history, nowMs, gapMs) {
  const minutes = history.windowMs / 60_000;
  const most = size(history.max());
  return [
    html(
      'p',
      { class: 'figure' },
      size(ingest.bytesPerSecond),
      html('span', { class: 'unit' }, '/s'),
      html('span', { class: 'aside' }, `most ${most}/s`),
    ),
    sparkline(history, nowMs, gapMs, `Ingest of the last ${minutes} minutes, at most ${most} a second`),
    html(
      'p',
      { class: 'axis', 'aria-hidden': 'true' },
      html('span', {}, `${minutes} min ago`),
      html('span', {}, 'now'),
    ),
    html(
      'p',
      { class: 'hint' },
      `This peer took in ${size(ingest.bytesTaken)} since it started; ${
        replication.unacknowledgedBytes > 0
          ? `${size(replication.unacknowledgedBytes)} wait for their acknowledgement.`
          : 'nothing waits for its acknowledgement.'
      }`,
    ),
  ];
}

/**
 * @param {Status} status
 * @returns {Node[]}
 */
export function copiesView(status) {
  const { k, w, batchesBelowK, bytesBelowK, repairedBytes } = status.replication;
  const { bytes, seconds } = status.upkeep.toFetch;
  const left = seconds === null || bytes === 0 ? '' : `, about ${duration(seconds)}`;
  return [
    html(
      'p',
      { class: batchesBelowK > 0 ? 'figure owed' : 'figure' },
      count(batchesBelowK),
      html('span', { class: 'unit' }, batchesBelowK === 1 ? ' batch owed' : ' batches owed'),
    ),
    html('p', { class: 'hint' }, copiesText(status)),
    facts([
      ['Bytes owed', size(bytesBelowK)],
      ['Copies wanted', String(k)],
      ['Disks for an ack', String(w)],
      ['Repaired', size(repairedBytes)],
      ['Still to fetch', `${size(bytes)}${left}`],
    ]),
  ];
}

/**
 * @param {Status} status
 * @returns {Node[]}
 */
export function storeView({ store }) {
  const ratio =
    store.rawBytes > 0 ? `, compressed to ${percent(store.storedBytes / store.rawBytes)} of their size` : '';
  return [
    html('p', { class: 'figure' }, size(store.storedBytes)),
    html('p', { class: 'hint' }, `${plural(store.entries, 'line')} in ${batches(store.batches)}${ratio}.`),
    facts([
      ['Size of the lines', size(store.rawBytes)],
      ['Stored', size(store.storedBytes)],
      ['Batches', count(store.batches)],
      ['Segments', count(store.segments)],
    ]),
  ];
}

/** @param {[name: string, value: string][]} rows */
function facts(rows) {
  return html(
    'dl',
    { class: 'facts' },
    rows.map(([name, value]) => html('div', {}, html('dt', {}, name), html('dd', {}, value))),
  );
}

/**
 * @param {Status} status
 * @returns {Node[]}
 */
export function identityView({ peer, version, uptimeSeconds }) {
  return [
    html('bdi', { class: 'mono', title: peer }, shortPeer(peer)),
    html('span', {}, `up ${duration(uptimeSeconds)}`),
    html('span', {}, `version ${version}`),
  ];
}

/**
 * @param {Status} status
 * @returns {Node[]}
 */
export function footerView({ peer, epoch, process }) {
  return [
    html('p', {}, 'Peer ', html('bdi', { class: 'mono' }, peer), `, epoch ${epoch}`),
    html(
      'p',
      {},
      `Uses ${size(process.rssBytes)} of memory; ${duration(process.cpuSeconds)} of CPU time so far. `,
      html('a', { href: 'api/v1/status' }, 'Status as JSON'),
      ' · ',
      html('a', { href: 'metrics' }, 'Metrics'),
    ),
  ];
}
