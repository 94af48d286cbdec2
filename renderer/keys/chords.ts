// From key presses to commands, and from keys to words.

import { type Command, type CommandId, commandOf, commands } from './commands.ts';

/** What of a keyboard event decides. */
export interface KeyPress {
  readonly key: string;
  readonly code: string;
  readonly ctrlKey: boolean;
  readonly metaKey: boolean;
  readonly altKey: boolean;
  readonly shiftKey: boolean;
}

const parts = (chord: string): { held: readonly string[]; key: string } => {
  const held = chord.split('+').slice(0, -1);
  return { held, key: chord.split('+').at(-1) ?? '' };
};

/** A key that is a sign (`?`, `>`) already tells whether Shift was held. */
const isSign = (key: string): boolean => key.length === 1 && !/[a-z0-9]/i.test(key);

export const matches = (chord: string, press: KeyPress): boolean => {
  const { held, key } = parts(chord);
  if (held.includes('Ctrl') !== (press.ctrlKey || press.metaKey)) return false;
  if (held.includes('Alt') !== press.altKey) return false;
  if (!isSign(key) && held.includes('Shift') !== press.shiftKey) return false;
  if (key.startsWith('Key')) return press.code === key;
  return press.key === key || press.key.toLowerCase() === key;
};

/** The command of a key press; `inText` if an editor or a text field has it. */
export const commandFor = (press: KeyPress, inText: boolean): Command | undefined => {
  const all: readonly Command[] = commands;
  return all.find(
    (command) =>
      (!inText || command.inText === true || /^F\d+$/.test(press.key)) &&
      command.keys.some((chord) => matches(chord, press)),
  );
};

const words: Readonly<Record<string, string>> = {
  ArrowLeft: '←',
  ArrowRight: '→',
  Escape: 'Esc',
  KeyW: 'W',
  KeyA: 'A',
  KeyS: 'S',
  KeyD: 'D',
};

/** `Ctrl+Shift+f` as a user reads it. */
export const chordText = (chord: string): string => {
  const { held, key } = parts(chord);
  return [...held, words[key] ?? (key.length === 1 ? key.toUpperCase() : key)].join('+');
};

/** The tooltip of a control: what it does and the keys that do the same. */
export const hintOf = (id: CommandId): string => {
  const command = commandOf(id);
  if (command === undefined) return '';
  const keys = command.keys.map(chordText).join(' or ');
  return keys === '' ? command.title : `${command.title} (${keys})`;
};
