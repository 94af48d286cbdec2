// The palette, the overlay of keys and the field for a position: which of them is open.

import { defineStore } from 'pinia';
import { shallowRef } from 'vue';

export const useOverlays = defineStore('overlays', () => {
  const palette = shallowRef(false);
  const paletteText = shallowRef('');
  const keys = shallowRef(false);
  /** grows when the field for a position is to get the keyboard */
  const goToWanted = shallowRef(0);

  const showPalette = (text: string): void => {
    paletteText.value = text;
    palette.value = true;
  };
  const toggleKeys = (): void => {
    keys.value = !keys.value;
  };
  const focusGoTo = (): void => {
    goToWanted.value++;
  };

  return { palette, paletteText, keys, goToWanted, showPalette, toggleKeys, focusGoTo };
});
