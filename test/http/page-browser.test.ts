import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { after, before, describe, test } from 'node:test';
import { chromium, type Browser, type BrowserContextOptions, type Page } from 'playwright-core';
import { matrix, PagePeer, PUSH_TOKEN, streams } from './page-peer.ts';
import { ALICE, alone, healthy, incompleteReceipt, member, troubled } from './status-fixtures.ts';

const CHROMIUM = '/usr/bin/chromium';
const CHROMIUM_ARGUMENTS = [
  '--no-sandbox',
  '--disable-gpu',
  '--disable-quic',
  '--no-first-run',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
];
const DEADLINE_MS = 20_000;
const POLL_MS = 2000;

const suite = existsSync(CHROMIUM) ? {} : { skip: `${CHROMIUM} is not here` };

describe('page in a browser', suite, () => {
  let browser: Browser;
  before(async () => {
    browser = await chromium.launch({ executablePath: CHROMIUM, args: CHROMIUM_ARGUMENTS });
  });
  after(() => browser?.close());

  /** A page on `peer` whose clock the test turns. Fails the test when a script fails, the policy objects or a dialog opens. */
  async function visit(
    peer: PagePeer,
    use: (page: Page) => Promise<void>,
    options: BrowserContextOptions = {},
  ): Promise<void> {
    const context = await browser.newContext({ viewport: { width: 1240, height: 900 }, ...options });
    const complaints: string[] = [];
    try {
      const page = await context.newPage();
      page.setDefaultTimeout(DEADLINE_MS);
      page.on('pageerror', (error) => complaints.push(error.message));
      page.on('dialog', (dialog) => {
        complaints.push(`dialog: ${dialog.message()}`);
        void dialog.dismiss();
      });
      page.on('console', (message) => {
        // The browser itself writes down each request that failed, which some tests are about.
        const isExpected = message.text().startsWith('Failed to load resource');
        if (message.type() === 'error' && !isExpected) complaints.push(message.text());
      });
      await page.clock.install();
      await page.goto(peer.url);
      await use(page);
    } finally {
      await context.close();
    }
    assert.deepEqual(complaints, []);
  }

  async function banner(page: Page, text: string): Promise<void> {
    await page.locator('.banner h2', { hasText: text }).waitFor();
  }

  test('a healthy mesh at a glance', async () => {
    await using peer = await PagePeer.start();
    await visit(peer, async (page) => {
      await banner(page, 'All well');
      assert.equal(await page.title(), 'All well · Logvine');
      assert.equal(await page.locator('.up-count').textContent(), '3/3');
      assert.equal(await page.locator('.donut .arc').count(), 6);
      assert.equal(await page.locator('#members tbody tr').count(), 3);
      assert.match(await page.locator('#inputs').innerText(), /nginx\/access\.log[^]*41\.0\sMiB to read/);
      assert.match(await page.locator('#origins').innerText(), /oBOB22[^]*1 batch on the way/);
      assert.match(await page.locator('#ingest').innerText(), /3\.40\sMiB\/s/);
      const store = await page.locator('#store').innerText();
      assert.match(store, /in 1,877 batches, compressed to 24\s% of their size/);
      assert.match(store, /Size of the lines\s+1\.75\sGiB/);
      const links = await page
        .locator('#members a')
        .evaluateAll((all) => all.map((link) => link.getAttribute('href')));
      assert.deepEqual(links, ['http://127.0.0.1:7422/', 'http://127.0.0.1:7424/']);
    });
    assert.deepEqual(peer.strayPaths, []);
  });

  test('a dead member, debt and problems come first', async () => {
    await using peer = await PagePeer.start();
    peer.status = troubled();
    await visit(peer, async (page) => {
      await banner(page, '3 things to look at');
      assert.match(await page.locator('.banner li').first().innerText(), /1 of 3 peers is down/);
      assert.equal(await page.locator('.up-count').textContent(), '2/3');
      assert.equal(await page.locator('.donut .arc.dead').count(), 2, 'hatched, outside and inside');
      assert.match(await page.locator('#members tbody tr').first().innerText(), /oBOB22[^]*down/);
      assert.match(await page.locator('#copies').innerText(), /312 batches owed[^]*71\.0\sMiB/);
      assert.match(await page.locator('#inputs').innerText(), /permission denied[^]*2 gaps \(79\.3\sKiB\)/);
      const hrefs = await page
        .locator('a')
        .evaluateAll((all) => all.map((link) => link.getAttribute('href')));
      assert.ok(
        hrefs.every((href) => !href?.startsWith('javascript:')),
        'an address of a peer is not code',
      );
    });
  });

  test('members that have left or are gone are not counted; they come last, without a link', async () => {
    await using peer = await PagePeer.start();
    const absent = [
      member('12D3KooWAAAgone', { state: 'gone' }),
      member('12D3KooWAAAleft', { state: 'left' }),
    ];
    peer.status = { ...healthy(), members: [...absent, ...healthy().members] };
    await visit(peer, async (page) => {
      await banner(page, 'All well');
      assert.equal(await page.locator('.up-count').textContent(), '3/3');
      const rows = await page.locator('#members tbody tr').allInnerTexts();
      assert.equal(rows.length, 5);
      assert.match(rows[3], /AAgone[^]*gone/);
      assert.match(rows[4], /AAleft[^]*has left/);
      assert.equal(await page.locator('#members tbody tr').nth(3).locator('a').count(), 0);
      assert.equal(await page.locator('#members tbody tr').nth(4).locator('a').count(), 0);
    });
  });

  test('a node alone', async () => {
    await using peer = await PagePeer.start();
    peer.status = alone();
    await visit(peer, async (page) => {
      await banner(page, 'All well');
      assert.equal(await page.locator('.up-count').textContent(), '1/1');
      assert.match(await page.locator('#inputs').innerText(), /tails nothing/);
    });
  });

  test('it follows the status, and keeps the focus meanwhile', async () => {
    await using peer = await PagePeer.start();
    await visit(peer, async (page) => {
      await banner(page, 'All well');
      // Its row moves to the top when the peer dies.
      await page.locator('#members a[href*="7424"]').focus();
      const [alice, bob, charlie] = healthy().members;
      peer.status = { ...healthy(), members: [alice, bob, { ...charlie, state: 'dead' }] };
      await page.clock.fastForward(POLL_MS);
      await page.locator('#members tbody tr').first().getByText('CHARL3').waitFor();
      assert.equal(await focused(page), 'http://127.0.0.1:7424/');
      peer.status = { ...healthy(), ingest: { bytesTaken: 1, bytesPerSecond: 77 } };
      await page.clock.fastForward(POLL_MS);
      await banner(page, 'All well');
      await page.locator('#ingest .figure', { hasText: '77' }).waitFor();
      assert.equal(await focused(page), 'http://127.0.0.1:7424/');
    });
  });

  function focused(page: Page): Promise<string> {
    return page.evaluate<string>('document.activeElement?.href');
  }

  test('a peer that does not answer is said to; it is asked less often, and found again', async () => {
    await using peer = await PagePeer.start();
    await visit(peer, async (page) => {
      await banner(page, 'All well');
      peer.answers = false;
      await page.clock.fastForward(POLL_MS);
      await banner(page, 'This peer does not answer');
      await page.locator('.banner p', { hasText: 'asked again in 4 seconds' }).waitFor();
      await page.clock.fastForward(2 * POLL_MS);
      await page.locator('.banner p', { hasText: 'asked again in 8 seconds' }).waitFor();
      assert.equal(await page.title(), 'No answer · Logvine');
      assert.ok(await page.locator('#members').isVisible(), 'what was known stays');
      peer.answers = true;
      await page.clock.fastForward(4 * POLL_MS);
      await banner(page, 'All well');
      assert.equal(await page.locator('.stale').count(), 0);
    });
  });

  test('nobody looks: nothing is asked', async () => {
    await using peer = await PagePeer.start();
    await visit(peer, async (page) => {
      await banner(page, 'All well');
      await setHidden(page, true);
      await page.locator('.pulse.paused').waitFor();
      const asked = peer.statusAsked;
      await page.clock.fastForward(60 * POLL_MS);
      assert.equal(peer.statusAsked, asked);
      await setHidden(page, false);
      await page.locator('.pulse.live').waitFor();
      assert.equal(peer.statusAsked, asked + 1);
    });
  });

  async function setHidden(page: Page, hidden: boolean): Promise<void> {
    await page.evaluate(
      `Object.defineProperty(document, 'hidden', { configurable: true, value: ${hidden} });
       document.dispatchEvent(new Event('visibilitychange'))`,
    );
  }

  test('a search shows lines, newest first, and the receipt; no line runs', async () => {
    await using peer = await PagePeer.start();
    const hostile = '<img src=x onerror=alert(1)><script>alert(2)</script>\u001b[31m \u202egnp';
    peer.answer.body = streams([
      {
        stream: { job: 'a', detected_level: 'error', '<b>': '<img src=y>' },
        values: [['1700000002000000001', hostile]],
      },
      {
        stream: { job: 'b', detected_level: 'info' },
        values: [
          ['1700000003000000000', 'newest'],
          ['1700000002000000000', 'oldest'],
        ],
      },
    ]);
    await visit(peer, async (page) => {
      await banner(page, 'All well');
      await page.fill('#query', '{job=~".+"} |= "a b&c"');
      await page.selectOption('#since', '24h');
      await page.press('#query', 'Enter');
      await page.locator('.receipt.whole').waitFor();
      assert.match(
        await page.locator('.receipt').innerText(),
        /This answer is whole\. 124 batches in this range/,
      );
      const shown = '<img src=x onerror=alert(1)><script>alert(2)</script>\\x1b[31m \ufffdgnp';
      assert.deepEqual(await page.locator('.entry .text').allTextContents(), ['newest', shown, 'oldest']);
      assert.equal(await page.locator('.entry img, .entry script').count(), 0);
      assert.deepEqual(await page.locator('.entry .level').allTextContents(), ['info', 'error', 'info']);
      await page.locator('.entry summary').nth(1).press('Enter');
      assert.match(await page.locator('.entry[open] .labels').innerText(), /<b>\s+<img src=y>/);
    });
    const [asked] = peer.searches;
    assert.equal(asked.get('query'), '{job=~".+"} |= "a b&c"');
    assert.deepEqual(
      ['since', 'limit', 'direction'].map((name) => asked.get(name)),
      ['24h', '100', 'backward'],
    );
    assert.deepEqual(peer.strayPaths, []);
  });

  test('numbers are a table of series with their last values; no label runs', async () => {
    await using peer = await PagePeer.start();
    const metric = { app: '<img src=x onerror=alert(1)>' };
    const values: [number, string][] = [
      [1_700_000_000, '1'],
      [1_700_000_060, '+Inf'],
    ];
    const others = Array.from({ length: 120 }, (_, at) => ({ metric: { app: `a${at}` }, values }));
    peer.answer.body = matrix([{ metric, values }, ...others]);
    await visit(peer, async (page) => {
      await banner(page, 'All well');
      await page.fill('#query', 'sum by (app) (rate({a="b"}[5m]))');
      await page.press('#query', 'Enter');
      await page.locator('.receipt.whole').waitFor();
      const rows = await page.locator('#lines tbody tr').allInnerTexts();
      assert.equal(rows.length, 100);
      assert.match(rows[0], /^\{app="<img src=x onerror=alert\(1\)>"\}\s+\+Inf\s+2023-11-14/);
      assert.match(await page.locator('#lines').innerText(), /121 series[^]*and 21 more series/);
      peer.answer.body = matrix([]);
      await page.press('#query', 'Enter');
      await page.locator('#lines .empty', { hasText: 'No value was found' }).waitFor();
    });
  });

  test('an answer that is not whole says so; all time has no bounds', async () => {
    await using peer = await PagePeer.start();
    peer.answer.body = streams([], incompleteReceipt());
    await visit(peer, async (page) => {
      await banner(page, 'All well');
      await page.selectOption('#since', 'all');
      await page.click('#search-form button');
      await page.locator('.receipt.partial').waitFor();
      const text = await page.locator('.receipt').innerText();
      assert.match(text, /not whole: 5 of 124 batches are missing, 1 peer is silent/);
      assert.match(text, /batches 514 to 518 of …oBOB22/);
      assert.match(await page.locator('#lines').innerText(), /No line matches/);
    });
    assert.equal(peer.searches[0].get('since'), null);
    assert.equal(peer.searches[0].get('start'), '0001-01-01T00:00:00Z');
  });

  test('a wrong query shows the error of the peer', async () => {
    await using peer = await PagePeer.start();
    peer.answer = { status: 400, body: { status: 'error', message: 'parse error at 1:3: expected a label' } };
    await visit(peer, async (page) => {
      await banner(page, 'All well');
      await page.fill('#query', '{{');
      await page.press('#query', 'Enter');
      await page.locator('#receipt .error', { hasText: 'parse error at 1:3' }).waitFor();
    });
  });

  test('a very long line is cut, and says by how much', async () => {
    await using peer = await PagePeer.start();
    peer.answer.body = streams([{ stream: {}, values: [['1700000003000000000', 'x'.repeat(1_000_000)]] }]);
    await visit(peer, async (page) => {
      await banner(page, 'All well');
      await page.click('#search-form button');
      await page.locator('.entry .faint', { hasText: '996,000 more characters' }).waitFor();
    });
  });

  test('a token is asked for, kept for the tab, and sent', async () => {
    await using peer = await PagePeer.start();
    peer.token = 's3cret';
    await visit(peer, async (page) => {
      await page.locator('#token-form').waitFor();
      assert.equal(await page.evaluate('document.activeElement?.id'), 'token');
      await page.fill('#token', 'wrong');
      await page.press('#token', 'Enter');
      await page.locator('#token-error', { hasText: 'not accepted' }).waitFor();
      await page.fill('#token', PUSH_TOKEN);
      await page.press('#token', 'Enter');
      await page.locator('#token-error', { hasText: 'may not query' }).waitFor();
      await page.fill('#token', 's3cret');
      await page.press('#token', 'Enter');
      await banner(page, 'All well');
      assert.ok(await page.locator('#token-form').isHidden());
      await page.reload();
      await banner(page, 'All well');
      assert.equal(await page.evaluate('localStorage.length'), 0);
    });
  });

  test('a mesh of hundreds is drawn in bounds, and who is down is seen', async () => {
    await using peer = await PagePeer.start();
    const many = Array.from({ length: 400 }, (_, index) =>
      member(`12D3KooWmember${index}`, { share: 1 / 400, state: index === 317 ? 'dead' : 'alive' }),
    );
    peer.status = { ...healthy(), members: [member(ALICE, { share: 1 / 400 }), ...many] };
    await visit(peer, async (page) => {
      await banner(page, 'One thing to look at');
      assert.equal(await page.locator('.up-count').textContent(), '400/401');
      assert.ok((await page.locator('.donut .arc').count()) <= 122);
      assert.equal(await page.locator('.donut .arc.dead').count(), 2);
      assert.match(await page.locator('#members tbody tr').first().innerText(), /er317[^]*down/);
      assert.match(await page.locator('#members').innerText(), /and 301 more members/);
    });
  });

  for (const colorScheme of ['light', 'dark'] as const) {
    test(`a phone, ${colorScheme}: nothing sticks out, and text stands out from its ground`, async () => {
      await using peer = await PagePeer.start();
      peer.status = troubled();
      const viewport = { width: 390, height: 844 };
      await visit(
        peer,
        async (page) => {
          await banner(page, '3 things to look at');
          assert.equal(await page.evaluate('document.documentElement.scrollWidth'), viewport.width);
          for (const selector of ['.hint', '.banner h2', '.banner p', 'td .warn', 'button', '.identity']) {
            assert.ok((await contrast(page, selector)) >= 4.5, `${selector} has too little contrast`);
          }
        },
        { viewport, isMobile: true, colorScheme },
      );
    });
  }

  /** WCAG's contrast ratio of the first element's text to the nearest opaque ground. */
  function contrast(page: Page, selector: string): Promise<number> {
    return page.evaluate<number>(`(() => {
      let ground = document.querySelector(${JSON.stringify(selector)});
      const text = getComputedStyle(ground).color;
      while (getComputedStyle(ground).backgroundColor.endsWith(', 0)')) ground = ground.parentElement;
      const [a, b] = [text, getComputedStyle(ground).backgroundColor].map((color) => {
        const [r, g, b] = color.match(/[\\d.]+/g).map((part) => {
          const value = part / 255;
          return value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4;
        });
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
      });
      return (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    })()`);
  }
});
