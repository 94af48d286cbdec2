/** struct kvm_lapic: the register page at its real offsets, and KVM's own fields behind it. */
import { bits, counter, flag, nested, record, s32, u32, u64, vectors } from '../arena/fields.ts';
import { GfnToHvaCache } from './memory.ts';
import { KvmTimer } from './timer.ts';

/** The first KiB is what the guest, KVM and the CPU share (`apic->regs`). */
export const apicPageBytes = 0x400;

/** Bit numbers of pending_events. */
export const apicEvent = { INIT: 0, SIPI: 1 } as const;

export { APIC_PROCPRI, APIC_TASKPRI } from './apicdef.ts';

export const Lapic = record('kvm_lapic', 'struct kvm_lapic; its first KiB is the register page', {
  id: u32({ at: 0x020, tag: 0x802 }, 'APIC ID: xAPIC in bits 31:24, x2APIC in all 32'),
  lvr: u32(
    { at: 0x030, tag: 0x803 },
    'version 0x14, highest LVT entry in bits 23:16, directed EOI in bit 24',
  ),
  tpr: u32({ at: 0x080, tag: 0x808 }, 'task priority: vectors up to its class are held back'),
  apr: u32({ at: 0x090 }, 'arbitration priority; reads 0'),
  ppr: u32(
    { at: 0x0a0, tag: 0x80a },
    'processor priority: the higher of TPR and the class in service',
  ),
  eoi: u32({ at: 0x0b0, tag: 0x80b }, 'end of interrupt, write only'),
  ldr: u32({ at: 0x0d0, tag: 0x80d }, 'logical destination'),
  dfr: u32({ at: 0x0e0 }, 'destination format: flat or cluster; not in x2APIC mode'),
  spiv: u32({ at: 0x0f0, tag: 0x80f }, 'spurious vector; bit 8 enables the APIC by software'),
  isr: vectors({ at: 0x100, tag: 0x810 }, 'vectors in service'),
  tmr: vectors({ at: 0x180, tag: 0x818 }, 'trigger mode: set for level-triggered vectors'),
  irr: vectors({ at: 0x200, tag: 0x820 }, 'vectors requested and not yet in service'),
  esr: u32({ at: 0x280, tag: 0x828 }, 'error status'),
  lvtcmci: u32({ at: 0x2f0, tag: 0x82f }, 'local vector table: corrected machine check'),
  icr: u32({ at: 0x300, tag: 0x830 }, 'interrupt command, low half'),
  icr_high: u32(
    { at: 0x304 },
    'bits 63:32 of the ICR in x2APIC mode, where it is one 64-bit register',
  ),
  icr2: u32({ at: 0x310 }, 'interrupt command, high half: destination in bits 31:24'),
  lvtt: u32({ at: 0x320, tag: 0x832 }, 'local vector table: timer'),
  lvtthmr: u32({ at: 0x330, tag: 0x833 }, 'local vector table: thermal sensor'),
  lvtpc: u32({ at: 0x340, tag: 0x834 }, 'local vector table: performance counters'),
  lvt0: u32({ at: 0x350, tag: 0x835 }, 'local vector table: LINT0'),
  lvt1: u32({ at: 0x360, tag: 0x836 }, 'local vector table: LINT1'),
  lvterr: u32({ at: 0x370, tag: 0x837 }, 'local vector table: error'),
  tmict: u32({ at: 0x380, tag: 0x838 }, 'timer initial count'),
  tmcct: u32({ at: 0x390, tag: 0x839 }, 'timer current count; computed when it is read'),
  tdcr: u32({ at: 0x3e0, tag: 0x83e }, 'timer divide configuration'),
  self_ipi: u32({ at: 0x3f0, tag: 0x83f }, 'self IPI, write only, x2APIC only'),

  base_address: u64({ at: apicPageBytes, as: 'gpa' }, 'MMIO window of the APIC, from apic_base'),
  apicv_active: flag('what KVM holds to be true for this vCPU; must agree with vmcs01 at L1 entry'),
  sw_enabled: flag('mirror of SPIV bit 8'),
  irr_pending: flag('hint that IRR may be non-empty; always set with APICv'),
  isr_count: s32('number of ISR bits, a hint; fixed at 1 with APICv'),
  highest_isr_cache: s32('highest ISR vector if it is known, else −1; always −1 with APICv'),
  nr_lvt_entries: counter('entries of the local vector table: 7, or 6 without CMCI'),
  lapic_timer: nested(KvmTimer, 'the timer'),
  divide_count: counter('bus cycles for each tick of the timer: from TDCR'),
  lvt0_in_nmi_mode: flag('LVT0 delivers NMIs; counted in vm.vapics_in_nmi_mode'),
  guest_apic_protected: flag('TDX: KVM may not read IRR and ISR of this APIC'),
  vapic_addr: u64({ as: 'gpa' }, 'KVM_SET_VAPIC_ADDR: the word shared with the guest, 0: none'),
  vapic_cache: nested(
    GfnToHvaCache,
    'where the word is: TPR in 7:0, class in service in 15:12, highest request in 31:24',
  ),
  pending_events: bits(32, { as: apicEvent }, 'INIT and SIPI that wait to be accepted'),
  sipi_vector: u32({ as: 'vector' }, 'vector of the last SIPI'),
});
