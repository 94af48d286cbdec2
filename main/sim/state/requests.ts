/** KVM_REQ_*: the number of each request and how its maker behaves. */

const ARCH = 8;

/** arch/x86/include/asm/kvm_host.h, include/linux/kvm_host.h */
export const KVM_REQ = {
  TLB_FLUSH: 0,
  VM_DEAD: 1,
  UNBLOCK: 2,
  DIRTY_RING_SOFT_FULL: 3,
  MIGRATE_TIMER: ARCH,
  REPORT_TPR_ACCESS: ARCH + 1,
  TRIPLE_FAULT: ARCH + 2,
  MMU_SYNC: ARCH + 3,
  CLOCK_UPDATE: ARCH + 4,
  LOAD_MMU_PGD: ARCH + 5,
  EVENT: ARCH + 6,
  APF_HALT: ARCH + 7,
  STEAL_UPDATE: ARCH + 8,
  NMI: ARCH + 9,
  PMU: ARCH + 10,
  PMI: ARCH + 11,
  SMI: ARCH + 12,
  MASTERCLOCK_UPDATE: ARCH + 13,
  MCLOCK_INPROGRESS: ARCH + 14,
  SCAN_IOAPIC: ARCH + 15,
  GLOBAL_CLOCK_UPDATE: ARCH + 16,
  APIC_PAGE_RELOAD: ARCH + 17,
  HV_CRASH: ARCH + 18,
  IOAPIC_EOI_EXIT: ARCH + 19,
  HV_RESET: ARCH + 20,
  HV_EXIT: ARCH + 21,
  HV_STIMER: ARCH + 22,
  LOAD_EOI_EXITMAP: ARCH + 23,
  GET_NESTED_STATE_PAGES: ARCH + 24,
  APICV_UPDATE: ARCH + 25,
  TLB_FLUSH_CURRENT: ARCH + 26,
  TLB_FLUSH_GUEST: ARCH + 27,
  APF_READY: ARCH + 28,
  MSR_FILTER_CHANGED: ARCH + 29,
  UPDATE_CPU_DIRTY_LOGGING: ARCH + 30,
  MMU_FREE_OBSOLETE_ROOTS: ARCH + 31,
  HV_TLB_FLUSH: ARCH + 32,
  UPDATE_PROTECTED_GUEST_STATE: ARCH + 34,
} as const;

export type RequestNumber = (typeof KVM_REQ)[keyof typeof KVM_REQ];

/** Flags above the number: no wake-up 8, wait for the acks 9, set no bit 10. */
const NO_ACTION = 1 << 10;
const WAIT = 1 << 9;
const NO_WAKEUP = 1 << 8;

/** Makes vCPUs leave the guest and waits until they have; leaves no bit behind. */
export const KVM_REQ_OUTSIDE_GUEST_MODE = NO_ACTION | WAIT | NO_WAKEUP;
/** The same without waiting. */
export const OUTSIDE_GUEST_MODE_NO_WAIT = NO_ACTION | NO_WAKEUP;

/** What can be asked of vCPUs: a request, or to leave the guest. */
export type Asked =
  | RequestNumber
  | typeof KVM_REQ_OUTSIDE_GUEST_MODE
  | typeof OUTSIDE_GUEST_MODE_NO_WAIT;

/** Does it set a bit that somebody handles? */
export const isRequest = (asked: Asked): asked is RequestNumber => (asked & NO_ACTION) === 0;

export const requestCount = 64;

/** A request wakes a blocked vCPU unless NO_WAKEUP; WAIT makes the maker wait for the acks. */
export interface RequestFlags {
  readonly wait: boolean;
  readonly noWakeup: boolean;
}

const waitNoWakeup: RequestFlags = { wait: true, noWakeup: true };
const plain: RequestFlags = { wait: false, noWakeup: false };

const flagged = new Set<number>([
  KVM_REQ.TLB_FLUSH,
  KVM_REQ.VM_DEAD,
  KVM_REQ.MMU_FREE_OBSOLETE_ROOTS,
  KVM_REQ.TLB_FLUSH_GUEST,
  KVM_REQ.SCAN_IOAPIC,
  KVM_REQ.APIC_PAGE_RELOAD,
  KVM_REQ.APICV_UPDATE,
  KVM_REQ.MCLOCK_INPROGRESS,
  KVM_REQ.UPDATE_CPU_DIRTY_LOGGING,
  KVM_REQ.HV_TLB_FLUSH,
]);

export const flagsOf = (asked: Asked): RequestFlags => {
  if (!isRequest(asked)) return { wait: (asked & WAIT) !== 0, noWakeup: true };
  return flagged.has(asked) ? waitNoWakeup : plain;
};
