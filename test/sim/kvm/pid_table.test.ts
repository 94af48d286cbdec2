// IPI virtualization at boot: the PID-pointer table and the fields that name it.

import { expect, test } from 'vitest';
import { boot } from '#sim/boot.ts';
import { readPhysical } from '#sim/hw/memory.ts';
import { brokenEntryCheck } from '#sim/hw/vm_entry_checks.ts';
import { kvm_set_or_clear_apicv_inhibit, kvm_vcpu_update_apicv } from '#sim/kvm/apicv.ts';
import { hpaOfPiDesc } from '#sim/state/addresses.ts';
import { apicvInhibitReason } from '#sim/state/vm.ts';
import { cpuControl, tertiaryControl } from '#sim/state/vmcs.ts';
import type { Machine } from '#sim/steps.ts';
import { does, machineWith } from './lapic_machine.ts';

const withIds = (...ids: number[]): Machine =>
  machineWith({
    enableApicv: true,
    vcpus: ids.length,
    vm: { ipiv: true },
    apics: ids.map((id) => ({ id })),
  });
const entryOf = (m: Machine, id: number): number => readPhysical(m, m.vm.pid_table + 8 * id);

test('each vCPU has a valid entry at its ID, and no other ID has one', () => {
  const m = withIds(0, 3);
  expect([0, 1, 2, 3].map((id) => entryOf(m, id))).toEqual([
    hpaOfPiDesc(0) + 1,
    0,
    0,
    hpaOfPiDesc(1) + 1,
  ]);
  for (const { vmcs01 } of m.vcpu) {
    expect(vmcs01.pid_pointer_table).toBe(m.vm.pid_table);
    expect(vmcs01.last_pid_pointer_index).toBe(3);
  }
});

test('an ID behind the one page of the table has no entry', () => {
  const m = withIds(0, 600);
  expect(m.vcpu[0]!.vmcs01.last_pid_pointer_index).toBe(511);
  expect(entryOf(m, 0)).toBe(hpaOfPiDesc(0) + 1);
});

test('the table ends where KVM_CAP_MAX_VCPU_ID says, whoever is there', () => {
  const { config } = withIds(0, 3);
  const m = boot({ ...config, vm: { ...config.vm, maxVcpuIds: 64 } });
  expect(m.vcpu.map(({ vmcs01 }) => vmcs01.last_pid_pointer_index)).toEqual([63, 63]);
});

test('the controls are on with APICv, pass the checks of VM entry, and go with APICv', () => {
  const m = withIds(0);
  const { cpu_based_vm_exec_control: cpu, tertiary_vm_exec_control: tertiary } = m.vcpu[0]!.vmcs01;
  expect([cpu.has(cpuControl.TERTIARY), tertiary.has(tertiaryControl.IPI_VIRT)]).toEqual([
    true,
    true,
  ]);
  expect(brokenEntryCheck(m, 0)).toBeUndefined();
  does(m, kvm_set_or_clear_apicv_inhibit(m, apicvInhibitReason.HYPERV, true));
  does(m, kvm_vcpu_update_apicv(m, 0));
  expect(tertiary.has(tertiaryControl.IPI_VIRT)).toBe(false);
  expect(brokenEntryCheck(m, 0)).toBeUndefined();
});

test('without enable_apicv there is no IPI virtualization', () => {
  const m = machineWith({ vm: { ipiv: true } });
  expect([m.vm.enable_ipiv, m.vm.pid_table]).toEqual([false, 0]);
});
