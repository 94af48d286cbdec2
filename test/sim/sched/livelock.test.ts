// A machine that goes round in circles is told from one that is busy, and from one that waits.

import { expect, test } from 'vitest';
import { compileText, runText, scenarioText } from '../scenario_run.ts';

const looping = scenarioText('discovered-tpr-threshold');

test('the same states again and again end the run', () => {
  const { run } = runText(looping);
  expect(run.halt).toBe('livelock');
  expect(run.message).toMatch(/the same at positions \d+ and \d+, whoever acts/);
});

test('as long as somebody who could act is never chosen, it is no livelock', () => {
  const text = looping.replace('msi 0x31 vcpu0 }', 'msi 0x31 vcpu0 lower 3 }');
  const starving = text.replace('  dev   on\n', '  dev   through kvm_set_msi\n');
  expect(compileText(starving).actors).toContain('dev');
  const { run } = runText(starving, { stepsMax: 900 });
  expect([run.halt, run.steps]).toEqual(['steps-max', 900]);
});

test('a loop that counts is no circle', () => {
  const text = `scenario "x" machine { vcpus 1 }
    vcpu0 { repeat 300 { pause } }`;
  expect(runText(text).run.halt).toBe('quiet');
});

test('who could act in the middle of a round and is never chosen could end it as well', () => {
  // The list is free for a step in each round of the handler; vcpu0, who wants it, is not chosen.
  const { run } = runText(scenarioText('R28-k7.0-fixed'), {
    schedule: 'random-stretches:4153',
  });
  expect(run.halt).toBe('quiet');
});
