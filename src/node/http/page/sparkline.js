/** The last minutes of a rate as a line. */
import { svg } from './dom.js';

/** @typedef {{ atMs: number, value: number }} Sample */

const WIDTH = 600;
const HEIGHT = 90;
const PAD = 3;

/** Keeps the samples of the last `windowMs`. */
export class History {
  /** @type {Sample[]} */
  samples = [];

  /** @param {number} windowMs */
  constructor(windowMs) {
    this.windowMs = windowMs;
  }

  /** @param {Sample} sample */
  add(sample) {
    this.samples.push(sample);
    const from = sample.atMs - this.windowMs;
    // One sample before the window stays, so that the line begins at its edge.
    while (this.samples.length > 2 && this.samples[1].atMs <= from) this.samples.shift();
  }

  max() {
    return this.samples.reduce((most, { value }) => Math.max(most, value), 0);
  }
}

/**
 * @param {History} history
 * @param {number} nowMs
 * @param {number} gapMs Samples further apart are not joined: nobody looked.
 * @param {string} label
 */
export function sparkline(history, nowMs, gapMs, label) {
  const max = history.max() || 1;
  const x = (/** @type {number} */ atMs) => round(WIDTH - ((nowMs - atMs) / history.windowMs) * WIDTH);
  const y = (/** @type {number} */ value) => round(HEIGHT - PAD - (value / max) * (HEIGHT - 2 * PAD));
  let line = '';
  let area = '';
  for (const run of runsOf(history.samples, gapMs)) {
    const points = run.map(({ atMs, value }) => `${x(atMs)} ${y(value)}`).join(' L');
    line += `M${points} `;
    area += `M${x(run[0].atMs)} ${HEIGHT} L${points} L${x(run[run.length - 1].atMs)} ${HEIGHT} Z `;
  }
  return svg(
    'svg',
    {
      class: 'sparkline',
      viewBox: `0 0 ${WIDTH} ${HEIGHT}`,
      preserveAspectRatio: 'none',
      role: 'img',
      'aria-label': label,
    },
    svg('path', { class: 'area', d: area }),
    svg('path', { class: 'line', d: line, 'vector-effect': 'non-scaling-stroke' }),
  );
}

/**
 * @param {Sample[]} samples
 * @param {number} gapMs
 */
function runsOf(samples, gapMs) {
  /** @type {Sample[][]} */
  const runs = [];
  for (const [index, sample] of samples.entries()) {
    if (index === 0 || sample.atMs - samples[index - 1].atMs > gapMs) runs.push([]);
    runs[runs.length - 1].push(sample);
  }
  return runs;
}

/** @param {number} value */
function round(value) {
  return Math.round(value * 10) / 10;
}
