// The colours of actors: hue says who, lightness says at which level.

import type { ThemeName } from './theme.ts';

/** Hues of the vCPUs; red, amber, green and the blue of the selection are kept for marks. */
const hues = [195, 295, 335, 110, 270, 175, 315, 90, 215, 285, 350, 125, 205, 305, 325, 100];

/** Lightness of L0, L1 and L2 on each ground. */
const lightness: Readonly<Record<ThemeName, readonly [number, number, number]>> = {
  dark: [0.47, 0.64, 0.82],
  light: [0.45, 0.66, 0.84],
  contrast: [0.5, 0.7, 0.9],
};

export const levelNames = ['L0', 'L1', 'L2'] as const;

const vcpuOf = (actor: string): number => {
  const match = /^vcpu(\d+)$/.exec(actor);
  return match === null ? -1 : Number(match[1]);
};

/** The colour of a step of an actor at a level. */
export const whoColour = (theme: ThemeName, actor: string, level: number): string => {
  const vcpu = vcpuOf(actor);
  const light = lightness[theme][Math.min(2, Math.max(0, level)) as 0 | 1 | 2];
  if (vcpu >= 0) return `oklch(${light} 0.1 ${hues[vcpu % hues.length]})`;
  return `oklch(${light + 0.05} 0.018 255)`;
};

/** The colour of text on it. */
export const onWho = (level: number): string => (level === 0 ? '#ffffff' : '#14161a');

/** The codicon of an actor. */
export const whoIcon = (actor: string): string => {
  if (actor.startsWith('vcpu')) return 'vm';
  if (actor.startsWith('irq')) return 'zap';
  if (actor.startsWith('mm')) return 'database';
  if (actor.startsWith('user')) return 'person';
  return 'circuit-board';
};
