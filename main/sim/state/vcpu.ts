/** Per-vCPU state: struct kvm_vcpu, kvm_vcpu_arch and vcpu_vmx, and the pCPU below it. */
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
import { Lapic } from './lapic.ts';
import { limits } from './limits.ts';
import { GfnToHvaCache, TlbEntry } from './memory.ts';
import { NestedVmx } from './nested.ts';
import { NestedState } from './nested_state.ts';
import { PiDesc } from './pi_desc.ts';
import { KVM_REQ, requestCount } from './requests.ts';
import { MsrBitmap, Vmcs } from './vmcs.ts';

/** include/linux/kvm_host.h */
export const vcpuMode = {
  OUTSIDE_GUEST_MODE: 0,
  IN_GUEST_MODE: 1,
  EXITING_GUEST_MODE: 2,
  READING_SHADOW_PAGE_TABLES: 3,
} as const;

export const mpState = {
  RUNNABLE: 0,
  UNINITIALIZED: 1,
  INIT_RECEIVED: 2,
  HALTED: 3,
  SIPI_RECEIVED: 4,
  AP_RESET_HOLD: 9,
} as const;

/** vcpu_vmx.loaded_vmcs */
export const loadedVmcs = { VMCS01: 0, VMCS02: 1 } as const;

export const taskState = { RUNNING: 0, INTERRUPTIBLE: 1, BLOCKED: 2 } as const;

/** KVM_EXIT_*: why KVM_RUN returned to user space. include/uapi/linux/kvm.h */
export const kvmExit = {
  NONE: 0,
  MMIO: 6,
  IRQ_WINDOW_OPEN: 7,
  FAIL_ENTRY: 9,
  INTR: 10,
  TPR_ACCESS: 12,
  INTERNAL_ERROR: 17,
  IOAPIC_EOI: 26,
} as const;

export const VcpuStat = record('kvm_vcpu_stat', 'cost counters of a vCPU', {
  vm_entries: counter('VM entries'),
  vm_exits: counter('VM exits'),
  ept_violations: counter('exits for an EPT violation'),
  apic_access_exits: counter('exits for an access to the APIC-access page'),
  emulated_apic_mmio: counter('APIC accesses that the instruction emulator did'),
  requests_made: counter('requests made for this vCPU'),
  requests_handled: counter('requests that this vCPU took'),
  nested_entries: counter('entries into L2 for L1'),
  nested_exits: counter('exits from L2 to L1'),
  tlb_flush_all: counter('flushes of every EP4TA'),
  tlb_flush_current: counter('flushes of the current EP4TA'),
  reloads: counter('reloads of the APIC-access page'),
  kicks: counter('kvm_vcpu_kick calls'),
  wakeups: counter('wake-up calls of senders of interrupts'),
  irq_injections: counter('interrupts put into VM_ENTRY_INTR_INFO'),
  irq_window_exits: counter('exits because interrupts became possible'),
  user_exits: counter('returns of KVM_RUN to user space'),
  hostmap_kmap: counter('kmap of kvm_vcpu_map'),
  hostmap_kunmap: counter('kunmap of kvm_vcpu_unmap'),
  hostmap_memremap: counter('memremap of kvm_vcpu_map'),
  hostmap_memunmap: counter('memunmap of kvm_vcpu_unmap'),
  gpc_kmap: counter('kmap of a cache'),
  gpc_kunmap: counter('kunmap of a cache'),
  gpc_memremap: counter('memremap of a cache'),
  gpc_memunmap: counter('memunmap of a cache'),
  hostmap_pins: counter('pages of L1 pinned by kvm_vcpu_map'),
  gpc_final_check_fails: counter('entries cancelled because a cache was not valid'),
  get_nested_state_pages: counter('GET_NESTED_STATE_PAGES requests handled'),
  vmcs01_guard_switches: counter('times that vmcs01 was loaded for a moment while L2 was active'),
});

export const RequestTimes = record('request_times', 'how often one request was made and taken', {
  published: counter('times that the bit was set'),
  taken: counter('value of `published` when its handler last started'),
});

export const KickTime = record(
  'kick_time',
  'what a maker of requests saw when it decided to send an IPI',
  {
    in_guest: flag('the vCPU was in non-root mode'),
    left_guest: counter('value of left_guest of the vCPU'),
    walking: flag('the vCPU was reading page tables without mmu_lock, and the maker waits'),
    walks: counter('value of walks of the vCPU'),
    undecided: flag('it has made a request and has not decided yet whether to interrupt the vCPU'),
    level: flag('the interrupt that it gave the vCPU last was level-triggered'),
  },
);

/** Bookkeeping that only checks read: no model code decides anything on it. */
export const VcpuSpec = record('vcpu_spec', 'events that checks look for', {
  makers_in_flight: s32('makers between setting a request bit and deciding about the kick'),
  in_reload: flag('the vCPU is inside vmx_set_apic_access_page_addr, or about to be'),
  left_guest: counter('times that the vCPU left non-root mode'),
  walks: counter('walks of page tables without mmu_lock that have ended'),
  exits_while_run_pending: counter('exits to L1 before the committed entry took place'),
  extints_lost: counter('ExtINTs that were taken and could not be given to L1 or L2'),
  block_ebusy: counter('events of a halted L2 that had to wait: KVM warns (block-ignore-ebusy)'),
  vmcs12_foreign_reads: counter('reads of cached_vmcs12 by a thread other than that of the vCPU'),
  posting: s32('senders between setting a vector in PIR and setting ON'),
  harvesting: s32('threads that have cleared ON and not finished taking PIR'),
  notifying: s32('senders between setting ON and the notification'),
  in_pi_load: flag('the thread is back on a CPU, and its descriptor does not say so yet'),
  in_pi_switch: flag('the wake-up list has changed, and NV will follow'),
  accepting: s32('senders between setting a vector in IRR and the kick'),
  irr_hint_open: s32('threads between a change of IRR and that of irr_pending'),
  ppr_update: u32(
    'the last calculation of the PPR: TPR in 7:0, highest vector in service in 15:8, PPR in 23:16',
  ),
  wrong_eois: counter('EOIs that ended a vector other than the highest in service'),
  lvts_to_mask: flag('a write of SPIV has disabled the APIC, and nothing has enabled it since'),
  untimely_tmr: counter('vectors that were requested while TMR said something else of them'),
  sipi_vector: u32({ as: 'vector' }, 'vector of the SIPI whose bit was set last'),
  sipi_stored: s32('senders of a SIPI that have stored its vector and not yet set the bit'),
  sipis_after_init: counter('INITs that arrived and left an older SIPI pending'),
  timer_open: flag('the APIC timer was started, or set to its next period, and has not expired'),
  double_expiries: counter('expiries of a timer that had expired already'),
  timer_mode_breaks: counter(
    'changes to or from deadline mode that left a count, and deadlines stored in other modes',
  ),
  vapic_word: u32('the vAPIC word that KVM has written last'),
  vapic_synced: flag('it was written for the entry that comes next'),
  extints: s32('ExtINTs that were acknowledged and are not queued for injection'),
  misdirected_vmwrites: counter('VMWRITEs meant for vmcs01 that went to vmcs02, which was loaded'),
  l1_status_in_vmcs02: counter('times that RVI or SVI of L1 was written into vmcs02'),
  failed_final_checks: counter(
    'final checks in a row that found a page of L1 gone, with no cache mended in between',
  ),
  notifications_lost: counter('notifications for L2 that nobody will act upon'),
  nested_notified: flag('L2 was notified, and KVM has not looked into its descriptor since'),
  vapic_written: flag('the CPU has written the virtual-APIC page of L2 since the VM entry'),
  pi_desc_written: flag('the CPU has written the descriptor of L2 since the VM entry'),
  vapic_unlogged: flag('a write to the virtual-APIC page of L2 is not in the dirty log'),
  pi_desc_unlogged: flag('a write to the descriptor of L2 is not in the dirty log'),
  kick: array(KickTime, 'actors', 'the last decision of each actor'),
  request: array(RequestTimes, requestCount, 'each request by its number'),
});

export const Mmu = record('kvm_mmu', 'an MMU context', {
  root: s32('the EPT root that it uses, −1 for none'),
});

/** What the guest has been given, for expectations and for "no interrupt is lost". */
export const Delivered = record('delivered', 'an interrupt that the guest took', {
  vector: u32({ as: 'vector' }, 'the vector'),
});

export const Guest = record('guest_cpu', 'the guest on its virtual CPU', {
  value: u32('result of the last read, low half'),
  value_high: u32('result of the last read, high half (RDMSR)'),
  rflags_if: flag('EFLAGS.IF: interrupts can be delivered'),
  virtual_interrupt_pending: flag(
    'the CPU has recognized a pending virtual interrupt; ends with its delivery or a VM exit',
  ),
  cs_base: u64({ as: 'gpa' }, 'base of CS: a SIPI sets it to its vector × 4096'),
  rflags_cf: flag('RFLAGS.CF: VMfailInvalid'),
  rflags_zf: flag('RFLAGS.ZF: VMfailValid, the reason is in VM_INSTRUCTION_ERROR'),
  ud: u32('#UD that instructions have raised'),
  faulted: u32('#GP that instructions have raised'),
  verified: counter('comparisons of the scenario, by the guest or user space, that were right'),
  mismatches: counter('comparisons of the scenario, by the guest or user space, that were wrong'),
  delivered_count: counter('interrupts that the guest has taken'),
  delivered: array(Delivered, 64, 'the last of them, in a ring'),
  nmis: counter('NMIs that the guest has taken'),
  smis: counter('SMIs that the guest has taken'),
  in_service_program: counter(
    'return address of the interrupted program plus 1, 0: no handler runs',
  ),
});

/** Bit numbers of apic_attention. */
export const apicAttention = { CHECK_VAPIC: 0, PV_EOI_PENDING: 1 } as const;

export const PvEoi = record('pv_eoi', 'MSR_KVM_PV_EOI_EN', {
  msr_val: u64('bit 0 enables, the rest is the GPA of the byte'),
  data: nested(GfnToHvaCache, 'where the byte is; its bit 0: the guest may skip the EOI write'),
});

export const QueuedInterrupt = record('kvm_queued_interrupt', 'an interrupt to be injected', {
  injected: flag('it is in VM_ENTRY_INTR_INFO, or on its way there'),
  soft: flag('a software interrupt'),
  nr: u32({ as: 'vector' }, 'the vector'),
});

/** What SMRAM keeps of the interrupted program, as far as interrupts care. */
export const SmramState = record('kvm_smram_state', 'the state-save area of SMM', {
  pc: counter('the instruction that RSM goes back to'),
  rflags_if: flag('EFLAGS.IF of the interrupted program'),
  int_shadow: u32('blocking by STI 0 or MOV SS 1 that it was under'),
});

/** kvm_run.mmio: the access that nobody in KVM answers, and the answer. */
export const RunMmio = record('kvm_run_mmio', 'an access to a device of user space', {
  phys_addr: u64({ as: 'gpa' }, 'where'),
  len: counter('bytes'),
  is_write: flag('the guest writes'),
  data: u32('what it writes, or what user space answers; low half'),
  data_high: u32('high half of 8 bytes'),
});

export const Vcpu = record('kvm_vcpu', 'struct kvm_vcpu, kvm_vcpu_arch, vcpu_vmx', {
  vcpu_id: counter('index and x2APIC ID'),
  mode: oneOf(
    vcpuMode,
    'where the vCPU stands between host and guest; others may only change IN to EXITING',
  ),
  requests: bits(requestCount, { as: KVM_REQ }, 'KVM_REQ_* that wait to be handled'),
  cpu: s32('the physical CPU that the vCPU is loaded on, −1 for none'),
  non_root: flag('the CPU executes the guest: between VM entry and VM exit'),
  guest_mode: flag('HF_GUEST_MASK: L2 is active'),
  mp_state: oneOf(mpState, 'KVM_MP_STATE_*'),
  task_state: oneOf(taskState, 'state of the thread'),
  exit_reason: oneOf(kvmExit, 'why KVM_RUN last returned to user space (kvm_run)'),
  srcu_idx: s32('SRCU generation that the vCPU reads in, −1 outside'),
  apic_base: u64('MSR IA32_APIC_BASE: address, ENABLE bit 11, X2APIC bit 10, BSP bit 8'),
  root_mmu: nested(Mmu, 'the MMU of L1: EPT01'),
  apic: nested(Lapic, 'the local APIC'),
  pi_desc: nested(PiDesc, 'posted-interrupt descriptor for L1'),
  guest_mmu: nested(Mmu, 'the MMU of L2: EPT02'),
  loaded_vmcs: oneOf(loadedVmcs, 'the VMCS that VMREAD and VMWRITE of KVM reach'),
  vmcs01: nested(Vmcs, 'the VMCS that runs L1'),
  vmcs02: nested(Vmcs, 'the VMCS that runs L2'),
  apic_attention: bits(32, { as: apicAttention }, 'what to do with the APIC after an exit'),
  pv_eoi: nested(PvEoi, 'paravirtual EOI'),
  ioapic_handled_vectors: bits(256, 'vectors whose EOI the IOAPIC must see'),
  highest_stale_pending_ioapic_eoi: s32(
    'highest pending vector of a route that has moved away, −1',
  ),
  pending_ioapic_eoi: u32({ as: 'vector' }, 'vector of KVM_EXIT_IOAPIC_EOI (split irqchip)'),
  load_eoi_exitmap_pending: flag('the EOI-exit bitmap is loaded when L2 ends'),
  pending_external_vector: s32('ExtINT from user space (split irqchip), −1'),
  run_mmio: nested(RunMmio, 'kvm_run: details of KVM_EXIT_MMIO'),
  mmio_needed: flag('a read is not complete: user space has still to answer'),
  request_interrupt_window: flag(
    'kvm_run: user space has an ExtINT, and wants to hear when the guest can take it',
  ),
  ready_for_interrupt_injection: flag('kvm_run: KVM_INTERRUPT would be taken at the next entry'),
  sigpending: flag('TIF_SIGPENDING: KVM_RUN returns to user space as soon as it can'),
  mutex_waiters: counter(
    'threads of user space that wait for vcpu->mutex or hold it: KVM_RUN comes after them',
  ),
  apic_arb_prio: s32('turns that the vCPU has had in lowest-priority arbitration'),
  exception_pending: flag('a #GP waits to be injected'),
  interrupt: nested(QueuedInterrupt, 'interrupt to inject or to inject again'),
  nmi_injected: flag('an NMI is being injected'),
  nmi_pending: counter('NMIs to inject'),
  nmi_queued: counter('NMIs that senders have queued'),
  smi_pending: flag('an SMI waits'),
  in_smm: flag('HF_SMM_MASK'),
  smm_inside_nmi_mask: flag('HF_SMM_INSIDE_NMI_MASK: NMIs were masked before the SMI, too'),
  smram: nested(SmramState, 'what RSM restores'),
  pv_unhalted: flag('KVM_HC_KICK_CPU woke it'),
  tpr_access_reporting: flag('KVM_TPR_ACCESS_REPORTING'),
  guest_debug_blockirq: flag('KVM_GUESTDBG_BLOCKIRQ'),
  lvt_cmci: flag('MCG_CMCI_P: the APIC has seven LVT entries'),
  preempted: flag('the thread was preempted while it ran'),
  blocking: flag('the thread is inside kvm_vcpu_block: its put may arm the wake-up vector'),
  scheduled_out: flag('the thread is on no physical CPU'),
  need_resched: flag('TIF_NEED_RESCHED: the thread gives its CPU away where it can be preempted'),
  sched_cpu: s32('the CPU that the scheduler gives to a preempted thread, −1: none yet'),
  on_wakeup_list: s32('the CPU on whose wake-up list the vCPU is, −1'),
  hv_deadline_tsc: u64('host TSC at which the VMX preemption timer exits, 0: it is off'),
  preemption_timer_expiry: u64(
    'host TSC at which the count that the last VM entry loaded is 0, if the timer is in use',
  ),
  msr_bitmap: nested(MsrBitmap, 'which x2APIC MSRs exit while L1 runs'),
  nested: nested(NestedVmx, 'the guest as a hypervisor'),
  user_nested_state: nested(NestedState, 'what user space keeps for KVM_SET_NESTED_STATE'),
  guest: nested(Guest, 'registers of the guest'),
  stat: nested(VcpuStat, 'cost counters'),
  spec: nested(VcpuSpec, 'bookkeeping of the checks'),
});

/** Interrupts that a physical CPU can have pending. */
export const hostVector = {
  RESCHEDULE: 0,
  CALL_FUNCTION: 1,
  POSTED_INTR: 2,
  POSTED_INTR_WAKEUP: 3,
  POSTED_INTR_NESTED: 4,
  /** any other vector: which ones is in cpu.vectors */
  DEVICE: 5,
} as const;

export const Cpu = record('cpu', 'a physical CPU', {
  irqs_on: flag('interrupts are enabled (EFLAGS.IF of the host)'),
  pending: bits(32, { as: hostVector }, 'IPIs that arrived and were not taken yet'),
  call_queue: bits(
    32,
    { as: 'dec' },
    'actors whose call-function IPI waits for its handler: they wait for the ack',
  ),
  vectors: bits(256, 'interrupts of devices that arrived and were not taken yet'),
  maxphyaddr: counter('CPUID: bits of a physical address; 0: 52, the most there can be'),
  rflags_zf: flag('EFLAGS.ZF of the host after a VM entry: VMfailValid'),
  tlb: array(TlbEntry, limits.tlbEntriesPerCpu, 'cached translations'),
  tlb_next: counter('entry that the next fill replaces'),
  ipis: counter('IPIs received'),
  wakeup_vcpus_on_cpu_lock: s32(
    'the actor that holds the spinlock of the wake-up list plus 1, 0 for none',
  ),
});
