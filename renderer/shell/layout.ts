// The panels: what there is, how they are docked, and the layout that is kept.

import type { DockviewApi } from 'dockview-vue';
import { defineStore } from 'pinia';
import { shallowRef } from 'vue';

export const panels = {
  library: 'Library',
  findings: 'Findings',
  invariants: 'Invariants',
  timeline: 'Timeline',
  scenario: 'Scenario',
  state: 'State',
  page: 'APIC page',
  vectors: 'Vectors',
  vmcs: 'VMCS',
  memory: 'Memory',
  diff: 'Diff',
  races: 'Races',
  bisect: 'Bisect',
  step: 'Step',
} as const;

export type PanelId = keyof typeof panels;
export const panelIds = Object.keys(panels) as PanelId[];
export type LayoutName = 'debugger' | 'memory' | 'scenario';

const key = 'apicscope.layout.1';

/** Panels that stay alive behind others: an editor keeps its history. */
const kept: readonly PanelId[] = ['scenario'];

type Direction = 'left' | 'right' | 'above' | 'below' | 'within';

interface Placed {
  readonly id: PanelId;
  readonly by?: PanelId;
  readonly direction?: Direction;
}

interface Size {
  readonly id: PanelId;
  readonly width?: number;
  readonly height?: number;
  /** as wide as the scenario beside it leaves it, which wants its columns of text */
  readonly besideText?: true;
}

const common: readonly Placed[] = [
  { id: 'timeline' },
  { id: 'library', by: 'timeline', direction: 'left' },
  { id: 'step', by: 'timeline', direction: 'right' },
];

const sideTabs: readonly Placed[] = [
  { id: 'invariants', by: 'library', direction: 'below' },
  { id: 'findings', by: 'invariants', direction: 'within' },
];

const layouts: Readonly<Record<LayoutName, readonly Placed[]>> = {
  debugger: [
    ...common,
    { id: 'scenario', by: 'timeline', direction: 'below' },
    { id: 'memory', by: 'scenario', direction: 'right' },
    { id: 'state', by: 'scenario', direction: 'within' },
    { id: 'diff', by: 'scenario', direction: 'within' },
    { id: 'races', by: 'scenario', direction: 'within' },
    { id: 'page', by: 'memory', direction: 'within' },
    { id: 'vectors', by: 'memory', direction: 'within' },
    { id: 'vmcs', by: 'memory', direction: 'within' },
    { id: 'bisect', by: 'memory', direction: 'within' },
    ...sideTabs,
  ],
  memory: [
    ...common,
    { id: 'memory', by: 'timeline', direction: 'below' },
    { id: 'page', by: 'memory', direction: 'within' },
    { id: 'vmcs', by: 'memory', direction: 'within' },
    { id: 'state', by: 'memory', direction: 'within' },
    { id: 'bisect', by: 'memory', direction: 'within' },
    ...sideTabs,
  ],
  scenario: [
    ...common,
    { id: 'scenario', by: 'timeline', direction: 'below' },
    { id: 'races', by: 'scenario', direction: 'within' },
    ...sideTabs,
  ],
};

/** What 72 columns of the editor take with its line numbers; and what a view beside it needs. */
const columnsWidth = 632;
const viewWidth = 540;

/** The width of the text of the room for both: its columns if there is room, else it wraps. */
const textWidth = (between: number): number =>
  Math.round(Math.max(0.4 * between, Math.min(columnsWidth, between - viewWidth)));

/** Pixels of the groups that have a natural size; the others share the rest. */
const sizes: Readonly<Record<LayoutName, readonly Size[]>> = {
  debugger: [
    { id: 'library', width: 216, height: 470 },
    { id: 'step', width: 316 },
    { id: 'timeline', height: 190 },
    { id: 'memory', besideText: true },
  ],
  memory: [
    { id: 'library', width: 216, height: 470 },
    { id: 'step', width: 316 },
    { id: 'timeline', height: 190 },
  ],
  scenario: [
    { id: 'library', width: 216, height: 470 },
    { id: 'step', width: 316 },
    { id: 'timeline', height: 150 },
  ],
};

const front: Readonly<Record<LayoutName, readonly PanelId[]>> = {
  debugger: ['scenario', 'memory', 'findings'],
  memory: ['memory', 'findings'],
  scenario: ['scenario', 'findings'],
};

export const useLayout = defineStore('layout', () => {
  const dock = shallowRef<DockviewApi>();

  const add = (placed: Placed): void => {
    const { id, by, direction } = placed;
    dock.value?.addPanel({
      id,
      component: 'PanelHost',
      title: panels[id],
      renderer: kept.includes(id) ? 'always' : 'onlyWhenVisible',
      params: { view: id },
      ...(by === undefined || direction === undefined
        ? {}
        : { position: { referencePanel: by, direction } }),
    });
  };

  /** Docks all panels as one of the presets says. */
  const arrange = (name: LayoutName): void => {
    dock.value?.clear();
    for (const placed of layouts[name]) add(placed);
    const between = (dock.value?.width ?? 0) - 216 - 316;
    for (const { id, besideText, ...size } of sizes[name]) {
      const width = besideText === undefined ? {} : { width: between - textWidth(between) };
      dock.value?.getPanel(id)?.group.api.setSize({ ...size, ...width });
    }
    for (const id of front[name]) dock.value?.getPanel(id)?.api.setActive();
  };

  /** Brings a panel to the front, and back if it was closed. */
  const show = (id: PanelId): void => {
    if (dock.value?.getPanel(id) === undefined) add({ id, by: 'timeline', direction: 'within' });
    dock.value?.getPanel(id)?.api.setActive();
  };

  const nextPane = (): void => {
    dock.value?.moveToNext({ includePanel: false });
    const group = dock.value?.activeGroup;
    group?.element.querySelector<HTMLElement>('.dv-tab.dv-active-tab')?.focus();
  };

  const restored = (api: DockviewApi): boolean => {
    const text = localStorage.getItem(key);
    if (text === null) return false;
    try {
      api.fromJSON(JSON.parse(text));
      return api.panels.length > 0;
    } catch {
      // A layout of an older version: the preset takes its place.
      return false;
    }
  };

  const start = (api: DockviewApi): void => {
    dock.value = api;
    if (!restored(api)) arrange('debugger');
    api.onDidLayoutChange(() => localStorage.setItem(key, JSON.stringify(api.toJSON())));
  };

  return { start, arrange, show, nextPane };
});
