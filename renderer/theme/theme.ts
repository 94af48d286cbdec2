// Light, dark or high contrast: what the user chose, or what the system says.

import { defineStore } from 'pinia';
import { computed, shallowRef, watchEffect } from 'vue';

export const themeChoices = ['system', 'light', 'dark', 'contrast'] as const;
export type ThemeChoice = (typeof themeChoices)[number];
export type ThemeName = Exclude<ThemeChoice, 'system'>;

const key = 'apicscope.theme';

const stored = (): ThemeChoice => {
  const text = localStorage.getItem(key);
  return themeChoices.find((choice) => choice === text) ?? 'system';
};

export const useTheme = defineStore('theme', () => {
  const choice = shallowRef<ThemeChoice>(stored());
  const dark = matchMedia('(prefers-color-scheme: dark)');
  const contrast = matchMedia('(prefers-contrast: more)');
  const system = (): ThemeName => (contrast.matches ? 'contrast' : dark.matches ? 'dark' : 'light');
  const ofSystem = shallowRef<ThemeName>(system());
  for (const query of [dark, contrast]) {
    query.addEventListener('change', () => {
      ofSystem.value = system();
    });
  }

  const name = computed<ThemeName>(() =>
    choice.value === 'system' ? ofSystem.value : choice.value,
  );

  watchEffect(() => {
    document.documentElement.dataset['theme'] = name.value;
  });

  const choose = (next: ThemeChoice): void => {
    choice.value = next;
    localStorage.setItem(key, next);
  };

  return { choice, name, choose };
});

/** The value of a token now: for what is drawn on a canvas. */
export const token = (name: string): string =>
  getComputedStyle(document.documentElement).getPropertyValue(name).trim();
