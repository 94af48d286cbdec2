/** How the VM and its vCPUs are made: what user space and the module parameters chose. */

/** What user space chose for the VM before it made vCPUs; module parameters too. */
export interface VmConfig {
  /** `split`: IOAPIC and PIC are in user space */
  readonly irqchip: 'kernel' | 'split';
  /** the guest sees x2APIC, and the TSC-deadline timer, in CPUID */
  readonly x2apicCpuid: boolean;
  readonly tscDeadlineCpuid: boolean;
  /** KVM_X2APIC_API_USE_32BIT_IDS and KVM_X2APIC_API_DISABLE_BROADCAST_QUIRK */
  readonly x2apic32bitIds: boolean;
  readonly x2apicBroadcastQuirkDisabled: boolean;
  /** mask of KVM_CAP_DISABLE_QUIRKS */
  readonly disabledQuirks: number;
  readonly vectorHashing: boolean;
  /** the guest sees VMX in CPUID */
  readonly nested: boolean;
  /** `unmanaged`: no struct page, as with `mem=` or a PFN map of a driver */
  readonly guestMemory: 'managed' | 'unmanaged';
  readonly apicBusCycleNs: number;
  readonly tscKhz: number;
  readonly bspId: number;
  readonly maxphyaddr: number;
  readonly minTimerPeriodUs: number;
  /** IOAPIC_SUCCESSIVE_IRQ_MAX_COUNT */
  readonly ioapicStormCount: number;
  /** module parameters preemption_timer, pi_inject_timer, enable_ipiv */
  readonly preemptionTimer: boolean;
  readonly piInjectTimer: boolean;
  readonly ipiv: boolean;
  /** KVM_X86_DISABLE_EXITS_HLT, KVM_X86_DISABLE_EXITS_MWAIT */
  readonly hltInGuest: boolean;
  readonly mwaitInGuest: boolean;
  /** the VM is a trust domain: it needs APICv, x2APIC mode and irqchip `split` */
  readonly td: boolean;
}

export const usualVm: VmConfig = {
  irqchip: 'kernel',
  x2apicCpuid: true,
  tscDeadlineCpuid: true,
  x2apic32bitIds: false,
  x2apicBroadcastQuirkDisabled: false,
  disabledQuirks: 0,
  vectorHashing: true,
  nested: false,
  guestMemory: 'managed',
  apicBusCycleNs: 1,
  tscKhz: 1_000_000,
  bspId: 0,
  maxphyaddr: 46,
  minTimerPeriodUs: 200,
  ioapicStormCount: 10_000,
  preemptionTimer: false,
  piInjectTimer: false,
  ipiv: false,
  hltInGuest: false,
  mwaitInGuest: false,
  td: false,
};

/** How a vCPU is made; its `id` is the vCPU (x2APIC) ID, its index by default. */
export interface VcpuConfig {
  readonly id: number;
  readonly mode: 'disabled' | 'xapic' | 'x2apic';
  /** MCG_CMCI_P: the local vector table has an entry for CMCI */
  readonly lvtCmci: boolean;
  /** the guest has enabled its APIC (SPIV bit 8) and interrupts (EFLAGS.IF) already */
  readonly interrupts: boolean;
}
