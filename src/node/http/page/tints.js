/** A colour for each member, which it keeps while the page is open. Colours are never the only sign. */

const TINTS = 10;

/** @type {Map<string, number>} */
const given = new Map();

/**
 * @param {string} peer
 * @returns {string} The class that sets `--tint`.
 */
export function tintOf(peer) {
  let tint = given.get(peer);
  if (tint === undefined) given.set(peer, (tint = given.size % TINTS));
  return `tint-${tint}`;
}
