/** The page: asks its peer for the status every two seconds and shows it. */
import { ask, keepToken, NeedsToken } from './api.js';
import { byId, html, update } from './dom.js';
import { copiesView, footerView, identityView, ingestView, storeView } from './facts.js';
import { clockTime } from './format.js';
import { Poller } from './poller.js';
import { ringView } from './ring.js';
import { startSearch } from './search.js';
import { History } from './sparkline.js';
import { inputsView, membersView, originsView } from './tables.js';
import { verdictOf, verdictView } from './verdict.js';

/** @typedef {import('../../status.ts').Status} Status */

const HISTORY_MS = 5 * 60_000;
/** Samples further apart are not joined by a line. */
const SAMPLE_GAP_MS = 12_000;
const ANSWER_MS_MAX = 8000;

const ingest = new History(HISTORY_MS);
/** @type {Date | undefined} */
let answeredAt;

const poller = new Poller({
  ask: () => ask('api/v1/status', AbortSignal.timeout(ANSWER_MS_MAX)),
  answered: (answer) => show(/** @type {Status} */ (answer)),
  failed: showFailure,
  paused: () => showConnection('paused', 'paused'),
});

/** @param {Status} status */
function show(status) {
  answeredAt = new Date();
  const nowMs = answeredAt.getTime();
  ingest.add({ atMs: nowMs, value: status.ingest.bytesPerSecond });
  byId('token-form').hidden = true;
  byId('content').hidden = false;
  document.body.classList.remove('stale');
  showConnection('live', 'live');

  const verdict = verdictOf(status);
  document.title = `${verdict.tone === 'well' ? 'All well' : verdict.title} · Logvine`;
  update(byId('verdict'), verdictView(verdict));
  update(byId('identity'), identityView(status));
  update(byId('ring'), ringView(status));
  update(byId('ingest'), ingestView(status, ingest, nowMs, SAMPLE_GAP_MS));
  update(byId('copies'), copiesView(status));
  update(byId('store'), storeView(status));
  update(byId('members'), membersView(status));
  update(byId('inputs'), inputsView(status));
  update(byId('origins'), originsView(status));
  update(byId('footer'), footerView(status));
}

/**
 * @param {'live' | 'paused' | 'lost'} state
 * @param {string} text
 */
function showConnection(state, text) {
  update(byId('connection'), html('span', { class: `pulse ${state}` }, text));
}

/**
 * @param {unknown} error
 * @param {number} retryMs
 */
function showFailure(error, retryMs) {
  if (error instanceof NeedsToken) {
    askForToken(error);
    return;
  }
  document.body.classList.add('stale');
  document.title = 'No answer · Logvine';
  showConnection('lost', 'no answer');
  const known = answeredAt
    ? ` What is below was true at ${clockTime(answeredAt)}.`
    : ' Nothing is known yet.';
  const text = `It is asked again in ${Math.round(retryMs / 1000)} seconds.${known}`;
  const title = 'This peer does not answer';
  update(byId('verdict'), verdictView({ tone: 'severe', title, text, points: [] }));
}

/** @param {NeedsToken} error */
function askForToken(error) {
  poller.stop();
  document.title = 'Token needed · Logvine';
  showConnection('paused', 'token needed');
  update(byId('verdict'));
  document.body.classList.add('stale');
  update(byId('token-error'), error.message);
  byId('token-form').hidden = false;
  byId('token').focus();
}

byId('token-form').addEventListener('submit', (event) => {
  event.preventDefault();
  const field = /** @type {HTMLInputElement} */ (byId('token'));
  if (!keepToken(field.value.trim())) {
    update(byId('token-error'), 'A token has only letters, digits and signs, without spaces.');
    return;
  }
  field.value = '';
  poller.start();
});

document.addEventListener('visibilitychange', () => {
  if (document.hidden) poller.pause();
  else poller.resume();
});

startSearch(askForToken);
poller.start();
