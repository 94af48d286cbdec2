// The application menu as data: each item sends the name of a command to the window.

/**
 * `command` is a name in the window's table of commands; `keys` are shown, the window hears them.
 */
export interface MenuItem {
  readonly label: string;
  readonly command: string;
  readonly keys?: string;
}

export type MenuEntry = MenuItem | 'separator';

export interface MenuPart {
  readonly label: string;
  readonly entries: readonly MenuEntry[];
}

export const fileMenu: MenuPart = {
  label: '&File',
  entries: [
    { label: 'New Scenario', command: 'newScenario', keys: 'Ctrl+N' },
    { label: 'Open Scenario…', command: 'openScenario', keys: 'Ctrl+Shift+O' },
    { label: 'Save Scenario', command: 'saveScenario', keys: 'Ctrl+S' },
    'separator',
    { label: 'Open Recording…', command: 'open', keys: 'Ctrl+O' },
    { label: 'Export Recording…', command: 'export', keys: 'Ctrl+Shift+S' },
    { label: 'Close Recording', command: 'closeRecording', keys: 'Ctrl+W' },
  ],
};

export const viewMenu: MenuPart = {
  label: '&View',
  entries: [
    { label: 'Commands…', command: 'palette', keys: 'Ctrl+Shift+P' },
    'separator',
    { label: 'Theme: As the System', command: 'themeSystem' },
    { label: 'Theme: Light', command: 'themeLight' },
    { label: 'Theme: Dark', command: 'themeDark' },
    { label: 'Theme: High Contrast', command: 'themeContrast' },
    'separator',
    { label: 'Layout: Debugger', command: 'layoutDebug' },
    { label: 'Layout: Memory', command: 'layoutMemory' },
    { label: 'Layout: Scenario', command: 'layoutWrite' },
  ],
};

export const helpMenu: MenuPart = {
  label: '&Help',
  entries: [
    { label: 'Races', command: 'races', keys: 'F1' },
    { label: 'Keys', command: 'keys', keys: '?' },
  ],
};
