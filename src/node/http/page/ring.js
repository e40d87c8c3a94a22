/** The ring: outside the share of new segments that each member is given, inside the bytes that it holds now. */
import { html, svg } from './dom.js';
import { percent, shortPeer, size } from './format.js';
import { tintOf } from './tints.js';
import { isUp, presentMembers } from './verdict.js';

/** @typedef {import('../../status.ts').Status} Status */
/** @typedef {import('../../status.ts').MemberStatus} MemberStatus */
/** @typedef {{ key: string, part: number, classes: string, title: string }} Arc */

const OUTER = { radius: 86, width: 22 };
const INNER = { radius: 66, width: 7 };
/** Percent of the circle between two arcs. */
const GAP = 0.7;
/** A member that is down gets no new segments, but its place must be seen. */
const DOWN_NOTCH = 0.04;
const ARCS_MAX = 32;
const LEGEND_MAX = 8;

/**
 * @param {Status} status
 * @returns {Node[]}
 */
export function ringView(status) {
  const present = presentMembers(status).toSorted((a, b) => (a.peer < b.peer ? -1 : 1));
  for (const { peer } of present) tintOf(peer);
  const up = present.filter(isUp).length;
  const label = present.map((member) => `${shortPeer(member.peer)} ${describe(member)}`).join('; ');
  const self = present.findIndex(({ peer }) => peer === status.peer);
  const shares = bounded(present, (member) => member.share || (isUp(member) ? 0 : DOWN_NOTCH));
  const picture = svg(
    'svg',
    { viewBox: '0 0 200 200', role: 'img', 'aria-label': `Shares of the ring: ${label}` },
    svg('defs', {}, hatch()),
    circle(OUTER, 'track'),
    arcs(OUTER, shares),
    arcs(
      INNER,
      bounded(present, ({ heldBytes }) => heldBytes),
    ),
    self >= 0 && selfMark(shares, status.peer),
    svg('text', { x: 100, y: 101, class: 'up-count' }, `${up}/${present.length}`),
    svg('text', { x: 100, y: 121, class: 'up-word' }, present.length === 1 ? 'peer up' : 'peers up'),
  );
  return [html('div', { class: 'donut' }, picture), legend(status, present)];
}

/** @param {MemberStatus} member */
function describe(member) {
  const state = member.state === 'alive' ? '' : `${member.state}, `;
  return `${state}share ${percent(member.share)}, holds ${size(member.heldBytes)}`;
}

/**
 * The members as parts of 1; in a large mesh the smallest are drawn as one arc.
 * @param {readonly MemberStatus[]} members
 * @param {(member: MemberStatus) => number} amountOf
 * @returns {Arc[]}
 */
function bounded(members, amountOf) {
  const sized = members
    .map((member) => ({ member, amount: amountOf(member) }))
    .filter(({ amount }) => amount > 0);
  let total = 0;
  for (const { amount } of sized) total += amount;
  const least = sized.map(({ amount }) => amount).sort((a, b) => b - a)[ARCS_MAX - 1] ?? 0;
  /** @type {Arc[]} */
  const drawn = [];
  let restAmount = 0;
  let restCount = 0;
  for (const { member, amount } of sized) {
    if (amount < least || drawn.length === ARCS_MAX) {
      restAmount += amount;
      restCount++;
      continue;
    }
    drawn.push({
      key: member.peer,
      part: amount / total,
      classes: `arc ${tintOf(member.peer)} ${member.state}`,
      title: `${shortPeer(member.peer)}: ${describe(member)}`,
    });
  }
  if (restCount > 0) {
    drawn.push({
      key: '',
      part: restAmount / total,
      classes: 'arc rest',
      title: `${restCount} more members`,
    });
  }
  return drawn;
}

/**
 * @param {{ radius: number, width: number }} band
 * @param {Arc[]} parts
 */
function arcs(band, parts) {
  const gap = parts.length > 1 ? GAP : 0;
  let start = 0;
  return parts.map(({ part, classes, title }) => {
    const length = Math.max(0.2, part * 100 - gap);
    const arc = circle(band, classes, {
      'stroke-dasharray': `${length} ${100 - length}`,
      'stroke-dashoffset': -start,
    });
    arc.append(svg('title', {}, title));
    start += part * 100;
    return arc;
  });
}

/**
 * @param {{ radius: number, width: number }} band
 * @param {string} classes
 * @param {import('./dom.js').Attributes} [more]
 */
function circle({ radius, width }, classes, more = {}) {
  return svg('circle', {
    class: classes,
    cx: 100,
    cy: 100,
    r: radius,
    fill: 'none',
    'stroke-width': width,
    pathLength: 100,
    transform: 'rotate(-90 100 100)',
    ...more,
  });
}

/**
 * A small arrow outside of this peer's own arc.
 * @param {Arc[]} shares
 * @param {string} peer
 */
function selfMark(shares, peer) {
  let start = 0;
  for (const { key, part } of shares) {
    if (key === peer) {
      const turn = (start + part / 2) * 360;
      return svg('path', {
        class: 'self-mark',
        d: 'M100 4.5 l5 -6 h-10 z',
        transform: `rotate(${turn} 100 100)`,
      });
    }
    start += part;
  }
  return undefined;
}

function hatch() {
  const size = 5;
  return svg(
    'pattern',
    {
      id: 'hatch',
      width: size,
      height: size,
      patternUnits: 'userSpaceOnUse',
      patternTransform: 'rotate(45)',
    },
    svg('rect', { class: 'hatch-ground', width: size, height: size }),
    svg('rect', { class: 'hatch-line', width: size / 2, height: size }),
  );
}

/**
 * @param {Status} status
 * @param {readonly MemberStatus[]} present
 */
function legend(status, present) {
  const rest = present.length - LEGEND_MAX;
  // Those that are down first: they are what one looks for.
  const ordered = present.toSorted((a, b) => Number(isUp(a)) - Number(isUp(b)) || b.share - a.share);
  const items = ordered
    .slice(0, LEGEND_MAX)
    .map((member) =>
      html(
        'li',
        { title: member.peer },
        html('span', { class: `swatch ${tintOf(member.peer)} ${member.state}`, 'aria-hidden': 'true' }),
        html('bdi', { class: 'mono' }, shortPeer(member.peer)),
        member.peer === status.peer && html('span', { class: 'tag' }, 'this peer'),
        html('span', { class: 'amount' }, isUp(member) ? percent(member.share) : member.state),
      ),
    );
  if (rest > 0) items.push(html('li', {}, html('span', { class: 'faint' }, `and ${rest} more below`)));
  return html(
    'div',
    { class: 'legend' },
    html('ul', {}, items),
    html('p', { class: 'hint' }, 'Outside: share of new segments. Inside: bytes held now.'),
  );
}
