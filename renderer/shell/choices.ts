// What the palette offers: commands after `>`, positions after digits, and anything by name.

import { chordText } from '../keys/chords.ts';
import type { Command } from '../keys/commands.ts';

export interface Choice {
  readonly id: string;
  readonly text: string;
  readonly note: string;
  readonly act: () => unknown;
}

export interface Source {
  readonly commands: readonly Command[];
  readonly act: (command: Command) => unknown;
  /** everything else that has a name */
  readonly named: readonly Choice[];
  readonly goTo: (position: number) => void;
  readonly steps: number;
}

const choicesMax = 60;

/** Do the letters of `typed` occur in `text` in their order? */
export const fits = (text: string, typed: string): boolean => {
  let at = 0;
  const lower = text.toLowerCase();
  for (const letter of typed.toLowerCase().replaceAll(/\s/g, '')) {
    at = lower.indexOf(letter, at) + 1;
    if (at === 0) return false;
  }
  return true;
};

/** Plain occurrences before letters that are spread out. */
const ranked = (choices: readonly Choice[], typed: string): Choice[] => {
  const plain = typed.trim().toLowerCase();
  const rank = (choice: Choice): number => (choice.text.toLowerCase().includes(plain) ? 0 : 1);
  return choices
    .filter((choice) => fits(choice.text, typed))
    .sort((a, b) => rank(a) - rank(b))
    .slice(0, choicesMax);
};

export const choicesFor = (typed: string, source: Source): Choice[] => {
  const commands = source.commands.map(
    (command): Choice => ({
      id: `command ${command.id}`,
      text: command.title,
      note: command.keys.map(chordText).join(' '),
      act: () => source.act(command),
    }),
  );
  if (typed.startsWith('>')) return ranked(commands, typed.slice(1));
  if (/^\d+$/.test(typed) && Number(typed) <= source.steps) {
    return [
      {
        id: 'position',
        text: `Go to position ${typed}`,
        note: '',
        act: () => source.goTo(Number(typed)),
      },
    ];
  }
  return ranked([...source.named, ...commands], typed);
};
