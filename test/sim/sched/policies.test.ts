// Who goes next: fairness, the same seed for ever, exact choices, and lines that lead to a place.

import { expect, test } from 'vitest';
import { boot } from '#sim/boot.ts';
import { type Directive, directed } from '#sim/sched/policies/directed.ts';
import { pct } from '#sim/sched/policies/pct.ts';
import { random, randomSource } from '#sim/sched/policies/random.ts';
import { randomStretches } from '#sim/sched/policies/random_stretches.ts';
import { replay } from '#sim/sched/policies/replay.ts';
import { roundRobin } from '#sim/sched/policies/round_robin.ts';
import type { Policy } from '#sim/sched/policy.ts';
import { Run } from '#sim/sched/run.ts';
import { APIC_ACCESS_PAGE } from '#sim/state/program.ts';
import { siteOf } from '#sim/steps.ts';
import { configOf, smallMachine } from '../small_machine.ts';

const machine = smallMachine();

const chosen = (policy: Policy, ready: readonly number[], times: number): number[] => {
  const list = { actors: Uint8Array.from(ready), count: ready.length };
  return Array.from({ length: times }, () => policy.choose(machine, list));
};

test('round robin gives each ready actor a step before any has a second', () => {
  expect(chosen(roundRobin(), [0, 2, 5], 7)).toEqual([0, 2, 5, 0, 2, 5, 0]);
});

test('round robin goes on behind the last actor when others come and go', () => {
  const policy = roundRobin();
  expect(chosen(policy, [0, 1, 2], 2)).toEqual([0, 1]);
  expect(chosen(policy, [0, 3], 1)).toEqual([3]);
  expect(chosen(policy, [1, 2], 2)).toEqual([1, 2]);
});

test('seed 7 gives this sequence, on every engine and for ever', () => {
  const next = randomSource(7);
  expect(Array.from({ length: 24 }, () => next(10))).toEqual([
    0, 0, 9, 6, 5, 4, 4, 2, 5, 7, 2, 1, 7, 5, 1, 3, 2, 5, 2, 9, 2, 8, 1, 1,
  ]);
  expect(chosen(random(7), [0, 2, 3], 12)).toEqual([0, 0, 3, 3, 2, 2, 2, 0, 2, 3, 0, 0]);
});

test('a random choice is below its bound, also with the highest seed', () => {
  const next = randomSource(0xffff_ffff);
  const seen = new Set<number>();
  for (let i = 0; i < 2000; i++) seen.add(next(5));
  expect([...seen].sort()).toEqual([0, 1, 2, 3, 4]);
});

test('random stretches are long, end, and are the same for ever', () => {
  const order = chosen(randomStretches(7), [0, 2, 3], 400);
  expect(new Set(order).size).toBe(3);
  const switches = order.filter((actor, i) => i > 0 && order[i - 1] !== actor).length;
  expect(switches).toBeGreaterThan(5);
  expect(switches).toBeLessThan(60);
  expect(chosen(randomStretches(7), [0, 2, 3], 400)).toEqual(order);
});

test('a stretch ends with the actor that has to wait', () => {
  const policy = randomStretches(1);
  const [first = -1] = chosen(policy, [0, 1], 1);
  expect(chosen(policy, [1 - first], 5)).toEqual(Array.from({ length: 5 }, () => 1 - first));
});

const all = machine.threads.map(({ index }) => index);

test('with priorities the same actor goes until the highest falls, at as many steps as asked', () => {
  for (let seed = 0; seed < 20; seed++) {
    const order = chosen(pct(seed, 3), all, 350);
    const switches = order.filter((actor, i) => i > 0 && order[i - 1] !== actor).length;
    expect(switches).toBeLessThanOrEqual(2);
    expect(chosen(pct(seed, 3), all, 350)).toEqual(order);
    expect(new Set(chosen(pct(seed, 1), all, 350)).size).toBe(1);
  }
  expect(
    new Set(Array.from({ length: 20 }, (_, seed) => chosen(pct(seed, 1), all, 1)[0])).size,
  ).toBe(all.length);
});

test('an actor that goes round in circles does not hold up the others for ever', () => {
  expect(new Set(chosen(pct(1, 1), all, 401 * all.length))).toEqual(new Set(all));
});

const migrating = { programs: { mm: [{ op: 'migrate', operands: [APIC_ACCESS_PAGE] }] } } as const;

const runWith = (policy: Policy, stepsMax?: number): Run => {
  const run = new Run(smallMachine(migrating), {
    policy,
    ...(stepsMax === undefined ? {} : { stepsMax }),
  });
  run.advance(10_000);
  return run;
};

const names = configOf().actors.map(({ name }) => name);

test('the choices of a run are a schedule that makes them again', () => {
  const first = runWith(random(3));
  expect(first.halt).toBe('quiet');
  const again = runWith(replay({ items: first.choices(), policy: undefined }, names));
  expect(again.scheduleText()).toBe(first.scheduleText());
  expect(again.halt).toBe('quiet');
  expect(again.machine.arena.words).toEqual(first.machine.arena.words);
});

test('a schedule that is used up ends the run, or gives way to its policy', () => {
  const items = [{ actor: 'mm', count: 3 }];
  const alone = runWith(replay({ items, policy: undefined }, names));
  expect([alone.halt, alone.machine.arena.position]).toEqual(['schedule-end', 3]);
  const going = runWith(replay({ items, policy: { kind: 'round-robin' } }, names));
  expect(going.halt).toBe('quiet');
});

test('a schedule that names an actor which must wait says where, and who could go', () => {
  const run = runWith(replay({ items: [{ actor: 'irq0', count: 1 }], policy: undefined }, names));
  expect(run.halt).toBe('not-ready');
  expect(run.message).toMatch(/item 1 .* wants irq0 at position 0, .* ready are vcpu0, mm/);
});

test('the bound on steps ends a run that would go on', () => {
  const run = runWith(roundRobin(), 10);
  expect([run.halt, run.machine.arena.position]).toEqual(['steps-max', 10]);
  expect(run.advance(5)).toBe(0);
});

const vcpu0 = names.indexOf('vcpu0');
const mm = names.indexOf('mm');

const follow = (directives: readonly Directive[]) => {
  const policy = directed(directives, undefined);
  const m = boot(configOf(migrating));
  let stopped = 0;
  const order: string[] = [];
  const run = new Run(m, {
    policy: {
      ended: undefined,
      choose(at, ready) {
        const actor = policy.choose(at, ready);
        const site = siteOf(m.siteBefore(actor));
        order.push(`${names[actor]} ${site?.function} "${site?.label}"`);
        return actor;
      },
    },
  });
  stopped = run.advance(300);
  return { policy, order, stopped };
};

test('"to" stops before the step whose label contains the text', () => {
  const { order, policy } = follow([
    { actor: vcpu0, goal: { kind: 'to', function: 'vcpu_enter_guest', label: 'interrupts off' } },
    { actor: mm, goal: { kind: 'steps', count: 1 } },
    { actor: vcpu0, goal: { kind: 'steps', count: 1 } },
  ]);
  const mmFirst = order.findIndex((step) => step.startsWith('mm'));
  expect(order[mmFirst + 1]).toBe('vcpu0 vcpu_enter_guest "interrupts off"');
  expect(policy.unreached).toEqual([]);
});

test('"through" stops when the function has returned', () => {
  const { order, policy } = follow([
    { actor: mm, goal: { kind: 'through', function: 'kvm_unmap_gfn_range', label: undefined } },
    { actor: vcpu0, goal: { kind: 'steps', count: 1 } },
  ]);
  const mmSteps = order.slice(
    0,
    order.findIndex((step) => step.startsWith('vcpu0')),
  );
  expect(mmSteps.at(-1)).toContain('kvm_make_all_cpus_request');
  expect(policy.unreached).toEqual([]);
});

test('"on" goes on until the actor ends or waits, and is always reached', () => {
  const { order, policy } = follow([{ actor: mm, goal: { kind: 'on' } }]);
  const vcpuFirst = order.findIndex((step) => step.startsWith('vcpu0'));
  expect(order.slice(0, vcpuFirst).every((step) => step.startsWith('mm '))).toBe(true);
  expect(order[vcpuFirst - 1]).toContain('mm scenarioProgram');
  expect(policy.unreached).toEqual([]);
});

test('a line whose actor does not get there gives way to the next, and is told', () => {
  const { order, policy } = follow([
    { actor: mm, goal: { kind: 'to', function: 'vcpu_enter_guest', label: undefined } },
    { actor: names.indexOf('irq0'), goal: { kind: 'steps', count: 1 } },
    { actor: vcpu0, goal: { kind: 'steps', count: 2 } },
  ]);
  expect(policy.unreached).toEqual([0, 1]);
  expect(order.filter((step) => step.startsWith('vcpu0')).length).toBeGreaterThan(1);
});
