// Every command of the window: its name, its words and its keys. Keys, tooltips, palette, the menu
// of the application and the overlay of keys are all made from this table.

export const groups = ['Move', 'Find', 'Compare', 'Timeline', 'Run', 'File', 'View'] as const;
export type Group = (typeof groups)[number];

interface CommandSpec {
  readonly id: string;
  readonly title: string;
  readonly group: Group;
  readonly keys: readonly string[];
  /** also while text is being edited */
  readonly inText?: boolean;
}

export const commands = [
  { id: 'first', title: 'First position', group: 'Move', keys: ['Home'] },
  { id: 'last', title: 'Last position', group: 'Move', keys: ['End'] },
  { id: 'step', title: 'Step', group: 'Move', keys: ['ArrowRight', 'F11'] },
  { id: 'stepBack', title: 'Step back', group: 'Move', keys: ['ArrowLeft', 'Ctrl+F11'] },
  { id: 'step10', title: 'Ten steps', group: 'Move', keys: ['Shift+ArrowRight'] },
  { id: 'stepBack10', title: 'Ten steps back', group: 'Move', keys: ['Shift+ArrowLeft'] },
  { id: 'over', title: 'Over the function', group: 'Move', keys: ['F10'] },
  { id: 'overBack', title: 'Back over the function', group: 'Move', keys: ['Ctrl+F10'] },
  { id: 'out', title: 'Out of the function', group: 'Move', keys: ['Shift+F11'] },
  { id: 'outBack', title: 'Back to the call', group: 'Move', keys: ['Ctrl+Shift+F11'] },
  { id: 'actorNext', title: 'Next step of this actor', group: 'Move', keys: ['.'] },
  { id: 'actorPrevious', title: 'Previous step of this actor', group: 'Move', keys: [','] },
  { id: 'back', title: 'Back to where I was', group: 'Move', keys: ['Alt+ArrowLeft'] },
  { id: 'forth', title: 'Forth again', group: 'Move', keys: ['Alt+ArrowRight'] },
  { id: 'goTo', title: 'Go to position', group: 'Move', keys: ['g', 'Ctrl+g'] },
  { id: 'findingNext', title: 'Next finding', group: 'Find', keys: ['F8', 'F5'] },
  {
    id: 'findingPrevious',
    title: 'Previous finding',
    group: 'Find',
    keys: ['Shift+F8', 'Ctrl+F5'],
  },
  { id: 'writerLast', title: 'Last writer of the field', group: 'Find', keys: ['l'] },
  { id: 'writerNext', title: 'Next writer of the field', group: 'Find', keys: ['Shift+l'] },
  { id: 'search', title: 'Filter the state', group: 'Find', keys: ['/'] },
  { id: 'bisect', title: 'Bisect an invariant', group: 'Find', keys: ['b'] },
  { id: 'setA', title: 'Set marker A here', group: 'Compare', keys: ['Ctrl+1'] },
  { id: 'setB', title: 'Set marker B here', group: 'Compare', keys: ['Ctrl+2'] },
  { id: 'differenceNext', title: 'Next difference', group: 'Compare', keys: ['F7'] },
  {
    id: 'differencePrevious',
    title: 'Previous difference',
    group: 'Compare',
    keys: ['Shift+F7'],
  },
  { id: 'swap', title: 'Swap markers A and B', group: 'Compare', keys: ['x'] },
  { id: 'zoomIn', title: 'Zoom in', group: 'Timeline', keys: ['KeyW'] },
  { id: 'zoomOut', title: 'Zoom out', group: 'Timeline', keys: ['KeyS'] },
  { id: 'panLeft', title: 'Pan left', group: 'Timeline', keys: ['KeyA'] },
  { id: 'panRight', title: 'Pan right', group: 'Timeline', keys: ['KeyD'] },
  { id: 'fit', title: 'Focus the position, then fit all', group: 'Timeline', keys: ['f'] },
  { id: 'run', title: 'Run the scenario', group: 'Run', keys: ['Ctrl+Enter'], inText: true },
  { id: 'cancel', title: 'Cancel what runs', group: 'Run', keys: ['Escape'], inText: true },
  { id: 'newScenario', title: 'New scenario', group: 'File', keys: ['Ctrl+n'], inText: true },
  {
    id: 'openScenario',
    title: 'Open a scenario',
    group: 'File',
    keys: ['Ctrl+Shift+o'],
    inText: true,
  },
  { id: 'saveScenario', title: 'Save the scenario', group: 'File', keys: ['Ctrl+s'], inText: true },
  { id: 'open', title: 'Open a recording', group: 'File', keys: ['Ctrl+o'], inText: true },
  {
    id: 'export',
    title: 'Export the recording',
    group: 'File',
    keys: ['Ctrl+Shift+s'],
    inText: true,
  },
  {
    id: 'closeRecording',
    title: 'Close the recording',
    group: 'File',
    keys: ['Ctrl+w'],
    inText: true,
  },
  { id: 'anything', title: 'Anything by name', group: 'View', keys: ['Ctrl+p'], inText: true },
  { id: 'palette', title: 'Commands', group: 'View', keys: ['>', 'Ctrl+Shift+p'] },
  { id: 'keys', title: 'Keys', group: 'View', keys: ['?'] },
  { id: 'races', title: 'Races', group: 'View', keys: ['F1'] },
  { id: 'nextPane', title: 'Next pane', group: 'View', keys: ['F6'], inText: true },
  { id: 'layoutDebug', title: 'Layout: debugger', group: 'View', keys: ['1'] },
  { id: 'layoutMemory', title: 'Layout: memory', group: 'View', keys: ['2'] },
  { id: 'layoutWrite', title: 'Layout: scenario', group: 'View', keys: ['3'] },
  { id: 'themeSystem', title: 'Theme: as the system', group: 'View', keys: [] },
  { id: 'themeLight', title: 'Theme: light', group: 'View', keys: [] },
  { id: 'themeDark', title: 'Theme: dark', group: 'View', keys: [] },
  { id: 'themeContrast', title: 'Theme: high contrast', group: 'View', keys: [] },
] as const satisfies readonly CommandSpec[];

export type CommandId = (typeof commands)[number]['id'];
export type Command = CommandSpec & { readonly id: CommandId };

const byId = new Map<string, Command>(commands.map((command) => [command.id, command]));

/** The command of that name; of the application menu's, only known ones are. */
export const commandOf = (id: string): Command | undefined => byId.get(id);
