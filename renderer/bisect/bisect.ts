// Bisecting: the last good and the first bad position of an invariant or an expression.

import { defineStore } from 'pinia';
import { shallowRef, watch } from 'vue';
import { siteAt } from '../../main/sim/arena/window_sites.ts';
import type { BisectAnswer, BisectRequest, SiteEntry } from '../../preload/api.ts';
import { filledLabel, sourceText } from '../step/label.ts';
import { useJobs } from '../stores/jobs.ts';
import { type Mark, usePosition } from '../stores/position.ts';
import { useRecordings } from '../stores/recordings.ts';
import { api, ask, sentenceOf } from '../stores/requests.ts';
import { framesOf } from '../stores/stacks.ts';
import { actorOf } from '../stores/steps.ts';
import { type Concerned, concernedAt, pathsIn, pathsOf } from './concerned.ts';

/** What a bisection found, with both states and the step in words. */
export interface Found {
  readonly what: string;
  readonly answer: BisectAnswer;
  readonly good: Mark;
  readonly bad: Mark;
  readonly actor: string;
  readonly site: SiteEntry | undefined;
  readonly label: string;
  readonly source: string;
  readonly fields: readonly Concerned[];
}

export const useBisect = defineStore('bisect', () => {
  const recordings = useRecordings();
  const at = usePosition();
  const invariant = shallowRef('');
  const expression = shallowRef('');
  const found = shallowRef<Found>();
  const fault = shallowRef('');
  /** grows when the pane is to come to the front */
  const wanted = shallowRef(0);

  const stepInWords = async (good: Mark, firstBad: number) => {
    const of = recordings.shown;
    if (of === undefined || firstBad < 1)
      return { actor: '', site: undefined, label: '', source: '' };
    const window = await of.windows.load(firstBad - 1);
    const actor = actorOf(window, firstBad - 1);
    const { words } = good.position === firstBad - 1 ? good : await at.stateAt(firstBad - 1);
    const site = of.sites.get(siteAt(words, of.actors, actor));
    const locals = framesOf(words, of.actors, actor)[0]?.locals ?? [];
    return {
      actor: of.recording.actors[actor] ?? '',
      site,
      label: filledLabel(site?.label ?? '', locals),
      source: site === undefined ? '' : sourceText(site),
    };
  };

  const perform = async (what: string, by: Omit<BisectRequest, 'recording'>): Promise<void> => {
    const of = recordings.shown;
    if (of === undefined) return;
    wanted.value++;
    fault.value = '';
    found.value = undefined;
    const { recording } = of.recording;
    try {
      const answer = await useJobs().start(`bisect ${what}`, (job) =>
        ask(api().bisect(job, { recording, ...by })),
      );
      const good = await at.stateAt(answer.lastGood);
      const bad = await at.stateAt(answer.firstBad);
      const words = await stepInWords(good, answer.firstBad);
      const paths = by.invariant === undefined ? pathsIn(of, what) : pathsOf(of, by.invariant, bad);
      const fields = await concernedAt(of, paths, bad);
      if (recordings.shown !== of) return;
      found.value = { what, answer, good, bad, fields, ...words };
      at.setMarks(good, bad);
      at.jumpTo(answer.firstBad);
    } catch (thrown) {
      fault.value = sentenceOf(thrown);
    }
  };

  const byInvariant = (id: string): Promise<void> => {
    invariant.value = id;
    return perform(id, { invariant: id });
  };

  const byExpression = (): Promise<void> =>
    perform(expression.value, { expression: expression.value });

  watch(
    () => recordings.shown,
    () => {
      found.value = undefined;
      fault.value = '';
    },
  );

  return { invariant, expression, found, fault, wanted, byInvariant, byExpression };
});
