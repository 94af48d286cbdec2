import { join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { leafAt, leavesOf } from '#sim/arena/leaves.ts';
import { checks } from '#sim/checks/index.ts';
import { openRecording, type Recording } from '../../db/recording.ts';
import { predicateOf } from '../../main/predicates.ts';
import { startRun } from '../../main/session.ts';
import { libraryIds, runLibrary, scenarioText } from '../sim/scenario_run.ts';
import { folderForTest } from './recorded.ts';

const stepsMax = 12_000;

const recordedScenario = (id: string): Recording => {
  const path = join(folderForTest(), 'run.apicrec');
  const session = startRun(
    { name: id, path: `${id}.scn`, text: scenarioText(id) },
    { stepsMax },
    path,
  );
  while (session.advance(1000));
  session.finish();
  const recording = openRecording(path);
  onTestFinished(() => recording.close());
  return recording;
};

for (const id of libraryIds) {
  test(`a recording of ${id} holds every state, step and finding of the run`, () => {
    const recording = recordedScenario(id);
    const run = runLibrary(id, { stepsMax });
    const { arena } = run.machine;
    expect(recording.steps).toBe(arena.position);
    expect(recording.recoveredTo).toBeUndefined();
    expect(recording.findings.map((f) => [f.check, f.position, f.message])).toEqual(
      run.findings.map((f) => [f.check, f.position, f.message]),
    );
    const steps = run.steps();
    const first = Math.max(0, recording.steps - 300);
    for (let step = first; step < recording.steps; step++) {
      expect(recording.stepAt(step)).toMatchObject({ ...steps[step] });
    }
    for (let p = recording.steps; p >= 0; p--) {
      if (p > recording.steps - 500 || p % 61 === 0) {
        expect(recording.stateAt(p)).toEqual(arena.words);
      }
      if (p > 0) arena.undo();
    }
  });
}

test('bisecting an invariant names the step that the check named while it ran', () => {
  const recording = recordedScenario('R01-k5.8-buggy');
  expect(recording.findings.length).toBeGreaterThan(0);
  for (const check of checks) {
    const firstFound = recording.findings.find((f) => f.check === check.id);
    const result = recording.bisectCheck(check);
    expect(result.note).toBeUndefined();
    expect(result.broken).toEqual(
      firstFound && {
        lastGood: firstFound.position - 1,
        firstBad: firstFound.position,
        message: firstFound.message,
      },
    );
    if (firstFound === undefined) continue;
    const later = recording.findings.find(
      (f) => f.check === check.id && f.position > firstFound.position,
    );
    expect(recording.bisectCheck(check, { from: firstFound.position }).broken?.firstBad).toBe(
      later?.position,
    );
  }
});

test('a recording of another version of the model answers with what its checks found', () => {
  const recording = recordedScenario('R01-k5.8-buggy');
  const [found] = recording.findings;
  const check = checks.find((c) => c.id === found?.check) ?? expect.fail('nothing was found');
  const { layout } = recording.reader.header;
  Object.assign(layout, { name: 'as it was' });
  const result = recording.bisectCheck(check);
  expect(result.broken?.firstBad).toBe(found?.position);
  expect(result.note).toMatch(/another version of the model/);
});

test('a help text that reads otherwise does not make it another version of the model', () => {
  const recording = recordedScenario('R01-k5.8-buggy');
  const check = checks.find((c) => c.id === recording.findings[0]?.check);
  const { layout } = recording.reader.header;
  for (const field of layout.fields) Object.assign(field, { doc: 'said otherwise' });
  expect(recording.bisectCheck(check ?? expect.fail('nothing was found')).note).toBeUndefined();
});

test('expressions are found in a recording where a look at each position finds them', () => {
  const recording = recordedScenario('busy-migrations');
  const texts = [
    'vcpu[0].mode != vcpu[1].mode',
    'changed(vm.mmu_invalidate_seq)',
    'vm.mmu_invalidate_in_progress > 0 && changed(vcpu[0].mode)',
  ];
  const states = Array.from({ length: 6001 }, (_, p) => recording.stateAt(p));
  for (const text of texts) {
    const predicate = predicateOf(text, recording.layout);
    const holds = (p: number): boolean => predicate.holds(states[p]!, states[Math.max(0, p - 1)]!);
    const expected = states.flatMap((_, p) => (holds(p) && (p === 0 || !holds(p - 1)) ? [p] : []));
    expect(recording.find(predicate, { to: 6000 })).toEqual(expected);
  }
});

test('a stored layout gives the same fields as the one it was stored from', () => {
  const recording = recordedScenario('R01-k5.8-fixed');
  const { layout } = runLibrary('R01-k5.8-fixed', { stepsMax: 1 }).machine;
  expect(leavesOf(recording.layout)).toEqual(leavesOf(layout));
  expect(leafAt(recording.layout, 'vcpu[1].pi_desc.on')).toEqual(
    leafAt(layout, 'vcpu[1].pi_desc.on'),
  );
});
