/** The guest never sees the bytes behind its APIC. */
import type { Check } from '../check.ts';
import { violated } from '../violation.ts';

export const inv_no_raw_apic_page: Check = {
  id: 'inv-no-raw-apic-page',
  when: 'step',
  per: 'machine',
  summary: 'no access of a guest in xAPIC mode reaches the bytes of the APIC-access frame',
  why:
    'the page is a placeholder: what the guest writes there is lost, what it reads is garbage ' +
    '(Windows noticed, with bug check 0x109)',
  races: ['R01', 'R03', 'R06', 'R08', 'R09'],
  reads: ['vm.spec.raw_apic_accesses'],
  broken(m) {
    const count = m.vm.spec.raw_apic_accesses;
    return count === 0
      ? undefined
      : violated(
          `a guest access to 0xfee00000 went to plain memory (${count} so far)`,
          'vm.spec.raw_apic_accesses',
        );
  },
};
