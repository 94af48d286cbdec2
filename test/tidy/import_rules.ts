// Who may import whom: the folders of the project, the layers they form, and what each may use.

/** Named groups of packages. `node` stands for Node's own modules. */
const ui = [
  'vue',
  'pinia',
  'monaco-editor',
  'dockview-vue',
  'dockview',
  'dockview-core',
  'reka-ui',
  '@tanstack/*',
  '@vscode/codicons',
  '@fontsource/*',
  '@fontsource-variable/*',
];
const model = ['main/sim/arena', 'main/sim/state'];
const silicon = [...model, 'main/sim/steps.ts', 'main/sim/hw'];
/** what the editor needs of the scenario language: text → tree, names, diagnostics */
const scenarioText = [
  'main/sim/scenario/parse.ts',
  'main/sim/scenario/parse',
  'main/sim/scenario/language.ts',
  'main/sim/scenario/language',
  'main/sim/scenario/compile.ts',
  'main/sim/scenario/diagnostics.ts',
  'main/sim/scenario/diagnostics',
];

export interface Rule {
  /** a file, or a folder with everything in it; the longest that fits a file is its rule */
  readonly from: string;
  /** files and folders besides its own */
  readonly files: readonly string[];
  readonly packages: readonly string[];
}

export const rules: readonly Rule[] = [
  { from: 'main/sim/arena', files: [], packages: [] },
  { from: 'main/sim/state', files: ['main/sim/arena'], packages: [] },
  { from: 'main/sim/store_buffer.ts', files: model, packages: [] },
  { from: 'main/sim/steps.ts', files: [...model, 'main/sim/store_buffer.ts'], packages: [] },
  { from: 'main/sim/hw', files: [...model, 'main/sim/steps.ts'], packages: [] },
  { from: 'main/sim/host', files: silicon, packages: [] },
  { from: 'main/sim/guest', files: silicon, packages: [] },
  { from: 'main/sim/kvm', files: [...silicon, 'main/sim/host'], packages: [] },
  { from: 'main/sim/sched', files: [...model, 'main/sim/steps.ts'], packages: [] },
  { from: 'main/sim/checks', files: model, packages: [] },
  { from: 'main/sim/scenario', files: ['main/sim'], packages: ['chevrotain'] },
  { from: 'main/sim', files: ['main/sim'], packages: [] },
  { from: 'db', files: [...model, 'main/sim/checks'], packages: ['better-sqlite3', 'node'] },
  { from: 'main/import', files: model, packages: [] },
  { from: 'main/export', files: model, packages: [] },
  {
    from: 'main',
    files: ['main', 'db', 'preload/api.ts'],
    packages: ['electron', 'node', 'commander', 'zod', 'better-sqlite3'],
  },
  { from: 'preload/api.ts', files: [...model, 'main/sim/checks'], packages: [] },
  { from: 'preload', files: ['preload'], packages: ['electron'] },
  {
    from: 'renderer',
    files: [
      'renderer',
      'preload/api.ts',
      ...model,
      'main/sim/checks',
      'main/sim/races.ts',
      ...scenarioText,
    ],
    packages: ui,
  },
  { from: 'renderer/widgets', files: ['renderer/theme'], packages: ui },
];

const covers = (place: string, file: string): boolean =>
  place === file || file.startsWith(`${place}/`);

/** The rule for a file; undefined for files that may import everything. */
export function ruleFor(file: string): Rule | undefined {
  return rules
    .filter((rule) => covers(rule.from, file))
    .sort((a, b) => b.from.length - a.from.length)[0];
}

export function mayImportFile(rule: Rule, target: string): boolean {
  return [rule.from, ...rule.files].some((place) => covers(place, target));
}

export function mayImportPackage(rule: Rule, name: string): boolean {
  return rule.packages.some((pattern) =>
    pattern.endsWith('/*') ? name.startsWith(pattern.slice(0, -1)) : pattern === name,
  );
}
