// Text on each ground that it stands on can be read, in every theme.

import { describe, expect, test } from 'vitest';
import css from '../../renderer/theme/tokens.css?raw';

type Rgb = readonly [number, number, number];

/** The tokens of the theme's own block. */
const tokensOf = (theme: string): ReadonlyMap<string, string> => {
  const start = css.indexOf(`[data-theme="${theme}"] {`);
  const block = css.slice(start, css.indexOf('}', start));
  return new Map([...block.matchAll(/--([\w-]+): (#[0-9a-f]{6});/g)].map((m) => [m[1]!, m[2]!]));
};

const rgbOf = (hex: string): Rgb => [
  Number.parseInt(hex.slice(1, 3), 16),
  Number.parseInt(hex.slice(3, 5), 16),
  Number.parseInt(hex.slice(5, 7), 16),
];

const linear = (channel: number): number => {
  const part = channel / 255;
  return part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4;
};

const luminance = ([red, green, blue]: Rgb): number =>
  0.2126 * linear(red) + 0.7152 * linear(green) + 0.0722 * linear(blue);

/** Contrast as WCAG 2 defines it: 1 to 21. */
const contrast = (a: string, b: string): number => {
  const [dark, light] = [luminance(rgbOf(a)), luminance(rgbOf(b))].sort((x, y) => x - y);
  return (light! + 0.05) / (dark! + 0.05);
};

const grounds = ['ground', 'ground-panel', 'ground-raised', 'ground-field', 'ground-hover'];
const tints = ['accent-tint', 'changed-tint', 'since-tint', 'bad-tint', 'off-tint'];

/** Which text stands on which ground. */
const pairs = [
  ...['text', 'text-dim', 'text-faint'].map((text) => [text, [...grounds, ...tints]] as const),
  ['accent', [...grounds, ...tints]],
  ['changed', [...grounds, 'changed-tint', 'since-tint', 'accent-tint']],
  ['old', [...grounds, ...tints]],
  ['bad', [...grounds, 'bad-tint', 'accent-tint']],
  ['off', [...grounds, 'off-tint']],
  ['verified', grounds],
  ['on-accent', ['accent-ground']],
  ...['keyword', 'string', 'number'].map(
    (text) => [text, ['ground-panel', 'ground-raised', 'changed-tint', 'since-tint']] as const,
  ),
] as const;

describe.each(['light', 'dark', 'contrast'])('in the %s theme', (theme) => {
  const tokens = tokensOf(theme);

  test.each(pairs)('%s can be read on %j', (text, on) => {
    for (const ground of on) {
      const [front, back] = [tokens.get(text), tokens.get(ground)];
      if (front === undefined || back === undefined) throw new Error(`no token ${text}, ${ground}`);
      expect(contrast(front, back), `${text} on ${ground}`).toBeGreaterThanOrEqual(4.5);
    }
  });
});
