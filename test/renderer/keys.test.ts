// The table of commands and the keys that reach them.

import { expect, test } from 'vitest';
import { chordText, commandFor, hintOf, type KeyPress } from '../../renderer/keys/chords.ts';
import { commands } from '../../renderer/keys/commands.ts';
import { type Choice, choicesFor, fits } from '../../renderer/shell/choices.ts';

const press = (key: string, held: Partial<KeyPress> = {}): KeyPress => ({
  key,
  code: /^[a-z]$/i.test(key) ? `Key${key.toUpperCase()}` : key,
  ctrlKey: false,
  metaKey: false,
  altKey: false,
  shiftKey: false,
  ...held,
});

test('no two commands have the same name or the same key', () => {
  const ids = commands.map(({ id }) => id);
  const keys = commands.flatMap((command) => [...command.keys]);
  expect(new Set(ids).size).toBe(ids.length);
  expect(new Set(keys).size).toBe(keys.length);
});

test('keys mean what the table says, and Ctrl reverses', () => {
  expect(commandFor(press('F10'), false)?.id).toBe('over');
  expect(commandFor(press('F10', { ctrlKey: true }), false)?.id).toBe('overBack');
  expect(commandFor(press('F11', { ctrlKey: true, shiftKey: true }), false)?.id).toBe('outBack');
  expect(commandFor(press('?', { shiftKey: true }), false)?.id).toBe('keys');
  expect(commandFor(press('w'), false)?.id).toBe('zoomIn');
});

test('letters belong to the text while text is edited, function keys do not', () => {
  expect(commandFor(press('g'), true)).toBeUndefined();
  expect(commandFor(press('ArrowLeft'), true)).toBeUndefined();
  expect(commandFor(press('F8'), true)?.id).toBe('findingNext');
  expect(commandFor(press('Enter', { ctrlKey: true }), true)?.id).toBe('run');
});

test('a hint names the command and its keys as a user reads them', () => {
  expect(chordText('Ctrl+Shift+o')).toBe('Ctrl+Shift+O');
  expect(hintOf('step')).toBe('Step (→ or F11)');
  expect(hintOf('themeDark')).toBe('Theme: dark');
});

test('the palette offers commands after >, a position after digits, and anything by name', () => {
  const named: Choice[] = [
    { id: 'field x', text: 'vm.mmu_lock.writer', note: '', act: () => undefined },
  ];
  const source = { commands, act: () => undefined, named, goTo: () => undefined, steps: 72 };
  expect(choicesFor('>zoom in', source)[0]?.text).toBe('Zoom in');
  expect(choicesFor('31', source).map(({ text }) => text)).toEqual(['Go to position 31']);
  expect(choicesFor('mmulock', source)[0]?.text).toBe('vm.mmu_lock.writer');
  expect(fits('vm.mmu_lock', 'kcol')).toBe(false);
});
