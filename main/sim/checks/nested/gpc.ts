/** gfn_to_pfn_cache: a cache says the truth, and whoever uses it does so under its lock. */

import { EVMPTR_MAP_PENDING, INVALID_GPA } from '../../state/addresses.ts';
import { type GpcView, gpcCount, gpcFields, gpcOf, gpcPath } from '../../state/gpc.ts';
import type { MachineView } from '../../state/machine.ts';
import type { Check, Violation } from '../check.ts';
import { violated } from '../violation.ts';
import { cacheIdOf, frameOfHva, pagesOfL2, pagesOfL2Reads } from './l2_pages.ts';

/** The first cache of which something is to be told. */
const firstOf = (
  m: MachineView,
  tell: (gpc: GpcView, path: string) => Violation | undefined,
): Violation | undefined => {
  for (let id = 0; id < gpcCount(m); id++) {
    const found = tell(gpcOf(m, id), gpcPath(m, id));
    if (found !== undefined) return found;
  }
  return undefined;
};

const isUsable = (m: MachineView, gpc: GpcView): boolean =>
  gpc.active &&
  gpc.valid &&
  gpc.uhva !== 0 &&
  gpc.generation === m.vm.memslots_generation &&
  // Who writes keeps all users out.
  gpc.lock.writer === 0;

export const inv_gpc_hpa_coherent: Check = {
  id: 'inv-gpc-hpa-coherent',
  when: 'step',
  per: 'machine',
  summary:
    'a cache that may be used has the frame that the primary page table maps, and its mapping leads ' +
    'there, or an invalidation is under way',
  why: 'whoever uses such a cache writes to a frame that is somebody else’s',
  races: ['R70', 'R71', 'R72', 'R73', 'R74'],
  reads: [
    ...['active', 'valid', 'uhva', 'generation', 'pfn', 'khva_pfn', 'lock.writer'].flatMap(
      gpcFields,
    ),
    'vm.memslots_generation',
    'vm.mn_active_invalidate_count',
    'pte[*].**',
  ],
  broken(m) {
    if (m.vm.mn_active_invalidate_count > 0) return undefined;
    return firstOf(m, (gpc, path) => {
      if (!isUsable(m, gpc)) return undefined;
      const real = frameOfHva(m, gpc.uhva);
      if (gpc.pfn === real && gpc.khva_pfn === real) return undefined;
      if (gpc.pfn === real) {
        return violated(
          `a cache is valid with pfn ${gpc.pfn}, but its mapping leads to pfn ${gpc.khva_pfn}`,
          `${path}.khva_pfn`,
        );
      }
      return violated(
        `a cache is valid with pfn ${gpc.pfn}, but the primary page table has ` +
          (real < 0 ? 'no page there' : `pfn ${real}`),
        `${path}.pfn`,
        `${path}.valid`,
      );
    });
  },
};

export const inv_gpc_on_list: Check = {
  id: 'inv-gpc-on-list',
  when: 'step',
  per: 'machine',
  summary:
    'an active cache is on the list of the MMU notifier; while nobody takes one into use or gives ' +
    'it up, none but the active ones are',
  why: 'a cache that the notifier does not find is never invalidated',
  races: ['R72'],
  reads: [...gpcFields('active'), ...gpcFields('on_list'), 'vm.spec.gpc_changes'],
  broken(m) {
    return firstOf(m, ({ active, on_list }, path) => {
      if (active === on_list) return undefined;
      if (!active && m.vm.spec.gpc_changes > 0) return undefined;
      return violated(
        active
          ? 'a cache is active, and the MMU notifier cannot find it'
          : 'a cache was given up, and is still on the list of the MMU notifier',
        `${path}.active`,
        `${path}.on_list`,
      );
    });
  },
};

export const inv_gpc_lock_held_on_use: Check = {
  id: 'inv-gpc-lock-held-on-use',
  when: 'step',
  per: 'machine',
  summary:
    'the mapping of a cache is used only with its lock held; that of an enlightened VMCS without ' +
    'a cache, only while it leads to the page of L1',
  why: 'the notifier waits for the users of a page by their lock: without it the page goes',
  races: ['R75', 'R88'],
  reads: ['vm.spec.unlocked_gpc_uses'],
  broken(m) {
    const count = m.vm.spec.unlocked_gpc_uses;
    return count === 0
      ? undefined
      : violated(
          `a mapping was used that no lock of a cache kept true (${count} so far)`,
          'vm.spec.unlocked_gpc_uses',
        );
  },
};

export const inv_gpc_no_sleep_locked: Check = {
  id: 'inv-gpc-no-sleep-locked',
  when: 'step',
  per: 'machine',
  summary:
    'nobody does what may sleep while it holds the lock of a cache or a spinlock, or has said that ' +
    'it is about to sleep for another reason',
  why:
    'with preemption off the CPU has nobody else to run: what it waits for may never come; and who ' +
    'sleeps in between wakes as RUNNING, so that the sleep it was about to begin does not take place',
  races: ['R79', 'R80'],
  reads: ['vm.spec.slept_locked', 'vm.spec.slept_interruptible'],
  broken(m) {
    const { slept_locked: locked, slept_interruptible: interruptible } = m.vm.spec;
    if (locked > 0) {
      return violated(
        `a look-up that may sleep was made with a spinning lock held (${locked} so far)`,
        'vm.spec.slept_locked',
      );
    }
    return interruptible === 0
      ? undefined
      : violated(
          `a look-up that may sleep was made in state INTERRUPTIBLE (${interruptible} so far)`,
          'vm.spec.slept_interruptible',
        );
  },
};

/** Failures of the final check that are enough to see that nothing changes between them. */
const failuresMax = 3;

export const inv_gpc_progress: Check = {
  id: 'inv-gpc-progress',
  when: 'step',
  per: 'vcpu',
  summary: 'after a final check that failed some cache is mended or given up before the next one',
  why: 'the vCPU asks for the pages again and again and never enters L2; only a signal ends that',
  races: ['R58', 'R77'],
  reads: ['vcpu[*].spec.failed_final_checks'],
  broken(m, index) {
    const { failed_final_checks: failed } = m.vcpu[index]!.spec;
    return failed < failuresMax
      ? undefined
      : violated(
          `the final check of vCPU ${index} has failed ${failed} times, and no cache was mended in between`,
          `vcpu[${index}].spec.failed_final_checks`,
        );
  },
};

/** Who works with a context: L1 has made its vmcs12 current there, or uses an enlightened one. */
const usersOf = (m: MachineView, context: number): number[] =>
  m.vcpu
    .filter(({ nested: { context: own, current_vmptr, hv_evmcs_vmptr } }) => {
      const enlightened = hv_evmcs_vmptr !== INVALID_GPA && hv_evmcs_vmptr !== EVMPTR_MAP_PENDING;
      return own === context && (current_vmptr !== INVALID_GPA || enlightened);
    })
    .map(({ index }) => index);

const sharedContext = (m: MachineView): Violation | undefined => {
  for (const { index, used } of m.vm.nested_context) {
    const users = used ? usersOf(m, index) : [];
    if (users.length < 2) continue;
    return violated(
      `vCPUs ${users.join(' and ')} work with the caches of context ${index}`,
      ...users.map((vcpu) => `vcpu[${vcpu}].nested.context`),
    );
  }
  return undefined;
};

/** Of a vCPU with an active L2: does an invalidation of its pages reach somebody else? */
const foreignCache = (m: MachineView, vcpu: number): Violation | undefined => {
  const { guest_mode } = m.vcpu[vcpu]!;
  if (!guest_mode) return undefined;
  for (const page of pagesOfL2) {
    const id = cacheIdOf(m, vcpu, page);
    const gpc = gpcOf(m, id);
    if (!gpc.active || !page.isEnabled(m.vcpu[vcpu]!) || gpc.vcpu === vcpu) continue;
    return violated(
      `the cache of the ${page.name} of vCPU ${vcpu} belongs to ` +
        (gpc.vcpu < 0 ? 'nobody' : `vCPU ${gpc.vcpu}`),
      `${gpcPath(m, id)}.vcpu`,
    );
  }
  return undefined;
};

export const inv_gpc_owner: Check = {
  id: 'inv-gpc-owner',
  when: 'step',
  per: 'machine',
  summary:
    'a context is attached to one vCPU at most, and the caches that an active L2 uses name its vCPU',
  why:
    'two vCPUs would turn one cache from page to page, and an invalidation would interrupt the ' +
    'wrong one',
  races: ['R82', 'R83'],
  reads: [
    ...pagesOfL2Reads,
    'vcpu[*].nested.context',
    'vcpu[*].nested.current_vmptr',
    'vcpu[*].nested.hv_evmcs_vmptr',
    'vm.nested_context[*].used',
    ...gpcFields('active'),
    ...gpcFields('vcpu'),
  ],
  broken(m) {
    const shared = sharedContext(m);
    if (shared !== undefined) return shared;
    for (const { index } of m.vcpu) {
      const foreign = foreignCache(m, index);
      if (foreign !== undefined) return foreign;
    }
    return undefined;
  },
};

export const inv_no_gpc_pin: Check = {
  id: 'inv-no-gpc-pin',
  when: 'step',
  per: 'machine',
  summary: 'a cache keeps no reference to its frame',
  why: 'a frame that is held cannot migrate, and the cache holds it for as long as L1 lives',
  races: [],
  reads: ['vm.spec.gpc_refs'],
  broken(m) {
    const count = m.vm.spec.gpc_refs;
    return count === 0
      ? undefined
      : violated(`caches keep ${count} references to frames`, 'vm.spec.gpc_refs');
  },
};
