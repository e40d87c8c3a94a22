import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import type { Receipt } from '../../src/gossip/index.ts';
import { CONTENT_SECURITY_POLICY, pageFiles } from '../../src/node/http/page.ts';
import type { Status } from '../../src/node/status.ts';
import { ALICE, alone, healthy, incompleteReceipt, member, receipt, troubled } from './status-fixtures.ts';

/** The page's modules are plain JavaScript for a browser; those without a document also load here. */
async function moduleOf(name: string): Promise<unknown> {
  return import(new URL(`../../src/node/http/page/${name}`, import.meta.url).href);
}

interface Verdict {
  readonly tone: string;
  readonly title: string;
  readonly text: string;
  readonly points: readonly { message: string }[];
}
const { verdictOf } = (await moduleOf('verdict.js')) as { verdictOf(status: Status): Verdict };
const { receiptWords } = (await moduleOf('receipt.js')) as {
  receiptWords(receipt: Receipt): { complete: boolean; title: string; text: string; points: string[] };
};
const format = (await moduleOf('format.js')) as {
  printable(text: string): string;
  size(bytes: number): string;
  duration(seconds: number): string;
  percent(part: number): string;
};

const files = await pageFiles();

function textOf(path: string): string {
  const file = files.get(path);
  assert.ok(file, `${path} is not served`);
  return file.body.toString('utf8');
}

function ofType(extension: string): [path: string, text: string][] {
  return [...files.keys()].filter((path) => path.endsWith(extension)).map((path) => [path, textOf(path)]);
}

describe('page files', () => {
  test('the policy is exactly the strict one', () => {
    assert.equal(
      CONTENT_SECURITY_POLICY,
      "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; " +
        "base-uri 'none'; frame-ancestors 'none'; form-action 'none'",
    );
    assert.doesNotMatch(CONTENT_SECURITY_POLICY, /unsafe|\*|https?:/);
  });

  test('everything that the page loads is served, with its type', () => {
    const types = {
      html: /^text\/html/,
      css: /^text\/css/,
      js: /^text\/javascript/,
      svg: /^image\/svg\+xml/,
    };
    for (const [path, { contentType, body }] of files) {
      const extension = path === '/' ? 'html' : path.slice(path.lastIndexOf('.') + 1);
      assert.match(contentType, types[extension as keyof typeof types], path);
      assert.ok(body.length > 0, path);
    }
    const loaded = [...textOf('/').matchAll(/(?:src|href)="(page\/[^"]+)"/g)].map(([, path]) => `/${path}`);
    assert.ok(loaded.length >= 5);
    for (const [path, text] of ofType('.js')) {
      for (const [, name] of text.matchAll(/^(?:import|export) [^;]*? from '([^']+)'/gm)) {
        loaded.push(new URL(name, `http://peer${path}`).pathname);
      }
    }
    for (const path of loaded) assert.ok(files.has(path), `${path} is loaded and not served`);
    for (const path of files.keys()) {
      assert.ok(path === '/' || loaded.includes(path), `${path} is served and never loaded`);
    }
  });

  test('nothing is inline, and nothing comes from elsewhere', () => {
    const html = textOf('/');
    assert.doesNotMatch(html, /<style|\sstyle=|\son[a-z]+\s*=|javascript:/i);
    for (const [, attributes, body] of html.matchAll(/<script([^>]*)>([^]*?)<\/script>/g)) {
      assert.match(attributes, /src="page\//);
      assert.equal(body.trim(), '');
    }
    for (const [path, text] of [['/', html] as const, ...ofType('.css')]) {
      assert.doesNotMatch(text, /https?:\/\/|@import/, path);
    }
  });

  test('no module turns text into markup or code', () => {
    const modules = ofType('.js');
    assert.ok(modules.length > 8);
    const markup =
      /innerHTML|outerHTML|insertAdjacentHTML|document\.write|createContextualFragment|DOMParser|srcdoc|setHTML|\beval\b|new Function|setAttribute\('(?:on|style)/;
    for (const [path, text] of modules) assert.doesNotMatch(text, markup, path);
  });
});

describe('verdict', () => {
  test('a healthy mesh is well, and says why', () => {
    const { tone, title, text } = verdictOf(healthy());
    assert.deepEqual([tone, title], ['well', 'All well']);
    assert.equal(text, 'All 3 peers are up. Every batch of this peer has its 3 copies.');
  });

  test('problems come first, in words; the debt is told', () => {
    const { tone, title, text, points } = verdictOf(troubled());
    assert.deepEqual([tone, title], ['trouble', '3 things to look at']);
    assert.equal(points[0].message, '1 of 3 peers is down: …oBOB22');
    assert.match(
      text,
      /2 of 3 peers are up\. 1 peer is slow to answer\. 312 batches \(71\.0\sMiB\) of this peer, or of peers that are away, have fewer than 3/,
    );
  });

  test('a dead member is never "all well", even if nobody made a problem of it', () => {
    const { tone, points } = verdictOf({ ...troubled(), problems: [] });
    assert.equal(tone, 'trouble');
    assert.deepEqual(points, [{ message: '1 of 3 peers is down' }]);
  });

  test('one that is up is one', () => {
    const members = [member(ALICE), member('bob', { state: 'dead' })];
    assert.match(verdictOf({ ...healthy(), members }).text, /^1 of 2 peers is up\./);
  });

  test('members that left are not missed', () => {
    const status = healthy();
    const left = member('peer-that-left', { state: 'left' });
    assert.equal(verdictOf({ ...status, members: [...status.members, left] }).tone, 'well');
  });

  test('one identity twice is severe', () => {
    const problems = [{ code: 'LV_IDENTITY_CONFLICT', message: 'two nodes run with one identity' }];
    assert.equal(verdictOf({ ...healthy(), problems }).tone, 'severe');
  });

  test('unsafe data is severe', () => {
    const problems = [{ code: 'LV_DATA_UNSAFE', message: 'fsync failed' }];
    assert.equal(verdictOf({ ...healthy(), problems }).tone, 'severe');
  });

  test('a node alone does not boast of copies', () => {
    assert.match(verdictOf(alone()).text, /^This peer is alone: what it holds is on this one disk\./);
    const wanting3 = { ...alone(), replication: { ...alone().replication, k: 3 } };
    assert.match(verdictOf(wanting3).text, /With more peers, batches get 3 copies/);
  });

  test('two of three copies are not called three', () => {
    const two = { ...healthy(), members: [member(ALICE), member('bob')] };
    assert.match(verdictOf(two).text, /Every batch of this peer has 2 copies; with more peers it gets 3/);
  });
});

describe('receipt in words', () => {
  test('a whole answer', () => {
    const { complete, title, text, points } = receiptWords(receipt());
    assert.deepEqual([complete, title, points], [true, 'This answer is whole.', []]);
    assert.match(text, /124 batches in this range: 12 read, 110 ruled out by an index, 2 not needed/);
    assert.match(text, /3 of 3 peers answered/);
  });

  test('what is missing is named: batches, time, last owners; and who is silent', () => {
    const { title, points } = receiptWords(incompleteReceipt());
    assert.equal(title, 'This answer is not whole: 5 of 124 batches are missing, 1 peer is silent.');
    assert.match(points[0], /batches 514 to 518 of …oBOB22 \(epoch 2\), lines from 2026-11-21T04:10.* to /);
    assert.match(points[0], /last held by …oBOB22, …CHARL3: no peer that holds it can be reached/);
    assert.match(points[1], /…CHARL3 was not heard since 2026-11-21T04:11:02.000Z: .* after batch 155/);
  });

  test('a mesh that was not found is not a peer', () => {
    const searching = {
      peer: 'every peer of the mesh to join',
      epoch: null,
      durableSeq: null,
      lastHeard: null,
    };
    const { points } = receiptWords(receipt({ complete: false, silent: [searching] }));
    assert.match(points[0], /^every peer of the mesh to join: none has answered yet/);
  });

  test('one batch, nothing known of it; what expired is not missing', () => {
    const [missing] = incompleteReceipt().missing;
    const lost = {
      ...missing,
      toSeq: 514,
      fromTime: null,
      toTime: null,
      lastOwners: [],
      reason: 'corrupt' as const,
    };
    const { title, text, points } = receiptWords(receipt({ complete: false, missing: [lost], expired: 7 }));
    assert.match(title, /1 of 124 batches is missing/);
    assert.equal(points[0], 'batch 514 of …oBOB22 (epoch 2): every copy that can be reached is damaged');
    assert.match(text, /7 batches expired by retention/);
  });

  test('an endless list is cut', () => {
    const missing = Array.from({ length: 500 }, () => incompleteReceipt().missing[0]);
    const { points } = receiptWords(receipt({ complete: false, missing }));
    assert.equal(points.length, 21);
    assert.equal(points[20], 'and 480 more');
  });
});

describe('format', () => {
  test('sizes, durations, shares', () => {
    const spaced = (text: string): string => text.replaceAll('\u00a0', ' ');
    const sizes = [0, 999, 1000, 1536 * 1024, 71 * 2 ** 20, 5e15].map((bytes) => spaced(format.size(bytes)));
    assert.deepEqual(sizes, ['0 B', '999 B', '0.98 KiB', '1.50 MiB', '71.0 MiB', '4.44 PiB']);
    const durations = [0, 59, 3600, 90_061].map((seconds) => spaced(format.duration(seconds)));
    assert.deepEqual(durations, ['0 s', '59 s', '1 h', '1 d 1 h']);
    const shares = [0, 0.021, 0.341, 1].map((part) => spaced(format.percent(part)));
    assert.deepEqual(shares, ['0 %', '2.1 %', '34 %', '100 %']);
  });

  test('a line keeps its text and loses what steers', () => {
    assert.equal(format.printable('a\tb\n\u001b[31mred\u0007\r'), 'a\tb\n\\x1b[31mred\\x07\\x0d');
    assert.equal(format.printable('user \u202egnp.exe'), 'user \ufffdgnp.exe');
    assert.equal(format.printable('שלום 🌿 naïve'), 'שלום 🌿 naïve');
    fc.assert(
      fc.property(fc.string({ unit: 'binary' }), (text) => {
        assert.doesNotMatch(format.printable(text), /[^\P{Cc}\t\n]|[\u202a-\u202e\u2066-\u2069]/u);
      }),
    );
  });
});
