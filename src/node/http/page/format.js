/** Values as people read them. Pure. */

const COUNT = new Intl.NumberFormat('en');
const SIZE_UNITS = ['B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB'];

/** @param {number} value */
export function count(value) {
  return COUNT.format(value);
}

/**
 * @param {number} value
 * @param {string} one
 * @param {string} [many]
 */
export function plural(value, one, many = `${one}s`) {
  return `${count(value)} ${value === 1 ? one : many}`;
}

/** `plural(1, 'batch', 'batches')` is what most sentences need. @param {number} value */
export function batches(value) {
  return plural(value, 'batch', 'batches');
}

/** Three digits and a binary unit, `1.50 MiB`: as the command writes it. @param {number} bytes */
export function size(bytes) {
  let amount = bytes;
  let unit = 0;
  while (amount >= 1000 && unit < SIZE_UNITS.length - 1) {
    amount /= 1024;
    unit++;
  }
  if (unit === 0) return `${Math.round(amount)}\u00a0B`;
  return `${amount.toFixed(amount < 10 ? 2 : amount < 100 ? 1 : 0)}\u00a0${SIZE_UNITS[unit]}`;
}

/** @param {number} part 0…1 */
export function percent(part) {
  const value = part * 100;
  return `${value > 0 && value < 10 ? value.toFixed(1) : Math.round(value)}\u00a0%`;
}

/** The two largest units, `3 d 4 h`. @param {number} seconds */
export function duration(seconds) {
  const parts = [
    [Math.floor(seconds / 86_400), 'd'],
    [Math.floor(seconds / 3600) % 24, 'h'],
    [Math.floor(seconds / 60) % 60, 'min'],
    [Math.floor(seconds) % 60, 's'],
  ].filter(([amount]) => amount !== 0);
  if (parts.length === 0) return '0\u00a0s';
  return parts
    .slice(0, 2)
    .map(([amount, unit]) => `${amount}\u00a0${unit}`)
    .join(' ');
}

/** The end of a peer id: all of them begin alike. @param {string} peer */
export function shortPeer(peer) {
  return peer.length > 8 ? `…${peer.slice(-6)}` : peer;
}

/** `2026-11-21 14:03:04.125`, local. @param {Date} time */
export function localTime(time) {
  const two = (/** @type {number} */ value) => String(value).padStart(2, '0');
  const day = `${time.getFullYear()}-${two(time.getMonth() + 1)}-${two(time.getDate())}`;
  return `${day} ${clockTime(time)}.${String(time.getMilliseconds()).padStart(3, '0')}`;
}

/** `14:03:04`, local. @param {Date} time */
export function clockTime(time) {
  return [time.getHours(), time.getMinutes(), time.getSeconds()]
    .map((part) => String(part).padStart(2, '0'))
    .join(':');
}

/**
 * Escapes of a terminal have no meaning here: control characters are shown by their codes, and those that turn the
 * direction of text, which could make a line read as another, as a replacement character.
 * @param {string} text
 */
export function printable(text) {
  return text.replaceAll(/[\u202a-\u202e\u2066-\u2069]/g, '\ufffd').replaceAll(/\p{Cc}/gu, (control) => {
    if (control === '\t' || control === '\n') return control;
    return `\\x${control.charCodeAt(0).toString(16).padStart(2, '0')}`;
  });
}

/** @type {Record<string, string>} */
const STATE_WORDS = {
  alive: 'up',
  suspect: 'slow to answer',
  dead: 'down',
  leaving: 'leaving',
  left: 'has left',
  gone: 'gone',
};

/** @param {string} state */
export function stateWord(state) {
  return Object.hasOwn(STATE_WORDS, state) ? STATE_WORDS[state] : state;
}
