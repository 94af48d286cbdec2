// Questions about a recording: each command's answer, and what is said of files that are none.

import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect, test } from 'vitest';
import { answer, apicscope, temporaryFolder } from './apicscope.ts';

const folder = temporaryFolder();
const recording = join(folder, 'r01.apicrec');

interface Step {
  readonly step: number;
  readonly actor: string;
  readonly function: string;
  readonly label: string;
}

interface Shown {
  readonly position: number;
  readonly step?: Step & { readonly stack: readonly unknown[] };
  readonly next?: Step;
  readonly fields: Readonly<Record<string, unknown>>;
}

beforeAll(async () => {
  await apicscope(['run', 'R01-k4.15-buggy', '-o', recording]);
});

test('info tells what the recording is', async () => {
  const { status, json } = await answer<Record<string, unknown>>('info', recording);
  expect(status).toBe(0);
  expect(json).toMatchObject({
    scenario: 'R01-k4.15-buggy',
    profile: 'k4.15',
    switches: { 'apic-reload-hook': 'range_start' },
    schedule: expect.stringMatching(/^mm\*/),
    steps: expect.any(Number),
    modelVersion: expect.any(String),
    bytes: readFileSync(recording).length,
  });
  expect(json['findings']).toContainEqual(
    expect.objectContaining({ invariant: 'inv-apic-access-hpa', function: 'vmEntry' }),
  );
  expect(json).not.toHaveProperty('recoveredTo');
});

test('the step that broke an invariant is found, and the state around it differs as told', async () => {
  const bisected = await answer<{ lastGood: number; firstBad: number; step: Step }>(
    'bisect',
    recording,
    '--invariant',
    'inv-apic-access-hpa',
  );
  const { lastGood, firstBad, step } = bisected.json;
  expect(bisected.status).toBe(0);
  expect(firstBad).toBe(lastGood + 1);
  expect(step).toMatchObject({ step: lastGood, actor: 'vcpu0', function: 'vmEntry' });
  const glob = 'vcpu[0].non_root';
  const at = (position: number) =>
    answer<Shown>('show', recording, '--at', String(position), '--field', glob);
  const [good, bad] = [(await at(lastGood)).json, (await at(firstBad)).json];
  expect([good.fields, bad.fields]).toEqual([{ [glob]: false }, { [glob]: true }]);
  expect(good.next?.step).toBe(lastGood);
  expect(bad.step).toMatchObject(step);
  const { json } = await answer('diff', recording, `${lastGood}`, `${firstBad}`, '--field', glob);
  expect(json).toMatchObject({ changes: [{ path: glob, from: false, to: true }] });
});

test('show begins at the boot image and ends at the last position', async () => {
  const boot = await answer<Shown>('show', recording, '--at', '0', '--field', 'vcpu[0].mode');
  expect(boot.json).toMatchObject({ position: 0, fields: { 'vcpu[0].mode': 0 } });
  expect(boot.json).not.toHaveProperty('step');
  const { json } = await answer<Shown>('show', recording, '--field', 'vcpu[*].mode');
  expect(json).not.toHaveProperty('next');
  expect(Object.keys(json.fields)).toEqual(['vcpu[0].mode']);
});

test('writers come newest first, inside the range and the limit', async () => {
  const ask = async (...more: string[]) =>
    (await answer<{ steps: Step[] }>('writers', recording, 'vcpu[0].mode', ...more)).json.steps;
  const all = (await ask()).map(({ step }) => step);
  expect(all.length).toBeGreaterThan(2);
  expect(all).toEqual(all.toSorted((a, b) => b - a));
  expect((await ask('--limit', '1')).map(({ step }) => step)).toEqual(all.slice(0, 1));
  const [, second = 0] = all;
  expect((await ask('--before', `${second}`)).map(({ step }) => step)).toEqual(all.slice(2));
  expect((await ask('--after', `${second}`)).map(({ step }) => step)).toEqual(all.slice(0, 2));
});

test('find gives positions at which an expression becomes true', async () => {
  const entered = 'vcpu[0].non_root';
  const { json } = await answer<{ positions: number[] }>('find', recording, entered);
  expect(json.positions.length).toBe(2);
  const [, second] = json.positions;
  const later = await answer('find', recording, entered, '--from', `${second}`);
  expect(later.json).toEqual({ positions: [second] });
  expect(await answer('find', recording, 'vcpu[0].mode == 99')).toEqual({
    status: 1,
    json: { positions: [] },
  });
});

test('what never broke is not found', async () => {
  const { status } = await answer('bisect', recording, '--expr', 'vm.slots_lock == 99');
  expect(status).toBe(1);
});

test('a run that is made again is the same at every position', async () => {
  const { status, json } = await answer<{ steps: number; equal: boolean }>('verify', recording);
  expect({ status, equal: json.equal }).toEqual({ status: 0, equal: true });
  expect(json).not.toHaveProperty('firstDifference');
});

test.each<{ args: string[]; says: RegExp }>([
  { args: ['show', recording, '--at', '99999'], says: /they go from 0 to \d+/ },
  { args: ['show', recording, '--field', 'vcpu[0].mod'], says: /did you mean vcpu\[0\].mode/ },
  { args: ['diff', recording, '0', 'x'], says: /no position "x"/ },
  { args: ['diff', recording, '0', '99999'], says: /no position "99999"/ },
  { args: ['writers', recording, 'vcpu[9].mode'], says: /no field/ },
  { args: ['writers', recording, 'vcpu[0]'], says: /no field/ },
  { args: ['find', recording, 'vcpu[0].mode =='], says: /expression, column \d+/ },
  { args: ['find', recording, 'vcpu[0].mod == 1'], says: /column 9:.*did you mean "mode"/ },
  { args: ['find', recording, '1', '--from', '9', '--to', '3'], says: /3 is before 9/ },
  { args: ['bisect', recording], says: /--invariant ID or --expr/ },
  { args: ['bisect', recording, '--invariant', 'inv-apic'], says: /no invariant "inv-apic"/ },
  {
    args: ['bisect', recording, '--invariant', 'inv-mn-count', '--expr', '1'],
    says: /cannot be used with/,
  },
])('a wrong question is told in one line: $args', async ({ args, says }) => {
  const { status, out, err } = await apicscope(args);
  expect({ status, out }).toEqual({ status: 2, out: '' });
  expect(err).toMatch(says);
  expect(err.trimEnd()).not.toContain('\n');
});

describe('a file that is not what it should be', () => {
  const junk = join(folder, 'junk.scn');
  const truncated = join(folder, 'truncated.apicrec');
  beforeAll(() => {
    writeFileSync(
      junk,
      Uint8Array.from({ length: 4096 }, (_, i) => (i * 7919) & 0xff),
    );
    writeFileSync(truncated, readFileSync(recording).subarray(0, 20_000));
  });

  test('is refused as a recording', async () => {
    for (const file of [junk, truncated, folder, join(folder, 'missing'), '/dev/null']) {
      const { status, out, err } = await apicscope(['info', file]);
      expect({ file, status, out }).toEqual({ file, status: 2, out: '' });
      expect(err.trimEnd()).toMatch(/^[^\n]+: [^\n]+$/);
    }
  });

  test('is refused as a scenario', async () => {
    for (const file of [junk, recording, folder, join(folder, 'missing.scn'), '/dev/zero']) {
      const { status, out, err } = await apicscope(['check', file]);
      expect({ file, status, out }).toEqual({ file, status: 2, out: '' });
      expect(err.trimEnd()).toMatch(/^[^\n]+: [^\n]+$/);
    }
  });

  test('a misspelt id of a scenario gets a proposal', async () => {
    const { status, err } = await apicscope(['run', 'R01-k4.15-bugy']);
    expect({ status, err }).toMatchObject({ status: 2, err: expect.stringMatching(/-buggy\?$/m) });
  });
});

test('check tells every fault of a scenario with its place', async () => {
  const file = join(folder, 'faults.scn');
  writeFileSync(file, 'scenario "faults"\nvcpu0 { raed 0x0 }\nvcpu7 { hlt }\n');
  const { status, json } = await answer<{ ok: boolean; diagnostics: { line: number }[] }>(
    'check',
    file,
  );
  expect({ status, ok: json.ok }).toEqual({ status: 2, ok: false });
  expect(json.diagnostics.map(({ line }) => line)).toEqual([2, 3]);
  expect(json.diagnostics[0]).toMatchObject({ column: 9, endLine: 2, endColumn: 13 });
  const { err } = await apicscope(['run', file]);
  expect(err).toMatch(/faults\.scn:2:9: /);
  expect(await answer('check', 'R01-k4.15-fixed')).toMatchObject({ status: 0, json: { ok: true } });
});
