// What the window says about R01: the step in words, the page that is gone, the broken invariants.

import { expect, test } from 'vitest';
import { checks } from '../../main/sim/checks/index.ts';
import { useBisect } from '../../renderer/bisect/bisect.ts';
import { statusesAt } from '../../renderer/checks/status.ts';
import { changesBetween } from '../../renderer/diff/changes.ts';
import { storyOf } from '../../renderer/memory/history.ts';
import { pictureOf } from '../../renderer/memory/layout.ts';
import { memoryMapOf, verdictsOf } from '../../renderer/memory/pointers.ts';
import { filledLabel, localText } from '../../renderer/step/label.ts';
import { nextSteps, storyFrames } from '../../renderer/step/story.ts';
import { writtenBy } from '../../renderer/step/written.ts';
import type { State } from '../../renderer/stores/position.ts';
import { recorded, settled } from './session.ts';

const atEnd = async (id: string): Promise<State> => {
  const { position, recordings } = await recorded(id);
  position.moveTo(recordings.steps);
  await settled();
  return position.state!;
};

test('placeholders of a label are filled in their order', () => {
  expect(filledLabel('map gfn {gfn} to {pfn}', [0xfee00, 3])).toBe('map gfn 0xfee00 to 3');
  expect(filledLabel('is {request} set?', [25])).toBe('is APIC_PAGE_RELOAD set?');
  expect(filledLabel('look up {pfn}', [])).toBe('look up pfn');
  expect(filledLabel('set {vector}; SVI = {vector}', [0x61, 5])).toBe('set 0x61; SVI = 0x61');
  expect(localText('pfn', 0xffff_ffff)).toBe('none');
});

test('a step is told by actor, call stack and what it wrote, its stack kept apart', async () => {
  const { position } = await recorded('R01-k4.15-buggy');
  const state = position.state!;
  const frames = storyFrames(state.of, state.before, state.actor);
  expect(frames[0]?.function).toBe('migrate_pages');
  expect(frames[0]?.source).toBe('mm/migrate.c');
  const { fields, stack } = writtenBy(state.of.index, state.writes, state);
  const freed = fields.find(({ path }) => /^frame\[\d+\]\.freed$/.test(path) && !/3/.test(path));
  expect(freed).toMatchObject({ old: '0', now: '1', same: false });
  expect(fields.every(({ path }) => !path.startsWith('actor['))).toBe(true);
  expect(stack.every(({ path }) => path.startsWith('actor['))).toBe(true);
});

test('each actor has a next step, or has ended', async () => {
  const state = await atEnd('R01-k4.15-buggy');
  const mm = nextSteps(state).find(({ actor }) => actor === 'mm');
  expect(mm?.state).toBe('done');
});

test('the pointer to the freed page is found, and none where the protection is on', async () => {
  const buggy = memoryMapOf(await atEnd('R01-k4.15-buggy'));
  const [verdict] = verdictsOf(buggy);
  expect(verdict?.pointer).toMatchObject({ holder: 'vmcs', trouble: 'freed' });
  expect(verdict?.text).toMatch(/^vcpu0 APIC_ACCESS_ADDR names pfn 2, which was freed;/);
  expect(verdictsOf(memoryMapOf(await atEnd('R01-k4.15-fixed')))).toEqual([]);
});

test('every live pointer has an arrow, and nothing stands outside the picture', async () => {
  const map = memoryMapOf(await atEnd('R01-k4.15-buggy'));
  const picture = pictureOf(map, 520);
  const live = map.pages.flatMap((page) => page.pointers.filter((one) => one.live));
  const drawn = new Set(picture.arrows.map((arrow) => arrow.pointer));
  expect(live.every((pointer) => drawn.has(pointer))).toBe(true);
  for (const { x, y } of [...picture.pointers, ...picture.frames]) {
    expect(x).toBeGreaterThanOrEqual(0);
    expect(y).toBeLessThan(picture.height);
  }
});

test('the story of a page keeps a stale value that was written again', () => {
  const event = (step: number, path: string, from: string, to: string) => ({
    step,
    path,
    from,
    to,
    actor: 'vcpu0',
    function: '',
    label: '',
  });
  const story = storyOf([
    event(21, 'vcpu[0].vmcs01.apic_access_addr', '0x2000', '0x2000'),
    event(30, 'pte[0].pfn', 'pfn 2', 'pfn 2'),
    event(4, 'ept[0].spte[0].present', '1', '0'),
  ]);
  expect(story.map(({ step }) => step)).toEqual([4, 21]);
});

test('invariants stand broken, were broken, or held at a position', async () => {
  const { position, recordings } = await recorded('R01-k4.15-buggy');
  const standing = (id: string): string | undefined =>
    statusesAt(checks, {
      machine: position.state!.machine,
      position: position.position,
      steps: recordings.steps,
      findings: recordings.findings,
    }).find((status) => status.check.id === id)?.state;
  expect(standing('inv-reload-pending-during-inv')).toBe('broken');
  expect(standing('inv-mode-irqs')).toBe('held');
  position.moveTo(0);
  await settled();
  expect(standing('inv-reload-pending-during-inv')).toBe('held');
  position.moveTo(recordings.steps);
  await settled();
  expect(standing('inv-apic-access-hpa')).toBe('was broken');
});

test('bisecting lands on the first bad position, with both states as markers', async () => {
  const { position } = await recorded('R01-k4.15-buggy');
  const bisect = useBisect();
  await bisect.byInvariant('inv-apic-access-hpa');
  await settled();
  expect(position.position).toBe(bisect.found?.answer.firstBad);
  expect(position.markA?.position).toBe(bisect.found?.answer.lastGood);
  expect(bisect.found).toMatchObject({ actor: 'vcpu0', site: { function: 'vmEntry' } });
  const changes = changesBetween(
    position.state!.of.index,
    position.markA!.words,
    position.markB!.words,
    { test: () => true, bookkeeping: false },
  );
  expect(changes.map(({ path }) => path)).toContain('vcpu[0].non_root');
});

test('what cannot be bisected is said in a sentence', async () => {
  await recorded('R01-k4.15-fixed');
  const bisect = useBisect();
  await bisect.byInvariant('inv-apic-access-hpa');
  expect(bisect.found).toBeUndefined();
  expect(bisect.fault).toBe('inv-apic-access-hpa holds at every position.');
});
