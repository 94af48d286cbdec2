// Each invariant holds on every boot image, breaks on a state made for it, and tells what it reads.

import { expect, test, vi } from 'vitest';
import { leavesMatching, wordsOf } from '#sim/arena/leaves.ts';
import { viewOf } from '#sim/arena/views.ts';
import type { Check } from '#sim/checks/check.ts';
import { checks } from '#sim/checks/index.ts';
import { migrate_page } from '#sim/host/mm.ts';
import { kvm_make_request } from '#sim/kvm/kvm_main.ts';
import { INVALID_GFN } from '#sim/kvm/mmu_invalidate.ts';
import { hvaOfApicAccessPage } from '#sim/state/addresses.ts';
import type { MachineView } from '#sim/state/machine.ts';
import { KVM_REQ } from '#sim/state/requests.ts';
import { profiles } from '#sim/state/switches.ts';
import { taskState } from '#sim/state/vcpu.ts';
import { irqchipMode } from '#sim/state/vm.ts';
import type { Machine } from '#sim/steps.ts';
import { compileText, libraryIds, runScenario, scenarioText } from '../scenario_run.ts';
import { begin, byHand, goOn, goTo, smallMachine } from '../small_machine.ts';
import { nestedExcuses, nestedViolations } from './nested_violations.ts';
import { excuses as excusesOfL1, violations as violationsOfL1 } from './states.ts';

// Work is bounded by steps and seeds; a slow computer only takes longer.
vi.setConfig({ testTimeout: 120_000 });

const views = new WeakMap<Machine, MachineView>();

const violations = { ...violationsOfL1, ...nestedViolations };
const excuses = [...excusesOfL1, ...nestedExcuses];

/** Made once for a machine: it costs more than a check. */
const viewOn = (m: Machine): MachineView => {
  const view = views.get(m) ?? viewOf<MachineView>(m.arena, m.layout);
  views.set(m, view);
  return view;
};

const brokenOn = (check: Check, m: Machine): boolean => {
  const view = viewOn(m);
  if (check.per === 'machine') return check.broken(view, -1) !== undefined;
  return m.vcpu.some((_, i) => check.broken(view, i) !== undefined);
};

const checkOf = (id: string): Check => checks.find((check) => check.id === id)!;

test.each(profiles.map(({ id }) => id))(
  'every invariant holds on the boot image of %s',
  (profile) => {
    for (const boot of ['settled', 'reset'] as const) {
      for (const enableApicv of [true, false]) {
        const m = smallMachine({ vcpus: 2, memoryPages: 2, profile, boot, enableApicv });
        // As vCPU creation leaves it, requests are pending: the first entry is far away.
        const due = checks.filter(
          ({ when }) => boot === 'settled' || (when !== 'entry' && when !== 'exit'),
        );
        expect(due.filter((check) => brokenOn(check, m)).map(({ id }) => id)).toEqual([]);
      }
    }
  },
);

test('there is a state made for each invariant', () => {
  expect(Object.keys(violations).sort()).toEqual(checks.map(({ id }) => id).sort());
});

test('who sleeps must hold no spinning lock, and must not have said that it will sleep', () => {
  const check = checkOf('inv-gpc-no-sleep-locked');
  for (const counter of ['slept_locked', 'slept_interruptible'] as const) {
    const m = smallMachine({});
    m.vm.spec[counter] = 1;
    expect(check.broken(viewOn(m), -1)?.fields).toEqual([`vm.spec.${counter}`]);
  }
});

test.each(Object.entries(violations))('%s breaks on the state made for it', (id, change) => {
  const m = smallMachine();
  change(m);
  expect(brokenOn(checkOf(id), m)).toBe(true);
});

test.each(excuses)('%s holds on that state if %s', (id, _, excuse) => {
  const m = smallMachine();
  violations[id]!(m);
  excuse(m);
  expect(brokenOn(checkOf(id), m)).toBe(false);
});

test('the fields that a violation names are fields', () => {
  for (const [id, change] of Object.entries(violations)) {
    const m = smallMachine();
    change(m);
    const violation = checkOf(id).broken(viewOn(m), checkOf(id).per === 'machine' ? -1 : 0)!;
    expect(violation.fields.length).toBeGreaterThan(0);
    expect(violation.message).not.toMatch(/undefined|NaN|\[object/);
    for (const path of violation.fields) {
      expect([id, path, leavesMatching(m.layout, path).length]).toEqual([id, path, 1]);
    }
  }
});

test('inv-range-covers breaks while an invalidation is in progress without a range', () => {
  const m = smallMachine();
  const check = checkOf('inv-range-covers');
  begin(m, 'mm', () => migrate_page(m, hvaOfApicAccessPage));
  goTo(m, 'mm', 'try_to_migrate_one');
  expect([m.vm.mmu_invalidate_in_progress, brokenOn(check, m)]).toEqual([1, false]);
  m.vm.mmu_invalidate_range_start = INVALID_GFN;
  m.vm.mmu_invalidate_range_end = INVALID_GFN;
  expect(brokenOn(check, m)).toBe(true);
});

test('inv-eoi-reaches-ioapic speaks of the routes of an IOAPIC in user space as well', () => {
  const m = smallMachine();
  m.vm.irqchip_mode = irqchipMode.SPLIT;
  const route = m.vm.irq_routing[10]!;
  route.used = true;
  route.data = 0x8061;
  expect(brokenOn(checkOf('inv-eoi-reaches-ioapic'), m)).toBe(false);
  route.remote_irr = true;
  expect(brokenOn(checkOf('inv-eoi-reaches-ioapic'), m)).toBe(true);
  m.vcpu[0]!.apic.isr.set(0x61);
  expect(brokenOn(checkOf('inv-eoi-reaches-ioapic'), m)).toBe(false);
});

test('inv-apic-map-fresh breaks on a calculation that began again for nobody', () => {
  const m = smallMachine();
  m.vm.spec.map_restarts = m.vcpu.length;
  expect(brokenOn(checkOf('inv-apic-map-fresh'), m)).toBe(false);
  m.vm.spec.map_restarts++;
  expect(brokenOn(checkOf('inv-apic-map-fresh'), m)).toBe(true);
});

test('inv-no-stale-tlb is not excused by the lock, only by the flush that is to come', () => {
  const m = smallMachine();
  violations['inv-no-stale-tlb']!(m);
  m.vm.mmu_lock.writer = 2;
  expect(brokenOn(checkOf('inv-no-stale-tlb'), m)).toBe(true);
});

test('inv-reload-pending-during-inv ends with the last of the invalidations that changed it', () => {
  const m = smallMachine();
  const changed = () => m.vm.spec.apic_pte_changed;
  for (const actor of ['mm', 'mm1']) {
    begin(m, actor, () => migrate_page(m, hvaOfApicAccessPage));
    goTo(m, actor, 'kvm_mmu_notifier_invalidate_range_end', 'lower mn_active');
  }
  expect(changed()).toBe(2);
  goOn(m, 'mm');
  expect(changed()).toBe(1);
  goOn(m, 'mm1');
  expect(changed()).toBe(0);
});

test('a vCPU that UNBLOCK woke has not lost a request', () => {
  const m = smallMachine();
  goOn(m, 'vcpu0');
  byHand(m, () => {
    kvm_make_request(m, 0, KVM_REQ.UNBLOCK);
    m.vcpu[0]!.task_state = taskState.RUNNING;
  });
  goOn(m, 'vcpu0');
  // kvm_vcpu_check_block takes UNBLOCK, and the vCPU sleeps again.
  expect(m.vcpu[0]!.requests.has(KVM_REQ.UNBLOCK)).toBe(false);
  expect(brokenOn(checkOf('inv-req-not-lost'), m)).toBe(false);
});

/** Words that each check reads on the current state of the machine. */
const readsOf = (check: Check, m: Machine): Uint32Array => {
  const { arena } = m;
  arena.readsLogged = true;
  arena.readsUsed = 0;
  brokenOn(check, m);
  arena.readsLogged = false;
  return arena.reads.slice(0, arena.readsUsed);
};

/** Words that it says it reads: those with a 1. */
const saidOf = (check: Check, m: Machine): Uint8Array => {
  const said = new Uint8Array(m.layout.bytes >>> 2);
  for (const leaf of check.reads.flatMap((glob) => leavesMatching(m.layout, glob))) {
    for (let i = 0; i < wordsOf(leaf); i++) said[leaf.word + i * leaf.step] = 1;
  }
  return said;
};

/** The layout is the same for machines of the same size. */
const saidByLayout = new Map<Machine['layout'], readonly Uint8Array[]>();
const saidByAll = (m: Machine): readonly Uint8Array[] => {
  const said = saidByLayout.get(m.layout) ?? checks.map((check) => saidOf(check, m));
  saidByLayout.set(m.layout, said);
  return said;
};

/** Every so many steps all checks are asked: each step of each scenario would take minutes. */
const stride = 89;

/** Scenarios that do the same again and again. */
const repeating = /^(busy|nested-trips)-/;

test('every word that an invariant reads is one that it says it reads', () => {
  const unsaid = new Set<string>();
  for (const id of libraryIds.filter((one) => !repeating.test(one))) {
    const scenario = compileText(scenarioText(id));
    runScenario(scenario, {
      watchers: [
        {
          stepClosed: (m) => {
            if (m.arena.position % stride !== 0) return;
            const said = saidByAll(m);
            for (const [i, check] of checks.entries()) {
              for (const word of readsOf(check, m)) {
                if (said[i]![word] === 0) unsaid.add(`${check.id}: ${pathOf(m, word)}`);
              }
            }
          },
        },
      ],
    });
  }
  // And on the states made for them, where they go on to tell what is wrong.
  for (const [id, change] of Object.entries(violations)) {
    const m = smallMachine();
    change(m);
    const said = saidOf(checkOf(id), m);
    for (const word of readsOf(checkOf(id), m)) {
      if (said[word] === 0) unsaid.add(`${id}: ${pathOf(m, word)}`);
    }
  }
  expect([...unsaid].sort()).toEqual([]);
});

test('a check for each vCPU reads nothing of the others', () => {
  const others = new Set<string>();
  for (const [id, change] of Object.entries(violations)) {
    const m = smallMachine({ vcpus: 2, memoryPages: 1 });
    change(m);
    const check = checkOf(id);
    if (check.per === 'machine') continue;
    m.arena.readsLogged = true;
    m.arena.readsUsed = 0;
    check.broken(viewOn(m), 0);
    m.arena.readsLogged = false;
    for (const word of m.arena.reads.slice(0, m.arena.readsUsed)) {
      const path = pathOf(m, word);
      if (path.startsWith('vcpu[1]')) others.add(`${id}: ${path}`);
    }
  }
  expect([...others]).toEqual([]);
});

const pathOf = (m: Machine, word: number): string =>
  leavesMatching(m.layout, '**').find(
    (leaf) => word >= leaf.word && word < leaf.word + wordsOf(leaf) * leaf.step,
  )?.path ?? String(word);
