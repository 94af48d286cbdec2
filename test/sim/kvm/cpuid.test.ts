// CPUID: the flags of leaf 1 that tell the guest of its APIC.

import { expect, test } from 'vitest';
import { kvm_emulate_cpuid } from '#sim/kvm/cpuid.ts';
import type { VmConfig } from '#sim/state/machine_config.ts';
import { does, machineWith } from './lapic_machine.ts';

const leafOne = (mode: 'disabled' | 'xapic', vm: Partial<VmConfig>): number[] => {
  const m = machineWith({ vm, apics: [{ mode }] });
  does(m, kvm_emulate_cpuid(m, 0, [{ op: 'cpuid', operands: [] }]));
  expect(m.actor[0]!.pc).toBe(1);
  return [m.vcpu[0]!.guest.value, m.vcpu[0]!.guest.value_high];
};

test('EDX says whether the APIC is enabled, ECX what the VM offers', () => {
  expect(leafOne('xapic', {})).toEqual([0x200, 0x120_0000]);
  expect(leafOne('disabled', { nested: true })).toEqual([0, 0x120_0020]);
  expect(leafOne('xapic', { x2apicCpuid: false, tscDeadlineCpuid: false })).toEqual([0x200, 0]);
});
