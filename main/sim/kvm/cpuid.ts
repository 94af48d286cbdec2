/** CPUID: what the guest is shown of its CPU, as far as its APIC is concerned. */
import { skipInstruction } from '../hw/guest_program.ts';
import type { Program } from '../state/program.ts';
import { kvm, type Machine } from '../steps.ts';
import { kvm_apic_hw_enabled } from './lapic/priority.ts';

/** Bits of leaf 1. */
const edx = { APIC: 9 } as const;
const ecx = { VMX: 5, X2APIC: 21, TSC_DEADLINE_TIMER: 24 } as const;

const bit = (index: number, on: boolean): number => (on ? 1 << index : 0);

/**
 * Leaf 1. The bit of the APIC follows IA32_APIC_BASE, as on a CPU (kvm_update_cpuid_runtime).
 * @omits all other leaves and features
 */
export const kvm_emulate_cpuid = kvm(
  'arch/x86/kvm/cpuid.c',
  function* kvm_emulate_cpuid(m: Machine, vcpu: number, program: Program) {
    const { guest } = m.vcpu[vcpu]!;
    yield m.step('EDX and ECX of leaf 1');
    guest.value = bit(edx.APIC, kvm_apic_hw_enabled(m, vcpu));
    guest.value_high =
      bit(ecx.VMX, m.vm.enable_vmx) |
      bit(ecx.X2APIC, m.vm.x2apic_cpuid) |
      bit(ecx.TSC_DEADLINE_TIMER, m.vm.tsc_deadline_cpuid);
    skipInstruction(m, program);
  },
);
