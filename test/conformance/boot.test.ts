// The boot image with the options of the L1 side: what KVM_GET_LAPIC would show of new vCPUs.

import { expect, test } from 'vitest';
import { boot } from '../../main/sim/boot.ts';
import type { MachineConfig } from '../../main/sim/state/machine_config.ts';
import { defaultProfile, profileOf } from '../../main/sim/state/switches.ts';
import { secondaryControl } from '../../main/sim/state/vmcs.ts';

const actors = (['vcpu0', 'vcpu1'] as const).map((name, index) => ({
  name,
  kind: 'vcpu' as const,
  index,
  program: [],
}));

const booted = (options: Partial<MachineConfig>) =>
  boot({
    vcpus: 2,
    frames: 6,
    memoryPages: 0,
    boot: 'settled',
    enableApicv: true,
    switches: profileOf(defaultProfile)!.switches,
    actors,
    ...options,
  });

test('the vCPU ID is in the ID register as the mode has it, and LDR follows in x2APIC mode', () => {
  const m = booted({ apics: [{ id: 5 }, { id: 260, mode: 'x2apic' }] });
  const [xapic, x2apic] = m.vcpu;
  expect([xapic!.apic.id, xapic!.apic.ldr]).toEqual([0x0500_0000, 0]);
  expect([x2apic!.apic.id, x2apic!.apic.ldr]).toEqual([260, 0x0010_0010]);
  expect([xapic!.apic_base, x2apic!.apic_base]).toEqual([0xfee0_0800, 0xfee0_0c00]);
});

test('only the boot processor lets the PIC through, and only while the quirk is on', () => {
  const usual = booted({ vm: { bspId: 1 } });
  expect(usual.vcpu.map(({ apic }) => apic.lvt0)).toEqual([0x1_0000, 0x700]);
  expect(usual.vcpu[1]!.apic_base).toBe(0xfee0_0900);
  const strict = booted({ vm: { disabledQuirks: 1 } });
  expect(strict.vcpu.map(({ apic }) => apic.lvt0)).toEqual([0x1_0000, 0x1_0000]);
});

test('the version counts the entries of the vector table, and shows directed EOI if split', () => {
  const m = booted({ apics: [{ lvtCmci: false }] });
  expect(m.vcpu.map(({ apic }) => apic.lvr)).toEqual([0x0005_0014, 0x0006_0014]);
  expect(m.vcpu.map(({ apic }) => apic.lvtcmci)).toEqual([0, 0x1_0000]);
  const split = booted({ vm: { irqchip: 'split' } });
  expect(split.vcpu[0]!.apic.lvr).toBe(0x0106_0014);
});

test('a vCPU runs with the controls of its mode, and without APICv while its APIC is off', () => {
  const m = booted({ apics: [{ mode: 'x2apic' }, { mode: 'disabled' }] });
  const { VIRTUALIZE_APIC_ACCESSES, VIRTUALIZE_X2APIC_MODE, VIRTUAL_INTR_DELIVERY } =
    secondaryControl;
  const controls = m.vcpu.map(({ vmcs01 }) =>
    [VIRTUALIZE_APIC_ACCESSES, VIRTUALIZE_X2APIC_MODE, VIRTUAL_INTR_DELIVERY].map((bit) =>
      vmcs01.secondary_vm_exec_control.has(bit),
    ),
  );
  expect(controls).toEqual([
    [false, true, true],
    [false, false, false],
  ]);
  expect(m.vcpu.map(({ apic }) => apic.apicv_active)).toEqual([true, false]);
});

test('what is chosen for the VM is in its state, and the rest is usual', () => {
  const { vm } = booted({ vm: { vectorHashing: false, tscKhz: 2_500_000, apicBusCycleNs: 40 } });
  expect([vm.vector_hashing, vm.tsc_khz, vm.apic_bus_cycle_ns]).toEqual([false, 2_500_000, 40]);
  expect([vm.x2apic_cpuid, vm.maxphyaddr, vm.x2apic_format]).toEqual([true, 46, false]);
});
