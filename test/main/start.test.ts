// What the application does around a recording: what it opens first, names, the recent list, menus.

import { existsSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, test } from 'vitest';
import { fileMenu, helpMenu, viewMenu } from '../../main/menu_items.ts';
import { RecentFiles } from '../../main/recent_files.ts';
import { recordingName } from '../../main/recording_name.ts';
import { requestShapes } from '../../main/request_shapes.ts';
import { startupFor, wordsOf } from '../../main/startup.ts';
import { commandOf } from '../../renderer/keys/commands.ts';

const folder = mkdtempSync(join(tmpdir(), 'apicscope-start-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

test('the words behind the folder of the application are the user’s', () => {
  const argv = ['electron', '--no-sandbox', '/app', '--inspect=0', 'a.apicrec', 'b'];
  expect(wordsOf(argv, '/app', false)).toEqual(['a.apicrec', 'b']);
  expect(wordsOf(['apicscope', 'a.apicrec'], '/app', true)).toEqual(['a.apicrec']);
});

test('a start without words shows a race; words name a recording, a scenario or an id', () => {
  expect(startupFor([], folder)).toEqual({ scenario: 'R01-k4.15-buggy' });
  expect(startupFor(['R10-k6.6-fixed'], folder)).toEqual({ scenario: 'R10-k6.6-fixed' });
  const scenario = join(folder, 'mine.scn');
  writeFileSync(scenario, 'scenario "mine"');
  expect(startupFor(['mine.scn'], folder)).toEqual({ file: scenario });
  const recording = join(folder, 'a recording');
  writeFileSync(recording, 'SQLite format 3\0…');
  expect(startupFor(['a recording'], folder)).toEqual({ open: recording });
  // Opening it says that it is missing.
  const missing = join(folder, 'missing.apicrec');
  expect(startupFor(['missing.apicrec'], folder)).toEqual({ open: missing });
});

test('recordings are named after time and scenario, and never alike', () => {
  const now = new Date(2026, 10, 21, 5, 7);
  const name = recordingName('../My scenario!.scn', now, folder);
  expect(name).toBe('20261121-0507-..-My-scenario-.apicrec');
  writeFileSync(join(folder, name), '');
  expect(recordingName('../My scenario!.scn', now, folder)).toBe(
    '20261121-0507-..-My-scenario--2.apicrec',
  );
});

test('recent files are those that exist, newest first; a spoilt list is an empty one', () => {
  const list = join(folder, 'data', 'recent.json');
  const recent = new RecentFiles(list);
  expect(recent.list()).toEqual([]);
  const files = ['1', '2', '3'].map((name) => join(folder, name));
  for (const file of files) writeFileSync(file, '');
  for (const file of [...files, files[0]!]) recent.add(file);
  rmSync(files[1]!);
  expect(recent.list()).toEqual([files[0], files[2]]);
  expect(readdirSync(join(folder, 'data'))).toEqual(['recent.json']);
  writeFileSync(list, '{"not": "a list"');
  expect(recent.list()).toEqual([]);
  expect(existsSync(list)).toBe(true);
});

test('each item of the menu is a command of the window', () => {
  const items = [fileMenu, viewMenu, helpMenu].flatMap(({ entries }) =>
    entries.flatMap((entry) => (entry === 'separator' ? [] : [entry.command])),
  );
  expect(items.filter((command) => commandOf(command) === undefined)).toEqual([]);
});

test('what the window sends is asserted at the door', () => {
  const { run, windowAt, open, writers } = requestShapes;
  const request = { name: 'x', text: '', seed: 7, switches: { a: 'on' } };
  expect(run.safeParse([1, request]).success).toBe(true);
  expect(open.safeParse([undefined]).success).toBe(true);
  for (const bad of [[], [1], [1, {}], [1, { ...request, seed: -1 }], [1, { ...request, x: 1 }]]) {
    expect(run.safeParse(bad).success).toBe(false);
  }
  expect(windowAt.safeParse([1, 1.5]).success).toBe(false);
  expect(windowAt.safeParse([1, Number.NaN]).success).toBe(false);
  expect(writers.safeParse([1, 'a', 0, 1e9]).success).toBe(false);
});
