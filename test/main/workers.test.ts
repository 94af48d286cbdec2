// The workers behind the contract: recordings are made and read, jobs are cancelled, a crash is
// told.

import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { OpenRecordings } from '../../main/open_recordings.ts';
import { WorkerClient } from '../../main/worker_client.ts';
import type { OpenRecording, Progress } from '../../preload/api.ts';

const root = join(import.meta.dirname, '../..');
const library = join(root, 'main', 'library');
const folder = mkdtempSync(join(tmpdir(), 'apicscope-workers-'));
const progress: Progress[] = [];
const recordings = new OpenRecordings(pathToFileURL(join(root, 'main', 'worker.ts')), (one) =>
  progress.push(one),
);
const file = join(folder, 'r01.apicrec');
const text = readFileSync(join(library, 'R01-k4.15-buggy.scn'), 'utf8');
let open: OpenRecording;

beforeAll(async () => {
  await recordings.jobs.call('run', 1, { name: 'R01', text }, file);
  open = await recordings.open(file);
});
afterAll(async () => {
  await Promise.all([recordings.jobs.end(), recordings.reader.end()]);
  rmSync(folder, { recursive: true, force: true });
});

test('a run of the window is a recording that is open', () => {
  expect(open).toMatchObject({ path: file, name: 'R01', profile: 'k4.15', halt: 'quiet' });
  expect(open.findings.map(({ check }) => check)).toContain('inv-apic-access-hpa');
  expect(open.recoveredTo).toBeUndefined();
});

test('bytes of a window, lanes and writers of the recording are answered', async () => {
  const { reader } = recordings;
  const window = await reader.call('windowAt', open.recording, 10);
  expect(window).toMatchObject({ first: 0, count: open.steps });
  expect(window.bytes.length).toBeGreaterThan(100);
  const { counts } = await reader.call('overview', open.recording, 0, open.steps, 4);
  expect(counts.reduce((sum, one) => sum + one)).toBe(open.steps);
  const [last] = await reader.call('writers', open.recording, 'vcpu[0].mode', open.steps, 1);
  expect(last).toMatchObject({ function: 'vcpu_enter_guest', to: 'OUTSIDE_GUEST_MODE' });
});

test('searches and bisections are jobs', async () => {
  const { jobs } = recordings;
  const found = await jobs.call('find', file, 'vcpu[0].non_root', 0, open.steps, 10);
  expect(found.length).toBe(2);
  const request = { recording: open.recording, expression: 'vcpu[0].non_root' };
  const answer = await jobs.call('bisect', 2, request, file);
  expect(answer).toMatchObject({ firstBad: found[0], lastGood: found[0]! - 1 });
  const held = jobs.call('bisect', 3, { recording: 1, expression: '0 == 1' }, file);
  await expect(held).rejects.toThrow(`It held from position 0 to ${open.steps}`);
});

test('a run that is cancelled leaves a whole recording of what it did', async () => {
  const endless = 'scenario "endless"\nvcpu0 { repeat 1000000 { repeat 1000000 { pause } } }\n';
  const cut = join(folder, 'cut.apicrec');
  const request = { name: 'endless', text: endless, stepsMax: 500_000_000 };
  const run = recordings.jobs.call('run', 4, request, cut);
  await expect.poll(() => progress.length, { timeout: 10_000 }).toBeGreaterThan(0);
  expect(progress.at(-1)).toMatchObject({ job: 4, what: 'running endless' });
  expect(await recordings.jobs.call('cancel', 4)).toBe(true);
  await run;
  const made = await recordings.open(cut);
  expect(made).toMatchObject({ halt: 'cancelled', recoveredTo: undefined });
  expect(made.steps).toBeGreaterThan(0);
  expect(await recordings.jobs.call('cancel', 4)).toBe(false);
});

test('wrong requests are answered with a sentence', async () => {
  const { jobs, reader } = recordings;
  const wrong = { name: 'wrong', text: 'scenario "x"\nvcpu0 { raed }' };
  const none = join(folder, 'none.apicrec');
  await expect(jobs.call('run', 5, wrong, none)).rejects.toThrow(/wrong:2:9: /);
  await expect(reader.call('windowAt', 99, 0)).rejects.toThrow(/not open any more/);
  await expect(recordings.open(none)).rejects.toThrow(/no such file/);
  await expect(jobs.call('find', file, 'vcpu[0].mod', 0, 1, 1)).rejects.toThrow(/column 9/);
});

test('the library holds the bundled scenarios, and a file that was named at the start', async () => {
  const mine = join(folder, 'mine.scn');
  writeFileSync(mine, 'scenario "not finished');
  const entries = await recordings.reader.call('library', library, [mine]);
  expect(entries.find(({ id }) => id === 'R01-k4.15-buggy')).toMatchObject({ twin: 'buggy' });
  expect(entries.find(({ id }) => id === 'mine')).toMatchObject({ title: 'mine' });
});

test('recordings are open again after the worker that read them has died', async () => {
  await recordings.reader.end();
  const window = await recordings.reader.call('windowAt', open.recording, 0);
  expect(window.count).toBe(open.steps);
});

test('a worker that dies answers every call that waits', async () => {
  const dying = join(folder, 'dying.mjs');
  writeFileSync(
    dying,
    `import { parentPort } from 'node:worker_threads';
parentPort.on('message', () => { throw new Error('out of luck'); });`,
  );
  const worker = new WorkerClient({ file: pathToFileURL(dying) });
  const calls = [worker.call('cancel', 1), worker.call('close', 1)];
  for (const call of calls) await expect(call).rejects.toThrow(/has stopped \(out of luck\)/);
  await expect(worker.call('cancel', 2)).rejects.toThrow(/out of luck/);
});
