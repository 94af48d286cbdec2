/** VM-wide state: struct kvm and struct kvm_arch. */
import {
  array,
  bits,
  counter,
  flag,
  nested,
  oneOf,
  record,
  s32,
  u32,
  u64,
} from '../arena/fields.ts';
import { ApicMap, apicMapDirty } from './apic_map.ts';
import { IOAPIC_NUM_PINS, Ioapic, MsiRoute, Pic } from './ioapic.ts';
import { limits } from './limits.ts';
import { RwLock } from './locks.ts';
import { NestedContext } from './nested.ts';

export const Memslot = record('kvm_memory_slot', 'guest physical memory backed by user space', {
  used: flag('the slot is in the active set'),
  id: u32('slot id'),
  base_gfn: u64({ as: 'gfn' }, 'first guest frame number'),
  npages: counter('pages'),
  userspace_addr: u64('host virtual address of the first page'),
  invalid: flag('KVM_MEMSLOT_INVALID: a delete or move is in flight'),
  dirty_bitmap: bits(limits.memoryPages, { as: 'dec' }, 'dirty log: pages of the slot written to'),
});

/** bit numbers of APICV_INHIBIT_REASON_* */
export const apicvInhibitReason = {
  DISABLED: 0,
  HYPERV: 1,
  ABSENT: 2,
  BLOCKIRQ: 3,
  PHYSICAL_ID_ALIASED: 4,
  APIC_ID_MODIFIED: 5,
  APIC_BASE_MODIFIED: 6,
  NESTED: 7,
  IRQWIN: 8,
  PIT_REINJ: 9,
  SEV: 10,
  LOGICAL_ID_ALIASED: 11,
} as const;

/** KVM_X86_QUIRK_* bit numbers. */
export const quirk = { LINT0_REENABLED: 0, CD_NW_CLEARED: 1, LAPIC_MMIO_HOLE: 2 } as const;

export const Srcu = record('srcu', 'sleepable RCU: two generations of readers', {
  idx: u32('the generation that new readers join'),
  readers_0: counter('readers inside generation 0'),
  readers_1: counter('readers inside generation 1'),
});

export const VmStat = record('kvm_vm_stat', 'cost counters of the VM', {
  remote_tlb_flush_requests: counter('kvm_flush_remote_tlbs calls'),
  sptezaps: counter('EPT entries removed'),
  wait_stalls: counter('times that a maker of requests had to wait for acks'),
  apicv_switches: counter('times that the inhibit reasons went from none to some, or back'),
  gpc_activates: counter('kvm_gpc_activate calls'),
  gpc_refreshes: counter('kvm_gpc_refresh calls, and those of kvm_gpc_activate'),
  gpc_refresh_retries: counter(
    'look-ups that an invalidation made useless; of a spin only those behind a change',
  ),
  gpc_invalidations: counter('caches that the MMU notifier found and invalidated'),
  gpc_deactivates: counter('caches that were given up'),
  nested_context_reuse: counter('VMPTRLDs that found the caches of their vmcs12'),
  nested_context_recycle: counter('VMPTRLDs that took the caches of another vmcs12'),
});

export const OngoingRange = record(
  'ongoing_range',
  'an invalidation between its start and its end',
  {
    active: flag('the actor has raised mmu_invalidate_in_progress'),
    gfn: u64({ as: 'gfn' }, 'the page that it invalidates'),
  },
);

/** What an actor can wait for on its way through a gfn_to_pfn_cache. */
export const wantedLock = {
  NOTHING: 0,
  GPC_READ: 1,
  GPC_WRITE: 2,
  GPC_REFRESH: 3,
  GPC_LIST: 4,
} as const;

export const HeldLocks = record('held_locks', 'what an actor holds that it must not sleep with', {
  spinning: counter('locks of caches, and spinlocks around them'),
  read_first: s32('cache plus 1 whose lock it holds for reading, 0: none'),
  read_second: s32('another such cache'),
  wants: oneOf(wantedLock, 'the lock that it waits for, or is about to take'),
  wanted: s32('the cache whose lock that is'),
  looks_again: flag('it repeats a look-up until mn_active_invalidate_count is 0'),
  notifying: counter('notifier intervals that it has begun and not ended'),
});

/** Bookkeeping that only checks read: no model code decides anything on it. */
export const VmSpec = record('vm_spec', 'events that checks look for', {
  raw_apic_accesses: counter(
    'guest accesses in xAPIC mode that reached the bytes of an APIC-access frame',
  ),
  host_apic_accesses: counter('guest accesses that reached the APIC of the physical CPU'),
  freed_frame_writes: counter('writes that hit a freed frame'),
  foreign_mode_writes: counter(
    'changes of a vCPU mode by another thread, other than IN to EXITING',
  ),
  unacked_waits: counter('waits for acks that ended although a target never left non-root mode'),
  invalidations: counter('notifier intervals that took mmu_lock and have not ended'),
  own_zaps: counter('invalidations that KVM began itself: no notifier interval covers them'),
  ends: counter('invalidations that have ended: each must have raised mmu_invalidate_seq'),
  ongoing: array(OngoingRange, 'actors', 'what each actor is invalidating'),
  held: array(HeldLocks, 'actors', 'what each actor holds'),
  slept_locked: counter('sleeping actions of an actor that held a spinning lock'),
  slept_interruptible: counter('sleeping actions of a vCPU that was about to sleep already'),
  unlocked_gpc_uses: counter(
    'uses of a mapping that nothing kept true: of a cache without its lock, or of an enlightened ' +
      'VMCS whose page has gone',
  ),
  gpc_changes: counter('actors that take a cache into use or give it up'),
  gpc_refs: counter('references to frames that caches keep'),
  oom_kicks: counter('vCPUs in the guest that an invalidation which must not wait has met'),
  shared_contexts: counter('contexts loaded by a vCPU while another still has them'),
  zap_unflushed: counter('zaps whose flush has not been asked of every vCPU yet'),
  apic_unannounced: counter(
    'changes of the primary PTE of the APIC-access page that ->invalidate_range has yet to announce',
  ),
  slot_changes_in_invalidation: counter(
    'memslot publications while mn_active_invalidate_count > 0',
  ),
  apic_pte_changed: counter(
    'ongoing invalidations that have changed the primary PTE of the APIC-access page',
  ),
  apicv_followers: s32('vCPUs that have read the inhibit reasons and not yet followed them'),
  reasons_while_followed: counter('changes of the inhibit reasons while a vCPU followed them'),
  torn_wakeup_lists: counter('changes of a wake-up list while another thread held its lock'),
  map_restarts: counter(
    'times that one calculation of the destination map has begun again, at most',
  ),
});

export const irqchipMode = { NONE: 0, KERNEL: 1, SPLIT: 2 } as const;

export const Vm = record('kvm', 'struct kvm, struct kvm_arch', {
  memslot: array(Memslot, limits.memslots, 'the active memslots'),
  memslots_generation: counter(
    'generation of the active memslots; odd from a swap until no reader has the old ones',
  ),
  apic_access_memslot_enabled: flag('the private slot at GPA 0xfee00000 exists'),
  apic_access_memslot_inhibited: flag('kvm_inhibit_apic_access_page was called; never cleared'),
  mmu_lock: nested(
    RwLock,
    'protects EPT changes: write to zap, read to map or to reload the APIC page',
  ),
  slots_lock: s32('the actor that holds the mutex plus 1, 0 for none'),
  mn_invalidate_lock: s32('the actor that holds the spinlock plus 1, 0 for none'),
  mmu_invalidate_seq: counter('grows at the end of every invalidation'),
  mmu_invalidate_in_progress: s32('invalidations between start and end that overlap a memslot'),
  mmu_invalidate_range_start: u64({ as: 'gfn' }, 'union of the ongoing ranges, first gfn'),
  mmu_invalidate_range_end: u64({ as: 'gfn' }, 'union of the ongoing ranges, gfn after the last'),
  mn_active_invalidate_count: s32('notifier intervals, memslot or not'),
  srcu: nested(Srcu, 'protects memslots and the buses'),
  apicv_inhibit_reasons: bits(
    32,
    { as: apicvInhibitReason },
    'reasons why APICv is off for the VM',
  ),
  irqchip_mode: oneOf(irqchipMode, 'who emulates the interrupt controllers'),
  enable_apicv: flag('module parameter enable_apicv'),
  flexpriority_enabled: flag('module parameter flexpriority'),
  apicv_update_lock: nested(
    RwLock,
    'write: changes of the inhibit reasons; read: vCPUs that follow',
  ),
  apic_map: nested(ApicMap, 'the published destination map'),
  apic_map_new: nested(ApicMap, 'the map that is being computed; published when it is whole'),
  apic_map_dirty: oneOf(apicMapDirty, 'does the map have to be computed again?'),
  apic_map_lock: s32('the actor that holds the mutex plus 1, 0 for none'),
  vapics_in_nmi_mode: s32('APICs whose LVT0 delivers NMIs'),
  x2apic_format: flag('KVM_X2APIC_API_USE_32BIT_IDS'),
  x2apic_broadcast_quirk_disabled: flag('KVM_X2APIC_API_DISABLE_BROADCAST_QUIRK'),
  disabled_quirks: bits(32, { as: quirk }, 'KVM_CAP_DISABLE_QUIRKS'),
  apic_bus_cycle_ns: counter('ns of a tick of the APIC bus clock'),
  vector_hashing: flag('module parameter vector_hashing: lowest priority picks by the vector'),
  enable_ipiv: flag('module parameter enable_ipiv'),
  pid_table: u64({ as: 'hpa' }, 'PID-pointer table of IPI virtualization (kvm_vmx), 0: none'),
  assigned_devices: counter('devices whose interrupts the IOMMU posts (kvm_arch_has_irq_bypass)'),
  pi_inject_timer: flag('module parameter pi_inject_timer'),
  enable_preemption_timer: flag(
    'module parameter preemption_timer: the VMX timer can stand in for the hrtimer',
  ),
  min_timer_period_us: counter('module parameter: shorter periods of the APIC timer are stretched'),
  mwait_in_guest: flag('KVM_X86_DISABLE_EXITS_MWAIT'),
  enable_mmio_caching: flag(
    'module parameter mmio_caching: an access of L2 to what is no memory leaves an entry in EPT02',
  ),
  hlt_in_guest: flag('KVM_X86_DISABLE_EXITS_HLT'),
  x2apic_cpuid: flag('the guest sees x2APIC in CPUID'),
  tsc_deadline_cpuid: flag('the guest sees the TSC-deadline timer in CPUID'),
  tsc_khz: counter('frequency of the guest TSC'),
  tsc_offset: u64('guest TSC when vm.now was 0, modulo 2^53'),
  bsp_vcpu_id: counter('KVM_SET_BOOT_CPU_ID'),
  maxphyaddr: counter('bits of a guest-physical address'),
  now: u64({ as: 'dec' }, 'ns of the host clock; moves only by a step'),
  ioapic: nested(Ioapic, 'the IOAPIC'),
  pic: nested(Pic, 'the PIC'),
  irq_routing: array(MsiRoute, IOAPIC_NUM_PINS, 'MSI routes of the first GSIs (split irqchip)'),
  enable_vmx: flag('the guest sees VMX in CPUID: module parameter nested'),
  gpc_lock: s32('the actor that holds the spinlock of gpc_list plus 1, 0 for none'),
  nested_context: array(NestedContext, 'contexts', 'contexts of vmcs12s (gpc-v4)'),
  nested_context_lock: s32('the actor that holds the table lock plus 1, 0 for none'),
  nested_context_clears: counter('VMCLEARs of contexts so far: the order of the LRU list'),
  stat: nested(VmStat, 'cost counters'),
  spec: nested(VmSpec, 'bookkeeping of the checks'),
});
