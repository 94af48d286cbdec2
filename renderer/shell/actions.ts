// What each command does.

import { useBisect } from '../bisect/bisect.ts';
import { useDiff } from '../diff/diff.ts';
import type { CommandId } from '../keys/commands.ts';
import { firstWritten } from '../step/written.ts';
import { useFocus } from '../stores/focus.ts';
import { useJobs } from '../stores/jobs.ts';
import { useNavigation } from '../stores/navigation.ts';
import { usePosition } from '../stores/position.ts';
import { useRecordings } from '../stores/recordings.ts';
import { useScenario } from '../stores/scenario.ts';
import { useWriters } from '../stores/writers.ts';
import { useTheme } from '../theme/theme.ts';
import { useTimeline } from '../timeline/range.ts';
import { useLayout } from './layout.ts';
import { useOverlays } from './overlays.ts';

export const makeActions = (): Readonly<Record<CommandId, () => unknown>> => {
  const at = usePosition();
  const navigation = useNavigation();
  const timeline = useTimeline();
  const recordings = useRecordings();
  const scenario = useScenario();
  const overlays = useOverlays();
  const layout = useLayout();
  const theme = useTheme();
  const focus = useFocus();
  const writers = useWriters();
  const jobs = useJobs();
  const diff = useDiff();

  /** The selected field, or the first one that the step wrote. */
  const ofField = (act: (path: string) => unknown): unknown => {
    const path = focus.field === '' ? firstWritten(at.state) : focus.field;
    return path === undefined ? undefined : act(path);
  };
  const toDifference = (by: 1 | -1): void => {
    layout.show('diff');
    diff.move(by);
  };
  const search = (): void => {
    layout.show('state');
    focus.filterWanted++;
  };
  const closeShown = (): unknown =>
    recordings.shown && recordings.close(recordings.shown.recording.recording);
  const runScenario = (): unknown => {
    if (!recordings.shown) layout.show('scenario');
    return scenario.run();
  };
  const bisect = (): void => {
    const failed = recordings.findings[0];
    if (failed !== undefined) useBisect().invariant = failed.check;
    layout.show('bisect');
  };

  return {
    first: () => at.jumpTo(0),
    last: () => at.jumpTo(at.steps),
    step: () => navigation.byStep(1),
    stepBack: () => navigation.byStep(-1),
    step10: () => navigation.byStep(10),
    stepBack10: () => navigation.byStep(-10),
    over: () => navigation.byFunction('over', 1),
    overBack: () => navigation.byFunction('over', -1),
    out: () => navigation.byFunction('out', 1),
    outBack: () => navigation.byFunction('out', -1),
    actorNext: () => navigation.byActor(1),
    actorPrevious: () => navigation.byActor(-1),
    back: () => at.back(),
    forth: () => at.forth(),
    goTo: () => overlays.focusGoTo(),
    findingNext: () => navigation.byFinding(1),
    findingPrevious: () => navigation.byFinding(-1),
    writerLast: () => ofField((path) => writers.toEarlier(path)),
    writerNext: () => ofField((path) => writers.toNext(path)),
    search,
    bisect,
    setA: () => at.setA(),
    setB: () => at.setB(),
    differenceNext: () => toDifference(1),
    differencePrevious: () => toDifference(-1),
    swap: () => at.swapMarks(),
    zoomIn: () => timeline.zoom(1 / 1.6),
    zoomOut: () => timeline.zoom(1.6),
    panLeft: () => timeline.pan(-0.25),
    panRight: () => timeline.pan(0.25),
    fit: () => timeline.fit(),
    run: runScenario,
    cancel: () => (jobs.running.length > 0 ? jobs.cancel() : focus.leave()),
    newScenario: () => {
      scenario.begin();
      layout.show('scenario');
    },
    openScenario: () => scenario.open(),
    saveScenario: () => scenario.save(),
    open: () => recordings.openFile(),
    export: () => recordings.exportShown(),
    closeRecording: closeShown,
    anything: () => overlays.showPalette(''),
    palette: () => overlays.showPalette('>'),
    keys: () => overlays.toggleKeys(),
    races: () => {
      layout.show('races');
      focus.racesWanted = true;
    },
    nextPane: () => layout.nextPane(),
    layoutDebug: () => layout.arrange('debugger'),
    layoutMemory: () => layout.arrange('memory'),
    layoutWrite: () => layout.arrange('scenario'),
    themeSystem: () => theme.choose('system'),
    themeLight: () => theme.choose('light'),
    themeDark: () => theme.choose('dark'),
    themeContrast: () => theme.choose('contrast'),
  };
};
