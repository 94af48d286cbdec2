// Moving through a recording: sessions as a user has them.

import { expect, test } from 'vitest';
import { leafAt, valueAt } from '../../main/sim/arena/leaves.ts';
import { useNavigation } from '../../renderer/stores/navigation.ts';
import type { State } from '../../renderer/stores/position.ts';
import { recorded, settled } from './session.ts';

const state = (of: { state: State | undefined }): State => {
  if (of.state === undefined) throw new Error('No state is shown.');
  return of.state;
};

test('a recording opens at its first finding', async () => {
  const { position, recordings } = await recorded('R01-k4.15-buggy');
  expect(position.position).toBe(recordings.findings[0]?.position);
  expect(state(position).position).toBe(position.position);
});

test('the state before a step and its writes give the state after it', async () => {
  const { position, recordings } = await recorded('R01-k4.15-buggy');
  for (let at = 0; at <= recordings.steps; at++) {
    position.moveTo(at);
    await settled();
    const { words, before, writes } = state(position);
    const again = before.slice();
    for (let i = 0; i < writes.length; i += 3) {
      expect(again[writes[i]!]).toBe(writes[i + 1]);
      again[writes[i]!] = writes[i + 2]!;
    }
    expect(again).toEqual(words);
  }
});

test('moving inside a window asks the main process nothing', async () => {
  const { position, asked } = await recorded('R01-k4.15-buggy');
  const before = asked.length;
  for (const at of [0, 60, 3, 41, 72]) position.moveTo(at);
  expect(state(position).position).toBe(72);
  expect(asked.slice(before)).toEqual([]);
});

test('of two positions asked for, the later one is drawn, whichever answer comes first', async () => {
  const held: (() => void)[] = [];
  const { position } = await recorded('busy-migrations', (api) => ({
    ...api,
    windowAt: async (recording, at) => {
      if (at > 2000) await new Promise<void>((resolve) => held.push(resolve));
      return api.windowAt(recording, at);
    },
  }));
  position.moveTo(5000);
  position.moveTo(3000);
  expect(position.stale).toBe(true);
  for (let turn = 0; turn < 20; turn++) {
    for (const go of held.splice(0).reverse()) go();
    await new Promise((resolve) => setTimeout(resolve));
  }
  expect(state(position).position).toBe(3000);
  expect(position.stale).toBe(false);
});

test('positions outside the recording are its ends', async () => {
  const { position, recordings } = await recorded('R01-k4.15-buggy');
  position.moveTo(1e9);
  expect(position.position).toBe(recordings.steps);
  position.moveTo(-5);
  expect(position.position).toBe(0);
  expect(state(position).step).toBe(-1);
});

test('a jump can be gone back from, and forth again', async () => {
  const { position } = await recorded('R01-k4.15-buggy');
  const start = position.position;
  position.jumpTo(50);
  position.jumpTo(10);
  position.back();
  expect(position.position).toBe(50);
  position.back();
  expect(position.position).toBe(start);
  position.forth();
  expect(position.position).toBe(50);
});

test('the next step of an actor is one of its own', async () => {
  const { position } = await recorded('busy-migrations');
  const navigation = useNavigation();
  position.moveTo(100);
  await settled();
  const { actor } = state(position);
  await navigation.byActor(1);
  await settled();
  expect(state(position).actor).toBe(actor);
  expect(position.position).toBeGreaterThan(100);
  await navigation.byActor(-1);
  await settled();
  expect(position.position).toBe(100);
});

test('stepping over a call ends where the caller goes on, and back again', async () => {
  const { position, recordings } = await recorded('R01-k4.15-buggy');
  const navigation = useNavigation();
  const layout = recordings.shown!.recording.layout;
  const depth = (): number =>
    Number(valueAt(state(position).words, leafAt(layout, 'actor[0].depth')!));
  position.moveTo(14);
  const start = depth();
  expect(start).toBeGreaterThan(1);
  await navigation.byFunction('over', 1);
  await settled();
  expect(depth()).toBeLessThanOrEqual(start);
  const over = position.position;
  await navigation.byFunction('out', 1);
  await settled();
  expect(depth()).toBeLessThan(start);
  expect(position.position).toBeGreaterThan(over);
});

test('findings are gone through in their order', async () => {
  const { position, recordings } = await recorded('R01-k4.15-buggy');
  const navigation = useNavigation();
  position.moveTo(0);
  const seen = recordings.findings.map(() => {
    navigation.byFinding(1);
    return position.position;
  });
  expect(seen).toEqual([...new Set(recordings.findings.map((one) => one.position))]);
});

test('a fault of the main process is told in place, and the state stays', async () => {
  const { position } = await recorded('busy-migrations', (api) => ({
    ...api,
    windowAt: async (recording, at) =>
      at > 4000 ? { ok: false, error: 'The recording is damaged.' } : api.windowAt(recording, at),
  }));
  const shown = state(position).position;
  position.moveTo(7000);
  await settled();
  expect(position.fault).toBe('The recording is damaged.');
  expect(state(position).position).toBe(shown);
});
