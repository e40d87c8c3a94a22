/** What is to be said on top: all well, or what a person should look at. */
import { html } from './dom.js';
import { batches, plural, size } from './format.js';

/** @typedef {import('../../status.ts').Status} Status */
/** @typedef {{ message: string, code?: string }} Point */
/** @typedef {{ tone: 'well' | 'trouble' | 'severe', title: string, text: string, points: Point[] }} Verdict */

/** Codes that say that data itself is in danger. */
const SEVERE = new Set([
  'LV_DATA_UNSAFE',
  'LV_DISK_FULL',
  'LV_BATCH_LOST',
  'LV_BATCH_CONFLICT',
  'LV_IDENTITY_CONFLICT',
]);
const POINTS_MAX = 20;

/**
 * Members that belong to the mesh: those that left or are gone do not count.
 * @param {Status} status
 */
export function presentMembers({ members }) {
  return members.filter(isPresent);
}

/** @param {{ state: string }} member */
export function isPresent({ state }) {
  return state !== 'left' && state !== 'gone';
}

/** @param {{ state: string }} member */
export function isUp({ state }) {
  return state === 'alive' || state === 'suspect' || state === 'leaving';
}

/**
 * @param {Status} status
 * @returns {Verdict}
 */
export function verdictOf(status) {
  const present = presentMembers(status);
  const down = present.filter((member) => !isUp(member)).length;
  /** @type {Point[]} */
  const points = [...status.problems];
  if (down > 0 && !points.some(({ code }) => code === 'LV_PEER_UNREACHABLE')) {
    points.unshift({
      message: `${down} of ${plural(present.length, 'peer')} ${down === 1 ? 'is' : 'are'} down`,
    });
  }
  const text = `${peersText(status)} ${copiesText(status)}`;
  if (points.length === 0) return { tone: 'well', title: 'All well', text, points };
  const severe = points.some(({ code }) => code !== undefined && SEVERE.has(code));
  const title = points.length === 1 ? 'One thing to look at' : `${points.length} things to look at`;
  return { tone: severe ? 'severe' : 'trouble', title, text, points };
}

/** @param {Status} status */
function peersText(status) {
  const present = presentMembers(status);
  const up = present.filter(isUp).length;
  const slow = present.filter(({ state }) => state === 'suspect').length;
  const slowText = slow > 0 ? ` ${plural(slow, 'peer')} ${slow === 1 ? 'is' : 'are'} slow to answer.` : '';
  if (present.length === 1) return 'This peer is alone: what it holds is on this one disk.';
  if (up === present.length) return `All ${present.length} peers are up.${slowText}`;
  return `${up} of ${present.length} peers ${up === 1 ? 'is' : 'are'} up.${slowText}`;
}

/**
 * The debt in plain words.
 * @param {Status} status
 */
export function copiesText(status) {
  const { k, batchesBelowK, bytesBelowK } = status.replication;
  const present = presentMembers(status);
  const wanted = Math.min(k, present.length);
  if (batchesBelowK > 0) {
    const has = batchesBelowK === 1 ? 'has' : 'have';
    return `${batches(batchesBelowK)} (${size(bytesBelowK)}) of this peer, or of peers that are away, ${has} fewer than ${plural(wanted, 'copy', 'copies')} yet.`;
  }
  if (present.length === 1)
    return k > 1 ? `With more peers, batches get ${k} copies.` : 'One copy is all that is wanted.';
  if (wanted < k) return `Every batch of this peer has ${wanted} copies; with more peers it gets ${k}.`;
  return `Every batch of this peer has its ${plural(k, 'copy', 'copies')}.`;
}

/**
 * @param {Verdict} verdict
 * @returns {Node[]}
 */
export function verdictView({ tone, title, text, points }) {
  const shown = points.slice(0, POINTS_MAX);
  const rest = points.length - shown.length;
  const items = shown.map(({ message, code }) =>
    html('li', {}, html('bdi', {}, message), code !== undefined && html('code', {}, code)),
  );
  if (rest > 0) items.push(html('li', {}, `and ${rest} more: see /api/v1/status`));
  return [
    html(
      'div',
      { class: `banner ${tone}` },
      html('span', { class: 'dot', 'aria-hidden': 'true' }),
      html(
        'div',
        { class: 'words' },
        // Read out when it changes; the sentence below it has numbers that always do.
        html('div', { role: 'status' }, html('h2', {}, title), items.length > 0 && html('ul', {}, items)),
        html('p', {}, text),
      ),
    ),
  ];
}
