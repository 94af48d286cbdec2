/** INIT, SIPI and ExtINT: none is mixed up, and none is lost. */
import { apicEvent } from '../../state/lapic.ts';
import type { Check } from '../check.ts';
import { hex, violated } from '../violation.ts';

export const inv_sipi_vector: Check = {
  id: 'inv-sipi-vector',
  when: 'step',
  per: 'vcpu',
  summary:
    'while SIPI is pending sipi_vector is the vector of that SIPI, or of a later one whose bit is ' +
    'about to be set',
  why: 'the processor would start at the address of an earlier SIPI',
  races: ['R55'],
  reads: [
    'vcpu[*].apic.pending_events',
    'vcpu[*].apic.sipi_vector',
    'vcpu[*].spec.sipi_vector',
    'vcpu[*].spec.sipi_stored',
  ],
  broken(m, index) {
    const { apic, spec } = m.vcpu[index]!;
    if (!apic.pending_events.has(apicEvent.SIPI) || spec.sipi_stored > 0) return undefined;
    if (apic.sipi_vector === spec.sipi_vector) return undefined;
    return violated(
      `vCPU ${index} has a SIPI with vector ${hex(spec.sipi_vector)} pending, but sipi_vector is ` +
        hex(apic.sipi_vector),
      `vcpu[${index}].apic.sipi_vector`,
      `vcpu[${index}].apic.pending_events`,
    );
  },
};

export const inv_init_clears_sipi: Check = {
  id: 'inv-init-clears-sipi',
  when: 'step',
  per: 'vcpu',
  summary: 'an INIT that arrives leaves no older SIPI pending',
  why: 'the processor would start by itself after the INIT, where nobody told it to',
  races: ['R56'],
  reads: ['vcpu[*].spec.sipis_after_init'],
  broken(m, index) {
    return m.vcpu[index]!.spec.sipis_after_init === 0
      ? undefined
      : violated(
          `an INIT has reached vCPU ${index}, and an older SIPI is still pending`,
          `vcpu[${index}].apic.pending_events`,
        );
  },
};

export const inv_extint_not_lost: Check = {
  id: 'inv-extint-not-lost',
  when: 'quiet',
  per: 'vcpu',
  summary: 'each ExtINT that was acknowledged has been queued for injection',
  why: 'the PIC does not offer again what was acknowledged',
  races: ['R68'],
  reads: ['vcpu[*].spec.extints'],
  broken(m, index) {
    const { extints } = m.vcpu[index]!.spec;
    return extints === 0
      ? undefined
      : violated(
          `vCPU ${index} has acknowledged ${extints} ExtINT and not injected it`,
          `vcpu[${index}].interrupt.injected`,
          `vcpu[${index}].pending_external_vector`,
        );
  },
};
