// The application menu. The window does what it says, so that menu, keys and palette cannot differ.

import { app, BrowserWindow, Menu, type MenuItemConstructorOptions } from 'electron';
import { fileMenu, helpMenu, type MenuPart, viewMenu } from './menu_items.ts';

export function setMenu(): void {
  const parts: MenuItemConstructorOptions[] = [
    ...(process.platform === 'darwin' ? [{ role: 'appMenu' as const }] : []),
    made(fileMenu, [{ type: 'separator' }, { role: 'quit' }]),
    // Cut, copy and paste in text fields come from these items where the system has no others.
    { role: 'editMenu' },
    made(viewMenu, app.isPackaged ? [] : [{ type: 'separator' }, { role: 'toggleDevTools' }]),
    made(helpMenu, []),
  ];
  Menu.setApplicationMenu(Menu.buildFromTemplate(parts));
}

function made(part: MenuPart, more: MenuItemConstructorOptions[]): MenuItemConstructorOptions {
  const items = part.entries.map(
    (entry): MenuItemConstructorOptions =>
      entry === 'separator'
        ? { type: 'separator' }
        : {
            label: entry.label,
            ...(entry.keys === undefined ? {} : { accelerator: entry.keys }),
            registerAccelerator: false,
            click: () => send(entry.command),
          },
  );
  return { label: part.label, submenu: [...items, ...more] };
}

function send(command: string): void {
  const window = BrowserWindow.getFocusedWindow() ?? BrowserWindow.getAllWindows()[0];
  window?.webContents.send('command', command);
}
