// The file name of a recording that the window makes: when, of what, and unlike every other.

import { existsSync } from 'node:fs';
import { join } from 'node:path';

const nameMax = 60;

/** `20261121-0512-R01-k4.15-buggy.apicrec`; a number is added if the folder has it already. */
export function recordingName(scenario: string, now: Date, folder: string): string {
  const two = (value: number): string => String(value).padStart(2, '0');
  const day = `${now.getFullYear()}${two(now.getMonth() + 1)}${two(now.getDate())}`;
  const time = `${two(now.getHours())}${two(now.getMinutes())}`;
  const plain = scenario
    .replace(/\.scn$/, '')
    .replace(/[^A-Za-z0-9._-]+/g, '-')
    .slice(0, nameMax);
  const stem = `${day}-${time}-${plain === '' ? 'scenario' : plain}`;
  let name = `${stem}.apicrec`;
  for (let n = 2; existsSync(join(folder, name)); n++) name = `${stem}-${n}.apicrec`;
  return name;
}
