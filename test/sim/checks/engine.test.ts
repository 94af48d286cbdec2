// The engine: when a predicate is evaluated, and that a violation is told once.

import { expect, test } from 'vitest';
import { viewOf } from '#sim/arena/views.ts';
import type { Check } from '#sim/checks/check.ts';
import { CheckEngine } from '#sim/checks/engine.ts';
import type { MachineView } from '#sim/state/machine.ts';
import type { Machine } from '#sim/steps.ts';
import { smallMachine } from '../small_machine.ts';

const base = { summary: '', why: '', races: [] } as const;

const seqBelow3: Check = {
  ...base,
  id: 'inv-step',
  when: 'step',
  per: 'machine',
  reads: ['vm.mmu_invalidate_seq'],
  broken: ({ vm }) =>
    vm.mmu_invalidate_seq < 3 ? undefined : { message: 'three', fields: ['vm.mmu_invalidate_seq'] },
};
const noReload: Check = {
  ...base,
  id: 'inv-each',
  when: 'step',
  per: 'vcpu',
  reads: ['vcpu[*].stat.reloads'],
  broken: (m, i) => (m.vcpu[i]!.stat.reloads === 0 ? undefined : { message: `${i}`, fields: [] }),
};
const never: Check = {
  ...base,
  id: 'inv-entry',
  when: 'entry',
  per: 'vcpu',
  reads: ['vcpu[*].mode'],
  broken: (_, i) => ({ message: `entry of ${i}`, fields: [] }),
};
const atRest: Check = { ...never, id: 'inv-quiet', when: 'quiet', per: 'machine' };

const made = (...checks: Check[]) => {
  const m = smallMachine({ vcpus: 2 });
  const engine = new CheckEngine(viewOf<MachineView>(m.arena, m.layout), m.layout, checks);
  let step = 0;
  const take = (change: (m: Machine) => void): void => {
    const { arena } = m;
    change(m);
    arena.closeStep();
    const log = {
      writes: arena.writes,
      start: arena.startOf(arena.stepsKept - 1),
      end: arena.used,
    };
    engine.stepClosed(log, step++, 7);
  };
  return { engine, take };
};

test('a predicate is evaluated only when a word that it reads was written', () => {
  const { engine, take } = made(seqBelow3, noReload);
  take((m) => {
    m.vm.memslots_generation++;
  });
  expect(engine.evaluations).toBe(0);
  take((m) => {
    m.vm.mmu_invalidate_seq++;
  });
  expect(engine.evaluations).toBe(1);
  take((m) => {
    m.vcpu[1]!.stat.reloads = 0;
  });
  // For the vCPU that was written.
  expect(engine.evaluations).toBe(2);
});

test('a violation is found in the step that makes it, and told again only after it held', () => {
  const { engine, take } = made(seqBelow3);
  for (const value of [2, 3, 4, 1, 5]) {
    take((m) => {
      m.vm.mmu_invalidate_seq = value;
    });
  }
  expect(engine.findings.map(({ step, position, actor }) => [step, position, actor])).toEqual([
    [1, 2, 7],
    [4, 5, 7],
  ]);
  expect(engine.findings[0]).toMatchObject({ check: 'inv-step', vcpu: -1, message: 'three' });
});

test('each vCPU that breaks a check is a finding of its own', () => {
  const { engine, take } = made(noReload);
  take((m) => {
    for (const { stat } of m.vcpu) stat.reloads = 1;
  });
  expect(engine.findings.map(({ vcpu }) => vcpu)).toEqual([0, 1]);
});

test('a check of the entry is evaluated where non_root becomes 1, for that vCPU only', () => {
  const { engine, take } = made(never);
  take((m) => {
    m.vcpu[1]!.mode = 1;
  });
  expect(engine.evaluations).toBe(0);
  take((m) => {
    m.vcpu[1]!.non_root = true;
  });
  expect(engine.findings.map(({ message }) => message)).toEqual(['entry of 1']);
  take((m) => {
    m.vcpu[1]!.non_root = true;
  });
  take((m) => {
    m.vcpu[1]!.non_root = false;
  });
  expect(engine.evaluations).toBe(1);
});

test('a check of the exit is evaluated where non_root becomes 0, for that vCPU only', () => {
  const { engine, take } = made({ ...never, id: 'inv-exit', when: 'exit' });
  for (const nonRoot of [true, true, false, false]) {
    take((m) => {
      m.vcpu[1]!.non_root = nonRoot;
    });
  }
  expect(engine.evaluations).toBe(1);
  expect(engine.findings).toMatchObject([{ check: 'inv-exit', vcpu: 1, step: 2 }]);
});

test('what must hold at rest is evaluated at rest', () => {
  const { engine, take } = made(atRest);
  take((m) => {
    m.vcpu[1]!.mode = 1;
  });
  expect(engine.evaluations).toBe(0);
  engine.quiet(0, 0);
  expect(engine.findings.map(({ check }) => check)).toEqual(['inv-quiet']);
});

test('a check that reads what is no field is refused with its name', () => {
  expect(() => made({ ...seqBelow3, reads: ['vm.mmu_seq'] })).toThrow('inv-step reads vm.mmu_seq');
});
