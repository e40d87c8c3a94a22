/** The search box: a LogQL query to this peer, which asks the whole mesh; the newest lines or numbers, and the receipt. */
import { ask, NeedsToken } from './api.js';
import { byId, html, update } from './dom.js';
import { count, localTime, plural, printable } from './format.js';
import { receiptView } from './receipt.js';
import { more, table } from './tables.js';

/** @typedef {import('../../../gossip/index.ts').Receipt} Receipt */
/** @typedef {{ stream: Record<string, string>, values: [nanoseconds: string, line: string][] }} LokiStream */
/** @typedef {{ metric: Record<string, string>, values: [seconds: number, value: string][] }} LokiSeries */
/** @typedef {{ stats: { logvine?: Receipt } }} WithReceipt */
/** @typedef {{ resultType: 'streams', result: LokiStream[] } & WithReceipt} LokiLines */
/** @typedef {{ resultType: 'matrix', result: LokiSeries[] } & WithReceipt} LokiNumbers */
/** @typedef {{ data: LokiLines | LokiNumbers }} LokiAnswer */
/** @typedef {{ nanoseconds: bigint, line: string, labels: Record<string, string> }} Line */

const LINES_MAX = 100;
const SERIES_MAX = 100;
const ANSWER_MS_MAX = 130_000;
/** A line may be a mebibyte: the page shows its beginning. */
const LINE_SHOWN_MAX = 4000;
const ALL_TIME = { start: '0001-01-01T00:00:00Z', end: '9999-12-31T23:59:59Z' };
const LEVELS = new Set(['trace', 'debug', 'info', 'warn', 'error', 'critical', 'fatal']);

/** Wires the form. @param {(error: NeedsToken) => void} needsToken */
export function startSearch(needsToken) {
  const query = /** @type {HTMLInputElement} */ (byId('query'));
  const since = /** @type {HTMLSelectElement} */ (byId('since'));
  const receipt = byId('receipt');
  const lines = byId('lines');
  let running = new AbortController();

  async function search() {
    running.abort();
    const mine = (running = new AbortController());
    update(receipt, html('p', { class: 'hint' }, 'Searching …'));
    lines.setAttribute('aria-busy', 'true');
    try {
      const signal = AbortSignal.any([mine.signal, AbortSignal.timeout(ANSWER_MS_MAX)]);
      if (query.value.trim() === '') query.value = query.placeholder;
      const answer = /** @type {LokiAnswer} */ (await ask(pathOf(query.value, since.value), signal));
      showAnswer(answer, receipt, lines);
    } catch (error) {
      if (mine.signal.aborted) return;
      if (error instanceof NeedsToken) needsToken(error);
      update(receipt, html('p', { class: 'error', role: 'alert' }, html('bdi', {}, words(error))));
      lines.replaceChildren();
    } finally {
      if (mine === running) lines.removeAttribute('aria-busy');
    }
  }

  byId('search-form').addEventListener('submit', (event) => {
    event.preventDefault();
    void search();
  });
}

/**
 * @param {string} query
 * @param {string} since
 */
function pathOf(query, since) {
  const range = since === 'all' ? ALL_TIME : { since };
  const parameters = new URLSearchParams({
    query,
    limit: String(LINES_MAX),
    direction: 'backward',
    ...range,
  });
  return `loki/api/v1/query_range?${parameters}`;
}

/** @param {unknown} error */
function words(error) {
  if (error instanceof NeedsToken) return 'This peer asks for a token: see above, then search again.';
  if (error instanceof TypeError) return 'This peer does not answer.';
  if (error instanceof DOMException && error.name === 'TimeoutError')
    return 'The search took too long; try a smaller range.';
  return error instanceof Error ? error.message : String(error);
}

/**
 * @param {LokiAnswer} answer
 * @param {HTMLElement} receipt
 * @param {HTMLElement} target
 */
function showAnswer({ data }, receipt, target) {
  update(receipt, data.stats.logvine ? receiptView(data.stats.logvine) : undefined);
  if (data.resultType !== 'streams') {
    target.replaceChildren(...numbersView(data.result));
    return;
  }
  const found = newestFirst(data.result);
  if (found.length === 0) {
    target.replaceChildren(html('p', { class: 'empty' }, 'No line matches in this range.'));
    return;
  }
  const limited = found.length === LINES_MAX ? `The newest ${LINES_MAX} lines` : plural(found.length, 'line');
  target.replaceChildren(
    html('p', { class: 'hint' }, `${limited}, newest first. Open one for its labels.`),
    html('div', { class: 'lines' }, found.map(lineView)),
  );
}

/**
 * The last value of each series: their course is for a dashboard.
 * @param {LokiSeries[]} series
 */
function numbersView(series) {
  if (series.length === 0)
    return [
      html(
        'p',
        { class: 'empty' },
        'No value was found at the points of this range; in a shorter one they are closer together.',
      ),
    ];
  const rows = series.slice(0, SERIES_MAX).map(({ metric, values }, index) => {
    const [seconds, value] = values[values.length - 1];
    return {
      key: String(index),
      cells: [
        [html('bdi', { class: 'path mono' }, printable(labelsText(metric)))],
        [html('span', { class: 'number mono' }, value)],
        [html('span', { class: 'number' }, localTime(new Date(seconds * 1000)))],
      ],
    };
  });
  const what = `${plural(series.length, 'series', 'series')}, each with its last value in this range.`;
  return [
    html('p', { class: 'hint' }, what),
    table('Numbers', ['Series', 'Last value', 'At'], rows),
    more(series.length - SERIES_MAX, 'series'),
  ].filter((child) => child !== false);
}

/** @param {Record<string, string>} labels */
function labelsText(labels) {
  const pairs = Object.entries(labels).map(([name, value]) => `${name}=${JSON.stringify(value)}`);
  return `{${pairs.join(', ')}}`;
}

/**
 * @param {LokiStream[]} streams
 * @returns {Line[]}
 */
function newestFirst(streams) {
  return streams
    .flatMap(({ stream, values }) =>
      values.map(([nanoseconds, line]) => ({ nanoseconds: BigInt(nanoseconds), line, labels: stream })),
    )
    .sort((a, b) => (a.nanoseconds < b.nanoseconds ? 1 : a.nanoseconds > b.nanoseconds ? -1 : 0))
    .slice(0, LINES_MAX);
}

/** @param {Line} entry */
function lineView({ nanoseconds, line, labels }) {
  const named = labels.detected_level ?? labels.level ?? '';
  const level = LEVELS.has(named) ? named : 'unknown';
  const time = new Date(Number(nanoseconds / 1_000_000n));
  const exact = Number.isNaN(time.getTime()) ? `${nanoseconds} ns` : time.toISOString();
  const shown = printable(line.slice(0, LINE_SHOWN_MAX));
  const cut = line.length - LINE_SHOWN_MAX;
  return html(
    'details',
    { class: `entry level-${level}` },
    html(
      'summary',
      {},
      html('time', { datetime: exact, title: exact }, localTime(time)),
      html('span', { class: 'level' }, level === 'unknown' ? '·' : level),
      html(
        'bdi',
        { class: 'text' },
        shown,
        cut > 0 && html('span', { class: 'faint' }, ` … ${count(cut)} more characters`),
      ),
    ),
    html(
      'dl',
      { class: 'labels' },
      Object.entries(labels).map(([name, value]) =>
        html(
          'div',
          {},
          html('dt', {}, html('bdi', {}, name)),
          html('dd', {}, html('bdi', {}, printable(value))),
        ),
      ),
    ),
  );
}
