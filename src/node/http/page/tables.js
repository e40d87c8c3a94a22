/** The tables: members, inputs, watermarks. Each shows a bounded number of rows, those that need a look first. */
import { html, peerLink, svg } from './dom.js';
import { batches, count, percent, plural, shortPeer, size, stateWord } from './format.js';
import { tintOf } from './tints.js';
import { isPresent, isUp } from './verdict.js';

/** @typedef {import('../../status.ts').Status} Status */
/** @typedef {import('../../status.ts').MemberStatus} MemberStatus */
/** @typedef {Status['inputs'][number]} InputStatus */
/** @typedef {import('./dom.js').Child} Child */
/** @typedef {{ key: string, cells: Child[][] }} Row `key` tells rows apart while they move. */

const ROWS_MAX = 100;
const ROWS_WITHOUT_SCROLLING = 12;
const LINKS_MAX = 12;

/**
 * On a narrow screen rows become cards, which takes the table's roles away: they are named.
 * @param {string} label
 * @param {string[]} columns
 * @param {Row[]} rows
 */
export function table(label, columns, rows) {
  const heads = columns.map((column) => html('th', { role: 'columnheader', scope: 'col' }, column));
  const body = rows.map(({ key, cells }) =>
    html(
      'tr',
      { role: 'row', 'data-key': key },
      cells.map((cell, index) => html('td', { role: 'cell', 'data-label': columns[index] }, cell)),
    ),
  );
  const whole = html(
    'table',
    { role: 'table', 'aria-label': label },
    html('thead', { role: 'rowgroup' }, html('tr', { role: 'row' }, heads)),
    html('tbody', { role: 'rowgroup' }, body),
  );
  if (rows.length <= ROWS_WITHOUT_SCROLLING) return whole;
  return html('div', { class: 'scroll', tabindex: 0, role: 'region', 'aria-label': label }, whole);
}

/**
 * A bar of parts of 1, the later ones over the earlier ones.
 * @param {[part: number, classes: string][]} layers
 */
function bar(layers) {
  return svg(
    'svg',
    { class: 'bar', viewBox: '0 0 100 6', preserveAspectRatio: 'none', 'aria-hidden': 'true' },
    svg('rect', { class: 'bar-ground', width: 100, height: 6 }),
    layers.map(([part, classes]) =>
      svg('rect', { class: classes, width: Math.min(1, Math.max(0, part)) * 100, height: 6 }),
    ),
  );
}

/**
 * @param {number} rest
 * @param {string} words
 */
export function more(rest, words) {
  return rest > 0 && html('p', { class: 'hint' }, `and ${count(rest)} more ${words}`);
}

/**
 * @param {string} peer
 * @param {Status} status
 * @param {string} [state]
 * @param {string} [title]
 * @returns {Child[]}
 */
function peerCell(peer, status, state = '', title = peer) {
  return [
    html('span', { class: `swatch ${tintOf(peer)} ${state}`, 'aria-hidden': 'true' }),
    html('bdi', { class: 'mono', title }, shortPeer(peer)),
    peer === status.peer && html('span', { class: 'tag' }, 'this peer'),
  ];
}

/**
 * @param {Status} status
 * @returns {Child[]}
 */
export function membersView(status) {
  const own = (/** @type {MemberStatus} */ { peer }) => Number(peer === status.peer);
  const ordered = status.members.toSorted(
    (a, b) => rank(a) - rank(b) || own(b) - own(a) || (a.peer < b.peer ? -1 : 1),
  );
  const largestShare = ordered.reduce((most, { share }) => Math.max(most, share), 0) || 1;
  const rows = ordered.slice(0, ROWS_MAX).map((member) => memberRow(member, status, largestShare));
  return [
    table('Members of the mesh', ['Peer', 'State', 'Zone', 'Share', 'Holds', 'Version', 'Page'], rows),
    more(ordered.length - ROWS_MAX, 'members'),
  ];
}

/**
 * Those that are down first, those that have left or are gone last.
 * @param {MemberStatus} member
 */
function rank(member) {
  if (!isPresent(member)) return 2;
  return isUp(member) ? 1 : 0;
}

/**
 * @param {MemberStatus} member
 * @param {Status} status
 * @param {number} largestShare
 * @returns {Row}
 */
function memberRow(member, status, largestShare) {
  const { peer, state, zone, share, heldBytes, version, http, mesh } = member;
  const page =
    peer === status.peer
      ? html('span', { class: 'faint' }, 'you are here')
      : (isPresent(member) && peerLink(http, 'open ↗', `Open the page of peer ${shortPeer(peer)}`)) || '–';
  return {
    key: peer,
    cells: [
      peerCell(peer, status, state, [peer, ...mesh].join('\n')),
      [html('span', { class: `state ${state}` }, stateWord(state))],
      [html('bdi', {}, zone || '–')],
      [
        bar([[share / largestShare, `fill ${tintOf(peer)}`]]),
        html('span', { class: 'number' }, percent(share)),
      ],
      [html('span', { class: 'number' }, size(heldBytes))],
      [html('bdi', {}, version)],
      [page],
    ],
  };
}

/** @param {InputStatus} input */
function behindBytes(input) {
  return Math.max(0, input.sizeBytes - input.durableBytes);
}

/**
 * @param {Status} status
 * @returns {Child[]}
 */
export function inputsView(status) {
  const ordered = status.inputs.toSorted(
    (a, b) =>
      Number(b.problem !== undefined) - Number(a.problem !== undefined) ||
      behindBytes(b) - behindBytes(a) ||
      (a.path < b.path ? -1 : 1),
  );
  const rows = ordered.slice(0, ROWS_MAX).map(inputRow);
  return [
    ordered.length === 0
      ? html('p', { class: 'empty' }, 'This peer tails nothing. It still keeps copies and answers queries.')
      : table('Inputs of this peer', ['File', 'Size', 'Progress'], rows),
    more(ordered.length - ROWS_MAX, 'inputs; those with problems and those furthest behind are shown'),
    elsewhere(status),
  ];
}

/**
 * @param {InputStatus} input
 * @returns {Row}
 */
function inputRow(input) {
  const { source, path, sizeBytes, readBytes, durableBytes } = input;
  const progress = bar([
    [readBytes / (sizeBytes || 1), 'read'],
    [durableBytes / (sizeBytes || 1), 'durable'],
  ]);
  return {
    key: source,
    cells: [
      [html('bdi', { class: 'path mono' }, path)],
      [progress, html('span', { class: 'number' }, size(sizeBytes))],
      [progressWords(input)],
    ],
  };
}

/** @param {InputStatus} input */
function progressWords(input) {
  const lost = input.gapBytes ? ` (${size(input.gapBytes)})` : '';
  const gaps = input.gaps ? [html('span', { class: 'warn' }, `${plural(input.gaps, 'gap')}${lost}`)] : [];
  if (input.problem !== undefined)
    return html('span', { class: 'progress' }, html('bdi', { class: 'warn' }, input.problem), ...gaps);
  const unread = Math.max(0, input.sizeBytes - input.readBytes);
  const unacknowledged = Math.max(0, input.readBytes - input.durableBytes);
  const words =
    unread > 0
      ? `${size(unread)} to read`
      : unacknowledged > 0
        ? `read; ${size(unacknowledged)} not yet acknowledged`
        : 'all of it durable';
  return html('span', { class: 'progress' }, html('span', {}, words), ...gaps);
}

/**
 * A page may only ask its own peer: what others tail is on their pages.
 * @param {Status} status
 */
function elsewhere(status) {
  const others = status.members.filter((member) => member.peer !== status.peer && isUp(member));
  const links = others
    .slice(0, LINKS_MAX)
    .map(({ peer, http }) =>
      peerLink(http, `${shortPeer(peer)} ↗`, `Open the page of peer ${shortPeer(peer)}`),
    )
    .filter((link) => link !== undefined);
  if (links.length === 0) return undefined;
  return html('p', { class: 'hint links' }, 'What the others tail is on their own pages: ', ...links);
}

/**
 * @param {Status} status
 * @returns {Child[]}
 */
export function originsView(status) {
  const ordered = status.origins.toSorted(
    (a, b) => b.sealedSeq - b.durableSeq - (a.sealedSeq - a.durableSeq) || (a.peer < b.peer ? -1 : 1),
  );
  if (ordered.length === 0) return [html('p', { class: 'empty' }, 'No batch was sealed yet.')];
  const rows = ordered.slice(0, ROWS_MAX).map((origin) => originRow(origin, status));
  return [
    table('Watermarks of the origins', ['Origin', 'Epoch', 'Sealed', 'Durable', 'In words'], rows),
    more(ordered.length - ROWS_MAX, 'origins'),
  ];
}

/**
 * @param {Status['origins'][number]} origin
 * @param {Status} status
 * @returns {Row}
 */
function originRow({ peer, epoch, sealedSeq, durableSeq }, status) {
  const waiting = sealedSeq - durableSeq;
  return {
    key: peer,
    cells: [
      peerCell(peer, status),
      [html('span', { class: 'number' }, String(epoch))],
      [html('span', { class: 'number' }, count(sealedSeq))],
      [html('span', { class: 'number' }, count(durableSeq))],
      [
        sealedSeq === 0
          ? 'nothing sealed yet'
          : waiting > 0
            ? `${batches(waiting)} on the way`
            : 'all acknowledged',
      ],
    ],
  };
}
