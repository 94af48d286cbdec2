// Runs: what they tell, what they leave behind, and how they end.

import { chmodSync, existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test, vi } from 'vitest';
import { answer, apicscope, temporaryFolder } from './apicscope.ts';

// Work is bounded by steps and seeds; a slow computer only takes longer.
vi.setConfig({ testTimeout: 120_000 });

interface RunAnswer {
  readonly steps: number;
  readonly schedule: string;
  readonly findings: readonly Readonly<Record<string, unknown>>[];
  readonly halted: string;
  readonly counters: Readonly<Record<string, number>>;
  readonly seconds: number;
  readonly stepsPerSecond: number;
}

const folder = temporaryFolder();

/** Goes on for longer than anybody waits. */
const endless = join(folder, 'endless.scn');
writeFileSync(
  endless,
  `scenario "endless"
machine { vcpus 2 }
vcpu0 { repeat 1000000 { repeat 1000000 { read 0xfee00080 pause } } }
vcpu1 { repeat 1000000 { repeat 1000000 { pause } } }
mm    { repeat 1000000 { migrate apic-access-page } }
`,
);

test('the bundled scenarios are listed with what they promise', async () => {
  const { status, json } = await answer<Record<string, string>[]>('scenarios');
  expect(status).toBe(0);
  expect(json.find(({ id }) => id === 'R01-k4.15-buggy')).toMatchObject({
    profile: 'k4.15',
    race: 'R01',
    twin: 'buggy',
    expect: expect.stringMatching(/^violated: inv-apic-access-hpa/),
  });
  expect(json.find(({ id }) => id === 'R01-k4.15-fixed')).toMatchObject({ expect: 'clean' });
});

test('each says its part in the race, what it sets, and every expectation', async () => {
  const { json } = await answer<Record<string, unknown>[]>('scenarios');
  const told = (id: string) => json.find((one) => one['id'] === id);
  expect(told('R15-k6.6-buggy')).toMatchObject({
    role: 'buggy',
    set: { 'req-clear-before-handle': 'off' },
    expectations: expect.arrayContaining([
      'violated inv-apic-access-hpa at vmEntry "VM entry"',
      'violated inv-req-not-lost',
    ]),
  });
  expect(told('R15-k6.6-fixed')).toMatchObject({ role: 'fixed', set: {}, violated: [] });
  expect(told('R43-k6.6')).toMatchObject({ role: 'benign', race: 'R43' });
  expect(told('apic-periodic')).toMatchObject({ role: 'none' });
  for (const one of json) {
    expect(one['twin'] ?? one['role']).toBe(one['role']);
    expect(Object.keys(one)).not.toContain('text');
  }
});

test('a race breaks its invariant, and the run says where', async () => {
  const { status, json } = await answer<RunAnswer>('run', 'R01-k4.15-buggy');
  expect(status).toBe(1);
  expect(json.halted).toBe('quiet');
  expect(json.schedule).toMatch(/^mm\*\d+ vcpu0/);
  const finding = json.findings.find(({ invariant }) => invariant === 'inv-apic-access-hpa');
  expect(finding).toMatchObject({ actor: 'vcpu0', function: 'vmEntry', label: 'VM entry' });
  expect(finding?.['position']).toBe(Number(finding?.['step']) + 1);
});

test('the explicit schedule of a run gives the same run again', async () => {
  const first = await answer<RunAnswer>('run', 'R01-k4.15-buggy');
  const { json } = await answer<RunAnswer>(
    'run',
    'R01-k4.15-buggy',
    '--schedule',
    first.json.schedule,
  );
  const { seconds: _, stepsPerSecond: __, halted: ___, ...same } = json;
  expect(first.json).toMatchObject({ ...same, message: expect.any(String) });
});

test('the fixed kernel survives the schedule that breaks the other one', async () => {
  const { status, json } = await answer<RunAnswer>('run', 'R01-k4.15-buggy', '--profile', 'k6.6');
  expect({ status, findings: json.findings }).toEqual({ status: 0, findings: [] });
});

test('a seed names the whole run, and its counters add up', async () => {
  const { json } = await answer<RunAnswer>('run', 'busy-migrations', '--seed', '7');
  expect(json.schedule).toBe('random:7');
  const { counters } = json;
  const each = [0, 1, 2, 3].map((i) => counters[`vcpu[${i}].stat.vm_exits`] ?? Number.NaN);
  expect(counters['vm_exits']).toBe(each.reduce((sum, one) => sum + one));
});

test('a bound on the steps is kept', async () => {
  const { status, json } = await answer<RunAnswer>('run', endless, '--steps-max', '1000');
  expect(status).toBe(0);
  expect(json).toMatchObject({ steps: 1000, halted: 'steps-max', schedule: 'round-robin' });
});

test('a schedule that names an actor that cannot go leaves no recording', async () => {
  const file = join(folder, 'unready.apicrec');
  const args = ['run', 'R01-k4.15-buggy', '--schedule', 'mm*3 irq0', '-o', file];
  const { status, err } = await apicscope(args);
  expect(status).toBe(2);
  expect(err).toMatch(/item 2 of the schedule wants irq0 at position 3.*ready are/);
  expect(readdirSync(folder).filter((name) => name.startsWith('unready'))).toEqual([]);
});

test.each([
  { says: /switch.*apic-reload-retry\?/, more: ['--set', 'apic-relod-retry=on'] },
  { says: /"onn"; did you mean on\?/, more: ['--set', 'apic-reload-retry=onn'] },
  { says: /profile "k6.7"; did you mean k6.6\?/, more: ['--profile', 'k6.7'] },
  { says: /column 4: there is no actor nmi/, more: ['--schedule', 'mm nmi'] },
  { says: /schedule is empty/, more: ['--schedule', ' '] },
])('a wrong option is told with what was probably meant: $more', async ({ says, more }) => {
  const { status, out, err } = await apicscope(['run', 'R01-k4.15-buggy', ...more]);
  expect({ status, out }).toEqual({ status: 2, out: '' });
  expect(err).toMatch(says);
  expect(err.trimEnd()).not.toContain('\n');
});

test('an interrupt ends the run, and what was recorded until then is whole', async () => {
  const file = join(folder, 'interrupted.apicrec');
  const args = ['run', endless, '-o', file, '--steps-max', '900000000', '--json'];
  const { status, out } = await apicscope(args, (child) => {
    const poll = setInterval(() => {
      if (!existsSync(file)) return;
      clearInterval(poll);
      child.kill('SIGINT');
    }, 50);
  });
  expect(status).toBe(1);
  expect((JSON.parse(out) as RunAnswer).halted).toBe('cancelled');
  const { json } = await answer<{ halted: string; steps: number }>('info', file);
  expect(json).toMatchObject({ halted: 'cancelled', steps: (JSON.parse(out) as RunAnswer).steps });
});

test('a recording replaces a recording, and nothing else', async () => {
  const file = join(folder, 'again.apicrec');
  await apicscope(['run', 'R01-k4.15-buggy', '-o', file]);
  const first = readFileSync(file);
  expect((await apicscope(['run', 'R01-k4.15-buggy', '-o', file])).status).toBe(1);
  expect(readFileSync(file).equals(first)).toBe(true);
  const other = join(folder, 'other.txt');
  writeFileSync(other, 'mine');
  const { status, err } = await apicscope(['run', 'R01-k4.15-buggy', '-o', other]);
  expect({ status, err }).toEqual({ status: 2, err: expect.stringMatching(/is not a recording/) });
  expect(readFileSync(other, 'utf8')).toBe('mine');
});

test('a place that cannot be written to is told, and nothing is left there', async () => {
  const missing = join(folder, 'no', 'such', 'x.apicrec');
  const { status, err } = await apicscope(['run', 'R01-k4.15-buggy', '-o', missing]);
  expect({ status, err }).toEqual({ status: 2, err: expect.stringMatching(/no such folder/) });
  chmodSync(folder, 0o500);
  // Root may write everywhere: then there is a recording, and no error.
  const locked = await apicscope(['run', 'R01-k4.15-buggy', '-o', join(folder, 'ro.apicrec')]);
  chmodSync(folder, 0o700);
  expect(locked.status).toBe(process.getuid?.() === 0 ? 1 : 2);
  expect((await apicscope(['run', 'R01-k4.15-buggy', '-o', folder])).err).toMatch(/is a folder/);
});

test('expectations are compared, those on violations included', async () => {
  const wrong = join(folder, 'wrong.scn');
  writeFileSync(
    wrong,
    `scenario "expects what does not happen"
vcpu0 { read 0xfee00080 }
expect violated inv-apic-access-hpa
expect final vcpu[0].guest.value == 1
`,
  );
  const { status, json } = await answer<Record<string, unknown>>('test', 'R01-k4.15-buggy', wrong);
  expect(status).toBe(1);
  expect(json).toEqual({
    passed: 1,
    failed: 1,
    failures: [
      { id: 'wrong', expected: 'violated inv-apic-access-hpa', got: 'it held' },
      { id: 'wrong', expected: 'final vcpu[0].guest.value == 1', got: expect.any(String) },
    ],
  });
});

test('every bundled scenario does what it says', async () => {
  const { status, json } = await answer('test', '--all');
  expect({ status, json }).toMatchObject({ status: 0, json: { failed: 0, failures: [] } });
});
