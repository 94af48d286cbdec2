// Each invariant holds on every boot image, breaks on a state made for it, and tells what it reads.

import { expect, test, vi } from 'vitest';
import { leavesMatching, wordsOf } from '#sim/arena/leaves.ts';
import { viewOf } from '#sim/arena/views.ts';
import type { Check } from '#sim/checks/check.ts';
import { checks } from '#sim/checks/index.ts';
import { migrate_page } from '#sim/host/mm.ts';
import { kvm_make_request, noteDecided } from '#sim/kvm/kvm_main.ts';
import { INVALID_GFN } from '#sim/kvm/mmu_invalidate.ts';
import { apicAccessGfn, hvaOfApicAccessPage } from '#sim/state/addresses.ts';
import type { MachineView } from '#sim/state/machine.ts';
import { KVM_REQ } from '#sim/state/requests.ts';
import { profiles } from '#sim/state/switches.ts';
import { taskState, vcpuMode } from '#sim/state/vcpu.ts';
import type { Machine } from '#sim/steps.ts';
import { compileText, libraryIds, runScenario, scenarioText } from '../scenario_run.ts';
import { begin, byHand, goOn, goTo, smallMachine } from '../small_machine.ts';
import { nestedExcuses, nestedViolations } from './nested_violations.ts';

// Work is bounded by steps and seeds; a slow computer only takes longer.
vi.setConfig({ testTimeout: 120_000 });

const PAGE = 4096;

/** For each check, the smallest change of a settled machine that breaks it. */
const violations: Readonly<Record<string, (m: Machine) => void>> = {
  'inv-mode-foreign-write': (m) => {
    m.vm.spec.foreign_mode_writes++;
  },
  'inv-mode-irqs': (m) => {
    m.vcpu[0]!.mode = vcpuMode.IN_GUEST_MODE;
  },
  'inv-entry-no-requests': (m) => {
    kvm_make_request(m, 0, KVM_REQ.TLB_FLUSH);
    noteDecided(m, 0);
  },
  'inv-wait-ack': (m) => {
    m.vm.spec.unacked_waits++;
  },
  'inv-req-not-lost': (m) => {
    kvm_make_request(m, 0, KVM_REQ.TLB_FLUSH);
    m.vcpu[0]!.requests.clear(KVM_REQ.TLB_FLUSH);
  },
  'inv-no-stale-tlb': (m) => {
    m.ept[0]!.spte[0]!.present = false;
  },
  'inv-apic-access-hpa': (m) => {
    m.vcpu[0]!.vmcs01.apic_access_addr += PAGE;
  },
  'inv-apic-access-ept-match': (m) => {
    m.ept[0]!.spte[0]!.pfn++;
  },
  'inv-no-raw-apic-page': (m) => {
    m.vm.spec.raw_apic_accesses++;
  },
  'inv-freed-frame-untouched': (m) => {
    m.vm.spec.freed_frame_writes++;
  },
  'inv-reload-pending-during-inv': (m) => {
    m.vm.spec.apic_pte_changed = 1;
    m.pte[0]!.pfn++;
  },
  'inv-inprogress-balance': (m) => {
    m.vm.mmu_invalidate_in_progress++;
  },
  'inv-mn-count': (m) => {
    m.vm.mmu_invalidate_in_progress++;
  },
  'inv-range-covers': (m) => {
    Object.assign(m.vm.spec.ongoing[0]!, { active: true, gfn: apicAccessGfn });
    m.vm.mmu_invalidate_range_start = apicAccessGfn - 1;
    m.vm.mmu_invalidate_range_end = apicAccessGfn;
  },
  'inv-seq-monotonic': (m) => {
    m.vm.spec.ends = 2;
    m.vm.mmu_invalidate_seq = 1;
  },
  'inv-memslot-stable-in-inv': (m) => {
    m.vm.spec.slot_changes_in_invalidation++;
  },
  ...nestedViolations,
};

/** What also excuses the state, where the invariant knows an excuse. */
const excuses: readonly (readonly [string, string, (m: Machine) => void])[] = [
  [
    'inv-mode-irqs',
    'the guest runs',
    (m) => {
      m.vcpu[0]!.non_root = true;
    },
  ],
  ['inv-entry-no-requests', 'an IPI is pending', (m) => m.cpu[0]!.pending.set(0)],
  [
    'inv-entry-no-requests',
    'mode is EXITING',
    (m) => {
      m.vcpu[0]!.mode = vcpuMode.EXITING_GUEST_MODE;
    },
  ],
  [
    'inv-entry-no-requests',
    'its maker has still to look at the mode',
    (m) => {
      m.vcpu[0]!.spec.makers_in_flight = 1;
    },
  ],
  ['inv-req-not-lost', 'the bit is set', (m) => m.vcpu[0]!.requests.set(KVM_REQ.TLB_FLUSH)],
  ['inv-no-stale-tlb', 'a flush is due', (m) => m.vcpu[0]!.requests.set(KVM_REQ.TLB_FLUSH)],
  [
    'inv-no-stale-tlb',
    'whoever zapped has yet to ask for the flush',
    (m) => {
      m.vm.spec.zap_unflushed = 1;
    },
  ],
  [
    'inv-range-covers',
    'the range reaches one page further',
    (m) => {
      m.vm.mmu_invalidate_range_end++;
    },
  ],
  [
    'inv-range-covers',
    'that invalidation has ended',
    (m) => {
      m.vm.spec.ongoing[0]!.active = false;
    },
  ],
  [
    'inv-seq-monotonic',
    'each end raised the number',
    (m) => {
      m.vm.mmu_invalidate_seq = 2;
    },
  ],
  [
    'inv-apic-access-hpa',
    '->invalidate_range has yet to announce the change',
    (m) => {
      m.vm.spec.apic_unannounced = 1;
    },
  ],
  [
    'inv-reload-pending-during-inv',
    '->invalidate_range has yet to announce the change',
    (m) => {
      m.vm.spec.apic_unannounced = 1;
    },
  ],
  [
    'inv-apic-access-hpa',
    'RELOAD is pending inside an invalidation',
    (m) => {
      m.vm.mmu_invalidate_in_progress = 1;
      m.vcpu[0]!.requests.set(KVM_REQ.APIC_PAGE_RELOAD);
    },
  ],
  [
    'inv-apic-access-hpa',
    'L2 is active',
    (m) => {
      m.vcpu[0]!.guest_mode = true;
    },
  ],
  [
    'inv-reload-pending-during-inv',
    'RELOAD is pending',
    (m) => m.vcpu[0]!.requests.set(KVM_REQ.APIC_PAGE_RELOAD),
  ],
  [
    'inv-reload-pending-during-inv',
    'the reload is under way',
    (m) => {
      m.vcpu[0]!.spec.in_reload = true;
    },
  ],
  ...nestedExcuses,
];

const brokenOn = (check: Check, m: Machine): boolean => {
  const view = viewOf<MachineView>(m.arena, m.layout);
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
        const due = checks.filter(({ when }) => boot === 'settled' || when !== 'entry');
        expect(due.filter((check) => brokenOn(check, m)).map(({ id }) => id)).toEqual([]);
      }
    }
  },
);

test('there is a state made for each invariant', () => {
  expect(Object.keys(violations).sort()).toEqual(checks.map(({ id }) => id).sort());
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
    const view = viewOf<MachineView>(m.arena, m.layout);
    const violation = checkOf(id).broken(view, checkOf(id).per === 'machine' ? -1 : 0)!;
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

/** Words that it says it reads. */
const saidOf = (check: Check, m: Machine): Set<number> =>
  new Set(
    check.reads.flatMap((glob) =>
      leavesMatching(m.layout, glob).flatMap((leaf) =>
        Array.from({ length: wordsOf(leaf) }, (_, i) => leaf.word + i * leaf.step),
      ),
    ),
  );

test('every word that an invariant reads is one that it says it reads', () => {
  const unsaid = new Set<string>();
  for (const id of libraryIds.filter((one) => one !== 'busy-migrations')) {
    const scenario = compileText(scenarioText(id));
    let said: Set<number>[] = [];
    runScenario(scenario, {
      watchers: [
        {
          stepClosed: (m) => {
            if (said.length === 0) said = checks.map((check) => saidOf(check, m));
            for (const [i, check] of checks.entries()) {
              for (const word of readsOf(check, m)) {
                if (!said[i]!.has(word)) unsaid.add(`${check.id}: ${pathOf(m, word)}`);
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
      if (!said.has(word)) unsaid.add(`${id}: ${pathOf(m, word)}`);
    }
  }
  expect([...unsaid].sort()).toEqual([]);
});

const pathOf = (m: Machine, word: number): string =>
  leavesMatching(m.layout, '**').find(
    (leaf) => word >= leaf.word && word < leaf.word + wordsOf(leaf) * leaf.step,
  )?.path ?? String(word);
