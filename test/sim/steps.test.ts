// How model code is written: ids of sites, the stack in the arena, and what ends a wrong model.

import { expect, test } from 'vitest';
import { limits } from '#sim/state/limits.ts';
import {
  functionOf,
  kvm,
  type Machine,
  registeredFunctions,
  type Steps,
  siteOf,
} from '#sim/steps.ts';
import { begin, complete, smallMachine, standsBefore, takeStep } from './small_machine.ts';

/** FNV-1a over name, line feed and label: written down here a second time on purpose. */
const idOf = (name: string, label: string): number => {
  let hash = 0x811c9dc5;
  for (const char of `${name}\n${label}`) {
    hash = Math.imul(hash ^ char.charCodeAt(0), 0x01000193) >>> 0;
  }
  return hash;
};

const nest = kvm('virt/kvm/kvm_main.c', function* testNest(m: Machine, depth: number): Generator {
  yield m.step('at depth {depth}', depth);
  if (depth > 1) yield* nest(m, depth - 1) as Steps<unknown>;
  yield m.step('back at depth {depth}', depth);
  return depth;
} as never) as (m: Machine, depth: number) => Steps<number>;

test('the id of a site follows from its function and label, not from what ran before', () => {
  for (const { name, entry, sites } of registeredFunctions()) {
    expect(entry).toBe(idOf(name, ''));
    for (const [label, id] of sites) expect(id).toBe(idOf(name, label));
  }
  expect(functionOf('vcpu_enter_guest')?.entry).toBe(idOf('vcpu_enter_guest', ''));
});

test('the stack of an actor is in the arena: callers, the step to come, its locals', () => {
  const m = smallMachine();
  begin(m, 'user', () => nest(m, 3));
  takeStep(m, 'user');
  takeStep(m, 'user');
  const user = m.threads.find(({ name }) => name === 'user')!.index;
  const { depth, stack } = m.actor[user]!;
  const frames = stack
    .slice(0, depth)
    .map(({ site, local }) => [siteOf(site)?.function, siteOf(site)?.label, local[0]!.value]);
  expect(frames).toEqual([
    ['testWork', '', 0],
    ['testNest', 'at depth {depth}', 3],
    ['testNest', 'at depth {depth}', 2],
    ['testNest', 'at depth {depth}', 1],
  ]);
});

test('a call returns what its function returns, and its frame is gone', () => {
  const m = smallMachine();
  expect(complete(m, 'user', () => nest(m, 5))).toBe(5);
  const user = m.threads.find(({ name }) => name === 'user')!.index;
  expect(m.actor[user]!.depth).toBe(0);
});

test('a stack that is too deep is a message with the name of the actor', () => {
  const m = smallMachine();
  expect(() => complete(m, 'user', () => nest(m, limits.stackDepth + 1))).toThrow(
    `the stack of user is deeper than ${limits.stackDepth} calls`,
  );
});

test('a name is registered once', () => {
  const again = () =>
    kvm('virt/kvm/kvm_main.c', function* vcpu_enter_guest(m: Machine) {
      yield m.step('never');
    });
  expect(again).toThrow('vcpu_enter_guest is registered twice');
});

test('an actor that waits is not ready until its condition holds', () => {
  const m = smallMachine();
  const wait = kvm('virt/kvm/kvm_main.c', function* testWait(machine: Machine) {
    yield machine.park('wait for the sequence', ({ vm }) => vm.mmu_invalidate_seq > 0);
  });
  begin(m, 'user', () => wait(m));
  expect(() => takeStep(m, 'user')).toThrow('user waits before testWait "wait for the sequence"');
  m.vm.mmu_invalidate_seq = 1;
  expect(standsBefore(m, 'user')).toBe('testWait "wait for the sequence"');
  takeStep(m, 'user');
});
