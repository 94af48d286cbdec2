/** Level-triggered interrupts: the IOAPIC hears of the end of each. */
import { APIC_DM_LOWEST } from '../../state/apicdef.ts';
import { redirection } from '../../state/ioapic.ts';
import type { MachineView } from '../../state/machine.ts';
import { irqchipMode } from '../../state/vm.ts';
import type { Check } from '../check.ts';
import { hex, violated } from '../violation.ts';

export const inv_tmr_before_irr: Check = {
  id: 'inv-tmr-before-irr',
  when: 'step',
  per: 'vcpu',
  summary:
    'when a sender requests a vector, in IRR or in PIR, TMR says already how it is triggered',
  why: 'its EOI could come before TMR is right, and go to the IOAPIC without reason, or not at all',
  races: [],
  reads: ['vcpu[*].spec.untimely_tmr'],
  broken(m, index) {
    return m.vcpu[index]!.spec.untimely_tmr === 0
      ? undefined
      : violated(
          `a vector was requested of vCPU ${index} while TMR said something else of it`,
          `vcpu[${index}].apic.tmr`,
          `vcpu[${index}].apic.irr`,
        );
  },
};

/** Has some vCPU the vector requested, posted or in service? */
const isUnderWay = (m: MachineView, vector: number): boolean =>
  m.vcpu.some(
    ({ apic, pi_desc }) => apic.irr.has(vector) || apic.isr.has(vector) || pi_desc.pir.has(vector),
  );

const isFixed = (low: number): boolean => (low & redirection.DELIVERY_MODE) <= APIC_DM_LOWEST;

/** A pin of KVM's IOAPIC, or a route of one in user space. */
interface Pin {
  /** bits 31:0 of its entry, or the data of its MSI: the same where they matter here */
  readonly low: number;
  readonly waits: boolean;
  readonly field: string;
}

const pinOf = (m: MachineView, index: number): Pin => {
  if (m.vm.irqchip_mode === irqchipMode.SPLIT) {
    const { used, data, remote_irr } = m.vm.irq_routing[index]!;
    const waits = used && remote_irr && (data & redirection.LEVEL) !== 0;
    return { low: data, waits, field: `vm.irq_routing[${index}].remote_irr` };
  }
  const { low } = m.vm.ioapic.redirtbl[index]!;
  const waits = (low & redirection.REMOTE_IRR) !== 0;
  return { low, waits, field: `vm.ioapic.redirtbl[${index}].low` };
};

export const inv_eoi_reaches_ioapic: Check = {
  id: 'inv-eoi-reaches-ioapic',
  when: 'quiet',
  per: 'machine',
  summary:
    'a pin of the IOAPIC, in KVM or in user space, whose remote IRR is set has its vector ' +
    'requested or in service on some vCPU',
  why: 'the IOAPIC waits for an EOI that has been: the line is dead',
  races: ['R62', 'R64'],
  reads: [
    'vm.irqchip_mode',
    'vm.ioapic.redirtbl[*].low',
    'vm.irq_routing[*].*',
    'vcpu[*].apic.irr',
    'vcpu[*].apic.isr',
    'vcpu[*].pi_desc.pir',
  ],
  broken(m) {
    if (m.vm.irqchip_mode === irqchipMode.NONE) return undefined;
    for (const { index: pin } of m.vm.ioapic.redirtbl) {
      const { low, waits, field } = pinOf(m, pin);
      const vector = low & redirection.VECTOR;
      if (!waits || !isFixed(low) || isUnderWay(m, vector)) continue;
      return violated(
        `pin ${pin} waits for the EOI of vector ${hex(vector)}, which no vCPU has pending`,
        field,
      );
    }
    return undefined;
  },
};

/** Vectors 0 to 15 are nobody's: the entry of a pin that was never programmed has vector 0. */
const legalInFirstWord = 0xffff_0000;

export const inv_eoi_bitmap: Check = {
  id: 'inv-eoi-bitmap',
  when: 'entry',
  per: 'vcpu',
  summary:
    'when L1 is entered with APICv, every vector of ioapic_handled_vectors is in the EOI-exit ' +
    'bitmap (that no scan is overlooked is inv-entry-no-requests)',
  why: 'the IOAPIC never hears of the EOI, and the line stays blocked',
  races: ['R62'],
  reads: [
    'vcpu[*].ioapic_handled_vectors',
    'vcpu[*].vmcs01.eoi_exit_bitmap*',
    'vcpu[*].apic.apicv_active',
    'vcpu[*].apic.guest_apic_protected',
    'vcpu[*].guest_mode',
  ],
  broken(m, index) {
    const { guest_mode, vmcs01, apic, ioapic_handled_vectors: handled } = m.vcpu[index]!;
    if (guest_mode || !apic.apicv_active || apic.guest_apic_protected) return undefined;
    const bitmap = [
      vmcs01.eoi_exit_bitmap0,
      vmcs01.eoi_exit_bitmap1,
      vmcs01.eoi_exit_bitmap2,
      vmcs01.eoi_exit_bitmap3,
    ];
    for (let word = 0; word < 8; word++) {
      const legal = word === 0 ? legalInFirstWord : 0xffff_ffff;
      const missing = handled.word(word) & ~bitmap[word >>> 1]!.word(word & 1) & legal;
      if (missing === 0) continue;
      const vector = word * 32 + 31 - Math.clz32(missing);
      return violated(
        `vCPU ${index} enters L1 although the EOI of vector ${hex(vector)} would not exit`,
        `vcpu[${index}].ioapic_handled_vectors`,
        `vcpu[${index}].vmcs01.eoi_exit_bitmap${word >>> 1}`,
      );
    }
    return undefined;
  },
};
