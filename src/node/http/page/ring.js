/** The ring: outside the share of new segments that each member is given, inside the bytes that it holds now. */
import { html, svg } from './dom.js';
import { percent, shortPeer, size, stateWord } from './format.js';
import { tintOf } from './tints.js';
import { isUp, presentMembers } from './verdict.js';

/** @typedef {import('../../status.ts').Status} Status */
/** @typedef {import('../../status.ts').MemberStatus} MemberStatus */
/** @typedef {{ key: string, start: number, part: number, classes: string, title: string }} Arc `start`, `part`: of 1. */
/** @typedef {{ radius: number, width: number }} Band */

const SELF = { radius: 101, width: 2.5 };
const OUTER = { radius: 86, width: 22 };
const INNER = { radius: 66, width: 7 };
/** Percent of the circle between two arcs, and of all gaps together. */
const GAP = 0.7;
const GAPS_MAX = 18;
/** A member that is down gets no new segments, but its place must be seen. */
const DOWN_NOTCH = 0.04;
const ARCS_MAX = 60;
const LEGEND_MAX = 8;

/**
 * @param {Status} status
 * @returns {Node[]}
 */
export function ringView(status) {
  const present = presentMembers(status).toSorted((a, b) => (a.peer < b.peer ? -1 : 1));
  for (const { peer } of present) tintOf(peer);
  const up = present.filter(isUp).length;
  const shares = arcsOf(present, ({ share, state }) => share || (isUp({ state }) ? 0 : DOWN_NOTCH));
  const held = arcsOf(present, ({ heldBytes }) => heldBytes);
  const own = shares
    .filter(({ key }) => key === status.peer)
    .map((arc) => ({ ...arc, classes: 'self-mark' }));
  const picture = svg(
    'svg',
    { viewBox: '0 0 200 200', role: 'img', 'aria-label': `The ring: ${up} of ${present.length} peers up` },
    svg('defs', {}, hatch()),
    circle(OUTER, 'track'),
    draw(OUTER, shares),
    draw(INNER, held),
    present.length > 1 && draw(SELF, own),
    svg('text', { x: 100, y: 101, class: 'up-count' }, `${up}/${present.length}`),
    svg('text', { x: 100, y: 121, class: 'up-word' }, present.length === 1 ? 'peer up' : 'peers up'),
  );
  return [html('div', { class: 'donut' }, picture), legend(status, present)];
}

/** @param {MemberStatus} member */
function describe(member) {
  const state = member.state === 'alive' ? '' : `${stateWord(member.state)}, `;
  return `${state}share ${percent(member.share)}, holds ${size(member.heldBytes)}`;
}

/**
 * The members as parts of the circle. In a large mesh those that are down and the largest are drawn, the others together.
 * @param {readonly MemberStatus[]} members In the order of the circle.
 * @param {(member: MemberStatus) => number} amountOf
 * @returns {Arc[]}
 */
function arcsOf(members, amountOf) {
  const sized = members
    .map((member) => ({ member, amount: amountOf(member) }))
    .filter(({ amount }) => amount > 0);
  const ranked = sized.toSorted(
    (a, b) => Number(isUp(a.member)) - Number(isUp(b.member)) || b.amount - a.amount,
  );
  const chosen = new Set(ranked.slice(0, ARCS_MAX));
  let total = 0;
  for (const { amount } of sized) total += amount;
  let start = 0;
  /** @type {Arc[]} */
  const arcs = [];
  for (const item of sized) {
    if (!chosen.has(item)) continue;
    const { member, amount } = item;
    const title = `${shortPeer(member.peer)}: ${describe(member)}`;
    const classes = `arc ${tintOf(member.peer)} ${member.state}`;
    arcs.push({ key: member.peer, start, part: amount / total, classes, title });
    start += amount / total;
  }
  const rest = sized.length - arcs.length;
  if (rest > 0) arcs.push({ key: '', start, part: 1 - start, classes: 'arc', title: `${rest} more members` });
  return arcs;
}

/**
 * @param {Band} band
 * @param {Arc[]} arcs
 */
function draw(band, arcs) {
  const gap = Math.min(GAP, GAPS_MAX / arcs.length);
  return arcs.map(({ start, part, classes, title }) => {
    const length = part > 0.999 ? 100 : Math.max(0.2, part * 100 - gap);
    const dashes = { 'stroke-dasharray': `${length} ${100 - length}`, 'stroke-dashoffset': -start * 100 };
    return circle(band, classes, dashes, svg('title', {}, title));
  });
}

/**
 * @param {Band} band
 * @param {string} classes
 * @param {import('./dom.js').Attributes} [more]
 * @param {Node} [title]
 */
function circle({ radius, width }, classes, more = {}, title = undefined) {
  const shape = { cx: 100, cy: 100, r: radius, fill: 'none', 'stroke-width': width, pathLength: 100 };
  return svg('circle', { class: classes, ...shape, transform: 'rotate(-90 100 100)', ...more }, title);
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
  const mark = present.length > 1 ? ' The thin line marks this peer.' : '';
  // Those that are down first: they are what one looks for.
  const own = (/** @type {MemberStatus} */ { peer }) => Number(peer === status.peer);
  const ordered = present.toSorted(
    (a, b) => Number(isUp(a)) - Number(isUp(b)) || own(b) - own(a) || b.share - a.share,
  );
  const items = ordered
    .slice(0, LEGEND_MAX)
    .map((member) =>
      html(
        'li',
        { title: member.peer, 'data-key': member.peer },
        html('span', { class: `swatch ${tintOf(member.peer)} ${member.state}`, 'aria-hidden': 'true' }),
        html('bdi', { class: 'mono' }, shortPeer(member.peer)),
        member.peer === status.peer && html('span', { class: 'tag' }, 'this peer'),
        html(
          'span',
          { class: 'amount' },
          isUp(member) && member.state !== 'leaving' ? percent(member.share) : stateWord(member.state),
        ),
      ),
    );
  if (rest > 0) items.push(html('li', {}, html('span', { class: 'faint' }, `and ${rest} more below`)));
  return html(
    'div',
    { class: 'legend' },
    html('ul', {}, items),
    html('p', { class: 'hint' }, `Outside: share of new segments. Inside: bytes held now.${mark}`),
  );
}
