/** The in-kernel local APIC, as far as the APIC-access page needs it. */
import { APIC_TASKPRI } from '../state/lapic.ts';
import { kvm, type Machine } from '../steps.ts';
import { __apic_update_ppr } from './lapic/priority.ts';

const file = 'arch/x86/kvm/lapic.c';

/**
 * A read that the instruction emulator does, because the CPU did not virtualize it.
 * @omits every register but the TPR
 */
export const apic_mmio_read = kvm(file, function* apic_mmio_read(m: Machine, vcpuIndex: number) {
  const { apic, guest, stat } = m.vcpu[vcpuIndex]!;
  yield m.step('read the TPR');
  stat.emulated_apic_mmio++;
  guest.value = apic.tpr;
});

/** The same for a write. @omits every register but the TPR */
export const apic_mmio_write = kvm(
  file,
  function* apic_mmio_write(m: Machine, vcpuIndex: number, value: number) {
    const { apic, stat } = m.vcpu[vcpuIndex]!;
    yield m.step('write the TPR');
    stat.emulated_apic_mmio++;
    apic.tpr = value & 0xff;
    yield m.step('apic_update_ppr');
    __apic_update_ppr(m, vcpuIndex);
  },
);

/** Offset of the only register that guests may touch in this version. */
export const modelledApicOffset = APIC_TASKPRI;
