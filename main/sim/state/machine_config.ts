/** What a machine is made of: what user space chose for the VM, its vCPUs, and who acts in it. */
import type { ActorKind } from './operands.ts';
import type { Program } from './program.ts';

export interface ActorConfig {
  /** `vcpu0`, `irq0`, `mm`, `user1`: unique, the name in schedules and lanes */
  readonly name: string;
  readonly kind: ActorKind;
  /** number of the vCPU or physical CPU; of the others, which of them; of `drain`, whose stores */
  readonly index: number;
  readonly program: Program;
  /** of a vCPU: what its guest runs in a guest of its own */
  readonly l2?: Program;
}

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
  /** KVM_CAP_HYPERV_ENLIGHTENED_VMCS: the guest may keep its VMCSs as Hyper-V does */
  readonly evmcs: boolean;
  /** `unmanaged`: no struct page, as with `mem=` or a PFN map of a driver */
  readonly guestMemory: 'managed' | 'unmanaged';
  readonly apicBusCycleNs: number;
  readonly tscKhz: number;
  readonly bspId: number;
  /** KVM_CAP_MAX_VCPU_ID; else user space has set it to what the vCPUs need */
  readonly maxVcpuIds?: number;
  readonly maxphyaddr: number;
  readonly minTimerPeriodUs: number;
  /** IOAPIC_SUCCESSIVE_IRQ_MAX_COUNT */
  readonly ioapicStormCount: number;
  /** module parameter mmio_caching of kvm */
  readonly mmioCaching: boolean;
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
  evmcs: false,
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
  mmioCaching: false,
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

/** Everything that decides, with the schedule, every byte of a run. */
export interface MachineConfig {
  readonly vcpus: number;
  readonly frames: number;
  /** pages of guest memory, from GPA 0 */
  readonly memoryPages: number;
  /** pages of a memslot, if not one slot has all of guest memory */
  readonly slotPages?: number;
  /** `settled`: the APIC-access page is loaded and mapped; `reset`: as vCPU creation leaves it */
  readonly boot: 'settled' | 'reset';
  readonly enableApicv: boolean;
  /** what differs from `usualVm` */
  readonly vm?: Partial<VmConfig>;
  /** by index; what is not said: id = index, xAPIC mode, with CMCI */
  readonly apics?: readonly Partial<VcpuConfig>[];
  readonly switches: Readonly<Record<string, string>>;
  readonly actors: readonly ActorConfig[];
}
