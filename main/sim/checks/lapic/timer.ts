/** The APIC timer fires once, and in its mode. */
import type { Check } from '../check.ts';
import { violated } from '../violation.ts';

export const inv_timer_single: Check = {
  id: 'inv-timer-single',
  when: 'step',
  per: 'vcpu',
  summary:
    'a timer expires at most once for each time that it was started or began a period, and at most ' +
    'one expiry waits to be injected',
  why: 'a second interrupt for one deadline is one that the guest never asked for',
  races: ['R65'],
  reads: ['vcpu[*].spec.double_expiries', 'vcpu[*].apic.lapic_timer.pending'],
  broken(m, index) {
    const { apic, spec } = m.vcpu[index]!;
    const { pending } = apic.lapic_timer;
    return spec.double_expiries === 0 && pending <= 1
      ? undefined
      : violated(
          `the timer of vCPU ${index} has expired too often: ${pending} expiries are pending`,
          `vcpu[${index}].apic.lapic_timer.pending`,
          `vcpu[${index}].apic.lapic_timer.hv_timer_in_use`,
        );
  },
};

export const inv_tscdeadline_mode: Check = {
  id: 'inv-tscdeadline-mode',
  when: 'step',
  per: 'vcpu',
  summary:
    'a change between deadline mode and another leaves neither a count nor a deadline, and no ' +
    'deadline is stored in the other modes',
  why: 'the timer would fire in a mode that the guest has left',
  races: [],
  reads: ['vcpu[*].spec.timer_mode_breaks'],
  broken(m, index) {
    return m.vcpu[index]!.spec.timer_mode_breaks === 0
      ? undefined
      : violated(
          `the timer of vCPU ${index} has a count or a deadline that is not of its mode`,
          `vcpu[${index}].apic.lapic_timer.tscdeadline`,
          `vcpu[${index}].apic.lapic_timer.timer_mode`,
          `vcpu[${index}].apic.tmict`,
        );
  },
};
