// The component of each panel.

import type { Component } from 'vue';
import BisectPane from '../bisect/BisectPane.vue';
import FindingsPane from '../checks/FindingsPane.vue';
import InvariantsPane from '../checks/InvariantsPane.vue';
import DiffPane from '../diff/DiffPane.vue';
import LibraryPane from '../library/LibraryPane.vue';
import MemoryPane from '../memory/MemoryPane.vue';
import ApicPage from '../page/ApicPage.vue';
import Vectors from '../page/Vectors.vue';
import RacesPane from '../races/RacesPane.vue';
import ScenarioPane from '../scenario/ScenarioPane.vue';
import StateTree from '../state/StateTree.vue';
import StepPane from '../step/StepPane.vue';
import Timeline from '../timeline/Timeline.vue';
import VmcsPane from '../vmcs/VmcsPane.vue';
import type { PanelId } from './layout.ts';

export const views: Readonly<Record<PanelId, Component>> = {
  library: LibraryPane,
  findings: FindingsPane,
  invariants: InvariantsPane,
  timeline: Timeline,
  scenario: ScenarioPane,
  state: StateTree,
  page: ApicPage,
  vectors: Vectors,
  vmcs: VmcsPane,
  memory: MemoryPane,
  diff: DiffPane,
  bisect: BisectPane,
  races: RacesPane,
  step: StepPane,
};
