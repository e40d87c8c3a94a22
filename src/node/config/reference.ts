import { stringify } from 'yaml';
import { KNOBS, type Knob } from './knobs.ts';
import type { Setting } from './load.ts';

/** The table of docs/configuration.md: every key, its variable, its default and what it does. Markdown. */
export function referenceTable(): string {
  const rows = KNOBS.map(({ key, variable, defaultValue, allowed, description }) => {
    const cells = [
      `\`${key}\``,
      variable ? `\`${variable}\`` : '',
      defaultValue === undefined ? '' : `\`${inline(defaultValue)}\``,
      `${description} Allowed: ${allowed}.`,
    ];
    return `| ${cells.map((cell) => cell.replaceAll('|', '\\|')).join(' | ')} |`;
  });
  return ['| key | environment | default | what it does |', '| --- | --- | --- | --- |', ...rows].join('\n');
}

/** A first configuration file: every key with what it does, commented out, and the given ones set. */
export function commentedFile(set: Readonly<Record<string, unknown>>): string {
  const lines = [
    '# Configuration of a Logvine node. Flags and environment variables win over this file.',
    '# What is commented out shows the default, or an example where there is none.',
  ];
  let section = '';
  for (const knob of KNOBS.filter(({ key }) => !key.includes('[]'))) {
    const [head, ...rest] = knob.path;
    const isNested = rest.length > 0;
    lines.push('');
    if (isNested && head !== section) lines.push(`# ${head}:`);
    section = isNested ? head : '';
    lines.push(...wrap(`${knob.description} Allowed: ${knob.allowed}.`));
    lines.push(...example(knob, set, isNested ? '  ' : ''));
  }
  return `${lines.join('\n')}\n`;
}

const EXAMPLES: Readonly<Record<string, unknown>> = {
  announce: ['logs-1.example.net:7421'],
  join: ['logs-1.example.net:7421'],
  labels: { env: 'production' },
  zone: 'rack-1',
  ack: 2,
  workers: 1,
  'inputs.tail': [{ paths: ['/var/log/*.log'], labels: { job: 'system' }, exclude: ['/var/log/private*'] }],
  secretFile: 'logvine.secret',
  'retention.ageMax': '30d',
  'retention.bytesMax': '500GiB',
  'retention.streams': [{ selector: '{level="debug"}', ageMax: '3d' }],
};

function example(knob: Knob, set: Readonly<Record<string, unknown>>, indent: string): string[] {
  const name = knob.path[knob.path.length - 1];
  const isSet = Object.hasOwn(set, knob.key);
  const value = isSet ? set[knob.key] : (EXAMPLES[knob.key] ?? knob.defaultValue ?? `/etc/logvine/${name}`);
  const mark = isSet ? '' : '# ';
  return stringify({ [name]: value })
    .trimEnd()
    .split('\n')
    .map((line) => `${mark}${indent}${line}`);
}

function wrap(text: string): string[] {
  const lines: string[] = [];
  let line = '#';
  for (const word of text.split(' ')) {
    if (line.length + word.length > 100) {
      lines.push(line);
      line = '#';
    }
    line += ` ${word}`;
  }
  return [...lines, line];
}

/** The effective configuration as text: a key a line, with who said so. */
export function settingsText(settings: readonly Setting[]): string {
  const rows = settings.map(({ key, value, source }) => ({
    left: `${key}: ${value === undefined ? '' : inline(value)}`.trimEnd(),
    source,
  }));
  const width = Math.min(60, Math.max(...rows.map(({ left }) => left.length)));
  return `${rows.map(({ left, source }) => `${left.padEnd(width)}  # ${source}`).join('\n')}\n`;
}

function inline(value: unknown): string {
  return typeof value === 'object' ? JSON.stringify(value) : String(value);
}
