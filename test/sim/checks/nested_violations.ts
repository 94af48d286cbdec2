// For each invariant of nested virtualization, a small change of a settled machine that breaks it.

import { apicAccessGfn, hvaOfApicAccessPage } from '#sim/state/addresses.ts';
import { gpcOf } from '#sim/state/gpc.ts';
import { pfn_to_hpa } from '#sim/state/machine.ts';
import { mappingKind } from '#sim/state/nested.ts';
import { wantedLock } from '#sim/state/vm.ts';
import { cpuControl, pinControl } from '#sim/state/vmcs.ts';
import type { Machine } from '#sim/steps.ts';

const P1 = 3;
const P2 = 4;

const cacheOf = (m: Machine) => m.vcpu[0]!.nested.caches.virtual_apic_cache;

/** L2 is active with a virtual-APIC page in P1. */
const inL2 = (m: Machine): void => {
  const { vmcs02 } = m.vcpu[0]!;
  m.vcpu[0]!.guest_mode = true;
  vmcs02.cpu_based_vm_exec_control.set(cpuControl.TPR_SHADOW);
  vmcs02.virtual_apic_page_addr = pfn_to_hpa(P1);
};

/** A cache of the APIC-access page in P2, which the primary page table does not have there. */
const inCache = (m: Machine): void => {
  Object.assign(cacheOf(m), {
    active: true,
    on_list: true,
    valid: true,
    vcpu: 0,
    uhva: hvaOfApicAccessPage,
    generation: m.vm.memslots_generation,
    pfn: P2,
  });
};

const hvaOfPages = 0x6000;

/** L1 has two pages: P1 is the virtual-APIC page of its vmcs12, P2 has the descriptor. */
const twoPagesOfL1 = (m: Machine): void => {
  const slot = m.vm.memslot.find(({ used }) => !used)!;
  Object.assign(slot, { used: true, base_gfn: 6, npages: 2, userspace_addr: hvaOfPages });
  for (const [page, pfn] of [P1, P2].entries()) {
    const pte = m.pte.find(({ used }) => !used)!;
    Object.assign(pte, { used: true, hva: hvaOfPages + page * 0x1000, pfn });
  }
  const { cached_vmcs12 } = m.vcpu[0]!.nested;
  cached_vmcs12.virtual_apic_page_addr = 0x6000;
  cached_vmcs12.posted_intr_desc_addr = 0x7000;
};

/** L2 has a descriptor in P2 in which vector 0x61 is posted, and was notified. */
const postedForL2 = (m: Machine): void => {
  const { vmcs02, spec, guest } = m.vcpu[0]!;
  inL2(m);
  twoPagesOfL1(m);
  vmcs02.pin_based_vm_exec_control.set(pinControl.POSTED_INTR);
  m.frame[P2]!.data.setU32(0x0c, 2);
  m.frame[P2]!.data.setU32(0x20, 1);
  guest.rflags_if = true;
  spec.nested_notified = true;
};

export const nestedViolations: Readonly<Record<string, (m: Machine) => void>> = {
  'inv-no-apic-slot-in-l2': (m) => {
    Object.assign(m.ept[1]!, { used: true, eptp12: 0x501e });
    Object.assign(m.ept[1]!.spte[0]!, {
      present: true,
      gfn: apicAccessGfn,
      l1_gfn: apicAccessGfn,
      pfn: m.pte.find(({ hva }) => hva === hvaOfApicAccessPage)!.pfn,
    });
  },
  'inv-vmcs-loaded': (m) => {
    m.vcpu[0]!.spec.misdirected_vmwrites++;
  },
  'inv-vmcs02-only-l2-state': (m) => {
    m.vcpu[0]!.guest_mode = true;
    m.vcpu[0]!.vmcs02.eoi_exit_bitmap2.set(1);
  },
  'inv-nested-pages-match': inL2,
  'inv-gpc-hpa-coherent': inCache,
  'inv-vmcs02-equals-gpc': (m) => {
    inL2(m);
    inCache(m);
  },
  'inv-gpc-on-list': (m) => {
    cacheOf(m).active = true;
  },
  'inv-gpc-lock-held-on-use': (m) => {
    m.vm.spec.unlocked_gpc_uses++;
  },
  'inv-gpc-no-sleep-locked': (m) => {
    m.vm.spec.slept_locked++;
  },
  'inv-gpc-lock-order': (m) => {
    const [user, notifier] = [m.vm.spec.held[0]!, m.vm.spec.held[1]!];
    Object.assign(user, { read_first: 2, looks_again: true });
    Object.assign(notifier, { notifying: 1, wants: wantedLock.GPC_WRITE, wanted: 1 });
  },
  'inv-gpc-progress': (m) => {
    m.vcpu[0]!.spec.failed_final_checks = 3;
  },
  'inv-gpc-owner': (m) => {
    inL2(m);
    inCache(m);
    cacheOf(m).vcpu = 1;
  },
  'inv-mapping-balance': (m) => {
    m.vcpu[0]!.stat.hostmap_kmap++;
  },
  'inv-pin-balance': (m) => {
    m.vcpu[0]!.stat.hostmap_pins++;
    m.frame[P1]!.pincount++;
  },
  'inv-no-gpc-pin': (m) => {
    m.vm.spec.gpc_refs++;
  },
  'inv-vmcs12-dirty-tracked': (m) => {
    m.vcpu[0]!.spec.pi_desc_unlogged = true;
  },
  'inv-pi-pending-source': (m) => {
    Object.assign(m.vcpu[0]!, { guest_mode: true });
    Object.assign(m.vcpu[0]!.nested, { pi_pending: true, posted_intr_nv: -1 });
  },
  'inv-nested-pi-progress': postedForL2,
  'inv-run-pending': (m) => {
    m.vcpu[0]!.spec.exits_while_run_pending++;
  },
  'inv-cached-nv': (m) => {
    m.vcpu[0]!.guest_mode = true;
    m.vcpu[0]!.nested.posted_intr_nv = 0x40;
  },
  'inv-vmcs12-private': (m) => {
    m.vcpu[0]!.spec.vmcs12_foreign_reads++;
  },
};

/** What also excuses the state. */
export const nestedExcuses: readonly (readonly [string, string, (m: Machine) => void])[] = [
  [
    'inv-no-apic-slot-in-l2',
    'the root is of L1',
    (m) => {
      m.ept[1]!.eptp12 = m.ept[0]!.eptp12;
    },
  ],
  [
    'inv-vmcs02-only-l2-state',
    'L1 has changed its bitmap, which the next entry copies',
    (m) => {
      m.vcpu[0]!.nested.dirty_vmcs12 = true;
    },
  ],
  [
    'inv-nested-pages-match',
    'L1 is entered',
    (m) => {
      m.vcpu[0]!.guest_mode = false;
    },
  ],
  [
    'inv-gpc-hpa-coherent',
    'an invalidation is under way',
    (m) => {
      m.vm.mn_active_invalidate_count = 1;
    },
  ],
  [
    'inv-gpc-hpa-coherent',
    'the memslots have changed',
    (m) => {
      m.vm.memslots_generation++;
    },
  ],
  [
    'inv-vmcs02-equals-gpc',
    'the cache was given up',
    (m) => {
      cacheOf(m).active = false;
    },
  ],
  [
    'inv-gpc-lock-order',
    'the look-up no longer waits for the count',
    (m) => {
      m.vm.spec.held[0]!.looks_again = false;
    },
  ],
  [
    'inv-gpc-lock-order',
    'the lock is that of the look-up itself, which drops it before it waits',
    (m) => {
      m.vm.spec.held[0]!.read_first = 0;
      gpcOf(m, 1).lock.writer = 1;
    },
  ],
  [
    'inv-gpc-lock-order',
    'the writer wants another cache',
    (m) => {
      m.vm.spec.held[1]!.wanted = 2;
    },
  ],
  [
    'inv-gpc-progress',
    'it has failed twice only',
    (m) => {
      m.vcpu[0]!.spec.failed_final_checks = 2;
    },
  ],
  [
    'inv-mapping-balance',
    'the mapping is known',
    (m) => {
      m.vcpu[0]!.nested.virtual_apic_map.mapping = 1;
    },
  ],
  [
    'inv-pin-balance',
    'a map holds the frame',
    (m) => {
      const { virtual_apic_map: map } = m.vcpu[0]!.nested;
      Object.assign(map, { mapping: 1, pinned: true, pfn: P1 });
    },
  ],
  [
    'inv-blocked-has-no-irq',
    'L2 is active, holds interrupts back, and L1 leaves them to it',
    (m) => {
      inL2(m);
      m.vcpu[0]!.guest.rflags_if = false;
    },
  ],
  [
    'inv-nested-pi-progress',
    'L2 holds interrupts back',
    (m) => {
      m.vcpu[0]!.guest.rflags_if = false;
    },
  ],
  [
    'inv-nested-pi-progress',
    'its priority holds the vector back',
    (m) => {
      m.frame[P1]!.data.setU32(0xa0, 0x60);
    },
  ],
  [
    'inv-nested-pi-progress',
    'L1 has given the page back, and vmcs02 still has its frame',
    (m) => {
      m.vcpu[0]!.vmcs02.posted_intr_desc_addr = pfn_to_hpa(P2);
      m.pte.find(({ pfn }) => pfn === P2)!.pfn = -1;
    },
  ],
  [
    'inv-nested-pi-progress',
    'KVM has mapped another page, and keeps that',
    (m) => {
      Object.assign(m.vcpu[0]!.nested.pi_desc_map, { mapping: mappingKind.KMAP, pfn: P1 });
    },
  ],
  [
    'inv-nested-pi-progress',
    'nobody has sent the notification',
    (m) => {
      m.vcpu[0]!.spec.nested_notified = false;
    },
  ],
];
